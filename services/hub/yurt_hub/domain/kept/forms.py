"""In which form a caller wants objects: plain JSON, Tables, or metadata only; from `Accept` and `includeObject`.

The choice is made as kube-apiserver makes it: media ranges in the order of their quality, the first that can be served
wins. The hub serves JSON only. Ordinary clients accept it: kubectl and client-go name JSON or `*/*` beside protobuf.
"""

import enum
from functools import lru_cache
from typing import Final

from msgspec import Struct
from yurtcore.errors import BadInput

JSON_TYPE: Final = "application/json"
ACCEPT_JSON: Final = "application/json"
ACCEPT_TABLE: Final = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
"""With the query `includeObject=Object` this is how a Table that is to be kept is asked for."""


class Shape(enum.Enum):
    """What the body is."""

    OBJECTS = "objects"
    TABLE = "table"
    PARTIAL = "partial"


class Form(Struct, frozen=True):
    """One way to write an answer."""

    shape: Shape
    meta: str = "v1"
    """Version of `meta.k8s.io` for Tables and partial objects."""
    include: str = "Metadata"
    """What the rows of a Table hold beside their cells: `Metadata`, `Object` or `None`."""


OBJECTS: Final = Form(Shape.OBJECTS)
_SHAPES: Final = {
    "": Shape.OBJECTS,
    "Table": Shape.TABLE,
    "PartialObjectMetadata": Shape.PARTIAL,
    "PartialObjectMetadataList": Shape.PARTIAL,
}
_INCLUDES: Final = {"": "Metadata", "Metadata": "Metadata", "Object": "Object", "None": "None"}


@lru_cache(maxsize=256)
def negotiate(accept: str, include: str = "") -> Form | None:
    """The form for an `Accept` header; None when nothing fits (406).

    `include` is the query's `includeObject`; raises BadInput for one that does not exist.
    """
    if include not in _INCLUDES:
        raise BadInput(f'unrecognized includeObject value: "{include}"')
    if not accept.strip():
        return OBJECTS
    clauses = [_clause(part) for part in accept.split(",")]
    for media, parameters, _ in sorted(clauses, key=lambda clause: -clause[2]):
        if media not in (JSON_TYPE, "application/*", "*/*"):
            continue
        shape = _SHAPES.get(parameters.get("as", ""))
        if shape is None:
            continue
        if shape is Shape.OBJECTS:
            return OBJECTS
        meta = parameters.get("v", "v1")
        if parameters.get("g", "") == "meta.k8s.io" and meta in ("v1", "v1beta1"):
            return Form(shape, meta, _INCLUDES[include])
    return None


def _clause(text: str) -> tuple[str, dict[str, str], float]:
    media, *rest = (part.strip() for part in text.split(";"))
    parameters = {name.strip(): value.strip().strip('"') for name, _, value in (part.partition("=") for part in rest)}
    try:
        quality = float(parameters.pop("q", "1"))
    except ValueError:
        quality = 0.0
    return media.lower(), parameters, quality
