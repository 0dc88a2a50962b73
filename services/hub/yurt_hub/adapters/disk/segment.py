"""One log file: where each key's latest record stands, and how batches get behind the others.

A batch is written, synced, and only then part of the index. After a failure the file is cut back to the last whole
batch; if that fails too, or the failed call was a sync (after which nobody knows what the disk holds), the segment is
`unsure` and is not written again: the writer makes a new one from what was confirmed and what waits.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from yurt_hub.adapters.disk.folder import File, Folder
from yurt_hub.adapters.disk.records import COMMIT, ENTRY, EXTRA, HEADER, Encoder, Ident, Kind, header
from yurt_hub.adapters.disk.scan import Found
from yurt_hub.adapters.disk.sealing import SEALED, Sealer

LOG: Final = "objects.log"
NEXT: Final = "objects.log.new"
PIECE: Final = 256 * 1024
"""Bytes of one write. A batch may take several; between them the event loop gets its turn."""
MOST_RECORDS: Final = 128
"""Records of one write, for the same reason."""

Value = tuple[bytes, bool]
"""A value and whether it must be sealed."""
Batch = Mapping[str, Value | None]
"""The last word about each key; None drops it."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How big things may get, in bytes. Two files may exist at once, so each may have half of the quota."""

    quota: int
    compact_above: int
    """Dead bytes below which a log is not compacted for their sake."""
    group: int
    """Bytes that a rewrite writes and syncs at once, so that batches of the day need not wait for all of it."""

    @property
    def file(self) -> int:
        """Most bytes of one log file."""
        return self.quota // 2

    @property
    def live(self) -> int:
        """Most live bytes: what a file holds beside its commits."""
        return self.file - self.file // 64 - 16 * 1024

    @property
    def wanted(self) -> int:
        """Live bytes above which the owner is asked to evict, so that a rewrite is not needed for every batch."""
        return self.live * 4 // 5


def as_bytes(key: str) -> bytes:
    """A key as it stands in a record."""
    return key.encode("utf-8", "surrogatepass")


class Segment:
    """An open log file. `index` maps keys to position and length (`place`), `end` is behind the last whole batch."""

    def __init__(self, file: File, encoder: Encoder, index: dict[str, int]) -> None:
        self.file = file
        self.index = index
        self.end = encoder.at
        self.live = sum(length_of(place) for place in index.values()) + ENTRY * len(index)
        self.unsure = False
        self._encoder = encoder

    @classmethod
    def found(cls, file: File, found: Found, ident: Ident) -> "Segment":
        """The segment that a scan of its file described."""
        index = {key.decode("utf-8", "surrogatepass"): place(it.at, it.length) for key, it in found.latest.items()}
        return cls(file, Encoder(ident, found.end, found.number, found.near), index)

    @property
    def dead(self) -> int:
        """Bytes of the file that no key needs any more."""
        return max(0, self.end - HEADER - self.live)

    @property
    def ident(self) -> Ident:
        """What marks the file's records."""
        return self._encoder.ident

    @property
    def number(self) -> int:
        """Of the next batch."""
        return self._encoder.number

    def weigh(self, batch: Batch) -> tuple[int, int]:
        """What `live` will be when the batch is written, and the most by which the file will have grown."""
        live, most = self.live, COMMIT
        for key, value in batch.items():
            size = EXTRA + ENTRY + (len(key) if key.isascii() else len(as_bytes(key)))
            if (old := self.index.get(key)) is not None:
                live -= length_of(old) + ENTRY
            if value is not None:
                size += len(value[0]) + (SEALED if value[1] else 0)
                live += size
            most += size
        return live, most

    def append(self, batch: Batch, sealer: Sealer) -> None:
        """Write a batch and return when it is on the disk; after an OSError nothing of it counts."""
        wanted = {key: value for key, value in batch.items() if value is not None or key in self.index}
        if wanted:
            self._write(wanted, sealer)

    def end_here(self, sealer: Sealer) -> None:
        """Write an empty batch: with a whole commit behind it, damage to the last batch is known to be damage."""
        self._write({}, sealer)

    def _write(self, batch: Batch, sealer: Sealer) -> None:
        encoder = Encoder(self._encoder.ident, self.end, self._encoder.number, self._encoder.near)
        places: dict[str, int] = {}
        try:
            at = self.end
            for piece in pieces(encoder, sealed(batch, sealer), places):
                self.file.write(at, piece)
                at += len(piece)
        except OSError:
            self._cut_back()
            raise
        try:
            self.file.sync()
        except OSError:
            self.unsure = True
            self._cut_back()
            raise
        self._took(batch, places)
        self._encoder, self.end = encoder, encoder.at

    def _took(self, batch: Batch, places: Mapping[str, int]) -> None:
        for key in batch:
            if (old := self.index.pop(key, None)) is not None:
                self.live -= length_of(old) + ENTRY
        for key, where in places.items():
            self.index[key] = where
            self.live += length_of(where) + ENTRY

    def _cut_back(self) -> None:
        try:
            self.file.truncate(self.end)
        except OSError:
            self.unsure = True


def sealed(batch: Batch, sealer: Sealer) -> Iterator[tuple[Kind, str, bytes]]:
    """The records of a batch."""
    for key, value in batch.items():
        if value is None:
            yield Kind.DROP, key, b""
        elif value[1]:
            yield Kind.SEALED, key, sealer.seal(as_bytes(key), value[0])
        else:
            yield Kind.PUT, key, value[0]


def pieces(encoder: Encoder, items: Iterable[tuple[Kind, str, bytes]], places: dict[str, int]) -> Iterator[bytes]:
    """The bytes of one batch, its commit last, in pieces; `places` gets where each value stands."""
    parts: list[bytes] = []
    size = 0
    for kind, key, value in items:
        at = encoder.at
        data = encoder.add(kind, as_bytes(key), value)
        if kind is not Kind.DROP:
            places[key] = place(at, len(data))
        parts.append(data)
        size += len(data)
        if size >= PIECE or len(parts) >= MOST_RECORDS:
            yield b"".join(parts)
            parts, size = [], 0
    parts.append(encoder.commit())
    yield b"".join(parts)


def fresh(folder: Folder, number: int, chance: Callable[[int], bytes]) -> tuple[File, Encoder]:
    """A new file beside the log, with its header written."""
    folder.unlink(NEXT)
    file = folder.open(NEXT, new=True)
    ident = Ident.drawn(chance(8))
    try:
        file.write(0, header(ident))
    except OSError:
        discard(folder, file)
        raise
    return file, Encoder(ident, HEADER, number)


def discard(folder: Folder, file: File) -> None:
    """Give up a new file."""
    with contextlib.suppress(OSError):
        file.close()
    with contextlib.suppress(OSError):
        folder.unlink(NEXT)


def place(at: int, length: int) -> int:
    """Position and length as one number: an index of tuples would take three times the memory."""
    return at << 32 | length


def length_of(where: int) -> int:
    """The length in a `place`."""
    return where & 0xFFFFFFFF


def at_of(where: int) -> int:
    """The position in a `place`."""
    return where >> 32
