"""Random lives of a log against a plain dict: words, flushes, compactions, full disks, failures, crashes, restarts."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from kit.crash import MemoryFolder, crash_at
from kit.driven import Driven
from yurt_hub.adapters.disk.segment import Bounds

KEYS = st.sampled_from([f"pods/{number}" for number in range(6)] + ["", "schlüssel/\udcff"])
VALUES = st.builds(lambda size, seed: bytes([seed]) * size, st.integers(0, 3000), st.integers(0, 255))
WORDS = st.lists(st.tuples(KEYS, st.one_of(st.none(), VALUES, VALUES, VALUES), st.booleans()), min_size=1, max_size=8)


class Life(RuleBasedStateMachine):
    """The log's owner, its disk and its luck."""

    @initialize(
        quota=st.sampled_from([64, 96, 1024]),
        compact_above=st.sampled_from([1000, 3000, 1 << 30]),
    )
    def begin(self, quota: int, compact_above: int) -> None:
        self.bounds = Bounds(quota=quota * 1024, compact_above=compact_above, group=2500)
        self.log = Driven(MemoryFolder(), bounds=self.bounds)

    def reopen(self, files: dict[str, bytes]) -> None:
        self.log = Driven(MemoryFolder(files), bounds=self.bounds)

    @rule(words=WORDS)
    def tell(self, words: list[tuple[str, bytes | None, bool]]) -> None:
        for key, value, secret in words:
            if value is None:
                self.log.drop(key)
            else:
                self.log.put(key, value, secret=secret)

    @rule(batches=st.lists(st.tuples(WORDS, st.integers(0, 3)), min_size=1, max_size=6))
    def busy(self, batches: list[tuple[list[tuple[str, bytes | None, bool]], int]]) -> None:
        """Several batches, with steps of a compaction between them."""
        for words, steps in batches:
            self.tell(words)
            self.flush()
            for _ in range(steps):
                self.log.step()

    @rule()
    def flush(self) -> None:
        done = self.log.flush()
        stopped = self.log.writer.counts.stopped
        assert done == (not stopped)
        assert done or self.log.disk.faults or self.log.disk.room is not None or "quota" in stopped

    @rule()
    def step(self) -> None:
        self.log.step()

    @rule(room=st.one_of(st.none(), st.integers(0, 20000)))
    def space(self, room: int | None) -> None:
        self.log.disk.room = None if room is None else self.log.disk.used() + room

    @rule(call=st.sampled_from(["write", "sync", "sync names", "rename", "create", "truncate", "read"]))
    def fail(self, call: str) -> None:
        self.log.disk.faults[call] = 5

    @rule()
    def mend(self) -> None:
        """All is well again: what was held back gets to the disk by itself, unless there is too much of it."""
        self.log.disk.faults.clear()
        self.log.disk.room = None
        self.log.now += 1000
        done = self.log.flush()
        if not done:
            self.log.now += 1000
            done = self.log.flush()  # the first attempt may have found that only a new log helps
        live = sum(len(key.encode("utf-8", "replace")) + len(value) + 60 for key, value in self.log.states[-1].items())
        assert done or live > self.bounds.live
        assert done or self.log.writer.counts.crowded > 0

    @precondition(lambda self: len(self.log.states) > 5)
    @rule()
    def restart(self) -> None:
        """An end in order; after it the disk shows a state that the owner had."""
        self.log.close()
        before = self.log
        self.reopen({name: bytes(before.disk.contents[inode]) for name, inode in before.disk.inodes.items()})
        if not before.writer.counts.stopped:
            assert self.log.loaded == before.states[-1]
        assert self.log.loaded in before.states
        assert self.log.report.damaged == 0

    @precondition(lambda self: len(self.log.states) > 5)
    @rule(moment=st.integers(0, 1 << 16), pick=st.integers(0, 1 << 16))
    def crash(self, moment: int, pick: int) -> None:
        """A crash at any moment since the last start, in any of the states that it may leave."""
        calls = len(self.log.disk.calls)
        found = crash_at(self.log.disk, calls - moment % min(calls + 1, 50))
        crash = found[pick * 7919 % len(found)]
        before = self.log
        self.reopen(dict(crash.image))
        assert self.log.loaded in before.states[crash.confirmed : crash.told + 1]
        assert self.log.report.damaged == 0

    @precondition(lambda self: hasattr(self, "log"))
    @invariant()
    def within_quota(self) -> None:
        assert self.log.disk.most <= self.bounds.quota


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of full disks would fill the report of a failure."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


TestLife: Any = Life.TestCase
TestLife.settings = settings(
    max_examples=200, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
