"""A new log beside the old one: written whole, synced, and given the old one's name in one step.

Three reasons: too much of the old log is dead, it is damaged, or its end can't be trusted after a failed sync. A crash
leaves the old log or the new one, never parts of both: until the rename nothing reads the new file, and after it
nothing of the old one has a name. What is left of an unfinished one is removed at the next start.
"""

import zlib
from collections.abc import Generator, Iterable, Iterator

from yurt_hub.adapters.disk.cursor import KINDS
from yurt_hub.adapters.disk.folder import File, Folder
from yurt_hub.adapters.disk.losses import LOST, note
from yurt_hub.adapters.disk.records import CRC, HEAD, Encoder, Kind, head_sum
from yurt_hub.adapters.disk.sealing import Sealer
from yurt_hub.adapters.disk.segment import (
    LOG,
    NEXT,
    Batch,
    Bounds,
    Segment,
    Value,
    as_bytes,
    at_of,
    discard,
    fresh,
    length_of,
    pieces,
    sealed,
)


class Rotten(Exception):
    """A record that was whole when it was indexed can't be read any more."""


class TooBig(Exception):
    """The new log would break the bound of its size."""


class _Target:
    """The file that is being written, and its index."""

    def __init__(self, file: File, encoder: Encoder, *, bound: int) -> None:
        self.file = file
        self.encoder = encoder
        self.index: dict[str, int] = {}
        self._bound = bound

    def write(self, items: Iterable[tuple[Kind, str, bytes]]) -> None:
        """One group as one batch, synced."""
        at = self.encoder.at
        for piece in pieces(self.encoder, items, self.index):
            if at + len(piece) > self._bound:
                raise TooBig
            self.file.write(at, piece)
            at += len(piece)
        self.file.sync()


def compaction(
    folder: Folder,
    old: Segment,
    sealer: Sealer,
    *,
    bounds: Bounds,
    batch: Batch | None = None,
    lost: list[str] | None = None,
) -> Generator[None, None, Segment]:
    """Copy what is live into a new log and switch to it; `batch` is taken in on the way.

    Without a batch it pauses between groups, and the old log may be appended to meanwhile; what was is copied without a
    pause, so that no rate of appending keeps it from its end. Returns the new segment, which is on the disk. Raises
    OSError, Rotten, TooBig (for `bounds.file`); the old log is then as good as before, or `unsure` if the switch itself
    failed. With a list for the `lost`, what can't be read is left out; its keys are named there and in the log.
    """
    file, encoder = fresh(folder, old.number, sealer.chance)
    target = _Target(file, encoder, bound=bounds.file)
    try:
        copied = 0
        while copied < old.end:
            pausing = batch is None and copied == 0
            groups = [*_groups(old, since=copied, without=batch or {}, most=bounds.group)]
            copied = old.end
            for group in groups:
                target.write(_read(old, group, lost))
                if pausing and group is not groups[-1]:
                    yield
        gone = [key for key in target.index if key not in old.index]
        if gone or batch or lost:
            for key in gone:
                del target.index[key]
            dropped = ((Kind.DROP, key, b"") for key in gone)
            target.write([*dropped, *sealed(_puts(batch), sealer), *_noted(old, lost)])
        _switch(folder, target, old)
    except BaseException:
        discard(folder, file)
        raise
    return Segment(file, encoder, target.index)


def begun(folder: Folder, sealer: Sealer, *, bounds: Bounds, batch: Batch | None = None) -> Segment:
    """A first log with just this batch, on the disk; raises OSError, TooBig."""
    file, encoder = fresh(folder, 0, sealer.chance)
    target = _Target(file, encoder, bound=bounds.file)
    try:
        if batch:
            target.write(sealed(_puts(batch), sealer))
        _switch(folder, target)
    except BaseException:
        discard(folder, file)
        raise
    return Segment(file, encoder, target.index)


def _switch(folder: Folder, target: _Target, old: Segment | None = None) -> None:
    target.write(())  # an end behind the last batch: the file gets its name when it is whole, so damage there is rot
    folder.rename(NEXT, LOG)
    try:
        folder.sync()
    except OSError:
        if old is not None:
            old.unsure = True  # which of the two has the name after a crash, nobody knows
        raise


def _groups(old: Segment, *, since: int, without: Batch, most: int) -> Iterator[list[tuple[int, str]]]:
    """What is live from a position on, in order, in groups."""
    todo = [(where, key) for key, where in old.index.items() if at_of(where) >= since and key not in without]
    todo.sort()
    group: list[tuple[int, str]] = []
    size = 0
    for where, key in todo:
        group.append((where, key))
        size += length_of(where)
        if size >= most:
            yield group
            group, size = [], 0
    if group:
        yield group


def _read(old: Segment, group: Iterable[tuple[int, str]], lost: list[str] | None) -> Iterator[tuple[Kind, str, bytes]]:
    """The records at these places; sealed values stay as they are."""
    for where, key in group:
        try:
            kind, value = _checked(old, where, as_bytes(key))
        except Rotten:
            if lost is None:
                raise
            lost.append(key)
        else:
            yield kind, key, value


def _checked(old: Segment, where: int, name: bytes) -> tuple[Kind, bytes]:
    at, length = at_of(where), length_of(where)
    try:
        data = old.file.read(at, length)
    except OSError as err:
        raise Rotten(f"bytes {at} to {at + length} can't be read: {err.strerror or err}") from err
    value_at = HEAD.size + len(name)
    if len(data) != length or data[HEAD.size : value_at] != name:
        raise Rotten(f"the record at {at} is gone")
    _, kind, _, _, head_crc = HEAD.unpack_from(data)
    value = data[value_at : -CRC.size]
    (crc,) = CRC.unpack_from(data, length - CRC.size)
    if head_sum(old.ident, at, data[: HEAD.size - CRC.size], name) != head_crc or zlib.crc32(value, head_crc) != crc:
        raise Rotten(f"the record at {at} is damaged")
    return KINDS[kind], value


def _noted(old: Segment, lost: list[str] | None) -> Iterator[tuple[Kind, str, bytes]]:
    if lost:  # what an older note names is not read again: a key that nobody knows stands for it
        yield Kind.PUT, LOST, note(lost, int(LOST in old.index))


def _puts(batch: Batch | None) -> dict[str, Value | None]:
    return {key: value for key, value in (batch or {}).items() if value is not None}
