"""The log as its owner sees it: batches, flushes, limits, the folder; on real files and with its thread."""

import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from yurt_hub.adapters.disk import DiskLog, Sealer
from yurt_hub.adapters.disk.folder import DiskFile, DiskFolder
from yurt_hub.adapters.disk.log import Tuning
from yurtcore.errors import BadInput, Retry

SEALER = Sealer(bytes(32))
QUOTA = 1024 * 1024


class GateFile(DiskFile):
    """A file whose sync waits for the folder's gate."""

    def __init__(self, fd: int, folder: "GateFolder") -> None:
        super().__init__(fd)
        self._folder = folder

    def sync(self) -> None:
        self._folder.reached.set()
        assert self._folder.gate.wait(60)
        if self._folder.error is not None:
            raise self._folder.error
        super().sync()


class GateFolder(DiskFolder):
    """A real folder on a disk that hangs while the gate is shut, and whose syncs may fail."""

    def __init__(self, path: Path, fd: int) -> None:
        super().__init__(path, fd)
        self.gate, self.reached = threading.Event(), threading.Event()
        self.gate.set()
        self.error: OSError | None = None

    def open(self, name: str, *, new: bool = False) -> DiskFile:
        return GateFile(super().open(name, new=new)._fd, self)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[DiskLog]:
    opened = DiskLog.open(tmp_path / "cache", sealer=SEALER, quota_bytes=QUOTA)
    yield opened
    opened.close()


def again(folder: Path, sealer: Sealer = SEALER) -> dict[str, bytes]:
    log = DiskLog.open(folder, sealer=sealer, quota_bytes=QUOTA)
    values = dict(log.load())
    log.close()
    return values


async def test_what_was_flushed_is_there_after_a_restart(tmp_path: Path, log: DiskLog) -> None:
    """Puts, changes, drops and Secrets come back as they were; the order is that of the last writes."""
    assert list(log.load()) == []
    log.put("pods/a", b"1")
    log.put("pods/b", b"")
    log.put("secrets/s", b"hidden", secret=True)
    log.drop("pods/never")
    await log.flush()
    log.put("pods/a", b"2")
    log.drop("pods/b")
    await log.flush()
    content = (tmp_path / "cache" / "objects.log").read_bytes()
    assert b"hidden" not in content
    log.close()
    reopened = DiskLog.open(tmp_path / "cache", sealer=SEALER, quota_bytes=QUOTA)
    assert list(reopened.load()) == [("secrets/s", b"hidden"), ("pods/a", b"2")]
    assert list(reopened.load()) == [], "memory is given back"
    assert (reopened.report.keys, reopened.report.sealed, reopened.report.damaged) == (2, 1, 0)
    reopened.close()


def test_one_batch_holds_the_last_word_about_each_key(log: DiskLog) -> None:
    """A thousand puts of one key before a flush are one record in one batch."""
    with log.together():
        for number in range(1000):
            log.put("pods/busy", b"%d" % number)
    log.flush().result(10)
    stats = log.stats()
    assert stats.batches == 1
    assert stats.written < 400
    assert (stats.queue, stats.dead < 200, stats.stopped) == (0, True, "")


def test_puts_reach_the_disk_by_themselves_within_the_interval(tmp_path: Path) -> None:
    """Nobody flushes: the batch is written and synced after the interval."""
    folder = GateFolder.claim(tmp_path / "cache")
    log = DiskLog.open(folder, sealer=SEALER, quota_bytes=QUOTA, batch_within=0.05)
    folder.reached.clear()
    log.put("pods/a", b"1")
    assert folder.reached.wait(10)
    log.close()
    assert again(tmp_path / "cache") == {"pods/a": b"1"}


def test_a_disk_that_hangs_never_blocks_the_owner(tmp_path: Path) -> None:
    """While a sync does not return, puts, drops and stats go on; each key waits once, and all is written then."""
    folder = GateFolder.claim(tmp_path / "cache")
    log = DiskLog.open(folder, sealer=SEALER, quota_bytes=QUOTA)
    folder.gate.clear()
    folder.reached.clear()
    log.put("pods/first", b"1")
    first = log.flush()
    assert folder.reached.wait(10)
    for round_ in range(20):
        for number in range(10):
            log.put(f"pods/{number}", b"%d" % round_)
    log.drop("pods/first")
    assert (log.stats().queue, log.stats().queue_bytes) == (11, 20)
    assert not first.done()
    folder.gate.set()
    first.result(10)
    log.close()
    assert again(tmp_path / "cache") == {f"pods/{number}": b"19" for number in range(10)}


