"""What the machine is, how busy it is, and what processes cost.

CPU time of a process is read from its own CPU clock (nanoseconds, threads that ended included); how busy
everything else was follows from `/proc/stat` less the processes that belong to the run.
"""

import os
import platform
import resource
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20


def cores() -> tuple[int, int]:
    """The core of the candidate and the core of load and upstream; the same one where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[min(1, len(usable) - 1)]


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Processes started inside are pinned to this core (a child inherits what its parent is bound to)."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far; 0 when it is gone."""
    try:
        return time.clock_gettime((~pid << 3) | 2)  # the kernel's number for it: clock_getcpuclockid(3)
    except OSError:
        return 0.0


@dataclass(frozen=True, slots=True)
class Memory:
    """Mebibytes of one process."""

    rss: float
    pss: float
    peak: float


def memory(pid: int) -> Memory:
    """Resident and proportional memory now, and the highest resident since `forget_peak`."""
    return Memory(
        rss=_kib(Path(f"/proc/{pid}/status"), "VmRSS:") / 1024,
        pss=_kib(Path(f"/proc/{pid}/smaps_rollup"), "Pss:") / 1024,
        peak=_kib(Path(f"/proc/{pid}/status"), "VmHWM:") / 1024,
    )


def written(pid: int) -> int:
    """Bytes that a process has caused to be written to a disk (whole pages; nothing on a file system in memory)."""
    line = next(ln for ln in _lines(f"/proc/{pid}/io") if ln.startswith("write_bytes:"))
    return int(line.split()[1])


def _kib(path: Path, key: str) -> float:
    for line in path.read_text().splitlines():
        if line.startswith(key):
            return float(line.split()[1])
    return 0.0


def forget_peak(pid: int) -> None:
    """Let the peak of a process begin anew at what it holds now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


@dataclass(frozen=True, slots=True)
class Busy:
    """Seconds of processor time: of the whole machine, and the part that is the run's own, at one instant."""

    at: float
    all: float
    own: float

    def foreign_since(self, before: "Busy") -> float:
        """How much of one core other processes used, on average, since `before`."""
        span = max(self.at - before.at, 1e-9)
        return max(0.0, (self.all - before.all) - (self.own - before.own)) / span


def busy(pids: Iterable[int]) -> Busy:
    """Read the machine; `pids` are the living processes of the run, its ended children are known anyway."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, steal = (int(fields[i]) / TICK for i in (0, 1, 2, 7))
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = time.process_time() + ended.ru_utime + ended.ru_stime + sum(map(cpu_seconds, pids))
    return Busy(at=time.monotonic(), all=user + nice + system + steal, own=own)


def facts() -> dict[str, str | int]:
    """What a reader must know to compare two results."""
    cpu = next(
        (ln.split(":", 1)[1].strip() for ln in _lines("/proc/cpuinfo") if ln.startswith("model name")), "unknown"
    )
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": cpu,
        "cores": os.cpu_count() or 1,
        "memory_mib": pages // MIB,
        "kernel": platform.release().partition("-")[0],
        "arch": platform.machine(),
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
