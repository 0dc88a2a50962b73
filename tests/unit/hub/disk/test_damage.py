"""Rot: flipped bits, bad places, lost keys. Never a wrong value; what is lost is named; the rest is there."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.crash import MemoryFolder
from kit.driven import SMALL, Driven, State, read
from yurt_hub.adapters.disk.losses import LOST, note
from yurt_hub.adapters.disk.opening import opened
from yurt_hub.adapters.disk.records import HEAD, HEADER, NEAR
from yurt_hub.adapters.disk.sealing import Sealer
from yurt_hub.adapters.disk.segment import LOG, Bounds
from yurtcore.errors import BadInput


def written(*, batches: int = 6, size: int = 20, closed: bool = True) -> tuple[bytes, list[State]]:
    """A log of several batches that put, change, drop and seal, and the states that it went through."""
    log = Driven(MemoryFolder(), bounds=Bounds(64 << 20, 64 << 20, 1 << 20))
    log.put("always/first", b"never changed")
    for number in range(batches):
        log.put(f"pods/{number}", b"p%d" % number * size)
        log.put("pods/changing", b"c%d" % number * size)
        log.put(f"secrets/{number % 2}", b"s%d" % number * size, secret=True)
        if number % 2:
            log.drop(f"pods/{number - 1}")
        assert log.flush()
    if closed:
        log.close()
    return bytes(log.disk.contents[log.disk.inodes[LOG]]), log.states


def test_a_flipped_bit_anywhere_never_yields_a_wrong_value_and_is_named() -> None:
    """Two bits of each byte of a closed log: every value is the latest or missing, and the report says so."""
    whole, states = written()
    truth = states[-1]
    for at in range(len(whole)):
        for bit in (at % 8, (at + 3) % 8):
            rotten = bytearray(whole)
            rotten[at] ^= 1 << bit
            found, report = read({LOG: bytes(rotten)})
            assert all(truth[key] == value for key, value in found.items()), (at, bit)
            assert report.damaged or report.torn, (at, bit)
            missing = truth.keys() - found.keys()
            assert len(missing) <= 1, "one bit costs one key at most"
            assert missing <= report.lost or report.nameless == 1, (at, bit)


def test_after_a_flipped_bit_was_repaired_the_log_is_whole() -> None:
    """Opening a damaged log writes a whole one: the second time nothing is damaged, and nothing else is gone."""
    whole, _ = written()
    for at in range(0, len(whole), 3):
        rotten = bytearray(whole)
        rotten[at] ^= 0x10
        disk = MemoryFolder({LOG: bytes(rotten)})
        first = opened(disk, Sealer(bytes(range(32))), bounds=SMALL)
        second = opened(disk, Sealer(bytes(range(32))), bounds=SMALL)
        assert second.values == first.values
        assert (second.report.damaged, second.report.torn) == (0, 0)
        assert disk.names() == [LOG]


def test_a_flipped_bit_in_a_log_that_was_not_closed_shows_an_earlier_state_at_worst() -> None:
    """Without an end behind it, a damaged last batch reads as torn: the state before it, never parts of it."""
    whole, states = written(batches=3, closed=False)
    for at in range(len(whole)):
        rotten = bytearray(whole)
        rotten[at] ^= 0x04
        found, report = read({LOG: bytes(rotten)})
        if report.damaged:
            assert all(states[-1][key] == value for key, value in found.items()), at
        else:
            assert found in states, at
        assert report.damaged or report.torn, at


@pytest.mark.parametrize("bad", [1, 40, 300, 4096, NEAR])
@pytest.mark.parametrize("fill", [b"\0", b"\xff"])
def test_a_bad_place_costs_the_keys_in_it_and_no_others(bad: int, fill: bytes) -> None:
    """A stretch of up to 64 KiB is gone: what was written last elsewhere is served, nothing of before is."""
    whole, states = written(batches=24, size=800)
    truth = states[-1]
    place = {key: whole.rindex(value) for key, value in truth.items() if not key.startswith("secrets/")}
    for at in range(HEADER, len(whole) - bad - 6000, max(997, bad // 7)):
        rotten = whole[:at] + fill * bad + whole[at + bad :]
        if rotten == whole:
            continue
        found, report = read({LOG: rotten})
        assert all(truth[key] == value for key, value in found.items()), at
        near = {key for key, start in place.items() if start < at + bad + 100 and start + len(truth[key]) > at - 100}
        assert place.keys() - found.keys() <= near, at
        assert report.damaged, at
        assert not any("nothing older" in damage.what for damage in report.damages), at


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0), st.integers(1, 5000), st.integers(0, 255)), min_size=1, max_size=6))
def test_any_number_of_bad_places_never_yields_a_wrong_value(places: list[tuple[int, int, int]]) -> None:
    """Values are the latest; an older one is shown only with everything of its time, when the end is torn off."""
    whole, states = _LARGE
    rotten = bytearray(whole)
    for start, size, fill in places:
        at = start % len(whole)
        end = min(at + size, len(whole))
        rotten[at:end] = bytes([fill]) * (end - at)
    found, report = read({LOG: bytes(rotten)})
    if report.torn:
        assert any(found.items() <= state.items() for state in states)
    else:
        assert found.items() <= states[-1].items()


_LARGE = written(batches=30, size=100)


def test_a_bad_place_longer_than_the_log_can_name_leaves_nothing_older_to_believe() -> None:
    """Which keys stood there nobody knows, so each older value may be wrong: none is served, and that is said."""
    whole, states = written(batches=60, size=2000)
    truth = states[-1]
    for at in range(HEADER, len(whole) - 5 * NEAR, 50_021):
        rotten = whole[:at] + b"\0" * (4 * NEAR) + whole[at + 4 * NEAR :]
        found, report = read({LOG: rotten})
        assert found.items() <= truth.items(), at
        assert "always/first" not in found
        assert found, "what was written later is served"
        assert any("nothing older" in damage.what for damage in report.damages)


def test_rot_before_a_torn_end_costs_neither_more_than_it_must() -> None:
    """The commit of a batch is damaged and the next batch torn: the first one counts, the second does not."""
    log = Driven(MemoryFolder())
    log.put("pods/a", b"1")
    assert log.flush()
    log.put("pods/a", b"2")
    assert log.flush()
    end = log.writer.segment.end if log.writer.segment else 0
    log.put("pods/b", b"torn" * 9)
    assert log.flush()
    rotten = bytearray(log.disk.contents[log.disk.inodes[LOG]])
    rotten[end - 1] ^= 1
    rotten[rotten.index(b"torntorn")] ^= 1
    found, report = read({LOG: bytes(rotten)})
    assert found == {"pods/a": b"2"}
    assert (report.damaged, report.damages[0].what) == (1, "commit")


def test_what_is_left_of_a_torn_batch_does_not_undo_the_one_written_over_it() -> None:
    """The commit of a torn batch still stands behind a shorter batch in its place: the shorter one counts."""
    log = Driven(MemoryFolder())
    log.put("pods/a", b"1")
    assert log.flush()
    before = bytes(log.disk.contents[log.disk.inodes[LOG]])
    log.put("pods/b", b"torn" * 50)
    assert log.flush()
    longer = bytes(log.disk.contents[log.disk.inodes[LOG]])
    torn = before + bytes(60) + longer[len(before) + 60 :]
    after = Driven(MemoryFolder({LOG: torn}))
    assert after.loaded == {"pods/a": b"1"}
    after.put("pods/c", b"new")
    assert after.flush()
    shorter = bytes(after.disk.contents[after.disk.inodes[LOG]])
    assert shorter[: len(before)] == before
    both = MemoryFolder({LOG: shorter + torn[len(shorter) :]})
    first = opened(both, Sealer(bytes(32)), bounds=SMALL)
    assert first.values == {"pods/a": b"1", "pods/c": b"new"}
    assert (first.report.damaged, first.report.torn) == (0, len(torn) - len(shorter))
    second = opened(both, Sealer(bytes(32)), bounds=SMALL)
    assert second.values == first.values
    assert second.report.torn == 0


def test_rot_that_a_compaction_meets_is_not_copied() -> None:
    """A record that was whole when the log was opened and is not any more: its key is given up and named.

    A note that was there already is not read again: what it names becomes a key that nobody knows.
    """
    log = Driven(MemoryFolder())
    log.pending.set(LOST, (note({"pods/earlier"}, 0), False))
    for number in range(4):
        log.put(f"pods/{number}", b"value %d" % number * 20)
    assert log.flush()
    content = log.disk.contents[log.disk.inodes[LOG]]
    content[content.index(b"value 2") + 6] ^= 1
    log.put("pods/3", b"x" * 900)
    assert log.flush()
    log.drop("pods/3")
    assert log.flush()
    assert log.writer.idle() == 0.0, "a compaction is running"
    for log.now in (0.0, 1.0, 100.0):
        log.step()
        log.flush()
    found, report = read({name: bytes(log.disk.contents[inode]) for name, inode in log.disk.inodes.items()})
    assert found == {key: value for key, value in log.states[-1].items() if key != "pods/2"}
    assert (report.damaged, report.lost, report.nameless) == (0, {"pods/2"}, 1)


def test_places_that_the_disk_cannot_read_are_damage_like_any_other() -> None:
    """EIO for some pages: what stands elsewhere is served."""
    whole, states = written(batches=12, size=900)

    disk = MemoryFolder({LOG: whole}, unreadable=((8192, 12288),))
    report = opened(disk, Sealer(bytes(range(32))), bounds=SMALL)
    assert report.report.damaged
    assert report.values.items() <= states[-1].items()
    assert len(report.values) > len(states[-1]) // 2


def test_a_header_without_any_whole_copy_loses_all_and_says_so() -> None:
    """Both copies gone: nothing can be told from leftovers of other files, so nothing is believed."""
    whole, _ = written()
    found, report = read({LOG: b"\0" * HEADER + whole[HEADER:]})
    assert found == {}
    assert report.damaged == 1
    assert "all records" in report.damages[0].what


def test_a_log_of_an_unknown_format_is_refused_and_left_alone() -> None:
    """A newer program's log is not ours to repair: one line that says what to do, and the file as it was."""
    whole, _ = written()
    version = (2).to_bytes(2, "little") + (2 ^ 0xFFFF).to_bytes(2, "little")
    half = HEADER // 2
    newer = b"".join(part[:8] + version + part[12:] for part in (whole[:half], whole[half:HEADER])) + whole[HEADER:]
    disk = MemoryFolder({LOG: newer})
    with pytest.raises(BadInput, match="format version 2"):
        opened(disk, Sealer(bytes(32)), bounds=SMALL)
    assert disk.contents[disk.inodes[LOG]] == newer
    assert disk.calls == []