def test_what_is_put_while_a_batch_fails_wins_over_the_batch(tmp_path: Path) -> None:
    """A batch that comes back joins what was said meanwhile, and the newer word stays."""
    folder = GateFolder.claim(tmp_path / "cache")
    log = DiskLog.open(folder, sealer=SEALER, quota_bytes=QUOTA)
    folder.gate.clear()
    folder.reached.clear()
    log.put("pods/a", b"old")
    log.put("pods/b", b"old")
    log.put("pods/c", b"stays")
    failing = log.flush()
    assert folder.reached.wait(10)
    log.put("pods/a", b"new")
    log.drop("pods/b")
    folder.error = OSError(5, "Input/output error")
    folder.gate.set()
    with pytest.raises(Retry, match="Input/output"):
        failing.result(10)
    folder.error = None
    log.flush().result(10)
    log.close()
    assert again(tmp_path / "cache") == {"pods/c": b"stays", "pods/a": b"new"}


def test_after_a_sync_that_failed_the_file_is_not_written_again(tmp_path: Path) -> None:
    """The kernel may have dropped the pages: another file takes what was confirmed and what waits."""
    folder = GateFolder.claim(tmp_path / "cache")
    log = DiskLog.open(folder, sealer=SEALER, quota_bytes=QUOTA)
    log.put("pods/a", b"1")
    log.flush().result(10)
    before = (tmp_path / "cache" / "objects.log").stat().st_ino
    folder.error = OSError(5, "Input/output error")
    log.put("pods/b", b"2")
    with pytest.raises(Retry):
        log.flush().result(10)
    folder.error = None
    log.flush().result(10)
    assert log.stats().rewrites == 1
    assert (tmp_path / "cache" / "objects.log").stat().st_ino != before
    log.close()
    assert again(tmp_path / "cache") == {"pods/a": b"1", "pods/b": b"2"}


def test_files_are_for_the_owner_alone(tmp_path: Path, log: DiskLog) -> None:
    """The folder has mode 0700 and the log 0600, also a folder that was there with other rights."""
    log.put("pods/a", b"1")
    log.flush().result(10)
    folder = tmp_path / "cache"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    other = tmp_path / "other"
    other.mkdir(mode=0o755)
    DiskLog.open(other, sealer=SEALER, quota_bytes=QUOTA).close()
    assert stat.S_IMODE(other.stat().st_mode) == 0o700


def test_a_folder_belongs_to_one_log_at_a_time(tmp_path: Path, log: DiskLog) -> None:
    """The second is refused with one line; after the first is closed it gets the folder."""
    with pytest.raises(BadInput, match="in use by another process"):
        DiskLog.open(tmp_path / "cache", sealer=SEALER, quota_bytes=QUOTA)
    log.close()
    DiskLog.open(tmp_path / "cache", sealer=SEALER, quota_bytes=QUOTA).close()


@pytest.mark.parametrize("trouble", ["a file in the way", "a log that is a folder"])
def test_a_folder_that_cannot_be_used_is_refused_in_one_line(tmp_path: Path, trouble: str) -> None:
    """What can't be read at all is a person's to mend."""
    if trouble == "a file in the way":
        (tmp_path / "cache").write_text("not a folder")
    else:
        (tmp_path / "cache" / "objects.log").mkdir(parents=True)
    with pytest.raises(BadInput) as caught:
        DiskLog.open(tmp_path / "cache", sealer=SEALER, quota_bytes=QUOTA)
    assert "\n" not in str(caught.value)


