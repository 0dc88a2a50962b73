"""Reading a log: which value is the latest of each key, and what is damaged.

The rules, each pinned by the crash and bit-flip suites:

- records count when a whole commit stands behind them; what has none is the torn end of the file and is cut off;
- a last batch whose commit is there but of whose records some are damaged is torn too: disks write pages in any order;
- damage before that is rot. The next whole commit names what stood there, and those keys are dropped: their older
  values in the file would be wrong. If it does not reach back far enough, nothing older is believed.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from yurt_hub.adapters.disk import records
from yurt_hub.adapters.disk.cursor import Cursor, Gap, Readable, Record, read
from yurt_hub.adapters.disk.records import HEADER, Commit, Ident, Kind, Tile

MOST_NAMED: Final = 1000
"""Most places that a report lists; more are counted."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A bad stretch of the file, what it held, and the keys that were dropped for it."""

    at: int
    length: int
    what: str
    keys: tuple[str, ...] = ()


class Latest(NamedTuple):
    """The last word about a key: where it stands and what it says (`value` as in the file, sealed or not)."""

    at: int
    length: int
    kind: Kind
    value: bytes


@dataclass(slots=True)
class Found:
    """What a log holds."""

    ident: Ident | None
    latest: dict[bytes, Latest] = field(default_factory=dict)
    end: int = HEADER
    """Where the last whole batch ends; what stands behind is torn."""
    number: int = 0
    """Of the next batch."""
    near: tuple[Tile, ...] = ()
    size: int = 0
    records: int = 0
    batches: int = 0
    damages: list[Damage] = field(default_factory=list)
    damaged: int = 0
    """Bad stretches, listed or not; a torn end is none."""
    lost: set[str] = field(default_factory=set)
    """Keys whose values were given up, all of them."""
    nameless: int = 0
    """Records among them of which only the key's checksum is known, and nothing older bore it."""

    @property
    def torn(self) -> int:
        """Bytes behind the last whole batch."""
        return max(0, self.size - self.end)

    def name(self, damage: Damage) -> None:
        """Note a bad stretch."""
        self.damaged += 1
        self.lost.update(damage.keys)
        if len(self.damages) < MOST_NAMED:
            self.damages.append(damage)


@dataclass(frozen=True, slots=True)
class _Lost:
    """A record that can't be read, known from a commit by its key's checksum, or by its whole head."""

    at: int
    length: int
    key_crc: int
    key: bytes | None = None


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A stretch of which nobody knows what it held."""

    at: int
    length: int


_Step = Record | _Lost | _Doubt


def scan(file: Readable, size: int) -> Found:
    """Read a whole log of `size` bytes; raises UnknownVersionError. What can't be read is damage."""
    ident, whole = records.read_header(read(file, 0, HEADER))
    found = Found(ident, size=size)
    if not whole:
        found.name(Damage(0, HEADER, "header" if ident else "header, and with it all records"))
    if ident is None:
        found.end = 0
        return found
    _Reading(found).run(Cursor(file, size, ident))
    return found


class _Reading:
    """Takes the records of one file in order; holds back what no whole commit stands behind."""

    def __init__(self, found: Found) -> None:
        self._found = found
        self._staged: list[_Step] = []
        self._bad: list[Gap] = []
        self._last: tuple[list[_Step], int, int] | None = None  # the steps of the last batch, its start, its end
        self._near: tuple[Tile, ...] = ()

    def run(self, cursor: "Cursor") -> None:
        """Read to the end of the file."""
        for item in cursor.items():
            if isinstance(item, Gap):
                self._bad.append(item)
            elif item.kind is not Kind.COMMIT:
                self._staged.append(item)
            elif item.value is None or (commit := records.read_commit(item.at, item.value)) is None:
                self._staged.append(_Lost(item.at, item.length, 0))
            elif self._last is None or commit.start >= self._last[2]:
                self._commit(item, commit)
            else:
                self._bad.append(Gap(item.at, item.at + item.length))  # of a torn batch that another was written over
        if self._last is not None:
            steps, start, _ = self._last
            if all(isinstance(step, Record) and step.value is not None for step in steps if step.at >= start):
                self._settle()
            else:
                self._apply([step for step in steps if step.at < start])
                self._found.end = start

    def _commit(self, item: Record, commit: Commit) -> None:
        self._settle()
        steps: list[_Step] = [*self._staged, *self._losses(item, commit)]
        if self._bad:
            steps.sort(key=lambda step: step.at)
        self._last = (steps, commit.start, item.at + item.length)
        self._near = records.near(commit.tiles, Tile(item.at, item.length, 0))
        self._found.number = commit.number + 1
        self._staged, self._bad = [], []

    def _losses(self, item: Record, commit: Commit) -> Iterator[_Step]:
        whole = {record.at for record in self._staged}
        for begin, end in self._bad:
            since = commit.since(item.at)
            if begin < since:
                yield _Doubt(begin, min(end, since) - begin)
            for tile in commit.tiles:
                if tile.at < end and tile.end > begin and tile.at not in whole:
                    yield _Lost(tile.at, tile.length, tile.key_crc)

    def _settle(self) -> None:
        """Apply the last batch: another whole commit, or the end of the file, stands behind it."""
        if self._last is None:
            return
        steps, _, end = self._last
        self._apply(steps)
        self._found.end = end
        self._found.near = self._near
        self._found.batches += 1
        self._last = None

    def _apply(self, steps: list[_Step]) -> None:
        found = self._found
        for step in steps:
            match step:
                case Record(at, length, kind, key, value):
                    if value is None:
                        self._lose(_Lost(at, length, zlib.crc32(key), key))
                        continue
                    found.records += 1
                    found.latest.pop(key, None)  # so that the order is that of the last writes
                    if kind is not Kind.DROP:
                        found.latest[key] = Latest(at, length, kind, value)
                case _Lost():
                    self._lose(step)
                case _Doubt():
                    keys = tuple(map(text, found.latest))
                    found.name(Damage(step.at, step.length, "unknown records; nothing older is believed", keys))
                    found.latest.clear()

    def _lose(self, lost: _Lost) -> None:
        latest = self._found.latest
        if lost.key is not None:
            keys = [lost.key]
        elif lost.key_crc == 0:
            self._found.name(Damage(lost.at, lost.length, "commit"))
            return
        else:
            keys = [key for key in latest if zlib.crc32(key) == lost.key_crc]
            self._found.nameless += not keys
        for key in keys:
            latest.pop(key, None)
        self._found.name(Damage(lost.at, lost.length, "record", tuple(map(text, keys))))


def text(key: bytes) -> str:
    """A key as people and callers know it."""
    return key.decode("utf-8", "surrogatepass")
