"""The log on real disks: killed processes, full and read-only file systems."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit import writes
from yurt_hub.adapters.disk import DiskLog, Sealer
from yurtcore.errors import Retry

SEALER = Sealer(bytes(32))
QUOTA = 16 * 1024 * 1024


@contextlib.contextmanager
def writer(folder: Path, *limit: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-u", writes.__file__, str(folder), *limit]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def told(child: "subprocess.Popen[str]") -> list[str]:
    """The next line that is not the log's own."""
    assert child.stdout is not None
    while True:
        words = child.stdout.readline().split()
        assert words, "the writer ended"
        if words[0].isdigit() or words[0] == "stopped":
            return words


def stored(folder: Path) -> tuple[int, dict[str, bytes]]:
    """The state's number and its keys, as a log that is opened now shows them."""
    log = DiskLog.open(folder, sealer=SEALER, quota_bytes=QUOTA)
    values = dict(log.load())
    assert log.report.damaged == 0
    log.close()
    return int(values.pop("count", b"0")), values


def state(number: int) -> dict[str, bytes]:
    """What the writer had told when it was at `number`."""
    return {f"pods/{n % writes.KEYS}": writes.value(n) for n in range(max(1, number - writes.KEYS + 1), number + 1)}


def test_a_killed_process_leaves_a_state_it_had_not_older_than_confirmed(tmp_path: Path) -> None:
    """Killed by signal 9 at six moments, each life going on from the last: puts, Secrets and compactions."""
    confirmed = compactions = 0
    for life in range(6):
        with writer(tmp_path / "cache") as child:
            for _ in range(40 + 17 * life):
                confirmed, compactions = map(int, told(child))
            child.kill()
            child.wait(30)
        number, values = stored(tmp_path / "cache")
        assert number >= confirmed
        assert values == state(number)
    assert compactions > 0, "a log that was compacted is among them"


def test_a_file_size_limit_stops_writing_and_its_end_resumes_it(tmp_path: Path) -> None:
    """EFBIG in the middle of a write: confirmed values stay, nothing half-written is served, then all is written."""
    with writer(tmp_path / "cache", "9000") as child:
        confirmed = 0
        while (words := told(child))[0] != "stopped":
            confirmed = int(words[0])
        assert words[1] == "True", "the disk counts as full"
        copy = tmp_path / "copy"
        copy.mkdir()
        (copy / "objects.log").write_bytes((tmp_path / "cache" / "objects.log").read_bytes())
        assert stored(copy) == (confirmed, state(confirmed))
        assert child.stdin is not None
        child.stdin.write("go on\n")
        child.stdin.flush()
        for _ in range(30):
            after = int(told(child)[0])
        assert after > confirmed
        child.kill()
        child.wait(30)
    number, values = stored(tmp_path / "cache")
    assert number >= after
    assert values == state(number)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "none", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system needs root and the right to mount")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_stops_writing_and_space_resumes_it(small_disk: Path) -> None:
    """ENOSPC: one flag, memory goes on; when space is back everything that was put meanwhile is written."""
    log = DiskLog.open(small_disk / "cache", sealer=SEALER, quota_bytes=QUOTA)
    log.put("pods/before", b"1")
    log.flush().result(30)
    (small_disk / "filler").write_bytes(b"x" * (900 * 1024))
    for number in range(100):
        log.put(f"pods/{number}", b"x" * 2000)
    with pytest.raises(Retry, match="No space left"):
        log.flush().result(30)
    assert (log.stats().full, log.stats().queue) == (True, 100)
    log.put("pods/before", b"2")
    (small_disk / "filler").unlink()
    log.flush().result(30)
    assert (log.stats().full, log.stats().stopped, log.stats().errors) == (False, "", 1)
    log.close()
    assert len(stored(small_disk / "cache")[1]) == 101


def test_a_log_starts_on_a_full_disk_and_writes_when_there_is_space(small_disk: Path) -> None:
    """Not even the first file can be made: the hub starts all the same."""
    (small_disk / "cache").mkdir()
    with contextlib.suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 4096)
    log = DiskLog.open(small_disk / "cache", sealer=SEALER, quota_bytes=QUOTA)
    assert "No space left" in log.report.trouble
    log.put("pods/a", b"1" * 5000)
    with pytest.raises(Retry):
        log.flush().result(30)
    assert log.stats().full
    (small_disk / "filler").unlink()
    log.flush().result(30)
    log.close()
    assert stored(small_disk / "cache")[1] == {"pods/a": b"1" * 5000}


def test_a_read_only_disk_is_read_and_written_again_when_it_may_be(small_disk: Path) -> None:
    """A card that turned read-only: what it holds is served, a torn end included; nothing is lost when it is mended."""
    log = DiskLog.open(small_disk / "cache", sealer=SEALER, quota_bytes=QUOTA)
    log.put("pods/a", b"1")
    log.close()
    with (small_disk / "cache" / "objects.log").open("ab") as file:
        file.write(b"torn")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    log = DiskLog.open(small_disk / "cache", sealer=SEALER, quota_bytes=QUOTA)
    assert dict(log.load()) == {"pods/a": b"1"}
    assert not log.report.repaired
    log.put("pods/b", b"2")
    with pytest.raises(Retry):
        log.flush().result(30)
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    log.flush().result(30)
    log.close()
    assert stored(small_disk / "cache")[1] == {"pods/a": b"1", "pods/b": b"2"}
