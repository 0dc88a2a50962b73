"""The state folder of one local site: its layout, its lock, and how it goes away.

A folder is a site's when it holds the marker `site.json`; nothing else is ever removed. The lock says whether the
site's supervisor lives: the kernel lets go of it when the process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from yurtcore.adapters.files import write_atomic
from yurtcore.errors import BadInput, Missing
from yurtsim.hollow import sweep

from yurtctl.record import Site

_SOCKET_PATH = 107
"""Bytes of a unix socket's path, without the NUL that ends it (unix(7))."""


def default() -> Path:
    """`$XDG_STATE_HOME/yurt`, else `~/.local/state/yurt`."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "state") / "yurt"


class Folder:
    """Paths of one site's state, and the questions that its files answer."""

    def __init__(self, root: Path | None) -> None:
        self.root = (root or default()).expanduser().absolute()
        self.record = self.root / "site.json"
        self.lock = self.root / "lock"
        self.cloud = self.root / "cloud"
        self.nodes = self.root / "nodes"
        self.log = self.root / "supervisor.log"
        self.links_config = self.root / "links.json"
        self.links_socket = self.root / "links.sock"
        self.links_log = self.root / "links.log"
        self.kubeconfigs = self.root / "kubeconfigs"

    def node(self, name: str) -> Path:
        """Where a node's processes keep what they keep."""
        return self.nodes / name

    def kubeconfig(self, node: str | None = None) -> Path:
        """The kubeconfig through a node's hub, or the cloud's own."""
        return self.kubeconfigs / (node or "cloud")

    @property
    def running(self) -> bool:
        """Whether a supervisor holds the site."""
        return self.holder is not None

    @property
    def holder(self) -> int | None:
        """The pid of the supervisor that holds the site; None when nobody does."""
        try:
            with self.lock.open("r+") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return int(file.read() or 0) or None
        except (OSError, ValueError):
            pass
        return None

    def read(self) -> Site:
        """What the supervisor wrote last.

        Raises:
            Missing: When there is no site.
        """
        try:
            return Site.decode(json.loads(self.record.read_bytes()))
        except FileNotFoundError as err:
            raise Missing(f"no site in {self.root}: start one with `yurt up`, or name another with --state") from err
        except (OSError, ValueError, TypeError, KeyError) as err:
            raise BadInput(
                f"cannot read {self.record} ({err}): end the site with `yurt down` and start it anew"
            ) from err

    def write(self, site: Site) -> None:
        """Keep what `read` returns."""
        write_atomic(self.record, json.dumps(site.encode(), indent=1).encode())

    def prepare(self) -> None:
        """Make the folder and its marker; the remains of a dead site stay until it is claimed.

        Raises:
            BadInput: When it is somebody else's folder, when a site runs in it, or when its path is too long.
        """
        if len(os.fsencode(self.links_socket)) > _SOCKET_PATH:
            raise BadInput(f"{self.root} is too long for a unix socket: choose a shorter folder with --state")
        if self.running:
            raise self._taken()
        try:
            if self.root.exists() and not self.record.exists() and any(self.root.iterdir()):
                raise BadInput(f"{self.root} is not empty and not a site's: choose another folder with --state")
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as err:
            raise BadInput(f"cannot use {self.root} ({err.strerror}): choose another folder with --state") from err
        self.write(Site(phase="starting"))

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the site for this process, without what a dead one left.

        Raises:
            BadInput: As `prepare`.
        """
        self.prepare()
        with self.lock.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as err:
                raise self._taken() from err
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            self.sweep()
            for path in self.root.iterdir():
                if path not in {self.record, self.lock, self.log}:
                    _remove(path)
            yield

    def sweep(self) -> None:
        """Remove what the kubelets of a dead site left outside the folder."""
        for log in self.nodes.glob("*/kubelet.log"):
            sweep(log)

    def _taken(self) -> BadInput:
        return BadInput(f"a site runs in {self.root} already: see `yurt status`, end it with `yurt down`")

    def remove(self) -> None:
        """Remove the folder, if it is a site's."""
        if self.record.exists():
            self.sweep()
            # the marker goes last, so that what an interrupted removal leaves is still known as a site's
            for path in self.root.iterdir():
                if path != self.record:
                    _remove(path)
            self.record.unlink()
            self.root.rmdir()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
