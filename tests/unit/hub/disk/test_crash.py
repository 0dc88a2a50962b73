"""Every crash at every byte: a log opened afterwards shows a state that its owner had, none older than confirmed.

The suite is checked itself: with a sync that does nothing it must fail.
"""

from collections.abc import Callable

import pytest
from kit.crash import Crash, MemoryFolder, crashes
from kit.driven import Driven, State, read


def small_life(disk: MemoryFolder) -> Driven:
    """A new log: puts, changes, drops, Secrets, batches of one and of several, an end in order."""
    log = Driven(disk)
    log.put("pods/a", b"one")
    log.put("pods/b", b"two")
    assert log.flush()
    log.put("pods/a", b"three")
    log.drop("pods/b")
    log.put("secrets/s", b"hidden", secret=True)
    assert log.flush()
    log.put("pods/b", b"")
    assert log.flush()
    log.drop("pods/a")
    log.put("pods/c", b"four")
    log.close()
    return log


def life_with_compaction(disk: MemoryFolder) -> Driven:
    """A log that is compacted in steps while batches are written: keys change, go and return meanwhile."""
    log = Driven(disk)
    for number in range(8):
        log.put(f"pods/{number}", b"%d" % number * 60)
    assert log.flush()
    for number in range(6):
        log.put(f"pods/{number}", b"%d" % number * 61)
    assert log.flush()
    log.drop("pods/7")
    log.put("pods/0", b"x" * 150)
    assert log.flush()
    assert log.writer.idle() == 0.0, "a compaction is running"
    log.step()
    log.put("pods/0", b"changed after it was copied")
    log.drop("pods/1")
    assert log.flush()
    log.step()
    log.put("pods/7", b"back")
    log.drop("pods/2")
    assert log.flush()
    while log.writer.counts.compactions == 0:
        log.step()
    log.put("pods/1", b"back too")
    assert log.flush()
    log.put("pods/9", b"never confirmed")
    return log


def life_without_room(disk: MemoryFolder) -> Driven:
    """A disk that is full for a while, then one whose sync fails: the log is written anew."""
    log = Driven(disk)
    log.put("pods/a", b"one")
    assert log.flush()
    disk.room = disk.used() + 30
    log.put("pods/b", b"two" * 30)
    assert not log.flush()
    log.drop("pods/a")
    assert log.flush() is False
    disk.room = None
    assert log.flush()
    disk.faults["sync"] = 5
    log.put("pods/a", b"three")
    assert not log.flush()
    log.put("pods/c", b"four")
    disk.faults.clear()
    assert log.flush()
    return log


def life_with_a_failing_switch(disk: MemoryFolder) -> Driven:
    """Compactions that fail at the rename, and after it, at the sync of names; then all is well again."""
    log = Driven(disk)
    for _ in range(2):
        for number in range(8):
            log.put(f"pods/{number}", b"%d" % number * (60 + _))
        assert log.flush()
    log.put("pods/1", b"x" * 70)
    for call in ("rename", "sync names"):
        disk.faults[call] = 5
        assert log.flush()
        while log.writer.idle() == 0.0:
            log.step()
        log.put("pods/2", call.encode())
        log.drop("pods/3")
        assert log.flush() is (call == "rename")
        disk.faults.clear()
        log.now += 100
        assert log.flush()
        log.put("pods/3", call.encode() * 9)
        log.put("pods/4", b"y" * 300)
    assert log.flush()
    return log


def life_that_is_emptied(disk: MemoryFolder) -> Driven:
    """All is dropped and the log compacted to nothing, then written again."""
    log = Driven(disk)
    log.put("pods/a", b"x" * 500)
    assert log.flush()
    log.drop("pods/a")
    assert log.flush()
    while log.writer.counts.compactions == 0:
        log.step()
    log.put("pods/b", b"1")
    assert log.flush()
    return log


LIVES = [small_life, life_that_is_emptied, life_with_compaction, life_without_room, life_with_a_failing_switch]


def permitted(crash: Crash, states: list[State]) -> bool:
    """Whether the folder opens as one of the states that it may show."""
    found, report = read(crash.image)
    return found in states[crash.confirmed : crash.told + 1] and report.damaged == 0  # a crash is no damage


@pytest.mark.parametrize("life", LIVES)
def test_a_crash_at_any_byte_leaves_a_state_at_or_after_the_last_confirmed_one(
    life: Callable[[MemoryFolder], Driven],
) -> None:
    """Every prefix of every recorded call, unsynced writes dropped and torn, opens as a state its owner had."""
    log = life(MemoryFolder())
    tried = 0
    for crash in crashes(log.disk):
        assert permitted(crash, log.states), crash
        tried += 1
    assert tried > 1000, "the suite looks at every byte"


