"""The objects of one kind, each state once, whatever sets hold it.

As a rule all sets hold the same state of an object. They differ for as long as one feed has heard of a change and
another has not.
"""

from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct
from yurtcore.wire.gvr import Gvr

from yurt_hub.domain.kept import records
from yurt_hub.domain.kept.coverage import Coverage
from yurt_hub.domain.kept.objects import Key, Obj
from yurt_hub.domain.kept.records import Recorder, State
from yurt_hub.domain.kept.sets import SetKey

OVERHEAD: Final = 450
"""Bytes of memory that an object costs beside its JSON: keys, counters, its places in dictionaries."""


class Held(Struct, frozen=True, gc=False):
    """One state of an object, and the sets that hold it."""

    obj: Obj
    sets: tuple[int, ...]


class Shelf:
    """All objects and sets of one kind."""

    def __init__(self, gvr: Gvr, recorder: Recorder, coverage_of: Callable[[int], Coverage]) -> None:
        self.gvr = gvr
        self.kind = ""
        self.list_kind = ""
        self.horizon = 0
        """The highest version that was heard of this kind."""
        self.secret = gvr.resource == "secrets"
        self.objects: dict[Key, tuple[Held, ...]] = {}
        self.sets: dict[SetKey, Coverage] = {}
        self.bytes = 0
        self._recorder = recorder
        self._coverage_of = coverage_of

    def learn(self, coverage: Coverage, kind: str, list_kind: str, columns: bytes | None) -> bool:
        """Take in what the cloud says of the kind; tells whether that is news of this set."""
        self.kind = kind or self.kind
        if list_kind not in ("", "Table"):
            self.list_kind = list_kind
        before = (coverage.kind, coverage.list_kind, coverage.columns)
        coverage.kind, coverage.list_kind = self.kind, self.list_kind
        coverage.columns = columns or coverage.columns
        return before != (coverage.kind, coverage.list_kind, coverage.columns)

    def join(self, coverage: Coverage, obj: Obj) -> Obj:
        """The object is a member of the set, in this state; gives the state as it is held."""
        held = self.place(coverage, obj.key, obj) or obj
        coverage.put(held)
        return held

    def leave(self, coverage: Coverage, key: Key) -> None:
        """The object is no member of the set."""
        if key in coverage.members:
            self.place(coverage, key, None)
            coverage.drop(key)

    def dress(self, coverage: Coverage, fresh: Mapping[Key, Obj], columns: bytes | None) -> bool:
        """Take over the columns, and the cells of members whose very states came in a Table; tells of new columns."""
        if columns is None:
            return False
        for obj in fresh.values():
            had = coverage.members.get(obj.key)
            if had is not None and _same(had, obj) and had.cells != obj.cells:
                self.join(coverage, obj)
        return self.learn(coverage, "", "", columns)

    def place(self, coverage: Coverage, key: Key, obj: Obj | None) -> Obj | None:
        """Let a set hold this state of the object (None: no state of it); gives the state as it is held.

        The coverage's own members are not touched, but for equal states in other sets that lacked cells.
        """
        before = self.objects.get(key, ())
        after: list[Held] = []
        placed: Obj | None = None
        changed = False
        for held in before:
            others = _without(held.sets, coverage.id)
            if obj is not None and placed is None and _same(held.obj, obj):
                placed = held.obj
                if obj.cells is not None and obj.cells != held.obj.cells:
                    changed = changed or held.obj.cells is None
                    placed = self._swap(held.obj, obj, others)
                changed = changed or len(others) == len(held.sets)
                after.append(Held(placed, held.sets if len(others) < len(held.sets) else (*others, coverage.id)))
            elif others:
                changed = changed or len(others) != len(held.sets)
                after.append(Held(held.obj, others))
            else:
                changed = True
                self.bytes -= size(held.obj)
        if obj is not None and placed is None:
            placed = Obj(before[0].obj.key, obj.version, obj.raw, obj.cells) if before else obj
            after.append(Held(placed, (coverage.id,)))
            self.bytes += size(placed)
            changed = True
        if after:
            self.objects[key] = tuple(after)
        elif before:
            del self.objects[key]
        if changed:
            self._record(key, after)
        return placed

    def restore(self, key: Key, states: list[State], known: Callable[[int], Coverage | None]) -> None:
        """Put an object back as its record says, in those of its sets that exist."""
        after = []
        for state in states:
            held_by = [(number, found) for number in state.sets if (found := known(number)) is not None]
            if not held_by:
                continue
            obj = Obj(key, state.version, state.raw, state.cells)
            for _, coverage in held_by:
                coverage.put(obj)
                coverage.version = max(coverage.version, obj.version)
            after.append(Held(obj, tuple(number for number, _ in held_by)))
            self.horizon = max(self.horizon, obj.version)
            self.bytes += size(obj)
        if after:
            self.objects[key] = tuple(after)
        if sum(len(held.sets) for held in after) != sum(len(state.sets) for state in states):
            self._record(key, after)

    def _swap(self, old: Obj, new: Obj, others: tuple[int, ...]) -> Obj:
        """The same state with newer cells, in all sets that hold it."""
        swapped = Obj(old.key, old.version, old.raw, new.cells)
        self.bytes += size(swapped) - size(old)
        for number in others:
            self._coverage_of(number).members[old.key] = swapped
        return swapped

    def _record(self, key: Key, held: list[Held]) -> None:
        name = records.object_record(self.gvr, key)
        if held:
            states = [records.state_of(one.obj, one.sets) for one in held]
            self._recorder.put(name, records.encode(states), secret=self.secret)
        else:
            self._recorder.drop(name)


def size(obj: Obj) -> int:
    """Bytes that an object takes in memory."""
    return len(obj.raw) + len(obj.cells or b"") + OVERHEAD


def _same(left: Obj, right: Obj) -> bool:
    return left.version == right.version and (left.raw is right.raw or left.raw == right.raw)


def _without(numbers: tuple[int, ...], number: int) -> tuple[int, ...]:
    return tuple(one for one in numbers if one != number) if number in numbers else numbers
