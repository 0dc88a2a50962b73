"""Which programs a control plane needs, and where they are kept once found.

Pure but for a look at the file system; the ways to get them are in `finder`.
"""

import hashlib
import os
import platform
from collections.abc import Callable
from pathlib import Path

KUBERNETES = "v1.34.4"
ETCD = "v3.6.16"
BUILT_FROM_KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubemark")
ALL = ("etcd", *BUILT_FROM_KUBERNETES)
MODULES = Path(__file__).parent / "gomod"

Progress = Callable[[str], None]
"""Receives one line for each step that takes time."""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def architecture() -> str:
    """Return this machine's architecture as Go spells it."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def kept() -> Path:
    """Return the cache folder for exactly these programs: named by version, platform and what they are built from."""
    digest = hashlib.sha256()
    for source in ("kubernetes/go.sum", "etcd/go.sum", "kubernetes/kubemark/main.go"):
        digest.update((MODULES / source).read_bytes())
    return cache() / "k8s" / f"{KUBERNETES}-linux-{architecture()}-{digest.hexdigest()[:12]}"


def cache() -> Path:
    """Return Yurt's folder below `$XDG_CACHE_HOME` (default `~/.cache`)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "yurt"


def lacking(folder: Path) -> list[str]:
    """Return the programs that `folder` does not hold as executable files."""
    return [name for name in ALL if not os.access(folder / name, os.X_OK) or not (folder / name).is_file()]
