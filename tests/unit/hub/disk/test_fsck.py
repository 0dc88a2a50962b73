"""`yurt-hub fsck`: what it finds, what it mends, how it ends."""

import json
from pathlib import Path

import pytest
from yurt_hub.adapters.disk import DiskLog, Sealer
from yurt_hub.fsck import fsck_main

KEY = bytes(range(32))
QUOTA = 1024 * 1024


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The folder of a hub that ended in order: three keys, one of them sealed, some dead bytes."""
    folder = tmp_path / "cache"
    log = DiskLog.open(folder, sealer=Sealer(KEY), quota_bytes=QUOTA)
    for word in (b"old", b"new"):
        log.put("pods/a", word * 20)
        log.put("pods/b", word * 20)
        log.put("secrets/s", b"hidden", secret=True)
        log.flush().result(10)
    log.close()
    return folder


def loaded(folder: Path) -> dict[str, bytes]:
    log = DiskLog.open(folder, sealer=Sealer(KEY), quota_bytes=QUOTA)
    values = dict(log.load())
    assert (log.report.damaged, log.report.torn) == (0, 0)
    log.close()
    return values


def damage(folder: Path) -> int:
    """Flip a bit in the latest value of pods/a; where that is."""
    path = folder / "objects.log"
    content = bytearray(path.read_bytes())
    at = content.rindex(b"pods/a") + 20
    content[at] ^= 1
    path.write_bytes(content)
    return at


def found(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    shown = json.loads(capsys.readouterr().out)
    assert isinstance(shown, dict)
    return shown


def test_a_whole_store_is_clean_and_left_as_it_is(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (store / "objects.log").read_bytes()
    assert fsck_main([str(store)]) == 0
    shown = capsys.readouterr().out
    assert "objects.log: clean" in shown
    assert "3 keys" in shown
    assert "1 (not tried" in shown
    assert (store / "objects.log").read_bytes() == before


def test_damage_is_named_by_place_and_key_and_not_touched_unasked(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = damage(store)
    before = (store / "objects.log").read_bytes()
    assert fsck_main([str(store), "-o", "json"]) == 1
    shown = found(capsys)
    assert (shown["verdict"], shown["damaged"], shown["keys"]) == ("damaged", 1, 2)
    (place,) = shown["places"]  # type: ignore[misc]
    assert place["keys"] == ["pods/a"]
    assert place["at"] < at < place["at"] + place["length"]
    assert (store / "objects.log").read_bytes() == before
    assert fsck_main([str(store)]) == 1
    assert f"at {place['at']}, {place['length']} bytes: record: 'pods/a'" in capsys.readouterr().out


def test_repair_leaves_what_is_whole_and_nothing_else(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code tells what was found; the second look finds nothing."""
    damage(store)
    (store / "objects.log.new").write_bytes(b"left")
    assert fsck_main([str(store), "--repair", "-o", "json"]) == 1
    shown = found(capsys)
    assert (shown["repaired"], shown["leftover"], shown["trouble"]) == (True, True, "")
    assert shown["size_after"] == (store / "objects.log").stat().st_size
    assert fsck_main([str(store)]) == 0
    assert [file.name for file in store.iterdir()] == ["objects.log"]
    assert loaded(store) == {"pods/b": b"new" * 20, "secrets/s": b"hidden"}


def test_repair_of_a_clean_store_compacts_it_and_keeps_what_is_sealed(store: Path) -> None:
    """No key is needed for that: sealed values are copied as they are."""
    before = (store / "objects.log").stat().st_size
    assert fsck_main([str(store), "--repair"]) == 0
    assert (store / "objects.log").stat().st_size < before
    assert loaded(store) == {"pods/a": b"new" * 20, "pods/b": b"new" * 20, "secrets/s": b"hidden"}


def test_a_torn_end_is_told_from_damage(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (store / "objects.log").open("ab") as file:
        file.write(b"half a batch")
    assert fsck_main([str(store), "-o", "json"]) == 1
    shown = found(capsys)
    assert (shown["verdict"], shown["torn"], shown["damaged"]) == ("torn", 12, 0)
    assert fsck_main([str(store), "--repair"]) == 1
    assert "a crash interrupted the last batch" in capsys.readouterr().out
    assert fsck_main([str(store)]) == 0


def test_sealed_values_are_tried_when_a_key_is_given(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "key"
    key.write_bytes(KEY)
    assert fsck_main([str(store), "--seal-key-file", str(key)]) == 0
    key.write_bytes(bytes(32))
    capsys.readouterr()
    assert fsck_main([str(store), "--seal-key-file", str(key), "-o", "json"]) == 1
    shown = found(capsys)
    assert [place["what"] for place in shown["places"]] == ["sealed with another key"]  # type: ignore[attr-defined]


def test_a_store_without_a_whole_header_becomes_an_empty_one(store: Path) -> None:
    content = (store / "objects.log").read_bytes()
    (store / "objects.log").write_bytes(bytes(48) + content[48:])
    assert fsck_main([str(store)]) == 1
    assert fsck_main([str(store), "--repair"]) == 1
    assert fsck_main([str(store)]) == 0
    assert loaded(store) == {}


@pytest.mark.parametrize("wrong", ["missing", "empty", "in use", "key", "flag", "newer"])
def test_wrong_input_ends_in_one_line_and_code_2(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str
) -> None:
    words = [str(store)]
    log = None
    match wrong:
        case "missing":
            words = [str(tmp_path / "nowhere")]
        case "empty":
            words = [str(tmp_path)]
        case "in use":
            log = DiskLog.open(store, sealer=Sealer(KEY), quota_bytes=QUOTA)
        case "key":
            words += ["--seal-key-file", str(tmp_path / "no.key")]
        case "flag":
            words += ["--fix"]
        case "newer":
            content = (store / "objects.log").read_bytes()
            (store / "objects.log").write_bytes(content[:8] + b"\x07\x00\xf8\xff" + content[12:])
    before = (store / "objects.log").read_bytes()
    assert fsck_main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("yurt-hub fsck: ")
    assert shown.err.count("\n") == 1
    assert (store / "objects.log").read_bytes() == before
    assert not (tmp_path / "nowhere").exists()
    if log is not None:
        log.close()
