"""What a fresh list changes in a set."""

from collections.abc import Mapping

from msgspec import Struct

from yurt_hub.domain.kept.coverage import order
from yurt_hub.domain.kept.objects import Key, Obj, uid_of


class Differences(Struct, frozen=True):
    """The steps from what a set has to what it should have, in this order."""

    lost: list[Obj]
    """Members that are no longer there, in the order of the API server's lists."""
    again: list[Obj]
    """Members whose name another object has by now: deleted, and made anew."""
    changed: list[tuple[Obj, Obj | None]]
    """New states by version, with the state before (None for objects that are new)."""
    dressed: list[Obj]
    """The same states with other cells."""


def differences(members: Mapping[Key, Obj], fresh: Mapping[Key, Obj]) -> Differences:
    """Compare; an empty result means that both are the same."""
    found = Differences([members[key] for key in sorted(members.keys() - fresh.keys(), key=order)], [], [], [])
    for obj in fresh.values():
        had = members.get(obj.key)
        if had is None:
            found.changed.append((obj, None))
        elif had.version == obj.version and had.raw == obj.raw:
            if obj.cells is not None and obj.cells != had.cells:
                found.dressed.append(obj)
        elif uid_of(had.raw) != uid_of(obj.raw):
            found.again.append(had)
            found.changed.append((obj, None))
        else:
            found.changed.append((obj, had))
    found.changed.sort(key=lambda change: change[0].version)
    return found
