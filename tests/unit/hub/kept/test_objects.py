"""Reading objects, lists and events."""

import json
from collections.abc import Mapping

import pytest
from yurt_hub.domain.kept.objects import (
    Unreadable,
    read_event,
    read_list,
    read_object,
    read_table_object,
    uid_of,
    version_of,
)

Recorded = Mapping[str, bytes]


def test_an_object_is_read_without_its_line_end() -> None:
    raw = b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"x","namespace":"a","resourceVersion":"7","uid":"u"}}'
    obj = read_object(raw + b"\n")
    assert (obj.key, obj.version, obj.raw, obj.cells) == (("a", "x"), 7, raw, None)
    assert uid_of(obj.raw) == "u"


def test_items_of_lists_get_the_kind_of_the_list(recorded: Recorded) -> None:
    found = read_list(recorded["list"])
    assert (found.kind, found.api_version, found.item_kind, found.version) == ("ConfigMapList", "v1", "ConfigMap", 210)
    assert [obj.key for obj in found.items] == [("a-b", "x"), ("a", "x")]
    assert found.items[1].raw.startswith(b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"x"')
    assert found.continue_ == json.loads(recorded["list"])["metadata"]["continue"]
    assert read_list(recorded["page"]).remaining == 4


def test_an_item_of_a_list_is_the_same_bytes_as_the_object_alone(recorded: Recorded) -> None:
    in_list = read_list(recorded["list"]).items[1]
    in_table = read_list(recorded["table-Object"]).items[0]
    alone, _ = read_table_object(recorded["table-get"])
    assert in_list.raw == in_table.raw == alone.raw


def test_rows_of_a_table_are_objects_with_cells(recorded: Recorded) -> None:
    found = read_list(recorded["table-Object"])
    assert (found.kind, found.item_kind, found.items[0].cells) == ("Table", "ConfigMap", b'["x",1,"3s"]')
    assert [one["name"] for one in json.loads(found.columns or b"")] == ["Name", "Data", "Age"]
    assert found.remaining == 1


def test_an_empty_table_tells_columns_but_no_kind(recorded: Recorded) -> None:
    found = read_list(recorded["table-empty"])
    assert (found.items, found.item_kind, found.version) == ([], "", 234)
    assert json.loads(found.columns or b"")[0]["name"] == "Name"


@pytest.mark.parametrize("name", ["table-Metadata", "table-None"])
def test_a_table_without_whole_objects_is_refused(recorded: Recorded, name: str) -> None:
    with pytest.raises(Unreadable, match="whole objects"):
        read_list(recorded[name])


def test_custom_objects_keep_their_own_kind() -> None:
    item = b'{"apiVersion":"stable.example.com/v1","kind":"CronTab","metadata":{"name":"x","resourceVersion":"3"}}'
    body = b'{"apiVersion":"stable.example.com/v1","items":[' + item + b'],"kind":"CronTabList","metadata":{}}'
    found = read_list(body)
    assert (found.items[0].raw, found.items[0].key, found.version) == (item, ("", "x"), 0)


def test_a_missing_half_of_the_type_is_filled_in() -> None:
    obj = read_object(b'{"kind":"Pod","metadata":{}}', api_version="v1", kind="Other")
    assert json.loads(obj.raw) == {"apiVersion": "v1", "kind": "Pod", "metadata": {}}
    assert json.loads(read_object(b'{ "metadata" : {} }', kind="K", api_version="v1").raw)["kind"] == "K"


def test_a_pretty_object_is_brought_into_one_line() -> None:
    obj = read_object(json.dumps({"kind": "K", "apiVersion": "v1", "metadata": {"name": "a\nb"}}, indent=2).encode())
    assert b"\n" not in obj.raw
    assert json.loads(obj.raw)["metadata"]["name"] == "a\nb"


def test_a_null_list_is_empty() -> None:
    assert read_list(b'{"kind":"PodList","apiVersion":"v1","metadata":{},"items":null}').items == []


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"kind":"Status"}', b'{"kind":"PodList","items":[{}]}', b'{"kind":"PodList"', b"\xff"]
)
def test_what_is_no_list_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        read_list(body)


def test_events_are_read_in_both_forms(recorded: Recorded) -> None:
    lines = recorded["leave"].splitlines(keepends=True)
    tables = recorded["leave-table"].splitlines(keepends=True)
    plain, tabular = [read_event(line) for line in lines], [read_event(line) for line in tables]
    assert [event.type for event in plain] == ["DELETED", "ADDED", "DELETED", "BOOKMARK", "BOOKMARK"]
    assert [event.type for event in tabular] == [event.type for event in plain]
    assert [event.version for event in tabular] == [event.version for event in plain] == [265, 266, 267, 267, 267]
    assert [event.obj and event.obj.raw for event in tabular] == [event.obj and event.obj.raw for event in plain]
    assert tabular[0].columns == read_list(recorded["table-Object"]).columns
    assert tabular[1].columns is None
    assert tabular[1].obj is not None
    assert tabular[1].obj.cells == b'["x",1,"17s"]'
    assert plain[0].line == lines[0]


@pytest.mark.parametrize("name", ["sie", "sie-table", "sie-partial"])
def test_the_bookmark_after_the_initial_events_is_known(recorded: Recorded, name: str) -> None:
    last = read_event(recorded[name].splitlines()[-1])
    assert (last.type, last.initial_end, last.version) == ("BOOKMARK", True, 264)
    assert not read_event(recorded["leave"].splitlines()[-1]).initial_end


def test_an_error_event_carries_its_status() -> None:
    event = read_event(b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}')
    assert (event.type, event.code, event.obj) == ("ERROR", 410, None)
    assert json.loads(event.status or b"")["reason"] == "Expired"


def test_a_custom_object_with_rows_is_no_table() -> None:
    event = read_event(b'{"type":"ADDED","object":{"kind":"Table","apiVersion":"shop/v1","rows":3,"metadata":{}}}')
    assert event.obj is not None


@pytest.mark.parametrize("line", [b"", b"{}", b'{"type":"ADDED"}', b'{"type":"ADDED","object":3}', b'{"type":"ADD'])
def test_what_is_no_event_is_unreadable(line: bytes) -> None:
    with pytest.raises(Unreadable):
        read_event(line)


@pytest.mark.parametrize(("text", "version"), [("", 0), ("0", 0), ("12", 12), ("abc", 0), ("9" * 30, 0), ("-1", -1)])
def test_versions_are_numbers_or_nothing(text: str, version: int) -> None:
    assert version_of(text) == version
