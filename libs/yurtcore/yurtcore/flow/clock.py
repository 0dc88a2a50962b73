"""Time as a parameter: a clock that shells are given, so that tests can give another."""

import asyncio
from typing import Protocol


class Clock(Protocol):
    """Monotonic seconds, and waiting."""

    def now(self) -> float:
        """Seconds since some fixed moment; only differences mean something."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait that long."""
        ...


class LoopClock:
    """The running event loop's own time."""

    def now(self) -> float:
        """The loop's monotonic time in seconds."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Wait that long by the loop's time."""
        await asyncio.sleep(seconds)


def loop_clock() -> Clock:
    """The clock for services."""
    return LoopClock()
