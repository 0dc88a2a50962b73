"""A site's state folder: whose it is, who holds it, what is removed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from yurtcore.errors import BadInput, Missing
from yurtctl.folder import Folder, default
from yurtctl.record import Node, Process, Site

HOLD = """
import sys, pathlib
from yurtctl.folder import Folder
with Folder(pathlib.Path(sys.argv[1])).claimed():
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(root: Path) -> subprocess.Popen[bytes]:
    """A process that holds the site until its input ends."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    return holder


def test_what_is_written_is_read() -> None:
    site = Site(
        phase="ready",
        pid=7,
        steps=["one"],
        nodes=[Node("n", "p", 1, 2, 3, 4)],
        processes=[Process("hub-n", "/log", node="n", pid=8, addresses={"a": "b"}, docs="c")],
    )
    assert Site.decode(site.encode()) == site
    assert site.node("n") is site.nodes[0]
    assert site.node("m") is None


def test_no_site_is_missing_and_a_torn_record_is_bad_input(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "site")
    with pytest.raises(Missing, match="yurt up"):
        folder.read()
    folder.prepare()
    assert folder.read().phase == "starting"
    for text in ("", "{", "[]", '{"phase": "ready", "hue": 1}', '{"processes": [{}]}'):
        folder.record.write_text(text)
        with pytest.raises(BadInput, match="yurt down"):
            folder.read()


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    folder = Folder(tmp_path)
    with pytest.raises(BadInput, match="not a site's"):
        folder.prepare()
    folder.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_the_way_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="cannot use"):
        Folder(tmp_path / "file" / "site").prepare()


def test_a_path_that_no_unix_socket_can_have_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="too long"):
        Folder(tmp_path / ("x" * 108)).prepare()


def test_a_site_has_one_holder(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "site")
    with hold(folder.root) as holder:
        assert folder.holder == holder.pid
        for claim in (folder.prepare, folder.claimed().__enter__):
            with pytest.raises(BadInput, match="runs in"):
                claim()
        holder.communicate()
    assert not folder.running


def test_the_next_holder_finds_nothing_of_a_killed_one(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "site")
    with hold(folder.root) as holder:
        folder.node("n").mkdir(parents=True)
        (folder.node("n") / "kubelet.log").touch()
        folder.log.write_text("kept: the next supervisor writes it already")
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    assert not folder.running
    with folder.claimed():
        assert folder.holder == os.getpid()
        assert sorted(path.name for path in folder.root.iterdir()) == ["lock", "site.json", "supervisor.log"]
    folder.remove()
    assert not folder.root.exists()


def test_the_marker_goes_last(tmp_path: Path) -> None:
    """A removal that was interrupted can be taken up again: the rest is still known as a site's."""
    folder = Folder(tmp_path / "site")
    folder.prepare()
    (folder.root / "sub").mkdir()
    (folder.root / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    folder.remove()
    assert not folder.root.exists()
    assert (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(("base", "where"), [("/s", "/s/yurt"), ("", None), ("relative", None)])
def test_the_default_folder_follows_the_xdg_rules(
    base: str, where: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", base)
    assert str(default()) == (where or str(Path.home() / ".local" / "state" / "yurt"))
    assert Folder(None).root == default()