@pytest.mark.parametrize("life", LIVES)
def test_a_crash_during_the_repair_of_a_crash_loses_nothing_more(life: Callable[[MemoryFolder], Driven]) -> None:
    """Opening repairs; a crash at any byte of the repair, opened again, still shows a permitted state."""
    log = life(MemoryFolder())
    images = {tuple(sorted(crash.image.items())): crash for crash in crashes(log.disk)}
    for crash in list(images.values())[::6]:
        repaired = Driven(MemoryFolder(crash.image))
        for again in crashes(repaired.disk):
            found, _ = read(again.image)
            assert found in log.states[crash.confirmed : crash.told + 1], (crash, again)


def test_what_is_written_after_a_repair_is_as_safe_as_before() -> None:
    """A log goes on behind a torn end: whatever of the old end is left on the disk is never read."""
    log = small_life(MemoryFolder())
    images = {tuple(sorted(crash.image.items())): crash for crash in crashes(log.disk)}
    for crash in list(images.values())[::15]:
        after = Driven(MemoryFolder(crash.image))
        assert after.loaded in log.states[crash.confirmed : crash.told + 1]
        after.put("pods/new", b"new")
        assert after.flush()
        after.drop("pods/b")
        for again in crashes(after.disk):
            assert permitted(again, after.states), (crash, again)


@pytest.mark.parametrize("life", LIVES)
@pytest.mark.parametrize("broken", ["sync", "sync names"])
def test_this_suite_finds_a_sync_that_does_nothing(life: Callable[[MemoryFolder], Driven], broken: str) -> None:
    """A file system whose sync (of content, or of names) says it worked and did nothing makes the suite fail."""
    log = life(MemoryFolder(broken=frozenset({broken})))
    assert not all(permitted(crash, log.states) for crash in crashes(log.disk))


def test_a_batch_that_did_not_fit_leaves_no_byte_behind() -> None:
    """A full disk gets back what the failed write took; the log is as long as before."""
    log = Driven(MemoryFolder())
    log.put("pods/a", b"1")
    assert log.flush()
    before = log.disk.used()
    log.disk.room = before + 500
    log.put("pods/b", b"x" * 1000)
    assert not log.flush()
    assert log.writer.counts.full
    assert log.disk.used() == before


def test_a_place_that_cannot_be_read_back_is_given_up_after_a_minute() -> None:
    """A new log is needed and a page of the old one is gone: its key is lost until it is put again, the rest is not."""
    log = Driven(MemoryFolder())
    log.put("pods/a", b"a" * 5000)
    log.put("pods/b", b"b" * 5000)
    log.put("pods/c", b"c" * 5000)
    assert log.flush()
    log.disk.faults["sync"] = 5
    log.put("pods/d", b"d")
    assert not log.flush()
    log.disk.faults.clear()
    at = bytes(log.disk.contents[log.disk.inodes["objects.log"]]).index(b"bbbb")
    log.disk.unreadable = ((at, at + 1),)
    for log.now in (1.0, 10.0, 59.0):
        assert not log.flush()
    log.now = 60.0
    assert log.flush()
    assert log.writer.counts.lost == 1
    log.disk.unreadable = ()
    found, report = read({name: bytes(log.disk.contents[inode]) for name, inode in log.disk.inodes.items()})
    assert found == {"pods/a": b"a" * 5000, "pods/c": b"c" * 5000, "pods/d": b"d"}
    assert (report.damaged, report.lost, report.nameless) == (0, {"pods/b"}, 0)
    log.put("pods/b", b"again")
    assert log.flush()


def test_what_waits_for_a_disk_is_no_more_than_the_owner_keeps() -> None:
    """Ten thousand keys come and go while the disk is full: only what is kept waits, and drops of what the disk has."""
    log = Driven(MemoryFolder())
    log.put("pods/old", b"1")
    assert log.flush()
    log.disk.faults["write"] = 28
    for number in range(10_000):
        log.put(f"pods/{number % 1000}/{number}", b"x")
        log.drop(f"pods/{(number - 3) % 1000}/{number - 3}")
        if number % 500 == 0:
            assert not log.flush()
            log.pending.flush()
    log.drop("pods/old")
    assert not log.flush()
    assert len(log.pending) == 4


def test_a_rename_that_is_not_there_yet_keeps_the_old_log() -> None:
    """Between a compaction's rename and the sync of names both logs are possible, and both are right."""
    log = life_with_compaction(MemoryFolder())
    images = [crash.image for crash in crashes(log.disk)]
    assert any(set(image) == {"objects.log", "objects.log.new"} for image in images)
    assert all("objects.log" in image for image in images if "objects.log.new" not in image and image)
