"""Objects, lists and watch events as the cloud sent them: only the metadata is decoded, the rest stays raw JSON.

What is read here is a copy: no view on the buffer that it was read from. Raw objects always carry `kind` and
`apiVersion` (items of lists have neither) and never a line break (so that they may stand in a watch line).
"""

import sys
from typing import Final, TypeAlias

import msgspec
from msgspec import Raw, Struct, field
from yurtcore.wire.integers import int64

Key: TypeAlias = tuple[str, str]
"""Namespace ("" for cluster-scoped kinds) and name."""

INITIAL_END: Final = "k8s.io/initial-events-end"
"""Annotation of the bookmark after the initial events of a watch (`metav1.InitialEventsAnnotationKey`)."""


class Unreadable(ValueError):
    """Bytes that are not what they should be; the message says what was expected."""


class Obj(Struct, frozen=True, gc=False):
    """One state of one object."""

    key: Key
    version: int
    """0 when the server gave none, or one that is no number."""
    raw: bytes
    cells: bytes | None = None
    """JSON array of the cells of its Table row, if it came in a Table."""


class ListRead(Struct, frozen=True):
    """One page, or a whole list."""

    kind: str
    """The list's own kind: `PodList`, `Table`, …"""
    api_version: str
    item_kind: str
    """Kind of the items; "" when a Table had no rows to tell."""
    version: int
    continue_: str
    remaining: int | None
    items: list[Obj]
    columns: bytes | None
    """JSON array of column definitions, of a Table."""


class Event(Struct, frozen=True):
    """One line of a watch."""

    type: str
    """ADDED, MODIFIED, DELETED, BOOKMARK or ERROR; any other is passed on as it is."""
    version: int
    obj: Obj | None = None
    """For ADDED, MODIFIED and DELETED."""
    initial_end: bool = False
    """A bookmark that ends the initial events."""
    columns: bytes | None = None
    """Column definitions, in the first event of a watch for Tables."""
    status: bytes | None = None
    """The Status object of an ERROR."""
    code: int = 0
    """The code in `status`, 0 when it has none."""
    line: bytes = b""


class _Meta(Struct, gc=False):
    name: str = ""
    namespace: str = ""
    version: str = field(default="", name="resourceVersion")


class _Head(Struct, gc=False):
    metadata: _Meta
    kind: str = ""
    api_version: str = field(default="", name="apiVersion")


class _ListMeta(Struct, frozen=True):
    version: str = field(default="", name="resourceVersion")
    continue_: str = field(default="", name="continue")
    remaining: int | None = field(default=None, name="remainingItemCount")


class _List(Struct):
    metadata: _ListMeta = _ListMeta()
    kind: str = ""
    api_version: str = field(default="", name="apiVersion")
    items: list[Raw] | None = None


class _Row(Struct):
    cells: Raw
    object: Raw


class _Table(Struct):
    metadata: _ListMeta = _ListMeta()
    columns: Raw = field(default=Raw(b"null"), name="columnDefinitions")  # no union: msgspec reads none with Raw
    rows: list[_Row] | None = None


class _Event(Struct):
    type: str
    object: Raw


class _MarkMeta(Struct, frozen=True):
    version: str = field(default="", name="resourceVersion")
    annotations: dict[str, str] | None = None


class _Mark(Struct):
    metadata: _MarkMeta = _MarkMeta()


class _Status(Struct):
    code: int = 0


_HEAD: Final = msgspec.json.Decoder(_Head)
_LIST: Final = msgspec.json.Decoder(_List)
_TABLE: Final = msgspec.json.Decoder(_Table)
_EVENT: Final = msgspec.json.Decoder(_Event)
_MARK: Final = msgspec.json.Decoder(_Mark)
_STATUS: Final = msgspec.json.Decoder(_Status)
_KIND: Final = msgspec.json.Decoder(_List)
_NULL: Final = b"null"


def read_object(raw: bytes | Raw, *, api_version: str = "", kind: str = "", cells: bytes | None = None) -> Obj:
    """Read one object; `kind` and `api_version` are put in where it names none. Raises Unreadable."""
    try:
        head = _HEAD.decode(raw)
    except msgspec.MsgspecError as err:
        raise Unreadable(f"not a Kubernetes object: {err}") from err
    meta = head.metadata
    data = bytes(raw).strip()
    if b"\n" in data:  # sent with `pretty`
        data = msgspec.json.format(data, indent=-1)
    if not head.kind or not head.api_version:
        data = _stamp(data, "" if head.kind else kind, "" if head.api_version else api_version)
    return Obj((sys.intern(meta.namespace), meta.name), version_of(meta.version), data, cells)


