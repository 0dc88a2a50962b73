"""The node's Lease: a kubelet's renewals are answered here at once, and the cloud hears of each once.

The kubelet needs nothing of an answer but the Lease back, so it is prepared: only `renewTime` is put in. The version is
the one that the cloud gave last; nothing is made up. A renewal goes to the cloud as a merge patch without a version, so
an old one can do no harm. The reference keeps on renewing for 40 s after the kubelet fell silent; here a renewal that
was not seen is not sent.
"""

import enum
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from yurtcore.wire.gvr import Target

from yurt_hub.domain.local.answers import (
    JSON,
    NOT_CACHED,
    Local,
    already_exists,
    missing,
    warning,
)
from yurt_hub.domain.local.leases import Renewal, read_renewal
from yurt_hub.domain.local.ports import Recorder

LEASES: Final = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
PREFIX: Final = "l/"
WRITE_EVERY: Final = 60.0
"""Least seconds between two records: flash wears out."""
REWRITE_EVERY: Final = 600.0
"""Seconds after which a record is replaced though nothing but the version and the time has changed."""

_PLACE: Final = "\x00renewTime\x00"
_HEADERS: Final = ((b"Content-Type", JSON), NOT_CACHED)
_OF_THE_CLOUD: Final = ("uid", "resourceVersion", "creationTimestamp", "managedFields", "generation", "selfLink")


class Act(enum.Enum):
    """What a request does with the node's own Lease."""

    RENEW = "renew"
    READ = "read"
    CREATE = "create"


class Record(msgspec.Struct, frozen=True):
    """The Lease as it is written down."""

    lease: bytes
    at: float
    """Wall time of the cloud's answer that it came from; 0 if it came from the kubelet alone."""


