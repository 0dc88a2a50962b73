"""Writing protobuf as a kubelet does, independently of how the hub reads it."""

from collections.abc import Mapping, Sequence
from typing import Any


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number: int, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def enveloped(kind: str, raw: bytes, *, version: str = "coordination.k8s.io/v1") -> bytes:
    """A `runtime.Unknown` behind its four magic bytes."""
    return b"k8s\x00" + field(1, field(1, version) + field(2, kind)) + field(2, raw) + field(3, "") + field(4, "")


def lease(
    node: str,
    *,
    holder: str,
    renewed: float,
    duration: int = 40,
    uid: str = "",
    version: str = "",
    owners: Sequence[Mapping[str, Any]] = (),
) -> bytes:
    """The body of a kubelet's PUT of its Lease."""
    metadata = field(1, node) + field(2, "") + field(3, "kube-node-lease") + field(4, "")
    metadata += field(5, uid) + field(6, version) + field(7, 0) + field(8, field(1, 1_700_000_000) + field(2, 0))
    for owner in owners:
        texts = {1: owner["kind"], 3: owner["name"], 4: owner["uid"], 5: owner["apiVersion"]}
        metadata += field(13, b"".join(field(number, text) for number, text in texts.items()))
    times = field(1, int(renewed)) + field(2, int(renewed % 1 * 1e6) * 1000)
    return enveloped("Lease", field(1, metadata) + field(2, field(1, holder) + field(2, duration) + field(4, times)))
