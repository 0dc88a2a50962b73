"""The state folder: one hub each, claimed while it runs."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from yurtcore.errors import BadInput


@contextmanager
def claimed(root: Path) -> Iterator[Path]:
    """Hold the folder for this process, made with mode 0700 if it is missing; raises BadInput when that cannot be.

    The claim is a lock that the kernel drops with the process, so nothing is left behind by one that was killed.
    """
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(root / "hub.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as err:
        raise BadInput(f"cannot use {root} ({err.strerror}); give a folder of this user's own by --root-dir") from err
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            owner = os.pread(lock, 32, 0).decode(errors="replace").strip()
            raise BadInput(f"{root} is in use by the hub with pid {owner}; give another folder by --root-dir") from err
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield root
    finally:
        os.close(lock)
