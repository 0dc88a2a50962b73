"""Files that are whole or absent: readers never see half of one, and a crash leaves the old or the new."""

import contextlib
import os
import tempfile
from pathlib import Path

from yurtcore.errors import BadInput


def write_atomic(path: Path | str, data: bytes | str, *, mode: int = 0o600) -> None:
    """Replace the file with `data` and this `mode`, synced to disk before it takes its name.

    The folder must exist. A text is written as UTF-8. Blocks for a disk's sync: from a loop, call it in a thread.
    """
    path = Path(path)
    payload = data.encode() if isinstance(data, str) else data
    fd, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with open(fd, "wb") as file:  # noqa: PTH123  takes over the descriptor
            os.fchmod(file.fileno(), mode)
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    sync_folder(path.parent)


def read(path: Path | str, *, what: str = "file", limit: int = 64 * 1024 * 1024) -> bytes:
    """The whole file; raises BadInput (one line that names `what` and the path) if it can't be read or is too big."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(limit + 1)
    except OSError as err:
        raise BadInput(f"cannot read {what} {path}: {err.strerror or err}") from err
    if len(data) > limit:
        raise BadInput(f"{what} {path} is larger than {limit} bytes")
    return data


def sync_folder(path: Path) -> None:
    """Make renames inside the folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
