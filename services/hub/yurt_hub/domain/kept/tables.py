"""Tables, rendered from kept cells; only the age is computed anew.

The columns of a kind and an object's cells are the API server's, kept as they came. Other cells that tell a time span
(a Job's duration, `3 (5m ago)` in a pod's restarts) show it as of the version that is kept.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Raw, Struct, field

from yurt_hub.domain.kept import ages, partial
from yurt_hub.domain.kept.forms import Form
from yurt_hub.domain.kept.objects import Obj


class _Column(Struct):
    name: str = ""
    format: str = ""


class _Meta(Struct, frozen=True, gc=False):
    created: str | None = field(default=None, name="creationTimestamp")


class _Created(Struct, gc=False):
    metadata: _Meta = _Meta()


_COLUMNS: Final = msgspec.json.Decoder(list[_Column])
_CELLS: Final = msgspec.json.Decoder(list[Raw])
_UNKNOWN: Final = b'"<unknown>"'
_CREATED: Final = msgspec.json.Decoder(_Created)


class _Layout(Struct, frozen=True):
    age: int | None
    name: int | None
    width: int


@lru_cache(maxsize=256)
def _layout(columns: bytes) -> _Layout:
    """Where the age and the name stand among the columns."""
    found = _COLUMNS.decode(columns)
    age = next((at for at, column in enumerate(found) if column.name == "Age"), None)
    name = next((at for at, column in enumerate(found) if column.format == "name"), None)
    return _Layout(age, name, len(found))


def row(obj: Obj, columns: bytes, form: Form, now: float) -> bytes:
    """One row.

    An object whose last state did not come in a Table has no cells: then its name and age are told, and all else is
    `<unknown>`, as kubectl says of what it does not know.
    """
    layout = _layout(columns)
    parts = [bytes(part) for part in _CELLS.decode(obj.cells)] if obj.cells is not None else [_UNKNOWN] * layout.width
    if obj.cells is None and layout.name is not None:
        parts[layout.name] = msgspec.json.encode(obj.key[1])
    if layout.age is not None and layout.age < len(parts):
        created = _CREATED.decode(obj.raw).metadata.created
        if created:
            parts[layout.age] = b'"' + ages.since(created, now).encode() + b'"'
    match form.include:
        case "Object":
            held = obj.raw
        case "None":
            held = b"null"
        case _:
            held = partial.of_object(obj.raw, form.meta)
    return b'{"cells":[' + b",".join(parts) + b'],"object":' + held + b"}"


def table(rows: Iterable[bytes], columns: bytes | None, form: Form, meta: bytes) -> bytes:
    """A Table; `meta` is its ListMeta as JSON. Without `columns` it has none, as in a watch after its first event."""
    return b"".join((
        b'{"kind":"Table","apiVersion":"meta.k8s.io/', form.meta.encode(), b'","metadata":', meta,
        b',"columnDefinitions":', columns or b"null", b',"rows":[', b",".join(rows), b"]}",
    ))  # fmt: skip
