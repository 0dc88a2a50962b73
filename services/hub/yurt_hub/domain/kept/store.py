"""What the hub keeps: every object once, the sets it belongs to, and what may be answered from them.

Rules:

- A set is a snapshot of the cloud at one version, moved on by its own lists and events alone (see `Coverage`).
- An answer about one object comes from the set that knows it up to the highest version: present, absent, or unknown.
- Who was never allowed to read a set gets nothing from it.
- A list that is older than the set is known already changes nothing; unless it was asked for after the set's last news,
  in which case the cloud was set back (an etcd restored) and what it says now counts.
- Records are written when something changed, and for every set at least at `checkpoint`.
"""

from collections.abc import Collection, Iterable
from typing import Final

from yurtcore.wire.gvr import Gvr

from yurt_hub.domain.kept import loading, lookup, quota, sets
from yurt_hub.domain.kept.coverage import Coverage
from yurt_hub.domain.kept.differences import differences
from yurt_hub.domain.kept.facts import Absent, Change, Found, Listed, Permit, Unknown
from yurt_hub.domain.kept.objects import Event, Key, ListRead, Obj, kind_of
from yurt_hub.domain.kept.quota import Limits
from yurt_hub.domain.kept.records import COVERAGE, VERSION, CoverageRecord, Recorder, State, encode
from yurt_hub.domain.kept.sets import SetKey
from yurt_hub.domain.kept.shelf import Shelf

__all__ = ["Absent", "Change", "Found", "Listed", "Permit", "Store", "Unknown"]

IN_FLIGHT: Final = 120.0
"""Seconds after which no answer to an earlier request is still on its way."""