def read_list(body: bytes) -> ListRead:
    """Read a list or a page of one: a typed list, or a Table that includes whole objects. Raises Unreadable."""
    try:
        found = _LIST.decode(body)
        if found.kind == "Table":
            return _read_table(body, found.api_version)
    except msgspec.MsgspecError as err:
        raise Unreadable(f"not a Kubernetes list: {err}") from err
    if not found.kind.endswith("List"):
        raise Unreadable(f"a list was expected, not {found.kind or 'an object without a kind'!r}")
    kind = found.kind.removesuffix("List")
    items = [read_object(raw, api_version=found.api_version, kind=kind) for raw in found.items or ()]
    return _list_read(found.kind, found.api_version, kind, found.metadata, items, None)


def read_event(line: bytes, *, api_version: str = "", kind: str = "") -> Event:
    """Read one line of a watch, of objects or of Tables. Raises Unreadable."""
    try:
        found = _EVENT.decode(line)
        if found.type == "ERROR":
            return Event("ERROR", 0, status=bytes(found.object), code=_STATUS.decode(found.object).code, line=line)
        head = _KIND_ONLY.decode(found.object)
        if head.kind == "Table" and head.api_version.startswith("meta.k8s.io/"):
            return _read_table_event(found, line)
        if found.type == "BOOKMARK":
            return _read_bookmark(found.object, line)
    except msgspec.MsgspecError as err:
        raise Unreadable(f"not a watch event: {err}") from err
    obj = read_object(found.object, api_version=api_version, kind=kind)
    return Event(found.type, obj.version, obj, line=line)


def read_table_object(body: bytes) -> tuple[Obj, bytes | None]:
    """Read the answer to the get of one object as a Table: the object with its cells, and the columns."""
    found = read_list(body)
    if found.kind != "Table" or len(found.items) != 1:
        raise Unreadable("a Table of one row was expected")
    return found.items[0], found.columns


def version_of(text: str) -> int:
    """A resourceVersion as a number; 0 for none, and for what is no number."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else int64(text) or 0


class _KindOnly(Struct, gc=False):
    kind: str = ""
    api_version: str = field(default="", name="apiVersion")


_KIND_ONLY: Final = msgspec.json.Decoder(_KindOnly)


class _UidMeta(Struct, frozen=True, gc=False):
    uid: str = ""


class _Uid(Struct, gc=False):
    metadata: _UidMeta = _UidMeta()


_UID: Final = msgspec.json.Decoder(_Uid)


def uid_of(raw: bytes) -> str:
    """The uid of an object, "" when it has none."""
    return _UID.decode(raw).metadata.uid


def kind_of(raw: bytes) -> str:
    """The kind of an object."""
    return _KIND_ONLY.decode(raw).kind


def _read_table(body: bytes | Raw, api_version: str) -> ListRead:
    table = _TABLE.decode(body)
    items = []
    for row in table.rows or ():
        if bytes(row.object) == _NULL:
            raise Unreadable("a Table that includes whole objects was expected")
        items.append(read_object(row.object, cells=bytes(row.cells)))
    kind = _KIND_ONLY.decode(items[0].raw).kind if items else ""
    if kind == "PartialObjectMetadata":
        raise Unreadable("a Table that includes whole objects was expected, not one with metadata only")
    columns = None if bytes(table.columns) == _NULL else bytes(table.columns)
    return _list_read("Table", api_version, kind, table.metadata, items, columns)


def _list_read(
    kind: str, api_version: str, item_kind: str, meta: _ListMeta, items: list[Obj], columns: bytes | None
) -> ListRead:
    return ListRead(
        kind, api_version, item_kind, version_of(meta.version), meta.continue_, meta.remaining, items, columns
    )


def _read_table_event(found: _Event, line: bytes) -> Event:
    table = _TABLE.decode(found.object)
    columns = None if bytes(table.columns) == _NULL else bytes(table.columns)
    row = table.rows[0] if table.rows else None
    if found.type == "BOOKMARK":
        if row is None or bytes(row.object) == _NULL:
            return Event("BOOKMARK", version_of(table.metadata.version), columns=columns, line=line)
        return msgspec.structs.replace(_read_bookmark(row.object, line), columns=columns)
    if row is None or bytes(row.object) == _NULL:
        raise Unreadable("a Table event that includes a whole object was expected")
    obj = read_object(row.object, cells=bytes(row.cells))
    return Event(found.type, obj.version, obj, columns=columns, line=line)


def _read_bookmark(raw: Raw, line: bytes) -> Event:
    meta = _MARK.decode(raw).metadata
    ended = meta.annotations is not None and meta.annotations.get(INITIAL_END) == "true"
    return Event("BOOKMARK", version_of(meta.version), initial_end=ended, line=line)


def _stamp(raw: bytes, kind: str, api_version: str) -> bytes:
    """Put `kind` and `apiVersion` in front, where kube-apiserver has them."""
    head = []
    if kind:
        head.append(b'"kind":' + msgspec.json.encode(kind))
    if api_version:
        head.append(b'"apiVersion":' + msgspec.json.encode(api_version))
    if not head:
        return raw
    rest = raw[1:].lstrip()
    return b"{" + b",".join(head) + (rest if rest == b"}" else b"," + rest)