def test_a_log_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    """Whoever could place a link there would choose what is written."""
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "objects.log").symlink_to(tmp_path / "victim")
    with pytest.raises(BadInput, match="cannot read"):
        DiskLog.open(tmp_path / "cache", sealer=SEALER, quota_bytes=QUOTA)
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_what_an_unfinished_compaction_left_is_removed(tmp_path: Path, log: DiskLog) -> None:
    """A new log that never got the name is no log."""
    log.put("pods/a", b"1")
    log.close()
    left = tmp_path / "cache" / "objects.log.new"
    left.write_bytes((tmp_path / "cache" / "objects.log").read_bytes()[:-3])
    assert again(tmp_path / "cache") == {"pods/a": b"1"}
    assert not left.exists()


def test_a_log_is_compacted_when_more_is_dead_than_alive(tmp_path: Path) -> None:
    """Ten thousand changes of ten keys leave a small file, and the ten values."""
    tuning = Tuning(compact_above=50_000, group=10_000)
    log = DiskLog.open(tmp_path / "cache", sealer=SEALER, quota_bytes=QUOTA, tuning=tuning)
    for round_ in range(200):
        for number in range(10):
            log.put(f"pods/{number}", b"%d" % round_ * 100)
        log.flush().result(10)
    log.close()
    assert log.stats().compactions > 2
    assert (tmp_path / "cache" / "objects.log").stat().st_size < 100_000
    assert again(tmp_path / "cache") == {f"pods/{number}": b"199" * 100 for number in range(10)}


def test_a_quota_is_kept_and_the_owner_told_what_to_evict(tmp_path: Path) -> None:
    """Above four fifths of what fits, `crowded` says how much to drop; beyond it writing waits; dropping ends it."""
    log = DiskLog.open(tmp_path / "cache", sealer=SEALER, quota_bytes=QUOTA)
    number = 0
    while log.stats().crowded == 0:
        log.put(f"pods/{number}", b"x" * 5000)
        log.flush().result(10)
        number += 1
    assert log.stats().stopped == "", "asked before it is too late"
    for more in range(40):
        log.put(f"pods/{number + more}", b"x" * 5000)
    with pytest.raises(Retry, match="quota"):
        log.flush().result(10)
    assert not log.stats().full, "the disk is not"
    keep = number // 2
    for other in range(keep, number + 40):
        log.drop(f"pods/{other}")
    log.flush().result(10)
    stats = log.stats()
    assert (stats.stopped, stats.crowded) == ("", 0)
    log.close()
    assert sum(file.stat().st_size for file in (tmp_path / "cache").iterdir()) < QUOTA
    assert again(tmp_path / "cache").keys() == {f"pods/{other}" for other in range(keep)}


def test_a_value_too_big_for_the_quota_is_not_kept_and_counted(log: DiskLog, tmp_path: Path) -> None:
    """An older value of its key is dropped: it would be wrong."""
    log.put("pods/a", b"1")
    log.put("pods/a", b"x" * QUOTA)
    log.put("k" * 300_000, b"")
    log.flush().result(10)
    assert log.stats().refused == 2
    log.close()
    assert again(tmp_path / "cache") == {}


def test_a_quota_that_is_too_small_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="too small"):
        DiskLog.open(tmp_path / "cache", sealer=SEALER, quota_bytes=1000)


def test_a_closed_log_takes_no_more(log: DiskLog, tmp_path: Path) -> None:
    """Puts are not heard, a flush says so, closing twice is closing once."""
    log.put("pods/a", b"1")
    log.close()
    log.put("pods/b", b"2")
    with pytest.raises(Retry, match="closed"):
        log.flush().result(10)
    log.close()
    assert again(tmp_path / "cache") == {"pods/a": b"1"}


def test_an_index_is_as_small_as_the_keys_it_has(log: DiskLog) -> None:
    """Figures add up: live bytes are what the values need, the file is live, dead and a header."""
    for number in range(100):
        log.put(f"pods/{number:03}", b"x" * 100)
    log.flush().result(10)
    for number in range(50):
        log.drop(f"pods/{number:03}")
    log.flush().result(10)
    stats = log.stats()
    assert 50 * 129 <= stats.live <= 50 * 150
    assert stats.dead > 50 * 129
    assert stats.file == stats.live + stats.dead + 48
    assert stats.sync_age is not None
    assert stats.sync_age < 60
