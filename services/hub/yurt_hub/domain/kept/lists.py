"""Bodies of lists, put together from raw objects, whole or by pages.

Continue tokens have the API server's own form (`storage.EncodeContinue`): version and key from which to go on. So the
cloud can go on from a page that was given in the dark, and the hub from one that the cloud gave.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct, field
from yurtcore.errors import BadInput, Gone

from yurt_hub.domain.kept import partial, tables
from yurt_hub.domain.kept.coverage import order
from yurt_hub.domain.kept.forms import Form, Shape
from yurt_hub.domain.kept.objects import Obj

_FORMAT: Final = "meta.k8s.io/v1"


class Page(Struct, frozen=True):
    """A part of a list, or all of it."""

    items: Sequence[Obj]
    version: int
    continue_: str = ""
    remaining: int | None = None


class _Token(Struct):
    v: str = ""
    version: int = field(default=0, name="rv")
    start: str = ""


_TOKEN: Final = msgspec.json.Decoder(_Token)


def page(
    items: Sequence[Obj], version: int, *, namespace: str, limit: int = 0, continue_: str = "", count: bool = True
) -> Page:
    """Cut one page out of a sorted list that is as of `version`.

    Later pages bear the version of the first, so that a watch from there repeats what changed between them. `namespace`
    is the request's. `count` is False where the API server tells no number of remaining items (with selectors).
    Raises BadInput for a token that is none, and Gone when the first page was newer than what is kept.
    """
    if continue_:
        first, start = decode_token(continue_)
        if first > version:
            raise Gone("the list that was begun is newer than what is kept here; start it again", code=410)
        items = _from(items, f"{namespace}/{start}" if namespace else start)
        version = first if first > 0 else version
    if limit <= 0 or len(items) <= limit:
        return Page(items, version)
    last = order(items[limit - 1].key)
    token = encode_token(version, last.removeprefix(f"{namespace}/") if namespace else last)
    return Page(items[:limit], version, token, len(items) - limit if count else None)


def body(found: Page, list_kind: str, api_version: str, form: Form, columns: bytes | None, now: float) -> bytes:
    """The list as JSON; a Table needs `columns`, and cells in all items."""
    meta = list_meta(found)
    match form.shape:
        case Shape.TABLE:
            rows = [tables.row(obj, columns or b"[]", form, now) for obj in found.items]
            return tables.table(rows, columns or b"[]", form, meta) + b"\n"
        case Shape.PARTIAL:
            texts = [partial.of_object(obj.raw, form.meta) for obj in found.items]
            list_kind, api_version = "PartialObjectMetadataList", f"meta.k8s.io/{form.meta}"
        case _:
            texts = [obj.raw for obj in found.items]
    head = msgspec.json.encode({"kind": list_kind, "apiVersion": api_version})
    return b"".join((head[:-1], b',"metadata":', meta, b',"items":[', b",".join(texts), b"]}\n"))


def list_meta(found: Page) -> bytes:
    """A page's ListMeta as JSON."""
    meta: dict[str, str | int] = {"resourceVersion": str(found.version)} if found.version else {}
    if found.continue_:
        meta["continue"] = found.continue_
    if found.remaining is not None:
        meta["remainingItemCount"] = found.remaining
    return msgspec.json.encode(meta)


def encode_token(version: int, last: str) -> str:
    """The token to go on after the object with this key, which is relative to the request's namespace."""
    text = msgspec.json.encode({"v": _FORMAT, "rv": version, "start": f"/{last}\0"})
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def decode_token(text: str) -> tuple[int, str]:
    """Version (0 or less for any) and first key of the rest; raises BadInput."""
    try:
        token = _TOKEN.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError, msgspec.MsgspecError) as err:
        raise BadInput("continue key is not valid") from err
    if token.v != _FORMAT or not token.start:
        raise BadInput("continue key is not valid")
    return token.version, token.start.removeprefix("/")


def _from(items: Sequence[Obj], start: str) -> Sequence[Obj]:
    low, high = 0, len(items)
    while low < high:
        middle = (low + high) // 2
        if order(items[middle].key) < start:
            low = middle + 1
        else:
            high = middle
    return items[low:]
