"""The command line where no site is needed: help, mistakes, exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from yurtcore.errors import BadInput, Missing, Refused, Retry, YurtError
from yurtctl.app import exit_code


def yurt(*arguments: str, state: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "yurtctl", *arguments],
        env=os.environ | {"YURT_STATE": str(state)} | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_names_every_command_and_version_is_the_packages(tmp_path: Path) -> None:
    told = yurt("--help", state=tmp_path).stdout
    for command in ["up", "down", "status", "cut", "heal", "kubeconfig", "get", "kubectl", "logs", "controlplane"]:
        assert f" {command} " in told
    assert yurt("--version", state=tmp_path).stdout == f"yurt {version('yurtctl')}\n"


def test_help_imports_nothing_heavy() -> None:
    """`yurt --help` and completion stay quick: what a command needs comes with the command."""
    code = "import sys, yurtctl.app; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"aiohttp", "asyncio", "pydantic", "cryptography", "yaml", "rich.table"} & set(loaded)


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["cut"],
        ["heal", "pool"],
        ["kubeconfig"],
        ["get", "pods", "-A"],
        ["kubectl", "version"],
        ["logs"],
        ["down"],
    ],
)
def test_without_a_site_a_command_says_so_in_one_line(tmp_path: Path, arguments: list[str]) -> None:
    done = yurt(*arguments, state=tmp_path / "none")
    assert done.returncode == 3
    assert done.stderr.startswith("yurt: no site in ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["up", "--nods", "3"],
        ["up", "--nodes", "0"],
        ["up", "--nodes-kind", "solid"],
        ["cut", "--how", "explode"],
        ["status", "-o", "xml"],
        ["nonsense"],
    ],
)
def test_a_wrong_flag_or_value_is_exit_code_2(tmp_path: Path, arguments: list[str]) -> None:
    done = yurt(*arguments, state=tmp_path / "none")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("detach", [[], ["--detach"]])
def test_up_refuses_a_folder_that_is_not_its_own(tmp_path: Path, detach: list[str]) -> None:
    (tmp_path / "thesis.txt").touch()
    done = yurt("up", *detach, state=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("detach", [[], ["--detach"]])
def test_up_without_a_control_plane_says_what_to_do(tmp_path: Path, detach: list[str]) -> None:
    done = yurt("up", *detach, state=tmp_path / "s", YURT_CONTROLPLANE=str(tmp_path))
    assert done.returncode == 2
    assert "YURT_CONTROLPLANE" in done.stderr
    assert "Traceback" not in done.stderr
    assert yurt("status", state=tmp_path / "s").stdout.startswith("site failed in ")
    assert yurt("down", state=tmp_path / "s").returncode == 0
    assert not (tmp_path / "s").exists()


def test_the_control_plane_that_is_not_there_is_missing(tmp_path: Path) -> None:
    env = {"XDG_CACHE_HOME": str(tmp_path), "KUBEBUILDER_ASSETS": "", "YURT_CONTROLPLANE": ""}
    done = yurt("controlplane", "path", state=tmp_path, **env)
    assert done.returncode == 3
    assert "yurt controlplane build" in done.stderr


@pytest.mark.parametrize(
    ("err", "code"),
    [(BadInput("x"), 2), (Missing("x"), 3), (Retry("x"), 4), (Refused("x"), 1), (YurtError("x"), 1)],
)
def test_exit_codes_tell_errors_apart(err: YurtError, code: int) -> None:
    assert exit_code(err) == code
