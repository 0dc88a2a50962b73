"""The disk log without its thread: every turn is taken by the test, so that a run is the same each time."""

import random

from kit.crash import Confirmed, Image, MemoryFolder, Told
from yurt_hub.adapters.disk.opening import Report, opened
from yurt_hub.adapters.disk.pending import Pending
from yurt_hub.adapters.disk.sealing import Sealer
from yurt_hub.adapters.disk.segment import Bounds
from yurt_hub.adapters.disk.writer import Writer
from yurtcore.errors import Retry

State = dict[str, bytes]
KEY = bytes(range(32))
SEALER = Sealer(KEY)
SMALL = Bounds(quota=128 * 1024, compact_above=400, group=200)
"""Bounds with which a few hundred bytes are compacted, in several steps."""


class Driven:
    """A log on a recording disk. `states` is what the owner's state was after each word; numbers begin at `first`."""

    def __init__(self, disk: MemoryFolder, *, bounds: Bounds = SMALL) -> None:
        self.disk = disk
        self.bounds = bounds
        seed = repr(sorted(disk.files.items()))
        sealer = Sealer(KEY, chance=random.Random(seed).randbytes)  # noqa: S311 (the same in each run)
        start = opened(disk, sealer, bounds=bounds)
        self.report: Report = start.report
        self.loaded: State = dict(start.values)
        self.now = 0.0
        self.states: list[State] = [dict(self.loaded)]
        self.pending = Pending(within=3600, clock=lambda: self.now)
        self.writer = Writer(
            disk,
            start.segment,
            self.pending,
            sealer=sealer,
            bounds=bounds,
            clock=lambda: self.now,
        )

    def put(self, key: str, value: bytes, *, secret: bool = False) -> None:
        self._tell({**self.states[-1], key: value})
        self.pending.set(key, (value, secret))

    def drop(self, key: str) -> None:
        state = dict(self.states[-1])
        state.pop(key, None)
        self._tell(state)
        self.pending.set(key, None)

    def flush(self) -> bool:
        """Whether the disk has everything now."""
        flushed = self.pending.flush()
        self.writer.turn()
        try:
            flushed.result(0)
        except Retry:
            return False
        self.disk.note(Confirmed(len(self.states) - 1))
        return True

    def step(self) -> None:
        """Work that the writer does between batches, one step, if there is any."""
        if self.writer.idle() == 0.0:
            self.writer.turn()

    def close(self) -> None:
        self.pending.close()
        while self.writer.turn():
            pass

    def _tell(self, state: State) -> None:
        self.states.append(state)
        self.disk.note(Told(len(self.states) - 1))


def read(image: Image) -> tuple[State, Report]:
    """What a log that is opened on this folder says."""
    start = opened(MemoryFolder(image), SEALER, bounds=SMALL)
    return start.values, start.report
