"""`yurt up`: in the foreground until Ctrl-C, or in the background until `yurt down`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from yurtcore.errors import YurtError
from yurtsim.controlplane import find, known_path

from yurtctl import detached, show
from yurtctl.folder import Folder, default
from yurtctl.progress import Progress, Tell
from yurtctl.record import Site
from yurtctl.site import Wanted, run


def begin(folder: Folder, *, nodes: int, nodes_kind: str, detach: bool) -> None:
    """Start a site.

    Raises:
        BadInput: When one runs there already, or the folder cannot be one's.
        YurtError: When it did not come up; the folder stays for its logs.
    """
    began = time.monotonic()

    def tell_ready(site: Site) -> None:
        words = show.summary(
            site,
            str(folder.root),
            str(folder.kubeconfig()),
            took=time.monotonic() - began,
            detached=detach,
            default=folder.root == default() or bool(os.environ.get("YURT_STATE")),
        )
        sys.stdout.write(words + "\n")
        sys.stdout.flush()

    if detach:
        with Progress() as tell:
            site = detached.start(folder, [f"--nodes={nodes}", f"--nodes-kind={nodes_kind}"], tell)
        tell_ready(site)
        return

    with _interruptible(), folder.claimed(), Progress() as tell:

        def ready(site: Site) -> None:
            tell.finish()
            tell_ready(site)

        try:
            binaries = _binaries(folder, tell)
            asyncio.run(run(folder, Wanted(binaries, nodes), tell, up=ready))
        except KeyboardInterrupt:
            sys.stderr.write("yurt: stopped before it was up\n")
        folder.remove()


def _binaries(folder: Folder, tell: Tell) -> Path:
    """The control plane's programs, which may take minutes the first time."""
    steps: list[str] = []
    try:
        if found := known_path():
            return found
        steps.append("getting the control plane's programs (minutes, once)")
        folder.write(Site(phase="starting", steps=steps))
        tell.step(steps[0])
        return find(tell.note)
    except YurtError as err:
        folder.write(Site(phase="failed", steps=steps, error=str(err)))
        raise


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP end what is under way as Ctrl-C does, until the supervisor takes them over."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
