"""`DiskLog`: keys and bytes that survive a restart, for a cache whose truth is in the cloud.

The owner keeps everything in memory and tells the log what changes; the log is read once, at start. Nothing here waits
for a disk but `open`, `close` and whoever waits for a `flush`. Losing the last batch (200 ms) in a crash is allowed,
everything else is not: a log that is opened shows a state that the owner had, at or after the last flush that was
confirmed, less what is damaged and named in `report`.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from yurtcore.errors import BadInput

from yurt_hub.adapters.disk.folder import DiskFolder, Folder
from yurt_hub.adapters.disk.losses import LOST
from yurt_hub.adapters.disk.opening import Opened, Report, opened
from yurt_hub.adapters.disk.pending import Flushed, Pending
from yurt_hub.adapters.disk.records import MOST_KEY
from yurt_hub.adapters.disk.sealing import Sealer
from yurt_hub.adapters.disk.segment import Bounds
from yurt_hub.adapters.disk.writer import Writer

LEAST_QUOTA: Final = 256 * 1024
"""Smallest quota in bytes: below it, what a file needs beside its values weighs too much."""
CLOSE_WITHIN: Final = 10.0
"""Seconds that closing waits for a disk that does not answer."""

_log = structlog.get_logger("disk")


@dataclass(frozen=True, slots=True)
class Tuning:
    """Sizes in bytes that need no change on a node."""

    compact_above: int = 16 * 1024 * 1024
    """Dead bytes below which a log is not compacted for their sake. Reading them costs 50 ms at a start; half as much
    would let compaction write as many bytes again as the changes themselves, and flash wears out by bytes."""
    group: int = 1024 * 1024
    """What a compaction copies and syncs before it lets the next batch pass."""


@dataclass(frozen=True, slots=True)
class Stats:
    """How the log is; sizes in bytes, ages in seconds."""

    live: int
    dead: int
    file: int
    quota: int
    batches: int
    """Synced since the start."""
    written: int
    compactions: int
    rewrites: int
    """Whole logs written after trouble."""
    queue: int
    """Keys that wait for the disk."""
    queue_bytes: int
    sync_age: float | None
    """Since the last sync; None before the first."""
    errors: int
    lost: int
    """Values that could not be read back when a new log was needed: not on the disk until they are put again."""
    refused: int
    """Values that are too big for the quota and were not kept."""
    full: bool
    """The disk has no room."""
    stopped: str
    """Why nothing is written now; "" while all is well."""
    crowded: int
    """Live bytes that should be evicted."""


class DiskLog:
    """See the module. Made by `open`; `load` comes before the first `put`."""

    def __init__(self, folder: Folder, start: Opened, pending: Pending, writer: Writer, bounds: Bounds) -> None:
        self.report: Report = start.report
        """What was read and what was wrong with it."""
        self._folder = folder
        self._loaded = start.values
        self._pending = pending
        self._writer = writer
        self._bounds = bounds
        self._refused = 0
        self._thread: threading.Thread | None = None
        self._closed = False

    @classmethod
    def open(
        cls,
        folder: Path | Folder,
        *,
        sealer: Sealer,
        quota_bytes: int,
        batch_within: float = 0.2,
        clock: Callable[[], float] = time.monotonic,
        tuning: "Tuning | None" = None,
    ) -> "DiskLog":
        """Claim the folder (mode 0700), read and repair what is there; blocks for the disk.

        `quota_bytes` bounds what the folder takes, also while a log is compacted, so live data may have a little less
        than half of it. `batch_within` is how long a change may wait for others, in seconds; `clock` is monotonic.

        Raises BadInput if the folder can't be used, another process has it, or a newer program wrote the log. A disk
        that can be read but not written, or is full, is no error: see `stats().stopped`.
        """
        if quota_bytes < LEAST_QUOTA:
            raise BadInput(
                f"a quota of {quota_bytes} bytes is too small for the store on disk; give {LEAST_QUOTA} or more"
            )
        held = DiskFolder.claim(folder) if isinstance(folder, Path) else folder
        tuning = tuning or Tuning()
        bounds = Bounds(quota_bytes, tuning.compact_above, tuning.group)
        try:
            start = opened(held, sealer, bounds=bounds)
        except BaseException:
            held.close()
            raise
        pending = Pending(within=batch_within, clock=clock)
        writer = Writer(held, start.segment, pending, sealer=sealer, bounds=bounds, clock=clock)
        start.report.tell(_log)
        return cls(held, start, pending, writer, bounds)

    def load(self) -> Iterator[tuple[str, bytes]]:
        """The latest values, each once and in the order of their writing; a second call yields nothing."""
        items = list(self._loaded.items())
        self._loaded = {}
        items.reverse()
        while items:
            yield items.pop()  # what the caller does not keep is given back as it goes

    def put(self, key: str, value: bytes, *, secret: bool = False) -> None:
        """Have the log hold this value; returns at once. A value too big for the quota is not kept, and counted."""
        if len(key) > MOST_KEY // 4 or len(value) > self._bounds.wanted // 2:
            self._refused += 1
            self._tell(key[: MOST_KEY // 4], None)  # an older value would be wrong
        else:
            self._tell(key, (value, secret))

    def drop(self, key: str) -> None:
        """Have the log hold nothing for this key; returns at once."""
        self._tell(key, None)

    def noted(self) -> None:
        """The owner has put what follows from `report.lost`; until then every start names these keys again."""
        if self.report.lost or self.report.nameless:
            self._tell(LOST, None)

    def together(self) -> threading.Condition:
        """A context in which everything put and dropped gets into one batch: all of it survives a crash, or none."""
        return self._pending.lock

    def flush(self) -> Flushed:
        """Write everything put up to now; await the answer, or wait for its `result()`. Fails with Retry."""
        if self._thread is None and not self._closed:
            self._start()
        return self._pending.flush()

    def close(self) -> None:
        """Write the last batch, wait for it (at most `CLOSE_WITHIN`) and let others have the folder; blocks."""
        if self._closed:
            return
        self._closed = True
        self._pending.close()
        if self._thread is None:
            self._writer.run()
        else:
            self._thread.join(CLOSE_WITHIN)
            if self._thread.is_alive():
                _log.warning("disk.stuck", effect="the last changes may be missing after the restart")
                return
        self._folder.close()

    def stats(self) -> Stats:
        """Figures of this moment; cheap."""
        counts, segment = self._writer.counts, self._writer.segment
        synced = counts.synced_at
        return Stats(
            live=0 if segment is None else segment.live,
            dead=0 if segment is None else segment.dead,
            file=0 if segment is None else segment.end,
            quota=self._bounds.quota,
            batches=counts.batches,
            written=counts.written,
            compactions=counts.compactions,
            rewrites=counts.rewrites,
            queue=len(self._pending),
            queue_bytes=self._pending.bytes,
            sync_age=None if synced is None else self._writer.clock() - synced,
            errors=counts.errors,
            lost=counts.lost,
            refused=self._refused,
            full=counts.full,
            stopped=counts.stopped,
            crowded=counts.crowded,
        )

    def _tell(self, key: str, value: tuple[bytes, bool] | None) -> None:
        self._pending.set(key, value)
        if self._thread is None and not self._closed:
            self._start()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._writer.run, name="disk", daemon=True)
        self._thread.start()
