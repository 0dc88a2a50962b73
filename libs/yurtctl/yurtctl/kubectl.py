"""Handing a command line to kubectl: the control plane's own, or the one on the PATH."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from yurtcore.errors import Missing

from yurtctl.record import Site


def find(site: Site) -> Path:
    """The kubectl of the site's control plane, which fits its API server, else the one on the PATH.

    Raises:
        Missing: When there is none.
    """
    own = Path(site.binaries) / "kubectl"
    if site.binaries and os.access(own, os.X_OK):
        return own
    if other := shutil.which("kubectl"):
        return Path(other)
    raise Missing("no kubectl: `yurt controlplane fetch` or `build` brings one, or install it")


def become(site: Site, kubeconfig: Path, arguments: Sequence[str]) -> None:
    """Turn this process into kubectl; does not return."""
    program = find(site)
    env = os.environ | {"KUBECONFIG": str(kubeconfig)}
    os.execve(program, [str(program), *arguments], env)  # noqa: S606
