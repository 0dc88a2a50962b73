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


class _Meta(Struct, frozen=True, gc=False):
    created: str | None = field(default=None, name="creationTimestamp")


class _Created(Struct, gc=False):
    metadata: _Meta = _Meta()


_COLUMNS: Final = msgspec.json.Decoder(list[_Column])
_CELLS: Final = msgspec.json.Decoder(list[Raw])
_CREATED: Final = msgspec.json.Decoder(_Created)


@lru_cache(maxsize=256)
def age_column(columns: bytes) -> int | None:
    """Where the age stands among the columns, if it does."""
    return next((at for at, column in enumerate(_COLUMNS.decode(columns)) if column.name == "Age"), None)


def row(obj: Obj, columns: bytes, form: Form, now: float) -> bytes:
    """One row; the object must have cells."""
    cells = obj.cells or b"[]"
    at = age_column(columns)
    if at is not None:
        parts = _CELLS.decode(cells)
        created = _CREATED.decode(obj.raw).metadata.created
        if created and at < len(parts):
            texts = [bytes(part) for part in parts]
            texts[at] = b'"' + ages.since(created, now).encode() + b'"'
            cells = b"[" + b",".join(texts) + b"]"
    match form.include:
        case "Object":
            held = obj.raw
        case "None":
            held = b"null"
        case _:
            held = partial.of_object(obj.raw, form.meta)
    return b'{"cells":' + cells + b',"object":' + held + b"}"


def table(rows: Iterable[bytes], columns: bytes | None, form: Form, meta: bytes) -> bytes:
    """A Table; `meta` is its ListMeta as JSON. Without `columns` it has none, as in a watch after its first event."""
    return b"".join((
        b'{"kind":"Table","apiVersion":"meta.k8s.io/', form.meta.encode(), b'","metadata":', meta,
        b',"columnDefinitions":', columns or b"null", b',"rows":[', b",".join(rows), b"]}",
    ))  # fmt: skip
