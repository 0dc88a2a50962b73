"""Download the programs from their official releases, each checked against its published SHA-256.

etcd comes in an archive, the rest as single files. No release has a kubemark that listens
on loopback, so that one is built with Go in any case.
A machine without internet finds out within seconds and goes on to the next way.
"""

import hashlib
import shutil
import tarfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from yurtcore.errors import Refused, Retry

from yurtsim.controlplane import gobuild
from yurtsim.controlplane.binaries import BUILT_FROM_KUBERNETES, ETCD, KUBERNETES, Progress, architecture

_SILENCE = 5.0
"""Seconds that connecting, and each read, may take."""
_FILE_WITHIN = 1800.0
_CHUNK = 1 << 20
_SUMS_LIMIT = 1 << 16


@dataclass(frozen=True, slots=True)
class Sources:
    """Where releases are published."""

    kubernetes: str = "https://dl.k8s.io/release"
    etcd: str = "https://github.com/etcd-io/etcd/releases/download"


def into(folder: Path, progress: Progress, sources: Sources | None = None) -> None:
    """Put all programs into `folder`; raises Retry if a server cannot be reached, Refused for a wrong file or no Go."""
    sources = sources or Sources()
    gobuild.check_memory()  # before some 350 MB are fetched in vain
    release = f"{sources.kubernetes}/{KUBERNETES}"
    for name in (name for name in BUILT_FROM_KUBERNETES if name != "kubemark"):
        url = f"{release}/bin/linux/{architecture()}/{name}"
        _download(url, _text(f"{url}.sha256").split()[0], folder / name, progress)
    stem = f"etcd-{ETCD}-linux-{architecture()}"
    sums = _text(f"{sources.etcd}/{ETCD}/SHA256SUMS")
    _unpack(f"{sources.etcd}/{ETCD}/{stem}.tar.gz", _of(f"{stem}.tar.gz", sums), f"{stem}/etcd", folder, progress)
    for program in folder.iterdir():
        program.chmod(0o755)
    gobuild.into(folder, progress, ["kubemark"])


def _of(name: str, sums: str) -> str:
    """Return the digest of `name` in a file as sha256sum writes it."""
    for line in sums.splitlines():
        fields = line.split()
        if len(fields) == 2 and fields[1].lstrip("*") == name:
            return fields[0]
    raise Refused(f"the release publishes no SHA-256 of {name}")


def _unpack(url: str, digest: str, member: str, folder: Path, progress: Progress) -> None:
    """Download an archive, keep one member of it and remove the rest."""
    archive = folder / "archive.tar.gz"
    _download(url, digest, archive, progress)
    try:
        with tarfile.open(archive) as tar:
            content = tar.extractfile(member)
            if content is None:
                raise Refused(f"{member} in {url} is no file")
            with content, (folder / Path(member).name).open("wb") as out:
                shutil.copyfileobj(content, out, _CHUNK)
    except (tarfile.TarError, KeyError) as err:
        raise Refused(f"{url} holds no {member}: {err}") from err
    finally:
        archive.unlink()


def _download(url: str, digest: str, target: Path, progress: Progress) -> None:
    progress(f"downloading {url}")
    seen = hashlib.sha256()
    deadline = time.monotonic() + _FILE_WITHIN
    with target.open("wb") as out:
        try:
            with urllib.request.urlopen(url, timeout=_SILENCE) as answer:  # noqa: S310  https, or a test's own server
                while chunk := answer.read(_CHUNK):
                    seen.update(chunk)
                    out.write(chunk)
                    if time.monotonic() > deadline:
                        raise Retry(f"{url} took more than {_FILE_WITHIN / 60:.0f} minutes")
        except (OSError, ValueError) as err:
            raise Retry(f"{url}: {_why(err)}") from err
    if seen.hexdigest() != digest.lower():
        raise Refused(f"{url} has SHA-256 {seen.hexdigest()}, published is {digest}")


def _text(url: str) -> str:
    """Return a small text file; never empty."""
    try:
        with urllib.request.urlopen(url, timeout=_SILENCE) as answer:  # noqa: S310  https, or a test's own server
            text = str(answer.read(_SUMS_LIMIT), "ascii")
    except (OSError, ValueError) as err:
        raise Retry(f"{url}: {_why(err)}") from err
    if not text.strip():
        raise Refused(f"{url} is empty")
    return text


def _why(err: Exception) -> str:
    if isinstance(err, urllib.error.HTTPError):
        err.close()
        return f"the server answered {err.code}"
    return str(err.reason) if isinstance(err, urllib.error.URLError) else str(err) or type(err).__name__
