"""The file system as the log sees it: one folder, flat names, and every call that matters to a crash.

The log makes no other call that changes a disk, so a test that records these calls knows every state in which a crash
can leave the folder.
"""

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import Final, Protocol, Self

from yurtcore.errors import BadInput

_READ_ONLY: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


class File(Protocol):
    """An open file; positions are bytes from its beginning. Every method may raise OSError."""

    def read(self, at: int, size: int) -> bytes:
        """Up to `size` bytes; fewer only at the end of the file."""
        ...

    def write(self, at: int, data: bytes) -> None:
        """All of `data`, or OSError after an unknown part of it."""
        ...

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes."""
        ...

    def sync(self) -> None:
        """Return when content and length are on the disk (fdatasync)."""
        ...

    def size(self) -> int:
        """Length in bytes."""
        ...

    def close(self) -> None:
        """Give the descriptor back."""
        ...


class Folder(Protocol):
    """A folder that this process holds alone; names have no path in them. Every method may raise OSError."""

    def open(self, name: str, *, new: bool = False) -> File:
        """Open a file; `new` makes an empty one, mode 0600, also where one was."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, replacing what had it; atomic."""
        ...

    def unlink(self, name: str) -> None:
        """Remove a name; no error if there is none."""
        ...

    def names(self) -> list[str]:
        """What is in the folder."""
        ...

    def sync(self) -> None:
        """Return when names are on the disk."""
        ...

    def close(self) -> None:
        """Let other processes have the folder."""
        ...


class DiskFile:
    """A `File` on a real disk."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self, at: int, size: int) -> bytes:
        """See `File`."""
        data = os.pread(self._fd, size, at)
        while data and len(data) < size:
            more = os.pread(self._fd, size - len(data), at + len(data))
            if not more:
                break
            data += more
        return data

    def write(self, at: int, data: bytes) -> None:
        """See `File`."""
        done = os.pwrite(self._fd, data, at)
        while done < len(data):
            done += os.pwrite(self._fd, memoryview(data)[done:], at + done)

    def truncate(self, size: int) -> None:
        """See `File`."""
        os.ftruncate(self._fd, size)

    def sync(self) -> None:
        """See `File`."""
        os.fdatasync(self._fd)

    def size(self) -> int:
        """See `File`."""
        return os.fstat(self._fd).st_size

    def close(self) -> None:
        """See `File`."""
        os.close(self._fd)


class DiskFolder:
    """A `Folder` on a real disk. The claim on it is a lock that the kernel drops with the process."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd

    @classmethod
    def claim(cls, path: Path, *, make: bool = True) -> Self:
        """Hold the folder, made with mode 0700 if `make` and it is missing; BadInput if it can't be used."""
        try:
            if make:
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as err:
            raise BadInput(f"cannot use the folder {path}: {err.strerror or err}") from err
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            os.close(fd)
            raise BadInput(f"the folder {path} is in use by another process; stop it first") from err
        if make:
            with contextlib.suppress(OSError):  # a read-only disk: what it holds can still be read
                os.fchmod(fd, 0o700)
        return cls(path, fd)

    def open(self, name: str, *, new: bool = False) -> DiskFile:
        """See `Folder`."""
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC if new else os.O_RDWR
        try:
            fd = os.open(name, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=self._fd)
        except OSError as err:
            if new or err.errno not in _READ_ONLY:
                raise
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._fd)
        return DiskFile(fd)

    def rename(self, old: str, new: str) -> None:
        """See `Folder`."""
        os.replace(old, new, src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def unlink(self, name: str) -> None:
        """See `Folder`."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._fd)

    def names(self) -> list[str]:
        """See `Folder`."""
        return os.listdir(self._fd)  # noqa: PTH208 (the folder that is held, whatever has its name now)

    def sync(self) -> None:
        """See `Folder`."""
        os.fsync(self._fd)

    def close(self) -> None:
        """See `Folder`."""
        os.close(self._fd)
