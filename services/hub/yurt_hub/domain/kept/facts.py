"""What goes into the store and comes out of it, as values."""

from msgspec import Struct

from yurt_hub.domain.kept.coverage import Coverage
from yurt_hub.domain.kept.objects import Obj


class Permit(Struct, frozen=True):
    """The cloud let `identity` read something; its answer came at the wall time `now`."""

    identity: str
    now: float
    needed: bool = False
    """The kubelet or kube-proxy asked."""


class Change(Struct, frozen=True):
    """One difference in a set. For DELETED `obj` is the last state, for ADDED `prev` is None."""

    type: str
    obj: Obj
    prev: Obj | None
    version: int
    """That a watcher who was told is at; for deletions found by a list, the list's."""


class Listed(Struct, frozen=True):
    """What a list did to its set."""

    coverage: Coverage | None
    """None when the set was not kept (see `why`)."""
    changes: list[Change]
    """DELETED first, then the others by version; a recreated object is DELETED and ADDED."""
    before: int
    """The set's version until now, 0 for a new one."""
    anew: bool = False
    """What watchers know cannot be gone on from: the cloud was set back, or what was kept was damaged."""
    set_back: bool = False
    """The cloud's versions are lower than they were."""
    why: str = ""


class Found(Struct, frozen=True):
    """The object, and the set that knows it up to the highest version."""

    obj: Obj
    coverage: Coverage


class Absent(Struct, frozen=True):
    """There is no such object, says this set, which would contain it."""

    coverage: Coverage


class Unknown(Struct, frozen=True):
    """Nothing that is kept can tell; `reason` says what is missing."""

    reason: str
