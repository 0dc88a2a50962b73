"""What a kubelet says in a Lease that it sends, in JSON or in protobuf.

Field numbers are those of `k8s.io/api/coordination/v1` and `k8s.io/apimachinery/pkg/apis/meta/v1` (generated.proto).
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from yurt_hub.domain.local.protobuf import MAGIC, fields, last, unwrap

NAMESPACE: Final = "kube-node-lease"
_OWNER_TEXTS: Final = {1: "kind", 3: "name", 4: "uid", 5: "apiVersion"}
_OWNER_FLAGS: Final = {6: "controller", 7: "blockOwnerDeletion"}


@dataclass(frozen=True, slots=True)
class Renewal:
    """The part of a kubelet's Lease that is its own to say."""

    holder: str = ""
    duration: int = 0
    """Seconds; 0 if it did not say."""
    owners: tuple[Mapping[str, Any], ...] = ()
    uid: str = ""
    version: str = ""
    """As the cloud gave it to the kubelet; "" if the kubelet has none."""

    def lease(self, node: str) -> dict[str, Any]:
        """A Lease made of nothing but these words."""
        metadata: dict[str, Any] = {"name": node, "namespace": NAMESPACE}
        if self.uid:
            metadata["uid"] = self.uid
        if self.version:
            metadata["resourceVersion"] = self.version
        if self.owners:
            metadata["ownerReferences"] = [dict(owner) for owner in self.owners]
        spec = {"holderIdentity": self.holder or node, "leaseDurationSeconds": self.duration or 40}
        return {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": metadata, "spec": spec}


def read_renewal(body: bytes) -> Renewal:
    """Read the body of a PUT or POST; raises ValueError for what is no Lease or has no holder."""
    try:
        found = _from_protobuf(body) if body.startswith(MAGIC) else _from_json(body)
    except (AttributeError, TypeError, RecursionError) as err:
        raise ValueError("no Lease") from err
    if not found.holder:
        raise ValueError("a Lease that nobody holds")
    return found


def _from_json(body: bytes) -> Renewal:
    lease = json.loads(body)
    metadata, spec = lease.get("metadata") or {}, lease.get("spec") or {}
    duration = spec.get("leaseDurationSeconds") or 0
    owners = metadata.get("ownerReferences") or []
    texts = [spec.get("holderIdentity") or "", metadata.get("uid") or "", metadata.get("resourceVersion") or ""]
    if (
        lease.get("kind", "Lease") != "Lease"
        or not isinstance(duration, int)
        or not all(isinstance(text, str) for text in texts)
        or not all(isinstance(owner, dict) for owner in owners)
    ):
        raise ValueError("no Lease")
    holder, uid, version = texts
    return Renewal(holder, duration, tuple(owners), uid, version)


def _from_protobuf(body: bytes) -> Renewal:
    if last(last(body[len(MAGIC) :], 1), 2) not in (b"Lease", b""):
        raise ValueError("no Lease")
    lease = unwrap(body)
    metadata, spec = last(lease, 1), last(lease, 2)
    duration = next((value for key, value in fields(spec) if key == 2 and isinstance(value, int)), 0)
    return Renewal(
        holder=last(spec, 1).decode(),
        duration=duration if 0 < duration < 2**31 else 0,
        owners=tuple(_owners(metadata)),
        uid=last(metadata, 5).decode(),
        version=last(metadata, 6).decode(),
    )


def _owners(metadata: bytes) -> Iterator[dict[str, Any]]:
    for key, value in fields(metadata):
        if key == 13 and isinstance(value, bytes):
            yield dict(_owner(value))


def _owner(data: bytes) -> Iterator[tuple[str, Any]]:
    for key, value in fields(data):
        if key in _OWNER_TEXTS and isinstance(value, bytes):
            yield _OWNER_TEXTS[key], value.decode()
        elif key in _OWNER_FLAGS:
            yield _OWNER_FLAGS[key], bool(value)
