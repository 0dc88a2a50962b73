"""How the store is written down: one record per object, two small ones per set.

    o/<resource>.<version>.<group>/<namespace>/<name>   every state of the object that a set holds, and in which sets
    c/<id>                                              what the set is and who may read it
    v/<id>                                              up to which version it is known

An object's record names its sets, so that an event costs one record, however large the set is. A set exists once its
`c` record does, and that is written after its objects and its `v`. A set's version is derived at load: the highest of
its `v` record and of the versions of its members; it may come out lower than it was, never higher, so that a watch that
goes on from it misses nothing.
"""

from typing import Final, Protocol

import msgspec
from msgspec import Struct
from yurtcore.wire.gvr import Gvr

from yurt_hub.domain.kept.objects import Key, Obj
from yurt_hub.domain.kept.sets import SetKey

OBJECT: Final = "o/"
COVERAGE: Final = "c/"
VERSION: Final = "v/"


class Recorder(Protocol):
    """Where records go. What is put between two returns to the event loop should be kept or lost as a whole.

    If it is torn instead (some of the first records survive), the store still loads to states of objects that the
    cloud had, and its watches still go on from where nothing is missed; only a set that was just listed anew may then
    be a mixture of both lists.
    """

    def put(self, key: str, value: bytes, *, secret: bool) -> None:
        """Keep `value` under `key`, in place of what was there; `secret` values are sealed."""

    def drop(self, key: str) -> None:
        """Forget `key`; it may be unknown."""


class Unrecorded:
    """A recorder that keeps nothing."""

    def put(self, key: str, value: bytes, *, secret: bool) -> None:
        """Keep nothing."""

    def drop(self, key: str) -> None:
        """Forget nothing."""


class State(Struct, array_like=True, frozen=True, gc=False):
    """One state of an object and the ids of the sets that hold it in this state."""

    version: int
    sets: tuple[int, ...]
    raw: bytes
    cells: bytes | None = None


class CoverageRecord(Struct, array_like=True):
    """What a set is. `callers` are identities with the wall time of their last permitted answer."""

    group: str
    api: str
    resource: str
    namespace: str
    labels: str
    fields: str
    one: bool
    kind: str
    list_kind: str
    columns: bytes | None
    needed: bool
    callers: dict[str, float]

    def key(self) -> SetKey:
        """The set that this is about."""
        return SetKey(Gvr(self.group, self.api, self.resource), self.namespace, self.labels, self.fields, one=self.one)


class VersionRecord(Struct, array_like=True):
    """Up to where a set is known; see `Coverage`."""

    version: int
    deleted: int
    confirmed: float
    used: float
    torn: bool = False
    """Also while a list replaces the set: what is found like this was written in part."""
    going: tuple[str, str] | None = None
    """The member that left at `deleted`, whether or not its own record says so."""
    gone: list[tuple[str, str, int]] = []


_ENCODER: Final = msgspec.msgpack.Encoder()
_STATES: Final = msgspec.msgpack.Decoder(list[State])
_COVERAGE: Final = msgspec.msgpack.Decoder(CoverageRecord)
_VERSION: Final = msgspec.msgpack.Decoder(VersionRecord)


def object_record(gvr: Gvr, key: Key) -> str:
    """The record's key of an object."""
    return f"{OBJECT}{gvr.resource}.{gvr.version}.{gvr.group}/{key[0]}/{key[1]}"


def object_of(record: str) -> tuple[Gvr, Key]:
    """Read `object_record` back; raises ValueError."""
    _, kind, namespace, name = record.split("/", 3)
    resource, version, group = kind.split(".", 2)
    return Gvr(group, version, resource), (namespace, name)


def encode(value: list[State] | CoverageRecord | VersionRecord) -> bytes:
    """A record's bytes."""
    return _ENCODER.encode(value)


def decode_states(value: bytes) -> list[State]:
    """The states in an object's record; raises msgspec.MsgspecError."""
    return _STATES.decode(value)


def decode_coverage(value: bytes) -> CoverageRecord:
    """The content of a `c` record; raises msgspec.MsgspecError."""
    return _COVERAGE.decode(value)


def decode_version(value: bytes) -> VersionRecord:
    """The content of a `v` record; raises msgspec.MsgspecError."""
    return _VERSION.decode(value)


def state_of(obj: Obj, sets: tuple[int, ...]) -> State:
    """An object's state as it is recorded."""
    return State(obj.version, sets, obj.raw, obj.cells)
