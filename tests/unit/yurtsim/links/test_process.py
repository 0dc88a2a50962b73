"""The link process and its control socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from yurtcore.errors import BadInput, Missing, Retry
from yurtsim.links import LinkControl


async def start(config: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "yurtsim.links", "--config", str(config), stderr=asyncio.subprocess.PIPE
    )


@pytest.fixture
async def process(tmp_path: Path, cloud: Any) -> AsyncIterator[asyncio.subprocess.Process]:
    config = tmp_path / "links.yaml"
    links = [{"name": "first", "target": cloud.address, "node": "n1", "pool": "p"}]
    config.write_text(json.dumps({"control": str(tmp_path / "c"), "links": links}))
    process = await start(config)
    yield process
    if process.returncode is None:
        process.kill()
    await process.communicate()


@pytest.fixture
async def control(process: asyncio.subprocess.Process, tmp_path: Path) -> LinkControl:
    control = LinkControl(tmp_path / "c")
    await control.ready(20)
    return control


async def test_the_process_carries_steers_and_counts(control: LinkControl, cloud: Any, connect: Any) -> None:
    port = await control.add("second", cloud.address, node="n2", pool="p")
    reader, writer = await connect(port)
    writer.write(b"beat")
    assert await reader.readexactly(4) == b"beat"
    assert await control.cut("p", "delay", ms=5) == ["first", "second"]
    assert await control.cut("n2") == ["second"]
    shown = {one["name"]: one for one in await control.show()}
    assert shown["first"]["state"] == "delay 5 ms"
    assert shown["second"]["state"] == "blackhole, delay 5 ms"
    assert shown["second"]["bytes"] == {"up": 4, "down": 4}
    writer.write(b"held")
    assert await control.heal() == ["first", "second"]
    assert await reader.readexactly(4) == b"held"
    assert await control.drop("n2") == 1
    with pytest.raises(ConnectionResetError):
        await reader.read()
    await control.remove("second")
    assert [one["name"] for one in await control.show()] == ["first"]


async def test_what_a_caller_does_wrong_comes_back_as_its_error(control: LinkControl) -> None:
    with pytest.raises(Missing, match="'nowhere'"):
        await control.cut("nowhere")
    with pytest.raises(BadInput, match="delay needs ms"):
        await control.cut(None, "delay")
    with pytest.raises(BadInput):
        await control.add("x", "not an address")


@pytest.mark.parametrize("line", [b"{", b"[]", b"{}", b'{"do": "close"}', b'{"do": "cut", "hue": 1}', b"\xff", b"3"])
async def test_nonsense_on_the_control_socket_is_answered(control: LinkControl, tmp_path: Path, line: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "c"))
    writer.write(line + b"\n" + b'{"do": "show"}\n')
    assert json.loads(await reader.readline())["kind"] == "BadInput"
    assert "ok" in json.loads(await reader.readline())
    writer.close()
    await writer.wait_closed()


async def test_a_line_without_end_is_cut_off(control: LinkControl, tmp_path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "c"))
    writer.write(b" " * 70_000)
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_process_and_its_socket(
    control: LinkControl, process: asyncio.subprocess.Process, tmp_path: Path, how: signal.Signals
) -> None:
    assert stat.S_IMODE((tmp_path / "c").stat().st_mode) == 0o600
    process.send_signal(how)
    assert await asyncio.wait_for(process.wait(), 20) == 0
    assert not (tmp_path / "c").exists()
    with pytest.raises(Retry):
        await control.show()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "control: 5",
        "control: c\nmore: 1",
        "control: c\nlinks: 7",
        "{",
        "control: c\nlinks: [{name: a, targe: b}]",
    ],
)
async def test_a_wrong_file_is_one_line_and_exit_code_2(tmp_path: Path, text: str) -> None:
    config = tmp_path / "links.yaml"
    config.write_text(text)
    process = await start(config)
    _, err = await process.communicate()
    assert process.returncode == 2
    assert err.count(b"\n") == 1 or text == "{"
    assert b"Traceback" not in err