def test_records_inside_a_value_are_never_read_as_records() -> None:
    """A value that holds a piece of this very log, and stands behind damage, stays a value."""
    log = Driven(MemoryFolder(), bounds=Bounds(64 << 20, 64 << 20, 1 << 20))
    log.put("pods/a", b"old" * 10)
    assert log.flush()
    piece = bytes(log.disk.contents[log.disk.inodes[LOG]])
    log.put("pods/a", b"new")
    log.put("pods/evil", piece * 2)
    log.put("pods/b", b"b")
    assert log.flush()
    log.close()
    whole = bytes(log.disk.contents[log.disk.inodes[LOG]])
    at = whole.index(b"pods/evil")
    for start in range(at - HEAD.size, at + 9):
        found, _ = read({LOG: whole[:start] + bytes([whole[start] ^ 0x55]) + whole[start + 1 :]})
        assert found == {"pods/a": b"new", "pods/b": b"b"}


@pytest.mark.parametrize("key", [bytes(32), b"x" * 32])
def test_secrets_sealed_with_another_key_are_dropped_and_named_and_others_served(key: bytes) -> None:
    """A lost key file costs the Secrets, nothing else; they do not come back when the old key does."""
    whole, states = written()
    disk = MemoryFolder({LOG: whole})
    first = opened(disk, Sealer(key), bounds=SMALL)
    assert first.values == {name: value for name, value in states[-1].items() if not name.startswith("secrets/")}
    assert first.report.lost == {"secrets/0", "secrets/1"}
    again = opened(disk, Sealer(bytes(range(32))), bounds=SMALL)
    assert again.values == first.values
    assert again.report.damaged == 0


