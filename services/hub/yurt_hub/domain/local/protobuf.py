"""Reading protobuf as Kubernetes sends it: four magic bytes, a `runtime.Unknown`, and the object inside.

Only what a hub must see in a body that it answers itself. Anything damaged raises ValueError.
"""

from collections.abc import Iterator
from typing import Final

MAGIC: Final = b"k8s\x00"
CONTENT_TYPE: Final = b"application/vnd.kubernetes.protobuf"

Value = int | bytes


def fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """Number and value of each field, in the order of the message; fixed-width numbers come as their bytes."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            number, at = _varint(data, at)
            yield tag >> 3, number
            continue
        size = {1: 8, 5: 4}.get(kind)
        if kind == 2:
            size, at = _varint(data, at)
        if size is None or size > end - at:
            raise ValueError("the message is damaged")
        yield tag >> 3, data[at : at + size]
        at += size


def unwrap(body: bytes) -> bytes:
    """The object inside an enveloped body."""
    if not body.startswith(MAGIC):
        raise ValueError("no Kubernetes protobuf")
    return last(body[len(MAGIC) :], 2)


def last(data: bytes, number: int) -> bytes:
    """The last value of an embedded message, text or bytes field; empty if it is absent."""
    found: Value = b""
    for key, value in fields(data):
        if key == number:
            found = value
    if isinstance(found, bytes):
        return found
    raise ValueError(f"field {number} is a number")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("the message is damaged")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
