"""What a repair gave up is not forgotten before the owner has taken note, whatever happens in between."""

import json
from pathlib import Path

import pytest
from yurt_hub.adapters.disk import DiskLog, Sealer, own_key
from yurt_hub.domain.kept.objects import read_list
from yurt_hub.domain.kept.sets import set_key
from yurt_hub.domain.kept.store import Found, Permit, Store, Unknown
from yurt_hub.fsck import fsck_main
from yurtcore.wire.gvr import Gvr, parse_target

NODE = "system:node:n1"
PODS = Gvr("", "v1", "pods")
SET = set_key(parse_target("/api/v1/namespaces/default/pods"))
QUOTA = 64 * 1024 * 1024
B = "o/pods.v1./default/b"


def opened(root: Path) -> DiskLog:
    return DiskLog.open(root / "cache", sealer=Sealer(own_key(root / "seal.key")), quota_bytes=QUOTA)


def flushed(disk: DiskLog) -> None:
    disk.flush().result(30)
    disk.close()


def rot(root: Path, words: bytes) -> None:
    """Flip one bit of what stands there."""
    log = root / "cache" / "objects.log"
    data = bytearray(log.read_bytes())
    data[data.index(words)] ^= 1
    log.write_bytes(data)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The state folder of a hub that kept three pods, one of which has rotted."""
    disk = opened(tmp_path)
    items = [
        {"metadata": {"name": name, "namespace": "default", "resourceVersion": "7"}, "spec": {"x": f"rot-{name}"}}
        for name in "abc"
    ]
    body = {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "9"}, "items": items}
    Store(disk).put_list(SET, read_list(json.dumps(body).encode()), Permit(NODE, 5.0))
    flushed(disk)
    rot(tmp_path, b"rot-b")
    return tmp_path


def hub_starts(root: Path) -> Store:
    """Take in the log as a hub does, and end."""
    disk = opened(root)
    store = Store(disk)
    lost = [*disk.report.lost, *[""] * disk.report.nameless]
    store.load([record for record in disk.load() if record[0][:2] in ("o/", "c/", "v/")], damaged=lost)
    disk.noted()
    flushed(disk)
    return store


def right(store: Store) -> None:
    """Single pods are answered; the lost one is unknown rather than absent, and there is no list."""
    assert isinstance(store.get(PODS, "default", "a", NODE), Found)
    assert isinstance(store.get(PODS, "default", "b", NODE), Unknown)
    assert store.find(SET, NODE) is None


def test_a_log_that_was_repaired_names_what_it_lost_until_that_is_noted(root: Path) -> None:
    """However often the process ends in between; the note itself is no value of the owner's."""
    for _ in range(3):
        disk = opened(root)
        assert disk.report.lost == {B}
        assert disk.report.keys == len(dict(disk.load()))
        flushed(disk)
    right(hub_starts(root))
    disk = opened(root)
    assert disk.report.lost == frozenset()
    flushed(disk)


def test_a_set_stays_without_a_list_once_that_is_noted(root: Path) -> None:
    right(hub_starts(root))
    right(hub_starts(root))


def test_a_repair_by_a_person_is_no_different(root: Path) -> None:
    assert fsck_main([str(root / "cache"), "--repair"]) == 1
    assert fsck_main([str(root / "cache")]) == 0
    right(hub_starts(root))


def test_a_second_damage_adds_to_the_first(root: Path) -> None:
    flushed(opened(root))
    rot(root, b"rot-c")
    disk = opened(root)
    assert disk.report.lost >= {B, "o/pods.v1./default/c"}
    flushed(disk)


def test_a_log_without_damage_carries_no_note(root: Path) -> None:
    hub_starts(root)
    assert b"!lost" in (root / "cache" / "objects.log").read_bytes(), "dropped, and still in the file"
    assert fsck_main([str(root / "cache"), "--repair"]) == 0
    assert b"!lost" not in (root / "cache" / "objects.log").read_bytes()


def test_a_note_that_has_rotted_itself_stands_for_keys_that_nobody_knows(root: Path) -> None:
    flushed(opened(root))
    rot(root, b'"keys": ["o/')
    for _ in range(2):
        disk = opened(root)
        assert (disk.report.lost, disk.report.nameless) == (frozenset(), 1)
        flushed(disk)
    assert hub_starts(root).find(SET, NODE) is None
