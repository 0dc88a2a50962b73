"""Become a command that dies with its parent; run as a script by `yurtsim.processes`.

`python -I -S tether.py PARENT COMMAND …`: the kernel sends SIGKILL when the thread
that started us ends (prctl's parent-death signal survives exec), so a killed
`yurt up` or test run leaves no process behind. A script of its own because code
between fork and exec of a threaded Python process may deadlock.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _main(parent: int, command: list[str]) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked for the signal
        sys.exit(1)
    try:
        os.execvp(command[0], command)  # noqa: S606
    except OSError as err:
        sys.exit(f"{command[0]}: {err.strerror}")


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2:])