def micro_time(now: float) -> str:
    """Wall seconds as Kubernetes writes a MicroTime."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Beats:
    """The Lease of one node as the cloud knows it, and the renewals of its kubelet; `now` is wall time in seconds."""

    def __init__(self, node: str, recorder: Recorder) -> None:
        self.node = node
        self.path = f"{LEASES}/{node}"
        self.seen = 0.0
        """When the kubelet renewed last; 0: not yet."""
        self.at_cloud = 0.0
        """When the cloud gave this Lease last; 0: never."""
        self._recorder = recorder
        self._lease: dict[str, Any] | None = None
        self._head = self._tail = b""
        self._stamp = b""
        self._body = b""
        self._owners_due = False
        self._written = 0.0
        self._written_lease: dict[str, Any] = {}

    @property
    def known(self) -> bool:
        """True once there is a Lease to answer with."""
        return self._lease is not None

    def act(self, method: str, target: Target) -> Act | None:
        """Say what a request by the node's own identity does with its Lease; None if it is none of ours.

        Dry runs and deletions are none; nobody but the node itself can create a Lease of its namespace.
        """
        if target.path == self.path:
            if method == "PUT":
                return None if "dryRun" in target.query else Act.RENEW
            return Act.READ if method == "GET" else None
        if method == "POST" and target.path == LEASES and "dryRun" not in target.query:
            return Act.CREATE
        return None

    def load(self, records: Iterable[tuple[str, bytes]]) -> None:
        """Take up the Lease of an earlier run from all records there are."""
        for key, value in records:
            if key == PREFIX + self.node:
                try:
                    record = msgspec.msgpack.decode(value, type=Record)
                    lease = _lease_of(record.lease, self.node)
                except (ValueError, msgspec.MsgspecError):
                    self._recorder.drop(key)
                    continue
                self._keep(lease)
                self.at_cloud = record.at

    def learn(self, body: bytes, now: float) -> bool:
        """Take the JSON Lease of a 200 or 201 of the cloud; False, and nothing changes, if it is not this node's."""
        try:
            lease = _lease_of(body, self.node)
        except ValueError:
            return False
        self._keep(lease)
        self._owners_due = False
        self.at_cloud = now
        self._write(now)
        return True

    def forget(self) -> None:
        """The cloud says that there is no such Lease: the kubelet will create it."""
        self._lease = None
        self._body = b""
        self._written, self._written_lease = 0.0, {}
        self._recorder.drop(PREFIX + self.node)

    def renewed(self, body: bytes, now: float) -> Local | None:
        """Answer a kubelet's renewal, JSON or protobuf; None if neither it nor anything before names a Lease.

        Whoever gets an answer here tells the renewing loop.
        """
        if body != self._body or self._lease is None:
            self._compare(body)
            if self._lease is None:
                return None
        self.seen = now
        self._stamp = micro_time(now).encode()
        return Local(200, _HEADERS, b"%b%b%b" % (self._head, self._stamp, self._tail))

    def read(self, now: float) -> Local:
        """Answer a kubelet's GET in the dark."""
        if self._lease is None:
            return missing(f"the cloud cannot be reached, and this hub has not seen the Lease of node {self.node} yet")
        body = b"%b%b%b" % (self._head, self._stamp, self._tail)
        return Local(200, (*_HEADERS, warning(now - self.at_cloud)), body)

    def created(self) -> Local:
        """Answer a kubelet's POST in the dark."""
        if self._lease is None:
            return missing(f"the cloud cannot be reached; the Lease of node {self.node} is created there")
        return already_exists("leases", "coordination.k8s.io", self.node)

    def patch(self) -> bytes:
        """The merge patch that brings the last renewal seen to the cloud."""
        spec = {} if self._lease is None else self._lease["spec"]
        wanted = {key: spec[key] for key in ("holderIdentity", "leaseDurationSeconds") if key in spec}
        change: dict[str, Any] = {"spec": {**wanted, "renewTime": micro_time(self.seen)}}
        if self._owners_due and self._lease is not None:
            change["metadata"] = {"ownerReferences": self._lease["metadata"]["ownerReferences"]}
        return _encode(change)

    def creation(self) -> bytes:
        """The Lease to create at the cloud when it is gone there, as a kubelet's own PUT would."""
        lease = self._lease or _empty(self.node)
        metadata = {key: value for key, value in lease["metadata"].items() if key not in _OF_THE_CLOUD}
        spec = {**lease["spec"], "renewTime": micro_time(self.seen)}
        return _encode({**lease, "metadata": metadata, "spec": spec})

    def _compare(self, body: bytes) -> None:
        """Take over what the kubelet itself has changed: its words on holder, duration and a missing owner count."""
        try:
            wish = read_renewal(body)
        except ValueError:
            return
        self._body = body
        known = self._lease
        lease = wish.lease(self.node) if known is None else _with(known, wish)
        if lease is not known:
            before = None if known is None else known["metadata"].get("ownerReferences")
            self._owners_due = self._owners_due or before != lease["metadata"].get("ownerReferences")
            self._keep(lease)

    def _keep(self, lease: dict[str, Any]) -> None:
        self._lease = lease
        spec = lease["spec"]
        self._stamp = str(spec.get("renewTime") or micro_time(self.seen)).encode()
        text = json.dumps({**lease, "spec": {**spec, "renewTime": _PLACE}}, separators=(",", ":"), ensure_ascii=False)
        head, _, tail = text.partition(json.dumps(_PLACE))
        self._head, self._tail = head.encode() + b'"', b'"' + tail.encode()

    def _write(self, now: float) -> None:
        if self._lease is None or abs(now - self._written) < WRITE_EVERY:
            return
        lasting = _lasting(self._lease)
        if lasting != self._written_lease or abs(now - self._written) >= REWRITE_EVERY:
            record = Record(_encode(self._lease), self.at_cloud)
            self._recorder.put(PREFIX + self.node, msgspec.msgpack.encode(record), secret=False)
            self._written, self._written_lease = now, lasting


def _lease_of(body: bytes, node: str) -> dict[str, Any]:
    lease = json.loads(body)
    if (
        not isinstance(lease, dict)
        or lease.get("kind") != "Lease"
        or not isinstance(lease.get("metadata"), dict)
        or lease["metadata"].get("name") != node
        or not isinstance(lease.get("spec"), dict)
    ):
        raise ValueError("not the Lease of this node")
    return lease


def _empty(node: str) -> dict[str, Any]:
    return Renewal(holder=node, duration=40).lease(node)


def _with(known: dict[str, Any], wish: Renewal) -> dict[str, Any]:
    """The known Lease with what the kubelet wants otherwise; the same object if that is nothing."""
    spec, metadata = dict(known["spec"]), dict(known["metadata"])
    if wish.holder:
        spec["holderIdentity"] = wish.holder
    if wish.duration:
        spec["leaseDurationSeconds"] = wish.duration
    if wish.owners and not metadata.get("ownerReferences"):
        metadata["ownerReferences"] = list(wish.owners)
    if spec == known["spec"] and metadata == known["metadata"]:
        return known
    return {**known, "metadata": metadata, "spec": spec}


def _lasting(lease: dict[str, Any]) -> dict[str, Any]:
    """The Lease without what changes with every renewal."""
    metadata = {key: lease["metadata"].get(key) for key in ("uid", "ownerReferences", "labels", "annotations")}
    return {"metadata": metadata, "spec": {key: value for key, value in lease["spec"].items() if key != "renewTime"}}


def _encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
