"""Rebuilding a store from its records."""

import sys
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import msgspec
from yurtcore.wire.gvr import Gvr

from yurt_hub.domain.kept import records
from yurt_hub.domain.kept.coverage import Coverage

if TYPE_CHECKING:
    from yurt_hub.domain.kept.store import Store


def load(store: "Store", found: Iterable[tuple[str, bytes]], damaged: Collection[str]) -> list[str]:
    """See `Store.load`."""
    problems = [f"record {key or 'of an unknown object'} was lost" for key in damaged]
    lost = set(damaged)
    objects: list[tuple[str, bytes]] = []
    versions: dict[int, bytes] = {}
    for key, value in found:
        if key.startswith(records.OBJECT):
            objects.append((key, value))
        elif not _take_small(store, key, value, versions):
            problems.append(f"record {key} cannot be read")
            lost.add(key)
    for key, value in objects:
        try:
            gvr, (namespace, name) = records.object_of(key)
            states = records.decode_states(value)
        except (ValueError, msgspec.MsgspecError):
            problems.append(f"record {key} cannot be read")
            lost.add(key)
            continue
        store.restore(gvr, (sys.intern(namespace), name), states)
    for coverage in store.coverages():
        if not _set_version(store, coverage, versions.get(coverage.id)):
            problems.append(f"record {records.VERSION}{coverage.id} is missing")
            coverage.torn = coverage.moved = True
    store.settle()
    _tear(store, lost)
    return problems


def _take_small(store: "Store", key: str, value: bytes, versions: dict[int, bytes]) -> bool:
    """Take in a record of a set; False when it is unreadable."""
    number = key[2:]
    if not number.isdigit():
        return False
    if key.startswith(records.VERSION):
        versions[int(number)] = value
        return True
    if not key.startswith(records.COVERAGE):
        return False
    try:
        store.restore_set(int(number), records.decode_coverage(value))
    except msgspec.MsgspecError:
        return False
    return True


def _set_version(store: "Store", coverage: Coverage, value: bytes | None) -> bool:
    """Give a set its version; False when its record is missing or unreadable: up to where it is known is not known."""
    try:
        record = records.decode_version(value or b"")
    except msgspec.MsgspecError:
        coverage.deleted = coverage.version
        return False
    if record.going is not None:
        member = coverage.members.get(record.going)
        if member is not None and member.version <= record.deleted:
            store.expel(coverage, record.going)
    coverage.version = max(coverage.version, record.version)
    coverage.deleted, coverage.confirmed, coverage.used = record.deleted, record.confirmed, record.used
    coverage.torn = record.torn
    for namespace, name, version in record.gone:
        member = coverage.members.get((namespace, name))
        if member is not None and member.version <= version:  # else it was made anew since
            coverage.gone[member.key] = version
    return True


def _tear(store: "Store", lost: Collection[str]) -> None:
    """Mark the sets that a lost record may have had a part in."""
    kinds: set[Gvr] = set()
    everything = False
    for key in lost:
        if key.startswith((records.COVERAGE, records.VERSION)):
            continue  # that set alone is gone, or torn already
        try:
            kinds.add(records.object_of(key)[0])
        except ValueError:
            everything = True
    for coverage in store.coverages():
        if (everything or coverage.key.gvr in kinds) and not coverage.torn:
            coverage.torn = coverage.moved = True
    store.checkpoint()
