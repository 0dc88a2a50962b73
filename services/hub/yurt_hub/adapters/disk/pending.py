"""What was put and dropped but is not on the disk yet: the last word about each key, handed over in whole batches.

The owner (the event loop) calls `set` and `flush`; neither waits for the disk. The writer's thread calls `due` and
`give_back`. A batch is what stood here at one moment, so a log only ever shows states that the owner really had. What
the owner does inside `with pending.lock` is in one batch.

While the disk is full or away this grows to the last word about every key, and no further. Values are the owner's own
bytes, not copies, and the writer throws out drops of what the disk never had: what waits is bounded by what the owner
keeps.
"""

import asyncio
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

from yurtcore.errors import Retry

from yurt_hub.adapters.disk.segment import Value

MANY: Final = 8 * 1024 * 1024
"""Bytes of values that are written without waiting for the rest of the interval."""


class Flushed(Future[None]):
    """Done when everything put before is on the disk; fails with Retry if that can't be now. Wait or await it."""

    def __await__(self) -> Generator[Any, None, None]:
        """Wait for it on an event loop."""
        return asyncio.wrap_future(self).__await__()


@dataclass(frozen=True, slots=True)
class Due:
    """Work for the writer: entries to write (maybe none), who waits for them, and whether this is the last."""

    entries: dict[str, Value | None]
    waiting: list[Flushed]
    closing: bool


class Pending:
    """See the module. `within` is how long a word may wait for others, in seconds."""

    def __init__(self, *, within: float, clock: Callable[[], float]) -> None:
        self.lock = threading.Condition(threading.RLock())
        self._entries: dict[str, Value | None] = {}
        self._bytes = 0
        self._first = 0.0
        self._waiting: list[Flushed] = []
        self._closing = False
        self._asleep = False
        self._within = within
        self._clock = clock

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def bytes(self) -> int:
        """Bytes of values held."""
        return self._bytes

    def set(self, key: str, value: Value | None) -> None:
        """Note the last word about a key; None drops it."""
        with self.lock:
            entries = self._entries
            if not entries:
                self._first = self._clock()
            old = entries.get(key)
            entries[key] = value
            self._bytes += (0 if value is None else len(value[0])) - (0 if old is None else len(old[0]))
            if self._asleep:
                self._asleep = False
                self.lock.notify()

    def flush(self) -> Flushed:
        """Ask for everything up to now to be written at once."""
        flushed = Flushed()
        with self.lock:
            if self._closing:
                flushed.set_exception(Retry("the store on disk is closed"))
            else:
                self._waiting.append(flushed)
                self.lock.notify()
        return flushed

    def close(self) -> None:
        """Ask for the last batch."""
        with self.lock:
            self._closing = True
            self.lock.notify()

    def due(self, *, not_before: float, idle: float | None) -> Due | None:
        """Wait for work: a batch that is old or big enough, a flush, the end; None after `idle` seconds without.

        Batches wait until `not_before` (by the clock) after a failure; flushes and the end don't.
        """
        until = None if idle is None else self._clock() + idle
        with self.lock:
            while not (self._closing or self._waiting):
                now = self._clock()
                ready = self._ready_at(not_before)
                if ready is not None and ready <= now:
                    break
                if until is not None and until <= now:
                    return None
                moments = [moment - now for moment in (ready, until) if moment is not None]
                self._asleep = not self._entries
                self.lock.wait(min(moments) if moments else None)
            taken = Due(self._entries, self._waiting, self._closing)
            self._entries, self._bytes, self._waiting = {}, 0, []
            return taken

    def _ready_at(self, not_before: float) -> float | None:
        if not self._entries:
            return None
        return max(not_before, self._first + (0.0 if self._bytes > MANY else self._within))

    def give_back(self, entries: dict[str, Value | None]) -> None:
        """Take a batch back that could not be written; newer words win."""
        with self.lock:
            if not self._entries:
                self._first = self._clock()
            entries.update(self._entries)
            self._entries = entries
            self._bytes = sum(len(value[0]) for value in entries.values() if value is not None)
