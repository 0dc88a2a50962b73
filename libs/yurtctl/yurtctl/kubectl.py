"""Handing a command line to kubectl: the control plane's own, or the one on the PATH."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from yurtcore.errors import Missing

from yurtctl.folder import Folder
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


def become(folder: Folder, kubeconfig: Path, arguments: Sequence[str]) -> None:
    """Turn this process into kubectl, which keeps what it learns of the API in the site's folder; does not return."""
    program = find(folder.read())
    env = os.environ | {"KUBECONFIG": str(kubeconfig), "KUBECACHEDIR": str(folder.root / "kubectl-cache")}
    os.execve(program, [str(program), *arguments], env)  # noqa: S606
