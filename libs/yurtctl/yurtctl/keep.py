"""Keeping processes alive: each that ends is noted and started again after a back-off."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from yurtcore.flow.backoff import backoff
from yurtsim.processes import Child

from yurtctl.record import Process

BASE, CAP = 0.5, 30.0
"""Seconds of the first and the longest pause before a start."""
STEADY = 60.0
"""Seconds of life after which an end counts as the first again."""
LOG_LIMIT = 32 * 1024 * 1024
"""Bytes of one log; beyond it starts afresh (children append, so a truncated file goes on at its new end)."""
LOG_EVERY = 30.0


class Kept:
    """A child and its line in the site's record.

    Args:
        child: The process; its command stays the same over all its lives.
        record: What others read about it.
        changed: Called after each change of the record, with a line for people or None.
    """

    def __init__(self, child: Child, record: Process, changed: Callable[[str | None], None]) -> None:
        self.child, self.record, self._changed = child, record, changed

    async def start(self, within: float) -> None:
        """Start it and wait until it is ready.

        Raises:
            ProcessError: When it ends or is not ready in time.
        """
        self.record.state = "starting"
        self.child.spawn()
        self.record.pid = self.child.pid
        self._changed(None)
        await self.child.settle(within)
        self.adopt()

    def adopt(self) -> None:
        """Note that it runs."""
        self.record.state, self.record.pid = "running", self.child.pid
        self._changed(None)

    async def stop(self) -> None:
        """End it for good."""
        await self.child.stop()
        self.record.state, self.record.pid = "ended", None

    async def keep(self) -> None:
        """Start it again whenever it ends, until cancelled."""
        loop = asyncio.get_running_loop()
        attempt = 0
        while True:
            since = loop.time()
            await self.child.exited()
            attempt = 0 if loop.time() - since > STEADY else attempt + 1
            how = self.child.obituary().splitlines()[0].partition(";")[0].removeprefix(f"{self.child.name} ")
            self.record.state, self.record.pid, self.record.last = "restarting", None, how
            pause = backoff(max(0, attempt - 1), base=BASE, cap=CAP, jitter=random.random())  # noqa: S311  spreads, hides nothing
            self._changed(f"{self.record.name} {how}; starting it again in {pause:.1f} s")
            await asyncio.sleep(pause)
            self.child.kill()  # of a child that is gone: whatever it left behind
            self.child.spawn()
            self.record.restarts += 1
            self.adopt()


async def trim(kept: list[Kept]) -> None:
    """Bound the logs, until cancelled."""
    while True:
        await asyncio.sleep(LOG_EVERY)
        for one in kept:
            if one.child.log.exists() and one.child.log.stat().st_size > LOG_LIMIT:
                with one.child.log.open("r+b") as log:
                    log.truncate(0)
