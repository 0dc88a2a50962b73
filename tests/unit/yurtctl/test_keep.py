"""Keeping real processes alive."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from yurtctl import keep
from yurtctl.keep import Kept
from yurtctl.record import Process
from yurtsim.processes import Child, ProcessError


class Desk:
    """Hears what changes, and lets a test wait for a state."""

    def __init__(self, record: Process) -> None:
        self.record, self.lines = record, list[str]()
        self._changed = asyncio.Event()

    def changed(self, line: str | None) -> None:
        if line is not None:
            self.lines.append(line)
        self._changed.set()

    async def until(self, state: str, restarts: int) -> None:
        async with asyncio.timeout(30):
            while (self.record.state, self.record.restarts) != (state, restarts):
                await self._changed.wait()
                self._changed.clear()


def kept(tmp_path: Path, *command: str) -> tuple[Kept, Desk]:
    record = Process("sleeper", str(tmp_path / "log"))
    desk = Desk(record)
    return Kept(Child("sleeper", command, log=tmp_path / "log"), record, desk.changed), desk


async def test_a_killed_process_is_named_and_started_again(tmp_path: Path) -> None:
    one, desk = kept(tmp_path, "sleep", "600")
    await one.start(10)
    assert desk.record.state == "running"
    task = asyncio.get_running_loop().create_task(one.keep())
    for lives in (1, 2):
        pid = desk.record.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await desk.until("restarting", lives - 1)
        assert desk.record.last == "was ended by SIGKILL"
        await desk.until("running", lives)
        assert desk.record.pid != pid
    assert desk.lines[0].startswith("sleeper was ended by SIGKILL; starting it again in 0.")
    task.cancel()
    await asyncio.wait([task])
    await one.stop()
    assert (desk.record.state, desk.record.pid) == ("ended", None)


async def test_one_that_never_lives_long_is_started_ever_more_slowly(tmp_path: Path) -> None:
    one, desk = kept(tmp_path, "false")
    task = asyncio.get_running_loop().create_task(one.keep())
    one.child.spawn()
    await desk.until("restarting", 2)
    pauses = [float(line.split()[-2]) for line in desk.lines]
    assert pauses[0] <= 0.5
    assert 0.9 <= pauses[2] <= 2.0
    task.cancel()
    await asyncio.wait([task])


async def test_one_that_ends_before_it_is_ready_fails_the_start(tmp_path: Path) -> None:
    async def never() -> str:
        return "not yet"

    record = Process("false", str(tmp_path / "log"))
    one = Kept(Child("false", ["false"], log=tmp_path / "log", ready=never), record, lambda _line: None)
    with pytest.raises(ProcessError, match="false ended with exit code 1"):
        await one.start(10)
    await one.stop()


@pytest.mark.looptime
async def test_a_log_over_its_limit_starts_afresh(tmp_path: Path) -> None:
    big, _ = kept(tmp_path / "big", "true")
    small, _ = kept(tmp_path / "small", "true")
    for one, size in ((big, keep.LOG_LIMIT + 1), (small, 5)):
        one.child.log.parent.mkdir()
        with one.child.log.open("wb") as log:
            log.truncate(size)
    task = asyncio.get_running_loop().create_task(keep.trim([big, small]))
    await asyncio.sleep(keep.LOG_EVERY + 1)
    assert big.child.log.stat().st_size == 0
    assert small.child.log.stat().st_size == 5
    task.cancel()
    await asyncio.wait([task])
