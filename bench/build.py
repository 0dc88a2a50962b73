"""Finds Go and builds the benchmark's own program, once for each state of its source, outside the checkout."""

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from yurtcore.errors import BadInput
from yurtsim.controlplane import binaries

SOURCE = Path(__file__).parent / "peers"


def cache_dir() -> Path:
    """Where everything lives that the bench builds or fetches."""
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    path = Path(root) / "yurt" / "bench"
    path.mkdir(parents=True, exist_ok=True)
    return path


@dataclass(frozen=True, slots=True)
class Peer:
    """The built program and the Go that built it."""

    path: Path
    go: str


def benchpeer() -> Peer:
    """Build what is not built yet; the file is always called `benchpeer`, as the hub's list of callers has it."""
    go = _go()
    version = subprocess.run([go, "version"], capture_output=True, text=True, check=True, timeout=60).stdout.split()[2]
    digest = hashlib.sha256(version.encode())
    for file in sorted(SOURCE.iterdir()):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    target = cache_dir() / f"peer-{digest.hexdigest()[:12]}" / "benchpeer"
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        fresh = target.with_suffix(f".{os.getpid()}")
        environment = {**os.environ, "GOTOOLCHAIN": "local", "GOPROXY": "off", "GOFLAGS": "", "CGO_ENABLED": "0"}
        done = subprocess.run(
            [go, "build", "-trimpath", "-o", str(fresh), "."],
            cwd=SOURCE, env=environment, capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        if done.returncode:
            raise BadInput(f"building the bench's own program failed with {version}: {done.stderr.strip()}")
        fresh.replace(target)
    return Peer(target, version)


def _go() -> str:
    found = shutil.which("go") or _simulator_go()
    if not found:
        raise BadInput(
            "the bench needs Go to build its load and peers: install Go 1.25 or newer, or run `yurt controlplane build`"
        )
    return found


def _simulator_go() -> str | None:
    """The toolchain that the local control plane was built with, where it had to be fetched."""
    wheel = binaries.cache() / "go-toolchain" / "bin" / "go"
    return str(wheel) if wheel.is_file() else None
