"""A disk in memory that records every call, and every state in which a crash could leave it.

What POSIX promises, and no more: a file's content is what it was at its last sync; of the writes and cuts since, any
may have reached the disk and any not, in any order, the last one torn at any byte, and a file may have grown without
its bytes (zeros). Names are what they were at the folder's last sync; of the changes since, the first few may have
happened. A rename is atomic.
"""

import errno
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

Image = Mapping[str, bytes]
"""A folder after a crash."""


@dataclass(frozen=True)
class Write:
    inode: int
    at: int
    data: bytes


@dataclass(frozen=True)
class Cut:
    inode: int
    size: int


@dataclass(frozen=True)
class Sync:
    inode: int


@dataclass(frozen=True)
class Create:
    name: str
    inode: int


@dataclass(frozen=True)
class Rename:
    old: str
    new: str


@dataclass(frozen=True)
class Unlink:
    name: str


@dataclass(frozen=True)
class SyncNames:
    pass


@dataclass(frozen=True)
class Told:
    """The owner has told the log its state number `state`."""

    state: int


@dataclass(frozen=True)
class Confirmed:
    """The log has said that state number `state` is on the disk."""

    state: int


Call = Write | Cut | Sync | Create | Rename | Unlink | SyncNames | Told | Confirmed


class MemoryFile:
    """The log's `File` on a recording disk."""

    def __init__(self, disk: "MemoryFolder", inode: int) -> None:
        self._disk = disk
        self._inode = inode

    def read(self, at: int, size: int) -> bytes:
        self._disk.may_fail("read")
        if any(at < end and at + size > begin for begin, end in self._disk.unreadable):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return bytes(self._disk.contents[self._inode][at : at + size])

    def write(self, at: int, data: bytes) -> None:
        self._disk.write(self._inode, at, data)

    def truncate(self, size: int) -> None:
        self._disk.may_fail("truncate")
        self._disk.note(Cut(self._inode, size))

    def sync(self) -> None:
        self._disk.may_fail("sync")
        if "sync" not in self._disk.broken:
            self._disk.note(Sync(self._inode))

    def size(self) -> int:
        return len(self._disk.contents[self._inode])

    def close(self) -> None:
        pass


@dataclass
class MemoryFolder:
    """The log's `Folder` in memory. `calls` is what was asked of it, in order.

    `broken` names calls that say they worked and do nothing ("sync", "sync names"); `faults` maps calls to the errno
    they fail with; `room` is how many bytes the disk holds, None for any; `unreadable` are stretches of every file that
    can't be read.
    """

    files: Image = field(default_factory=dict)
    broken: frozenset[str] = frozenset()
    room: int | None = None
    faults: dict[str, int] = field(default_factory=dict)
    unreadable: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        self.calls: list[Call] = []
        self.inodes = {name: number for number, name in enumerate(self.files)}
        self.contents = {self.inodes[name]: bytearray(data) for name, data in self.files.items()}
        self.most = 0

    def may_fail(self, call: str) -> None:
        """Raise what the test has set for this call."""
        if call in self.faults:
            raise OSError(self.faults[call], os.strerror(self.faults[call]))

    def note(self, call: Call) -> None:
        """Record a call and do it."""
        self.calls.append(call)
        match call:
            case Write() | Cut():
                _change(self.contents[call.inode], call)
            case Create() | Rename() | Unlink():
                _rename(self.inodes, call)
            case _:
                pass
        self.most = max(self.most, self.used())

    def used(self) -> int:
        """Bytes of all files that have a name."""
        return sum(len(self.contents[inode]) for inode in self.inodes.values())

    def write(self, inode: int, at: int, data: bytes) -> None:
        self.may_fail("write")
        grown = at + len(data) - len(self.contents[inode])
        if self.room is not None and self.used() + grown > self.room:
            fits = max(0, len(data) - (self.used() + grown - self.room))
            self.note(Write(inode, at, data[:fits]))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.note(Write(inode, at, bytes(data)))

    def open(self, name: str, *, new: bool = False) -> MemoryFile:
        self.may_fail("create" if new else "open")
        if new:
            inode = len(self.contents)
            self.contents[inode] = bytearray()
            self.note(Create(name, inode))
        elif name not in self.inodes:
            raise FileNotFoundError(errno.ENOENT, name)
        return MemoryFile(self, self.inodes[name])

    def rename(self, old: str, new: str) -> None:
        self.may_fail("rename")
        self.note(Rename(old, new))

    def unlink(self, name: str) -> None:
        self.may_fail("unlink")
        if name in self.inodes:
            self.note(Unlink(name))

    def names(self) -> list[str]:
        return list(self.inodes)

    def sync(self) -> None:
        self.may_fail("sync names")
        if "sync names" not in self.broken:
            self.note(SyncNames())

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Crash:
    """What may be found after a crash: a folder, and between which of the owner's states its content must be."""

    image: Image
    confirmed: int
    told: int


