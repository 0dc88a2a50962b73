"""Child processes of a run: started pinned, ended for certain, and what they last said."""

import ctypes
import json
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from bench.machine import on_core

STOP_DEADLINE = 8.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


def _end_with_parent() -> None:
    """Runs in a new child: ask the kernel to end it when the harness is gone, however that happened."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class RunError(Exception):
    """A process of the run failed; the message is what it said."""


class Child:
    """A process that lives as long as its `with` block. Its standard input stays open until then: our own
    programs end when it closes, so none survives a harness that was killed. What it prints goes to its log,
    unless it `speaks` to the harness by `first_line`.
    """

    def __init__(
        self, command: Sequence[str], *, core: int, log: Path,
        environment: Mapping[str, str] | None = None, speaks: bool = False,
    ) -> None:  # fmt: skip
        self._command, self._core, self._log, self._speaks = command, core, log, speaks
        self._environment = {**os.environ, **(environment or {})}
        self.process: subprocess.Popen[str]

    def __enter__(self) -> Self:
        with self._log.open("a") as log, on_core(self._core):
            self.process = subprocess.Popen(
                self._command, env=self._environment, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE if self._speaks else log, stderr=log,
                start_new_session=True, preexec_fn=_end_with_parent,  # noqa: PLW1509 (the harness has one thread)
            )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_DEADLINE)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()

    @property
    def pid(self) -> int:
        return self.process.pid

    def first_line(self) -> str:
        """What the program prints when it is ready; fails when it ends instead."""
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise RunError(self.last_words())
        return line

    def last_words(self) -> str:
        """The last line of its log, for a person."""
        lines = [line for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1][:300] if lines else f"{Path(self._command[0]).name} said nothing"


def load(command: Sequence[str], *, core: int, deadline: float) -> dict[str, Any]:
    """Run one load to its end and return the JSON object that it prints."""
    with on_core(core):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=deadline)
        except subprocess.TimeoutExpired as err:
            raise RunError(f"the load did not end within {deadline:.0f} s") from err
    if done.returncode:
        raise RunError(done.stderr.strip().splitlines()[-1][:300] if done.stderr.strip() else "the load failed")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def free_ports(count: int) -> list[int]:
    """Ports that nobody listened on a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
