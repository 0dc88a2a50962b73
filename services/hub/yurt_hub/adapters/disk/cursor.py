"""Walking over a log: one record after the other, and over bad stretches to the next."""

import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

from yurt_hub.adapters.disk import records
from yurt_hub.adapters.disk.records import CRC, EXTRA, HEAD, HEADER, Ident, Kind

CHUNK: Final = 1024 * 1024
"""Bytes read at once."""
_PAGE: Final = 4096


class Record(NamedTuple):
    """A record with a whole head; `value` is None if that is damaged."""

    at: int
    length: int
    kind: Kind
    key: bytes
    value: bytes | None


class Gap(NamedTuple):
    """A bad stretch."""

    at: int
    end: int


KINDS: Final[dict[int, Kind]] = {int(kind): kind for kind in Kind}


class Readable(Protocol):
    """What can be read by position."""

    def read(self, at: int, size: int) -> bytes:
        """Up to `size` bytes; fewer only at the end."""
        ...


class Cursor:
    """Walks over a file in chunks; finds the next record behind a bad stretch."""

    def __init__(self, file: Readable, size: int, ident: Ident) -> None:
        self._file = file
        self._size = size
        self._ident = ident
        self._data = b""
        self._base = 0

    def items(self) -> Iterator[Record | Gap]:
        """Every record in order, and every bad stretch that another record follows."""
        at = HEADER
        while at < self._size:
            record = self._record(at)
            if record is None:
                begin, record = at, self._next(at + 1)
                if record is None:
                    return
                yield Gap(begin, record.at)
            yield record
            at = record.at + record.length

    def _have(self, at: int, size: int) -> int:
        """Make `size` bytes from `at` on available; where they begin in the buffer, -1 if the file is too short."""
        offset = at - self._base
        if offset >= 0 and offset + size <= len(self._data):
            return offset
        if at + size > self._size:
            return -1
        kept = self._data[offset:] if 0 <= offset < len(self._data) else b""
        self._data = kept + read(self._file, at + len(kept), max(size, CHUNK) - len(kept))
        self._base = at
        return 0 if len(self._data) >= size else -1

    def _record(self, at: int) -> Record | None:
        """The record at this position, None if there is no whole head."""
        offset = self._have(at, HEAD.size)
        if offset < 0:
            return None
        mark, kind, key_size, value_size, head_crc = HEAD.unpack_from(self._data, offset)
        if mark != self._ident.mark or kind not in KINDS or key_size > records.MOST_KEY:
            return None
        length = EXTRA + key_size + value_size
        offset = self._have(at, length)
        if offset < 0:
            return None
        data = self._data
        key_at = offset + HEAD.size
        value_at = key_at + key_size
        key = data[key_at:value_at]
        if records.head_sum(self._ident, at, data[offset : key_at - CRC.size], key) != head_crc:
            return None
        end = value_at + value_size
        value = data[value_at:end]
        whole = zlib.crc32(value, head_crc) == CRC.unpack_from(data, end)[0]
        return Record(at, length, KINDS[kind], key, value if whole else None)

    def _next(self, at: int) -> Record | None:
        """The first record at or behind a position."""
        mark = self._ident.mark
        while (offset := self._have(at, len(mark))) >= 0:
            where = self._data.find(mark, offset)
            if where < 0:
                at = self._base + len(self._data) - len(mark) + 1
                continue
            at = self._base + where
            record = self._record(at)
            if record is not None:
                return record
            at += 1
        return None


def read(file: Readable, at: int, size: int) -> bytes:
    """Read; pages that the disk can't give come as zeros, which no checksum lets pass."""
    try:
        return file.read(at, size)
    except OSError:
        return b"".join(_page(file, page, min(_PAGE, at + size - page)) for page in range(at, at + size, _PAGE))


def _page(file: Readable, at: int, size: int) -> bytes:
    try:
        return file.read(at, size)
    except OSError:
        return bytes(size)
