"""What a module costs to import: a hub must open its port before it loads a web framework."""

import json
import subprocess
import sys

import pytest

HEAVY = ("aiohttp", "fastapi", "starlette", "uvicorn", "pydantic", "structlog", "prometheus_client", "ssl")


def loaded(module: str) -> set[str]:
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60).stdout
    return {name for name in json.loads(out) if name in HEAVY or name == "asyncio"}


@pytest.mark.parametrize(
    "module",
    [
        "yurtcore.errors",
        "yurtcore.wire.gvr",
        "yurtcore.wire.names",
        "yurtcore.wire.status",
        "yurtcore.wire.duration",
        "yurtcore.flow.backoff",
        "yurtcore.adapters.files",
        "yurtcore.adapters.kubeconfig",
    ],
)
def test_facts_and_files_load_nothing_heavy(module: str) -> None:
    assert loaded(module) == set()


@pytest.mark.parametrize("module", ["yurtcore.flow.tasks", "yurtcore.flow.stop", "yurtcore.flow.clock"])
def test_flow_loads_asyncio_and_no_driver(module: str) -> None:
    assert loaded(module) - {"ssl"} == {"asyncio"}  # asyncio itself loads ssl


def test_settings_load_no_web_framework() -> None:
    assert loaded("yurtcore.serve.settings") - {"asyncio", "ssl"} == {"pydantic"}


def test_logs_load_no_web_framework() -> None:
    assert loaded("yurtcore.serve.logs") - {"asyncio", "ssl"} == {"structlog"}
