"""Objects' metadata alone, and other cuts within raw objects."""

from typing import Final

import msgspec
from msgspec import Raw, Struct


class _Meta(Struct, gc=False):
    metadata: Raw


_META: Final = msgspec.json.Decoder(_Meta)
_PARTS: Final = msgspec.json.Decoder(dict[str, Raw])


def metadata(raw: bytes) -> bytes:
    """An object's metadata as JSON."""
    return bytes(_META.decode(raw).metadata)


def of_object(raw: bytes, meta: str = "v1") -> bytes:
    """The PartialObjectMetadata of an object, in this version of `meta.k8s.io`."""
    head = b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/' + meta.encode() + b'","metadata":'
    return head + metadata(raw) + b"}"


def with_version(raw: bytes, version: int) -> bytes:
    """The object with another resourceVersion, all else as it is."""
    old = metadata(raw)
    parts = _PARTS.decode(old)
    texts = {name: bytes(value) for name, value in parts.items()}
    texts["resourceVersion"] = b'"%d"' % version
    new = b"{" + b",".join(msgspec.json.encode(name) + b":" + text for name, text in texts.items()) + b"}"
    return raw.replace(old, new, 1)
