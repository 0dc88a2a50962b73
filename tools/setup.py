"""Make `.venv` from hashes: `python3 tools/setup.py`, what `make setup` runs.

Checks the machine first and says in one line what is missing; installs nothing
outside `.venv`. Runs on any Python 3, so that an old one gets an answer too.
A stamp inside `.venv` makes the second run a matter of milliseconds.
"""

import hashlib
import os
import pathlib
import platform
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
MEMBERS = ("libs/yurtcore", "libs/yurtsim", "libs/yurtctl", "services/hub")
GIB = 1 << 30
LEAST_MEMORY = 2 * GIB
LEAST_GLIBC = (2, 28)


def missing() -> str:
    """Return one line that names what this machine lacks, or an empty string."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        return f"the local site needs Linux on x86_64 or aarch64; this is {sys.platform} on {platform.machine()}"
    if sys.version_info < (3, 11):
        found = platform.python_version()
        return f"Python 3.11 or newer is missing (this is {found}): install it and run `make PYTHON=python3.11 setup`"
    kind, version = platform.libc_ver()
    if kind != "glibc" or tuple(int(part) for part in version.split(".")[:2]) < LEAST_GLIBC:
        found = f"{kind or 'another C library'} {version}"
        return f"glibc 2.28 or newer is missing (found {found}): use a newer distribution"
    try:
        import ensurepip  # noqa: F401, PLC0415
        import venv  # noqa: F401, PLC0415
    except ImportError:
        return f"Python's venv is missing: install python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if memory < LEAST_MEMORY:
        return f"{memory / GIB:.1f} GiB of memory; 2 GiB are needed (4 GiB to build the control plane)"
    return ""


def wanted() -> str:
    """Hash of everything that decides what `.venv` holds."""
    digest = hashlib.sha256(f"{sys.version} {ROOT}".encode())
    members = [ROOT / member / "pyproject.toml" for member in MEMBERS]
    for path in [ROOT / "constraints.txt", *members, pathlib.Path(__file__)]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def step(text: str, *command: str) -> None:
    """Run one command with `.venv/bin` first on the PATH (the build back end is a program there)."""
    print(f"setup: {text}", flush=True)
    path = f"{VENV / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    env = {**os.environ, "PATH": path, "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(command, env=env, cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(f"setup: {text}: failed with exit code {done.returncode}: {' '.join(command)}")


def main() -> int:
    """Bring `.venv` to what constraints.txt says; nothing to do is the usual case."""
    if problem := missing():
        print(f"setup: {problem}", file=sys.stderr)
        return 2
    stamp = VENV / ".stamp"
    if stamp.is_file() and stamp.read_text() == wanted():
        return 0
    if VENV.exists():
        shutil.rmtree(VENV)
    step("a virtual environment in .venv", sys.executable, "-m", "venv", str(VENV))
    pip = (str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet")
    by_hash = ("install", "--no-compile", "--require-hashes", "-r", "constraints.txt")
    step("packages of constraints.txt, checked by hash", *pip, *by_hash)
    editable = [word for member in MEMBERS for word in ("-e", member)]
    step("Yurt's own packages", *pip, "install", "--no-deps", "--no-build-isolation", *editable)
    # Bytecode is made once here: without it each process of the site starts twice as slowly.
    step("bytecode", str(VENV / "bin" / "python"), "-m", "compileall", "-q", "-j", "0", str(VENV / "lib"), *MEMBERS)
    stamp.write_text(wanted())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
