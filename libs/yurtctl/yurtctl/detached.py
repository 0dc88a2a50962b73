"""A site without a terminal: starting its supervisor in a session of its own, following it, ending it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from yurtcore.errors import BadInput, Missing, Refused, Retry, YurtError

from yurtctl.folder import Folder
from yurtctl.progress import Tell
from yurtctl.record import Site

LOOK = 0.1
"""Seconds between looks at the record of a site that starts."""
STOP = 60.0
"""Seconds that a supervisor has to end its site; after that it is killed, and its children with it."""
_KINDS: dict[int, type[YurtError]] = {2: BadInput, 3: Missing, 4: Retry}
"""What a supervisor's exit code says of its reason."""


def start(folder: Folder, arguments: Sequence[str], tell: Tell) -> Site:
    """Run `yurt up` in the background and follow it until the site is ready.

    A supervisor whose follower is interrupted is ended too: a site that nobody has seen come up does not stay.

    Raises:
        YurtError: When it did not come up, with its reason.
    """
    folder.prepare()
    with folder.log.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "yurtctl", "up", f"--state={folder.root}", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    try:
        return _follow(folder, process, tell)
    except BaseException:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(STOP)
        raise


def _follow(folder: Folder, process: subprocess.Popen[bytes], tell: Tell) -> Site:
    told = 0
    while True:
        ended = process.poll() is not None
        site = folder.read()
        for step in site.steps[told:]:
            tell.step(step)
        told = len(site.steps)
        if site.phase == "ready" and not ended:
            return site
        if ended:
            raise _KINDS.get(process.returncode, Refused)(_last_words(folder))
        time.sleep(LOOK)


def _last_words(folder: Folder) -> str:
    """The supervisor's reason, which stands at the end of its log."""
    words = folder.log.read_text(errors="replace").strip()
    start = words.rfind("\nyurt: ")
    return (words[start:].strip() if start >= 0 else words).removeprefix("yurt: ") or "the supervisor ended at once"


def down(folder: Folder) -> None:
    """End the site: every process, then the folder. A supervisor that was killed has taken its processes with it.

    Raises:
        Missing: When there is no site.
    """
    if not folder.record.exists():
        raise Missing(f"no site in {folder.root}: nothing to end")
    if pid := folder.holder:
        _end(pid)
    folder.remove()


def _end(pid: int) -> None:
    """SIGTERM, and SIGKILL when that does not help."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        for how in (signal.SIGTERM, signal.SIGKILL):
            signal.pidfd_send_signal(fd, how)
            if select.select([fd], [], [], STOP)[0]:
                return
        raise YurtError(f"the supervisor (pid {pid}) does not end: it hangs in the kernel; see `ps -o stat {pid}`")
    except ProcessLookupError:
        return
    finally:
        os.close(fd)


def alive(pid: int | None) -> bool:
    """Whether a process of that id is there and not yet reaped."""
    if pid is None:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
