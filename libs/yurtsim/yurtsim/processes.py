"""Supervised children: everything of the local site that is a process is started here.

A `Child` has a log file, a ready probe, a stop with a deadline, and an error that
quotes the end of its log. It is not bound to an event loop: it may be started in
one and stopped in another, so that a fixture can outlive the loops of single tests.
Start children from the main thread: they die with the thread that started them
(`yurtsim.tether`).
"""

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from yurtcore.errors import Refused

from yurtsim.probes import Probe

_TETHER = Path(__file__).with_name("tether.py")
_LOOK_EVERY = 0.05
_QUOTED_LINES = 8
_QUOTED_BYTES = 4096
_PORTS = range(20_000, 32_000)
"""Below Linux's ephemeral range, so that no outgoing connection takes a port between choice and use."""


class ProcessError(Refused):
    """A child did not start, did not become ready, or ended on its own; the message quotes its log."""


class Child:
    """One supervised process.

    `command` is an argument list, `log` receives stdout and stderr (appended), `env`
    replaces the environment, `ready` is asked until it is content. Usable as an
    async context manager: started on entry, stopped on exit.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        ready: Probe | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.command = [str(part) for part in command]
        self.log = log
        self._ready = ready
        self._env = env
        self._cwd = cwd
        self._popen: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def pid(self) -> int:
        """The process's id; only of a child that was started."""
        return self._started.pid

    @property
    def running(self) -> bool:
        """True between start and end."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def returncode(self) -> int | None:
        """Exit code, negative for a signal; None while it runs or before it was started."""
        return None if self._popen is None else self._popen.poll()

    async def start(self, within: float = 60.0) -> None:
        """Start the process and wait until it is ready, at most `within` seconds.

        Raises ProcessError, after having ended the process, if it exits or is not ready in time.
        """
        self.spawn()
        try:
            await self.settle(within)
        except BaseException:
            self.kill()
            raise

    def spawn(self) -> None:
        """Start the process without waiting; `settle` waits."""
        if self.running:
            raise ProcessError(f"{self.name} runs already (pid {self.pid})")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        tether = [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()), *self.command]
        with self.log.open("ab") as out:
            self._popen = subprocess.Popen(
                tether,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self._env,
                cwd=self._cwd,
                start_new_session=True,
            )

    async def settle(self, within: float = 60.0) -> None:
        """Wait until the started process is ready; raises ProcessError with the reason if it never is."""
        if self._ready is None:
            return
        why: str | None = "was not asked yet"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while why is not None:
                    if not self.running:
                        raise ProcessError(self.obituary())
                    why = await self._ready()
                    if why is not None:
                        await asyncio.sleep(_LOOK_EVERY)
                return
        raise ProcessError(f"{self.name} was not ready within {within:.0f} s: {why}; {self._quote()}")

    async def exited(self) -> int:
        """Wait until the process ends, however long that takes; return its exit code."""
        process = self._started
        if process.poll() is None:
            await _end_of(process.pid)
        return process.wait()

    async def stop(self, within: float = 10.0) -> None:
        """End it: SIGTERM, then after `within` seconds SIGKILL. Does nothing for one that does not run."""
        try:
            if self.running:
                self._started.send_signal(signal.SIGTERM)
                async with asyncio.timeout(within):
                    await self.exited()
        except TimeoutError:
            pass
        finally:
            self.kill()

    def kill(self) -> None:
        """End it and its own children at once (SIGKILL) and reap it."""
        if self._popen is None:
            return
        if self._popen.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()

    def obituary(self) -> str:
        """How the process ended, with the last lines of its log."""
        code = self.returncode
        if code is None:
            how = "runs" if self.running else "was never started"
        elif code < 0:
            how = f"was ended by {signal.Signals(-code).name}"
        else:
            how = f"ended with exit code {code}"
        return f"{self.name} {how}; {self._quote()}"

    def _quote(self) -> str:
        with contextlib.suppress(OSError), self.log.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - _QUOTED_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
            return f"the end of {self.log}:\n" + "\n".join(lines[-_QUOTED_LINES:])
        return f"no log at {self.log}"

    @property
    def _started(self) -> subprocess.Popen[bytes]:
        if self._popen is None:
            raise ProcessError(f"{self.name} was never started")
        return self._popen


async def _end_of(pid: int) -> None:
    """Wait for the end of our own child; by pidfd, so that no thread and no signal handler is needed."""
    fd = os.pidfd_open(pid)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    try:
        loop.add_reader(fd, ended.set)
        await ended.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)


def free_ports(count: int, *, host: str = "127.0.0.1") -> list[int]:
    """Return `count` different TCP ports that nobody uses at `host` now.

    They are tried in random order, so that site and tests of several people on one
    machine seldom choose the same; nothing reserves them afterwards.
    """
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        if len(found) == count:
            return found
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                trial.bind((host, port))
                found.append(port)
    raise ProcessError(f"no {count} free ports at {host} between {_PORTS.start} and {_PORTS.stop}")
