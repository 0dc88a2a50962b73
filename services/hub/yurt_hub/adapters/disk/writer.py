"""The thread between memory and disk: batches, compaction, and what happens when the disk is full or away.

A failure costs one log line and a flag; the log stays as it was, what is not written waits in memory, and the next
attempt comes by itself (or with a flush). If the file can't be trusted after a failure, the first attempt that succeeds
writes a whole new log: what was confirmed, read back and checked, and what waits.
"""

import contextlib
import errno
import functools
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final

import structlog
from yurtcore.errors import Retry
from yurtcore.flow.backoff import backoff

from yurt_hub.adapters.disk.folder import Folder
from yurt_hub.adapters.disk.pending import Due, Pending
from yurt_hub.adapters.disk.rewrite import Rotten, TooBig, begun, compaction
from yurt_hub.adapters.disk.sealing import Sealer
from yurt_hub.adapters.disk.segment import Batch, Bounds, Segment

RETRY_BASE: Final = 1.0
RETRY_CAP: Final = 30.0
"""Seconds between attempts while the disk is full or away."""
COMPACT_AGAIN: Final = 60.0
"""Seconds between attempts to compact when one failed: the log works without."""
PATIENCE: Final = 60.0
"""Seconds of attempts to read the log back before what can't be read is given up."""
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_log = structlog.get_logger("disk")


@dataclass(slots=True)
class Counts:
    """What the writer did, for metrics."""

    batches: int = 0
    written: int = 0
    compactions: int = 0
    rewrites: int = 0
    errors: int = 0
    lost: int = 0
    synced_at: float | None = None
    full: bool = False
    stopped: str = ""
    """Why nothing is written now; "" while all is well."""
    crowded: int = 0
    """Live bytes that the owner should evict."""


