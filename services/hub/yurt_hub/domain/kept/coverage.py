"""The coverage of a set: its members as of one version, and who may read them."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from yurt_hub.domain.kept import sets
from yurt_hub.domain.kept.objects import Key, Obj
from yurt_hub.domain.kept.records import CoverageRecord, VersionRecord
from yurt_hub.domain.kept.sets import SetKey

_FIXED = {
    "": frozenset({"metadata.name", "metadata.namespace"}),
    "pods": frozenset({"metadata.name", "metadata.namespace", "spec.nodeName"}),
}


@dataclass(slots=True, eq=False)
class Coverage:
    """A set that the store holds whole, exactly as the cloud had it at `version`.

    `members` change by nothing but this set's own lists and events: what other sets tell of an object meanwhile does
    not enter, so that a list from here and a watch from its version fit together. The one thing that is taken over is
    that an object was deleted; such members are in `gone` and no longer shown.
    """

    id: int
    key: SetKey
    kind: str = ""
    """Kind of the members; "" while no object told it."""
    list_kind: str = ""
    version: int = 0
    deleted: int = 0
    """Version of the last deletion: since then members can only have come or changed."""
    confirmed: float = 0.0
    """Wall time at which the cloud last said something about the set."""
    used: float = 0.0
    """Wall time at which somebody last read it or was allowed to."""
    columns: bytes | None = None
    needed: bool = False
    """The kubelet or kube-proxy asked for it: never evicted."""
    torn: bool = False
    """A member may be missing (damage on disk): neither lists nor absences are told from it."""
    fed: bool = False
    """A feed keeps it up to date, or would: never evicted, and not swept."""
    members: dict[Key, Obj] = field(default_factory=dict)
    callers: dict[str, float] = field(default_factory=dict)
    gone: dict[Key, int] = field(default_factory=dict)
    """Members that another set's events showed to be deleted, with the version of the deletion."""
    moved: bool = False
    """Changed since its `v` record was written."""
    _keys: list[Key] | None = None

    def readable(self, identity: str) -> bool:
        """Tell whether this identity was allowed to read the set."""
        return identity in self.callers

    def read(self, now: float) -> None:
        """Somebody was answered from the set at this wall time."""
        self.used = max(self.used, now)
        self.moved = True

    def put(self, obj: Obj) -> None:
        """Take in one state of a member, or a new member."""
        if obj.key not in self.members:
            self._keys = None
        self.members[obj.key] = obj
        if self.gone and self.gone.get(obj.key, obj.version) < obj.version:
            del self.gone[obj.key]

    def drop(self, key: Key) -> None:
        """Take a member out."""
        if self.members.pop(key, None) is not None:
            self._keys = None
        self.gone.pop(key, None)

    def shown(self) -> list[Obj]:
        """The members that are not known to be deleted, in the order of the API server's lists."""
        if self._keys is None:
            self._keys = sorted(self.members, key=order)
        members, gone = self.members, self.gone
        if gone:
            return [members[key] for key in self._keys if key not in gone]
        return [members[key] for key in self._keys]

    def __iter__(self) -> Iterator[Obj]:
        return iter(self.shown())

    @property
    def fixed(self) -> bool:
        """An object never leaves this set but by its deletion.

        A DELETED event of any other set may as well mean that the object no longer matches the selectors; the API
        server sends the same event for both.
        """
        if self.key.labels:
            return False
        resource = self.key.gvr.resource if not self.key.gvr.group else ""
        known = _FIXED.get(resource, _FIXED[""])
        return all(
            term.field in known and not term.negated and term.value for term in sets.field_terms(self.key.fields)
        )

    def record(self) -> CoverageRecord:
        """What is written down of the set itself."""
        gvr = self.key.gvr
        return CoverageRecord(
            gvr.group, gvr.version, gvr.resource, self.key.namespace, self.key.labels, self.key.fields, self.key.one,
            self.kind, self.list_kind, self.columns, self.needed, dict(self.callers),
        )  # fmt: skip

    def version_record(self) -> VersionRecord:
        """What is written down of the set's version."""
        gone = [(namespace, name, version) for (namespace, name), version in self.gone.items()]
        return VersionRecord(self.version, self.deleted, self.confirmed, self.used, self.torn, None, gone)


def order(key: Key) -> str:
    """Sorts keys as the API server's storage does: by the text of its path."""
    return f"{key[0]}/{key[1]}" if key[0] else key[1]