def crashes(disk: MemoryFolder) -> Iterator[Crash]:
    """Every crash at every moment of what was recorded, each different one once."""
    state, confirmed, told = _Durable(disk.files), 0, 0
    seen: set[tuple[object, ...]] = set()
    for call in (None, *disk.calls):
        match call:
            case None:
                pass
            case Told(number):
                told = number
            case Confirmed(number):
                confirmed = number
            case _:
                state.take(call)
        for image in state.images(last=call):
            key = (tuple(sorted(image.items())), confirmed, told)
            if key not in seen:
                seen.add(key)
                yield Crash(image, confirmed, told)


def crash_at(disk: MemoryFolder, moment: int) -> list[Crash]:
    """Every crash right after call number `moment` of what was recorded, counted from 1; 0 is before the first."""
    state, confirmed, told = _Durable(disk.files), 0, 0
    calls = disk.calls[:moment]
    for call in calls:
        match call:
            case Told(number):
                told = number
            case Confirmed(number):
                confirmed = number
            case _:
                state.take(call)
    return [Crash(image, confirmed, told) for image in state.images(last=calls[-1] if calls else None)]


class _Durable:
    """What is surely on the disk, and what may be."""

    def __init__(self, files: Image) -> None:
        self._names = {name: number for number, name in enumerate(files)}
        self._contents = {self._names[name]: bytes(data) for name, data in files.items()}
        self._renames: list[Create | Rename | Unlink] = []
        self._writes: dict[int, list[Write | Cut]] = {inode: [] for inode in self._contents}

    def take(self, call: Call) -> None:
        """One more call."""
        match call:
            case Write() | Cut():
                self._writes[call.inode].append(call)
            case Sync(inode):
                self._contents[inode] = _applied(self._contents[inode], self._writes[inode])
                self._writes[inode] = []
            case Create():
                self._contents[call.inode] = b""
                self._writes[call.inode] = []
                self._renames.append(call)
            case Rename() | Unlink():
                self._renames.append(call)
            case SyncNames():
                for rename in self._renames:
                    _rename(self._names, rename)
                self._renames = []
            case _:
                pass

    def images(self, *, last: Call | None) -> Iterator[Image]:
        """Every folder that a crash now may leave; `last` is torn if it was a write."""
        for count in range(len(self._renames) + 1):
            names = dict(self._names)
            for rename in self._renames[:count]:
                _rename(names, rename)
            choices = [[(name, content) for content in self._versions(inode, last)] for name, inode in names.items()]
            for files in itertools.product(*choices):
                yield dict(files)

    def _versions(self, inode: int, last: Call | None) -> Iterable[bytes]:
        base, writes = self._contents[inode], self._writes[inode]
        found = {_applied(base, chosen): None for chosen in _subsets(writes)}
        if writes and writes[-1] is last and isinstance(last, Write):
            before = [_applied(base, chosen) for chosen in _subsets(writes[:-1])]
            for torn in _torn(last):
                found.update({_applied(whole, torn): None for whole in before})
        return found


def _subsets(writes: list[Write | Cut]) -> Iterator[list[Write | Cut]]:
    """Which of the calls reached the disk: any, in whatever order (later ones win where they overlap)."""
    if len(writes) > 6:
        for count in range(len(writes) + 1):
            yield writes[:count]
            yield [*writes[: count - 1], *writes[count:]]
        return
    for count in range(len(writes) + 1):
        for chosen in itertools.combinations(writes, count):
            yield list(chosen)


def _torn(write: Write) -> Iterator[list[Write | Cut]]:
    """A write of which a part reached the disk: its beginning, its end, all but one block, or only its length."""
    size = len(write.data)
    for cut in range(size):
        yield [Write(write.inode, write.at, write.data[:cut])]
        yield [Write(write.inode, write.at, write.data[:cut] + bytes(size - cut))]
        yield [Write(write.inode, write.at + cut, write.data[cut:])]
    for block in range(0, size, 32):
        hole = write.data[:block] + bytes(min(32, size - block)) + write.data[block + 32 :]
        yield [Write(write.inode, write.at, hole)]


def _applied(content: bytes, calls: Iterable[Write | Cut]) -> bytes:
    changed = bytearray(content)
    for call in calls:
        _change(changed, call)
    return bytes(changed)


def _change(content: bytearray, call: Write | Cut) -> None:
    if isinstance(call, Cut):
        if call.size > len(content):
            content.extend(bytes(call.size - len(content)))
        del content[call.size :]
    elif call.data:
        if call.at > len(content):
            content.extend(bytes(call.at - len(content)))
        content[call.at : call.at + len(call.data)] = call.data


def _rename(names: dict[str, int], call: Create | Rename | Unlink) -> None:
    match call:
        case Create(name, inode):
            names[name] = inode
        case Rename(old, new):
            if old in names:
                names[new] = names.pop(old)
        case Unlink(name):
            names.pop(name, None)