class Writer:
    """See the module. `segment` is None when there is no log yet that could be appended to."""

    def __init__(
        self,
        folder: Folder,
        segment: Segment | None,
        pending: Pending,
        *,
        sealer: Sealer,
        bounds: Bounds,
        clock: Callable[[], float],
    ) -> None:
        self.segment = segment
        self.counts = Counts()
        self._folder = folder
        self._pending = pending
        self._sealer = sealer
        self._bounds = bounds
        self.clock = clock
        self._compaction: Generator[None, None, Segment] | None = None
        self._attempts = 0
        self._not_before = 0.0
        self._compact_from = 0.0
        self._stopped_at = 0.0

    @property
    def astray(self) -> bool:
        """Whether only a whole new log helps."""
        return self.segment is None or self.segment.unsure

    def run(self) -> None:
        """Work until the owner closes; never raises."""
        while self.turn():
            pass

    def turn(self) -> bool:
        """Wait for something to do and do it; False when that was the last."""
        due = self._pending.due(not_before=self._not_before, idle=self.idle())
        if due is None:
            self._guarded(functools.partial(self._anew, {}) if self.astray else self._compact_on)
            return True
        failed = self._guarded(functools.partial(self._write, due))
        if failed:
            self._pending.give_back({key: it for key, it in due.entries.items() if it is not None or self._knows(key)})
        for flushed in due.waiting:
            if failed:
                flushed.set_exception(Retry(f"the store on disk can't be written now: {failed}"))
            else:
                flushed.set_result(None)
        if due.closing:
            self._end()
        return not due.closing

    def idle(self) -> float | None:
        """Seconds until there is something to do without new work from the owner."""
        if self.astray:
            return max(0.0, self._not_before - self.clock())
        return None if self._compaction is None else 0.0

    def _guarded(self, step: Callable[[], None]) -> str:
        """Do a step and note how it went; why it failed, "" if it didn't."""
        try:
            step()
        except OSError as err:
            return self._failed(err.strerror or str(err), full=err.errno in _FULL)
        except Retry as err:
            return self._failed(err.why, full=False)
        except Exception as err:  # noqa: BLE001 (a mistake of ours must not end persistence for good)
            _log.exception("disk.mistake")
            self._distrust()
            return self._failed(repr(err), full=False)
        return ""

    def _write(self, due: Due) -> None:
        if self.segment is None or self.segment.unsure:
            self._anew(due.entries)
        elif due.entries:
            self._append(self.segment, due.entries)

    def _knows(self, key: str) -> bool:
        return self.segment is not None and key in self.segment.index

    def _append(self, segment: Segment, batch: Batch) -> None:
        live, most = segment.weigh(batch)
        self._admit(live)
        if segment.end + most <= self._bounds.file:
            before = segment.end
            segment.append(batch, self._sealer)
            self._succeeded(segment.end - before)
        else:
            self._abandon()
            self._finish(self._compaction_of(segment, batch))
        if segment.dead > max(segment.live, self._bounds.compact_above) and self.clock() >= self._compact_from:
            self._compaction = self._compaction or self._compaction_of(segment, None)

    def _admit(self, live: int) -> None:
        self.counts.crowded = max(0, live - self._bounds.wanted)
        if live > self._bounds.live:
            raise Retry(f"{live} bytes to keep, {self._bounds.live} allowed by the quota of {self._bounds.quota}")

    def _compaction_of(
        self, segment: Segment, batch: Batch | None, lost: list[str] | None = None
    ) -> Generator[None, None, Segment]:
        return compaction(self._folder, segment, self._sealer, bounds=self._bounds, batch=batch, lost=lost)

    def _compact_on(self) -> None:
        """One step of a compaction that runs beside the batches."""
        if self._compaction is None:
            return
        try:
            next(self._compaction)
        except StopIteration as done:
            self._compaction = None
            self.counts.compactions += 1
            self._switched(done.value)
        except TooBig:
            self._put_off()
        except Rotten as err:
            _log.warning("disk.rotten", why=str(err), effect="the log is written anew without what can't be read")
            self._distrust()
        except OSError:
            self._put_off()
            if self.astray:
                raise

    def _finish(self, run: Generator[None, None, Segment]) -> None:
        """A compaction at one go, because there is no room to append."""
        try:
            while True:
                next(run)
        except StopIteration as done:
            self.counts.compactions += 1
            self._switched(done.value)
        except TooBig as err:
            raise Retry("what is to be kept is more than the quota allows") from err
        except Rotten as err:
            self._distrust()
            raise Retry(f"the log must be written anew: {err}") from err

    def _anew(self, batch: Batch) -> None:
        """Write a whole new log. What the old one can't give is waited for, then left out and named."""
        self._abandon()
        if self.segment is None:
            try:
                self._switched(begun(self._folder, self._sealer, bounds=self._bounds, batch=batch))
            except TooBig as err:
                raise Retry("what is to be kept is more than the quota allows") from err
        else:
            live, _ = self.segment.weigh(batch)
            self._admit(live)
            late = self.counts.stopped != "" and self.clock() - self._stopped_at >= PATIENCE
            lost: list[str] | None = [] if late else None
            self._finish(self._compaction_of(self.segment, batch, lost))
            if lost:
                self.counts.lost += len(lost)
                _log.warning("disk.lost", keys=lost[:5], count=len(lost), effect="not in the log until put again")
        self.counts.rewrites += 1

    def _switched(self, segment: Segment) -> None:
        old, self.segment = self.segment, segment
        self._succeeded(segment.end)
        if old is not None:
            with contextlib.suppress(OSError):
                old.file.close()

    def _abandon(self) -> None:
        if self._compaction is not None:
            self._compaction.close()
            self._compaction = None

    def _put_off(self) -> None:
        self.counts.errors += 1
        self._compaction = None
        self._compact_from = self.clock() + COMPACT_AGAIN

    def _distrust(self) -> None:
        self._abandon()
        if self.segment is not None:
            self.segment.unsure = True

    def _succeeded(self, written: int) -> None:
        counts = self.counts
        counts.batches += 1
        counts.written += written
        counts.synced_at = self.clock()
        if counts.stopped:
            _log.info("disk.resumed", was=counts.stopped, lasted=round(self.clock() - self._stopped_at, 3))
        counts.stopped, counts.full = "", False
        self._attempts, self._not_before = 0, 0.0

    def _failed(self, why: str, *, full: bool) -> str:
        counts = self.counts
        counts.errors += 1
        if counts.stopped:
            _log.debug("disk.stopped", why=why, errors=counts.errors)
        else:
            self._stopped_at = self.clock()
            _log.warning("disk.stopped", why=why, effect="answers go on from memory; nothing new survives a restart")
        counts.stopped, counts.full = why, full
        self._not_before = self.clock() + backoff(self._attempts, base=RETRY_BASE, cap=RETRY_CAP, jitter=0.5)
        self._attempts += 1
        return why

    def _end(self) -> None:
        self._abandon()
        segment = self.segment
        if segment is None:
            return
        with contextlib.suppress(OSError):
            if self.counts.batches and not self.astray and not self.counts.stopped:
                segment.end_here(self._sealer)
        with contextlib.suppress(OSError):
            segment.file.close()