class Store:
    """See the module. Identities are texts; times are wall clock seconds."""

    def __init__(self, recorder: Recorder, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._recorder = recorder
        self._shelves: dict[Gvr, Shelf] = {}
        self._by_id: dict[int, Coverage] = {}
        self._next_id = 1

    # ---- what the cloud says ----

    def put_list(
        self, key: SetKey, read: ListRead, permit: Permit, *, since: float | None = None, fed: bool = False
    ) -> Listed:
        """Take in a whole list (all of its pages).

        A set that a feed keeps up to date is changed by that feed alone (`fed`), since its readers have to be told; a
        list that somebody else asked for then only permits.
        `since` is the wall time at which it was asked for, None when the answer may come from an API server's cache
        (`resourceVersion=0`) and be older than what others were told. A feed lists when none of its own requests is on
        its way.
        """
        fresh, version, now = {obj.key: obj for obj in read.items}, read.version, permit.now
        shelf = self._shelf(key.gvr)
        found = shelf.sets.get(key)
        before = found.version if found else 0
        most = self.limits.members
        if len(fresh) > most and not permit.needed and not (found and found.needed):
            return Listed(None, [], before, why=f"{len(fresh)} objects; at most {most} are kept of a set")
        set_back = found is not None and version < before and _later(found, since, fed=fed)
        if found is not None and ((version < before and not set_back) or (found.fed and not fed)):
            if shelf.dress(found, fresh, read.columns):
                self._write(found)
            self._permit(found, permit)
            return Listed(found, [], before)
        coverage = found or self._new(key)
        torn = coverage.torn
        learned = shelf.learn(coverage, read.item_kind, read.kind, read.columns)
        if set_back:
            self._set_back(shelf, coverage, version)
        changes = self._replace(shelf, coverage, fresh, version)
        if version != before or torn:
            coverage.deleted = version  # what came and went in between is not known
        coverage.torn = False
        coverage.gone.clear()
        coverage.version = version
        self._confirm(coverage, now)
        shelf.horizon = max(shelf.horizon, version)
        self._write_version(coverage)
        self._permit(coverage, permit, force=found is None or learned)
        if coverage in quota.shed(self, keep=coverage):
            return Listed(None, changes, before, why="the quota of the store is used up")
        return Listed(coverage, changes, before, anew=set_back or torn, set_back=set_back)

    def put_object(
        self, gvr: Gvr, obj: Obj, permit: Permit, *, kind: str = "", columns: bytes | None = None, as_of: int = 0
    ) -> Coverage:
        """Take in the answer to a get, create, update or patch.

        `as_of` is `horizon(gvr)` when a consistent get was sent: the object is known to be so at that version at least.
        """
        shelf = self._shelf(gvr)
        key = sets.one_key(gvr, *obj.key)
        found = shelf.sets.get(key)
        coverage = found or self._new(key)
        learned = shelf.learn(coverage, kind or ("" if shelf.kind else kind_of(obj.raw)), "", columns)
        had = coverage.members.get(obj.key)
        if obj.version >= had.version if had is not None else max(obj.version, as_of) >= coverage.version:
            shelf.join(coverage, obj)
            coverage.version = max(coverage.version, obj.version, as_of)
            shelf.horizon = max(shelf.horizon, coverage.version)
            self._confirm(coverage, permit.now)
        if found is None:
            self._write_version(coverage)
        self._permit(coverage, permit, force=found is None or learned)
        quota.shed(self, keep=coverage)
        return coverage

    def absent(self, gvr: Gvr, key: Key, permit: Permit, *, as_of: int) -> None:
        """Take in the 404 of a consistent get that was sent when `horizon(gvr)` was `as_of`."""
        shelf = self._shelf(gvr)
        one = sets.one_key(gvr, *key)
        found = shelf.sets.get(one)
        coverage = found or self._new(one)
        had = coverage.members.get(key)
        if had is None or had.version <= as_of:
            coverage.version = coverage.deleted = max(coverage.version, as_of)
            self._confirm(coverage, permit.now)
            self._write_version(coverage, going=key)
            shelf.leave(coverage, key)
            self._spread(shelf, key, as_of, told_by=coverage)
        self._permit(coverage, permit, force=found is None)

    def apply(self, key: SetKey, event: Event, now: float) -> Change | None:
        """Take in one event of the set's own watch; None when it says nothing new, or the set is not kept."""
        shelf = self._shelf(key.gvr)
        coverage = shelf.sets.get(key)
        if coverage is None:
            return None
        if event.columns is not None and shelf.learn(coverage, "", "", event.columns):
            self._write(coverage)
        self._confirm(coverage, now)
        if event.version <= coverage.version:
            return None
        obj = event.obj
        prev = coverage.members.get(obj.key) if obj is not None else None
        coverage.version = event.version
        shelf.horizon = max(shelf.horizon, event.version)
        if obj is None:
            return None
        if event.type == "DELETED":
            coverage.deleted = event.version
            self._write_version(coverage, going=obj.key)
            shelf.leave(coverage, obj.key)
            if coverage.fixed:
                self._spread(shelf, obj.key, event.version, told_by=coverage)
        else:
            obj = shelf.join(coverage, obj)
        kind = "DELETED" if event.type == "DELETED" else "MODIFIED" if prev is not None else "ADDED"
        return Change(kind, obj, prev, event.version)

    def bookmark(self, key: SetKey, version: int, now: float) -> None:
        """The cloud confirms a set up to `version`."""
        coverage = self.coverage(key)
        if coverage is not None:
            coverage.version = max(coverage.version, version)
            self._shelf(key.gvr).horizon = max(self.horizon(key.gvr), version)
            self._confirm(coverage, now)

    def allow(self, key: SetKey, permit: Permit) -> None:
        """The cloud permits somebody to read the set; nothing happens when it is not kept."""
        coverage = self.coverage(key)
        if coverage is not None:
            self._permit(coverage, permit)

    def refuse(self, key: SetKey, identity: str) -> None:
        """The cloud refuses `identity` this set: it no longer reads it, nor (of a list) any that contains it."""
        for coverage in list(self._shelf(key.gvr).sets.values()):
            hit = coverage.key == key if key.one else sets.contains(coverage.key, key)
            if hit and identity in coverage.callers:
                del coverage.callers[identity]
                self._write(coverage)

    # ---- what may be answered ----

    def coverage(self, key: SetKey) -> Coverage | None:
        """The coverage of exactly this set."""
        shelf = self._shelves.get(key.gvr)
        return shelf.sets.get(key) if shelf else None

    def candidates(self, asked: SetKey, identity: str) -> list[Coverage]:
        """The sets that contain `asked` and that `identity` may read, the one known up to the highest version first."""
        return lookup.candidates(self._known(asked.gvr), asked, identity)

    def find(self, asked: SetKey, identity: str) -> Coverage | None:
        """The first of the `candidates`."""
        return next(iter(self.candidates(asked, identity)), None)

    def get(self, gvr: Gvr, namespace: str, name: str, identity: str) -> Found | Absent | Unknown:
        """What is known of one object to `identity`."""
        return lookup.get(self._known(gvr), sets.one_key(gvr, namespace, name), (namespace, name), identity)

    def missing(self, asked: SetKey, identity: str) -> str:
        """Why nothing that is kept answers this, for a person."""
        return lookup.missing(self._known(asked.gvr), asked, identity)

    def horizon(self, gvr: Gvr) -> int:
        """The highest version that was heard of a kind, 0 for none."""
        shelf = self._shelves.get(gvr)
        return shelf.horizon if shelf else 0

    def kinds(self, gvr: Gvr) -> tuple[str, str]:
        """Kind and list kind of a resource, as objects and lists told them; "" when nothing did."""
        shelf = self._shelves.get(gvr)
        if shelf is None:
            return "", ""
        return shelf.kind, shelf.list_kind or (f"{shelf.kind}List" if shelf.kind else "")

    # ---- care ----

    def load(self, found: Iterable[tuple[str, bytes]], *, damaged: Collection[str] = ()) -> list[str]:
        """Rebuild from records; for an empty store, once. Gives what could not be used, in words.

        `damaged` are keys of records that were lost: sets that may have held such an object are `torn` until they are
        listed anew. A key that is itself unknown is given as "", and tears all sets.
        """
        return loading.load(self, found, damaged)

    def restore_set(self, number: int, record: CoverageRecord) -> None:
        """While loading: a set exists, as yet without members."""
        coverage = Coverage(number, record.key(), needed=record.needed, callers=record.callers)
        self._by_id[number] = coverage
        shelf = self._shelf(coverage.key.gvr)
        shelf.sets[coverage.key] = coverage
        shelf.learn(coverage, record.kind, record.list_kind, record.columns)

    def restore(self, gvr: Gvr, key: Key, states: list[State]) -> None:
        """While loading, when all sets are there: an object in its states."""
        self._next_id = max(self._next_id, *(number + 1 for state in states for number in state.sets), 1)
        self._shelf(gvr).restore(key, states, self._by_id.get)

    def expel(self, coverage: Coverage, key: Key) -> None:
        """While loading: an object left the set after all."""
        self._shelf(coverage.key.gvr).leave(coverage, key)

    def settle(self) -> None:
        """While loading, when all objects are there: numbers that follow from the rest."""
        self._next_id = max(self._next_id, *(number + 1 for number in self._by_id), 1)
        self._by_id = dict(sorted(self._by_id.items()))
        for coverage in self._by_id.values():
            shelf = self._shelf(coverage.key.gvr)
            shelf.horizon = max(shelf.horizon, coverage.version)

    def forget(self, key: SetKey) -> None:
        """Keep this set no longer, nor those of its objects that no other set holds."""
        shelf = self._shelf(key.gvr)
        coverage = shelf.sets.pop(key, None)
        if coverage is None:
            return
        del self._by_id[coverage.id]
        self._recorder.drop(f"{COVERAGE}{coverage.id}")
        self._recorder.drop(f"{VERSION}{coverage.id}")
        for member in coverage.members:
            shelf.place(coverage, member, None)

    def sweep(self, now: float, *, idle: float) -> list[SetKey]:
        """Forget what nobody read for `idle` seconds, see `quota.stale`; gives it. Call it only while lit."""
        old = [one.key for one in self.coverages() if quota.stale(one, now, idle)]
        for key in old:
            self.forget(key)
        return old

    def checkpoint(self) -> None:
        """Write down how far sets have come since; call it now and then, and at the end."""
        quota.shed(self)
        for coverage in self._by_id.values():
            if coverage.moved:
                self._write_version(coverage)

    def coverages(self) -> list[Coverage]:
        """All sets, in the order in which they came."""
        return list(self._by_id.values())

    @property
    def size(self) -> int:
        """Memory that the objects take, about."""
        return sum(shelf.bytes for shelf in self._shelves.values())

    @property
    def objects(self) -> int:
        """How many objects are kept."""
        return sum(len(shelf.objects) for shelf in self._shelves.values())

    # ---- within ----

    def _known(self, gvr: Gvr) -> Collection[Coverage]:
        shelf = self._shelves.get(gvr)
        return shelf.sets.values() if shelf else ()

    def _shelf(self, gvr: Gvr) -> Shelf:
        shelf = self._shelves.get(gvr)
        if shelf is None:
            shelf = self._shelves[gvr] = Shelf(gvr, self._recorder, lambda number: self._by_id[number])
        return shelf

    def _new(self, key: SetKey) -> Coverage:
        coverage = Coverage(self._next_id, key)
        self._next_id += 1
        self._by_id[coverage.id] = self._shelf(key.gvr).sets[key] = coverage
        return coverage

    def _replace(self, shelf: Shelf, coverage: Coverage, fresh: dict[Key, Obj], version: int) -> list[Change]:
        found = differences(coverage.members, fresh)
        changes = [Change("DELETED", obj, obj, version) for obj in (*found.lost, *found.again)]
        if coverage.version and (found.lost or found.changed):
            coverage.torn = True
            self._write_version(coverage)  # if not all of what follows gets written
        for obj in found.lost:
            shelf.leave(coverage, obj.key)
        for obj, had in found.changed:
            held = shelf.join(coverage, obj)
            changes.append(Change("ADDED" if had is None else "MODIFIED", held, had, obj.version))
        for obj in found.dressed:
            shelf.join(coverage, obj)
        return changes

    def _spread(self, shelf: Shelf, key: Key, version: int, *, told_by: Coverage) -> None:
        """An object was deleted at `version`: sets that have not heard of it stop showing it."""
        for coverage in shelf.sets.values():
            member = coverage.members.get(key)
            if coverage is not told_by and member is not None and max(member.version, coverage.version) <= version:
                coverage.gone[key] = version
                self._write_version(coverage)

    def _set_back(self, shelf: Shelf, coverage: Coverage, version: int) -> None:
        """Forget what no longer ever happened: other sets from after the point that the cloud was set back to."""
        shelf.horizon = version
        for other in list(shelf.sets.values()):
            if other is not coverage and other.version > version and not other.fed:
                self.forget(other.key)

    def _permit(self, coverage: Coverage, permit: Permit, *, force: bool = False) -> None:
        identity = permit.identity
        new = identity not in coverage.callers
        coverage.callers[identity] = coverage.used = permit.now
        coverage.moved = True
        if new or force or (permit.needed and not coverage.needed):
            coverage.needed = coverage.needed or permit.needed
            quota.bound_callers(coverage, self.limits)
            self._write(coverage)
        if new and not coverage.needed:
            quota.bound_sets(self, identity, keep=coverage)

    def _confirm(self, coverage: Coverage, now: float) -> None:
        coverage.confirmed = now
        coverage.moved = True

    def _write(self, coverage: Coverage) -> None:
        self._recorder.put(f"{COVERAGE}{coverage.id}", encode(coverage.record()), secret=False)

    def _write_version(self, coverage: Coverage, *, going: Key | None = None) -> None:
        """Write down up to where a set is known; `going` is about to leave it, which loading makes up for."""
        coverage.moved = False
        record = coverage.version_record()
        record.going = going
        self._recorder.put(f"{VERSION}{coverage.id}", encode(record), secret=False)


def _later(known: Coverage, since: float | None, *, fed: bool) -> bool:
    """Whether a list was surely asked for after all that is known of its set was said."""
    return since is not None and (fed or since >= known.confirmed + IN_FLIGHT)
