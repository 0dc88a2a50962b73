"""`python -m bench.disk`: what the hub's store on disk costs; a file per object, synced and renamed, beside it.

Prints one line per figure. `--folder` chooses the disk; seconds are wall time, CPU is that of the whole process.
"""

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from yurt_hub.adapters.disk import DiskLog, Sealer

OBJECTS = 5000
SIZE = 2000
QUOTA = 512 * 1024 * 1024
SEALER = Sealer(bytes(32))


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(prog="python -m bench.disk", description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder without it")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the run with 1,000 puts per second")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="yurt-disk-", dir=asked.folder) as name:
        folder = Path(name)
        whole_list(folder / "list")
        steady(folder / "steady", asked.seconds)
        file_per_object(folder / "files")
        secrets(folder / "secrets")


def opened(folder: Path) -> DiskLog:
    """A log with nothing loaded yet."""
    return DiskLog.open(folder, sealer=SEALER, quota_bytes=QUOTA)


def whole_list(folder: Path) -> None:
    """10 MB in 5,000 records: put on the caller's side, written, loaded."""
    keys = [f"o/core/v1/pods/namespace-{number % 10}/pod-{number}" for number in range(OBJECTS)]
    values = [os.urandom(SIZE) for _ in keys]
    log = opened(folder)
    began = time.perf_counter()
    for key, value in zip(keys, values, strict=True):
        log.put(key, value)
    put = time.perf_counter() - began
    cpu = time.process_time()
    log.flush().result()
    line("put, on the caller's thread", f"{put / OBJECTS * 1e6:.2f} µs each")
    line(
        "written and synced",
        f"{(time.perf_counter() - began) * 1000:.0f} ms, CPU {1000 * (time.process_time() - cpu):.0f} ms",
    )
    log.close()

    def load() -> None:
        log = opened(folder)
        assert sum(1 for _ in log.load()) == OBJECTS
        log.close()

    line(f"load of {OBJECTS:,} records, {OBJECTS * SIZE // 10**6} MB", f"{median(load) * 1000:.1f} ms")


def steady(folder: Path, seconds: float) -> None:
    """1,000 puts of 8 KB a second over 1,000 keys, in ticks of 10 ms, compactions included."""
    log = opened(folder)
    values = [os.urandom(8192) for _ in range(100)]

    def put(number: int) -> None:
        log.put(f"o/core/v1/pods/namespace/pod-{number * 7919 % 1000}", values[number % 100])

    idle = ticking(seconds / 5, lambda _: None)
    disk, puts = written_blocks(), round(seconds * 100) * 10
    cpu = ticking(seconds, put, log.flush)
    stats = log.stats()
    line("1,000 puts/s of 8 KB: CPU", f"{(cpu - idle) * 100:.1f} % of a core")
    line(
        "  bytes given to the disk",
        f"{stats.written / puts:.0f} per put, {stats.batches} batches, {stats.compactions} compactions",
    )
    line("  blocks counted by the kernel", f"{(written_blocks() - disk) * 512 / puts:.0f} bytes per put")
    line("  file at the end", f"{stats.file / 1e6:.1f} MB, {stats.live / 1e6:.1f} MB live")
    log.close()


def ticking(seconds: float, step: Callable[[int], object], end: Callable[[], Future[None]] | None = None) -> float:
    """Run a step a thousand times a second, in ticks of 10 ms; CPU seconds per second."""
    began, cpu = time.perf_counter(), time.process_time()
    for tick in range(round(seconds * 100)):
        time.sleep(max(0.0, began + tick / 100 - time.perf_counter()))
        for number in range(10):
            step(tick * 10 + number)
    if end is not None:
        end().result()
    return (time.process_time() - cpu) / (time.perf_counter() - began)


def file_per_object(folder: Path) -> None:
    """The other way: each object written to its own file, synced and renamed."""
    folder.mkdir()
    value = os.urandom(8192)

    def write() -> None:
        for number in range(200):
            path = folder / f"pod-{number}"
            new = path.with_suffix(".new")
            with new.open("wb") as file:
                file.write(value)
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)

    began, disk = time.process_time(), written_blocks()
    wall = median(write, times=3)
    cpu = (time.process_time() - began) / 3
    line("a file per object, synced, renamed", f"{200 / wall:.0f} puts/s at most, CPU {cpu / 200 * 1e6:.0f} µs each")
    line("  blocks counted by the kernel", f"{(written_blocks() - disk) * 512 / 600:.0f} bytes per put")


def secrets(folder: Path) -> None:
    """What sealing costs: memory once, time for each."""
    log = opened(folder)
    log.put("plain", b"x")
    log.flush().result()
    before = resident()
    log.put("s/first", b"x" * 1000, secret=True)
    log.flush().result()
    line("first secret: memory", f"{(resident() - before) / 1024:.1f} MiB")
    values = [os.urandom(2000) for _ in range(1000)]
    for number, value in enumerate(values):
        log.put(f"s/{number}", value, secret=True)
    cpu = time.process_time()
    log.flush().result()
    line("1,000 secrets of 2 KB, written", f"CPU {(time.process_time() - cpu) * 1000:.0f} ms")
    log.close()


def median(step: Callable[[], object], times: int = 7) -> float:
    """Seconds of the middle of several runs."""
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        step()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent)


def written_blocks() -> int:
    """Blocks of 512 bytes that the kernel wrote for this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_oublock


def resident() -> int:
    """Memory of this process in KiB."""
    with Path("/proc/self/status").open() as status:
        return next(int(text.split()[1]) for text in status if text.startswith("VmRSS"))


def line(what: str, figure: str) -> None:
    """One figure."""
    print(f"{what:44} {figure}", flush=True)


if __name__ == "__main__":
    main()