def test_every_lost_key_is_told_also_when_places_are_too_many_to_list() -> None:
    """The list of places ends at a thousand; the owner needs all the keys."""
    log = Driven(MemoryFolder(), bounds=Bounds(64 << 20, 64 << 20, 1 << 20))
    for number in range(1500):
        log.put(f"secrets/{number}", b"x", secret=True)
    log.close()
    disk = MemoryFolder({LOG: bytes(log.disk.contents[log.disk.inodes[LOG]])})
    report = opened(disk, Sealer(bytes(32)), bounds=SMALL).report
    assert (report.damaged, len(report.damages), len(report.lost), report.nameless) == (1500, 1000, 1500, 0)


def test_a_sealed_value_opens_only_under_its_own_name() -> None:
    """The record's key is bound in, so one Secret can't be passed off as another."""
    sealer = Sealer(bytes(32))
    sealed = sealer.seal(b"secrets/a", b"value")
    assert b"value" not in sealed
    assert sealer.unseal(b"secrets/a", sealed) == b"value"
    assert sealer.unseal(b"secrets/b", sealed) is None
    assert sealer.unseal(b"secrets/a", sealed[:-1]) is None
    assert sealer.unseal(b"secrets/a", b"") is None
    assert sealer.seal(b"secrets/a", b"value") != sealed
