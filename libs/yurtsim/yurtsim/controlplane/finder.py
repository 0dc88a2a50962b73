"""Find, fetch or build the programs of the control plane.

Order: `KUBEBUILDER_ASSETS` (envtest's convention), the cache, the official release
files, a build with Go. A way that fails says why and the next one is tried.
`YURT_CONTROLPLANE=build|download|FOLDER` forces one way.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from yurtcore.errors import BadInput, YurtError

from yurtsim.controlplane import download, gobuild
from yurtsim.controlplane.binaries import Progress, kept, lacking

_Way = Callable[[Path, Progress], None]


def known_path() -> Path | None:
    """Return the folder that `find` would return without fetching or building anything; None if there is none."""
    forced = os.environ.get("YURT_CONTROLPLANE", "")
    if forced not in ("", "build", "download"):
        return _chosen(forced)
    assets = os.environ.get("KUBEBUILDER_ASSETS", "")
    if not forced and assets and not lacking(Path(assets)):
        return Path(assets)
    return kept() if not lacking(kept()) else None


def find(progress: Progress) -> Path:
    """Return a folder with all programs, made if need be; raises BadInput in one line if no way works."""
    forced = os.environ.get("YURT_CONTROLPLANE", "")
    assets = os.environ.get("KUBEBUILDER_ASSETS", "")
    known = known_path()
    if known is not None:
        return known
    if assets and not forced:
        progress(f"KUBEBUILDER_ASSETS={assets} is not used: it lacks {', '.join(lacking(Path(assets)))}")
    ways = {"download": fetch, "build": build}
    failed: list[str] = []
    for name in (forced,) if forced else tuple(ways):
        try:
            return ways[name](progress)
        except YurtError as err:
            failed.append(f"{name}: {err}")
            progress(failed[-1])
    raise BadInput(
        f"no control plane ({'; '.join(failed)}): install Go 1.26 or newer, "
        "or set YURT_CONTROLPLANE to a folder with etcd, kube-apiserver and its company"
    )


def fetch(progress: Progress) -> Path:
    """Download the official releases into the cache, and build kubemark; raises Retry or Refused with the reason."""
    return _make(download.into, progress)


def build(progress: Progress) -> Path:
    """Build all programs with Go into the cache; raises Refused with the reason."""
    return _make(gobuild.into, progress)


def _chosen(folder: str) -> Path:
    missing = lacking(Path(folder))
    if missing:
        raise BadInput(
            f"YURT_CONTROLPLANE={folder} lacks {', '.join(missing)}: name a folder that holds all, or unset it"
        )
    return Path(folder)


def _make(way: _Way, progress: Progress) -> Path:
    """Fill a folder beside the final one and rename it, so that a half-finished one is never used."""
    final = kept()
    with _alone(final, progress):
        if not lacking(final):
            return final
        part = final.with_name(final.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        try:
            way(part, progress)
            shutil.rmtree(final, ignore_errors=True)
            part.rename(final)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return final


@contextmanager
def _alone(final: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock of one cache folder; whoever comes second waits and finds the work done."""
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        lock = final.with_name(final.name + ".lock").open("w")
    except OSError as err:
        raise BadInput(f"the cache {final.parent} cannot be written ({err.strerror}): set XDG_CACHE_HOME") from err
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"waiting for another process that fills {final}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
