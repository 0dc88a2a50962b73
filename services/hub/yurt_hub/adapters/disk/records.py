"""The bytes of a log: header, records, commits. Pure; the one place that knows the format.

    file    header header record… commit record… commit …
    header  magic "yurt-log" | version u16 | its complement u16 | mark 4 bytes | seed u32 | crc u32       (twice)
    record  mark | kind u8 | key length u32 | value length u32 | head crc u32 | key | value | value crc u32
    commit  a record without a key; its value: batch number u64 | start of its batch u64 | (key crc u32, length u32)…

All numbers are little endian. Mark and seed are drawn for each file, and the head's checksum covers head, key, seed
and the record's position, so nothing inside a value, and nothing left over from another file or place, reads as a
record. The value's checksum continues the head's, so a value belongs to its key.

A batch counts when its commit is there; batches are synced one by one, so only the last can be incomplete. The commit
lists the records before it back to one bad place (`NEAR`) before the previous commit: which keys stood in a damaged
stretch stays known even if the stretch holds their heads and the commit of their own batch.
"""

import enum
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

MAGIC: Final = b"yurt-log"
VERSION: Final = 1
NEAR: Final = 64 * 1024
"""Bytes of one bad place that a log survives without doubt: several pages of flash, many sectors."""
MOST_NEAR: Final = 512
"""Most records of earlier batches that one commit lists; with records under 128 bytes that is less than `NEAR`."""
MOST_KEY: Final = 1024 * 1024
"""Longest key in bytes; a longer length in a head is damage."""

_HEADER: Final = struct.Struct("<8sHH4sII")
HEADER: Final = 2 * _HEADER.size
HEAD: Final = struct.Struct("<4sBIII")
_HEAD_SUM: Final = struct.Struct("<4sBII")
CRC: Final = struct.Struct("<I")
EXTRA: Final = HEAD.size + CRC.size
"""Bytes of a record beside its key and value."""
_COMMIT: Final = struct.Struct("<QQ")
_ENTRY: Final = struct.Struct("<II")
ENTRY: Final = _ENTRY.size
COMMIT: Final = EXTRA + _COMMIT.size + MOST_NEAR * ENTRY
"""Most bytes of a commit beside the entries of its own records."""


class Kind(enum.IntEnum):
    """What a record says about its key."""

    PUT = 1
    SEALED = 2
    DROP = 3
    COMMIT = 4


@dataclass(frozen=True, slots=True)
class Ident:
    """What tells one file's records from all other bytes; drawn at random for each file."""

    mark: bytes
    seed: int

    @classmethod
    def drawn(cls, chance: bytes) -> "Ident":
        """From eight random bytes."""
        return cls(chance[:4], int.from_bytes(chance[4:8], "little"))


@dataclass(frozen=True, slots=True)
class Tile:
    """One record as a commit lists it: where it stands and the checksum of its key (0 for a commit)."""

    at: int
    length: int
    key_crc: int

    @property
    def end(self) -> int:
        """Position behind the record."""
        return self.at + self.length


@dataclass(frozen=True, slots=True)
class Commit:
    """The end of a batch: its number, where it began, and the records up to the commit, back into earlier batches."""

    number: int
    start: int
    tiles: tuple[Tile, ...]

    def since(self, at: int) -> int:
        """Everything from this position to the commit, which stands at `at`, is listed."""
        return self.tiles[0].at if self.tiles else at


class UnknownVersionError(Exception):
    """The file was written by a program that knows another format."""


def header(ident: Ident) -> bytes:
    """The first bytes of a file: the same facts twice."""
    facts = _HEADER.pack(MAGIC, VERSION, VERSION ^ 0xFFFF, ident.mark, ident.seed, 0)[: -CRC.size]
    return (facts + CRC.pack(zlib.crc32(facts))) * 2


def read_header(data: bytes) -> tuple[Ident | None, bool]:
    """The file's identity, None if both copies are damaged; and whether both were whole.

    Raises UnknownVersionError if a copy is whole as far as its version, and that is not ours.
    """
    copies = [data[: _HEADER.size], data[_HEADER.size : HEADER]]
    found = [_read_copy(copy) for copy in copies]
    ident = found[0] or found[1]
    return ident, found[0] is not None and found[0] == found[1]


def _read_copy(copy: bytes) -> Ident | None:
    if len(copy) < _HEADER.size:
        return None
    magic, version, complement, mark, seed, crc = _HEADER.unpack(copy)
    if magic == MAGIC and version ^ complement == 0xFFFF and version != VERSION:
        raise UnknownVersionError(f"format version {version}; this program reads version {VERSION}")
    return Ident(mark, seed) if crc == zlib.crc32(copy[: -CRC.size]) and magic == MAGIC else None


def record(ident: Ident, at: int, kind: Kind, key: bytes, value: bytes) -> bytes:
    """The bytes of a record that will stand at position `at`."""
    head = _HEAD_SUM.pack(ident.mark, kind, len(key), len(value))
    head_crc = head_sum(ident, at, head, key)
    return b"".join((head, CRC.pack(head_crc), key, value, CRC.pack(zlib.crc32(value, head_crc))))


def head_sum(ident: Ident, at: int, head: bytes, key: bytes) -> int:
    """Checksum of a head (without its checksum) and key at position `at`."""
    return zlib.crc32(key, zlib.crc32(head, ident.seed ^ (at & 0xFFFFFFFF)))


def read_commit(at: int, value: bytes) -> Commit | None:
    """What a commit at position `at` says; None if its value is no commit's."""
    if len(value) < _COMMIT.size or (len(value) - _COMMIT.size) % ENTRY:
        return None
    number, start = _COMMIT.unpack_from(value)
    entries = list(_ENTRY.iter_unpack(value[_COMMIT.size :]))
    position = at - sum(length for _, length in entries)
    tiles = []
    for key_crc, length in entries:
        tiles.append(Tile(position, length, key_crc))
        position += length
    return Commit(number, start, tuple(tiles)) if start <= at else None


class Encoder:
    """Writes batches from a position on; keeps what the next commit must list.

    `near` are the last records before `at`, as `Encoder.near` of the writer before gave them.
    """

    def __init__(self, ident: Ident, at: int, number: int, near: Sequence[Tile] = ()) -> None:
        self.ident = ident
        self.at = at
        self.number = number
        self.near = tuple(near)
        self._start = at
        self._tiles: list[Tile] = []

    def add(self, kind: Kind, key: bytes, value: bytes) -> bytes:
        """The bytes of one more record of this batch."""
        data = record(self.ident, self.at, kind, key, value)
        self._tiles.append(Tile(self.at, len(data), zlib.crc32(key)))
        self.at += len(data)
        return data

    def commit(self) -> bytes:
        """The bytes that make the batch count; the next record begins another."""
        tiles = (*self.near, *self._tiles)
        value = b"".join(
            (_COMMIT.pack(self.number, self._start), *(_ENTRY.pack(tile.key_crc, tile.length) for tile in tiles))
        )
        data = record(self.ident, self.at, Kind.COMMIT, b"", value)
        self.near = near(tiles, Tile(self.at, len(data), 0))
        self.at += len(data)
        self.number += 1
        self._start = self.at
        self._tiles = []
        return data


def near(tiles: Sequence[Tile], commit: Tile) -> tuple[Tile, ...]:
    """Which of the records before a commit, and itself, the next commit must list again."""

    def reaching() -> Iterator[Tile]:
        for tile in reversed(tiles[-(MOST_NEAR - 1) :]):
            if tile.end <= commit.at - NEAR:
                return
            yield tile

    return (*reversed([*reaching()]), commit)
