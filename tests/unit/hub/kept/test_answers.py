"""Answers without the cloud."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from kit.kept import Records, dump
from yurt_hub.domain.kept import answers, lists
from yurt_hub.domain.kept.answers import Answer
from yurt_hub.domain.kept.collect import Collector
from yurt_hub.domain.kept.explain import Asked, explain
from yurt_hub.domain.kept.forms import OBJECTS, Form, Shape
from yurt_hub.domain.kept.objects import ListRead, Obj, read_list, read_object, read_table_object
from yurt_hub.domain.kept.policy import agents
from yurt_hub.domain.kept.sets import SetKey, set_key
from yurt_hub.domain.kept.store import Permit, Store
from yurtcore.wire.gvr import Gvr, parse_target

Recorded = Mapping[str, bytes]
MAPS = Gvr("", "v1", "configmaps")
TABLE = Form(Shape.TABLE)
BORN = 1795629670.0


def key(target: str) -> SetKey:
    return set_key(parse_target(target))


def get(store: Store, target: str, form: Form | None = OBJECTS, *, identity: str = "me", now: float = 100.0) -> Answer:
    return answers.get(store, parse_target(target), identity, form, now)


def many(store: Store, target: str, form: Form | None = OBJECTS, *, identity: str = "me", now: float = 100.0) -> Answer:
    return answers.list_(store, parse_target(target), identity, form, now)


def body(answer: Answer) -> Any:
    return json.loads(answer.body)


def names(answer: Answer) -> list[str]:
    assert answer.code == 200, answer
    return [item["metadata"]["name"] for item in body(answer)["items"]]


@pytest.fixture
def store(recorded: Recorded) -> Store:
    """ConfigMaps of all namespaces, with label `l=1` (three of five) at version 234; kept for `me` at 40 s."""
    made = Store(Records())
    items = [*read_list(recorded["list"]).items, read_list(recorded["table-Object"]).items[0]]
    meta = {"name": "z", "namespace": "a", "labels": {"l": "2"}}
    extra = read_object(dump({"kind": "ConfigMap", "apiVersion": "v1", "metadata": meta}))
    read = ListRead("ConfigMapList", "v1", "ConfigMap", 234, "", None, [*items, extra], None)
    made.put_list(key("/api/v1/configmaps"), read, Permit("me", 40.0), since=40.0)
    return made


def test_an_object_is_given_as_it_came(store: Store, recorded: Recorded) -> None:
    answer = get(store, "/api/v1/namespaces/a/configmaps/x")
    alone, _ = read_table_object(recorded["table-get"])
    assert (answer.code, answer.body, answer.content_type) == (200, alone.raw + b"\n", "application/json")
    assert answer.version == 234


def test_every_answer_tells_its_age(store: Store) -> None:
    warning = '299 yurt-hub "the cloud cannot be reached; this was so 60 s ago"'
    assert get(store, "/api/v1/namespaces/a/configmaps/x").warning == warning
    assert get(store, "/api/v1/namespaces/a/configmaps/nope").warning == warning
    assert many(store, "/api/v1/configmaps").warning == warning
    old = many(store, "/api/v1/configmaps", now=40.0 + 3 * 3600).warning
    assert old == '299 yurt-hub "the cloud cannot be reached; this was so 10800 s (3h) ago"'


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/api/v1/namespaces/a/configmaps/nope", "404"),
        ("/apis/apps/v1/namespaces/a/deployments/nope", "404g"),
        ("/api/v1/namespaces/nope", "404ns"),
    ],
)
def test_absence_is_told_in_the_words_of_the_cloud(recorded: Recorded, target: str, name: str) -> None:
    store = Store(Records())
    asked = key(target)
    store.absent(asked.gvr, (asked.namespace, "nope"), Permit("me", 1.0), as_of=5)
    answer = get(store, target)
    assert answer.code == 404
    assert body(answer) == json.loads(recorded[name])


def test_what_no_set_can_tell_is_503_with_what_is_missing(store: Store) -> None:
    answer = get(store, "/api/v1/namespaces/a/pods/x")
    assert answer.code == 503
    assert body(answer)["reason"] == "ServiceUnavailable"
    assert body(answer)["details"]["causes"] == [{"reason": "NotKept", "message": "nothing is kept of pods a/x"}]
    assert body(answer)["message"].endswith("nothing is kept of pods a/x")
    assert answer.warning == ""
    assert many(store, "/api/v1/pods").code == 503
    assert many(store, "/api/v1/configmaps", identity="other").code == 503


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("/api/v1/configmaps", ["x", "x", "z"]),
        ("/api/v1/namespaces/a/configmaps", ["x", "z"]),
        ("/api/v1/configmaps?labelSelector=l%3D1", ["x", "x"]),
        ("/api/v1/configmaps?labelSelector=l%20notin%20%281%29", ["z"]),
        ("/api/v1/configmaps?fieldSelector=metadata.namespace%3Da-b", ["x"]),
        ("/api/v1/namespaces/nowhere/configmaps", []),
        ("/api/v1/configmaps?resourceVersion=0&limit=1", ["x", "x", "z"]),
        ("/api/v1/configmaps?resourceVersion=234&resourceVersionMatch=NotOlderThan", ["x", "x", "z"]),
        ("/api/v1/configmaps?resourceVersion=234&resourceVersionMatch=Exact", ["x", "x", "z"]),
    ],
)
def test_lists_take_selectors_that_no_one_used_before(store: Store, target: str, found: list[str]) -> None:
    answer = many(store, target)
    assert names(answer) == found
    assert {**body(answer), "items": []} == {
        "kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "234"}, "items": [],
    }  # fmt: skip


def test_a_list_comes_in_pages(store: Store) -> None:
    first = many(store, "/api/v1/configmaps?limit=2")
    token = body(first)["metadata"]["continue"]
    assert names(first) == ["x", "x"]
    assert body(first)["metadata"]["remainingItemCount"] == 1
    assert names(many(store, f"/api/v1/configmaps?limit=2&continue={token}")) == ["z"]
    assert "remainingItemCount" not in body(many(store, "/api/v1/configmaps?limit=1&labelSelector=l%3D1"))["metadata"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("resourceVersion=235", 504),
        ("resourceVersion=5&resourceVersionMatch=Exact", 410),
        ("resourceVersion=abc", 400),
        ("limit=x", 400),
        ("labelSelector=%3D", 400),
        ("continue=xxx", 400),
        (f"continue={lists.encode_token(9, 'a')}&resourceVersion=9", 400),
        (f"continue={lists.encode_token(999, 'a')}", 410),
        ("fieldSelector=data.k%3Dv", 503),
    ],
)
def test_what_cannot_be_answered_is_refused_as_the_cloud_would(store: Store, query: str, code: int) -> None:
    answer = many(store, f"/api/v1/configmaps?{query}")
    assert answer.code == code
    assert body(answer)["code"] == code


def test_a_version_from_the_future_is_told_in_the_words_of_the_cloud(store: Store, recorded: Recorded) -> None:
    ours, theirs = body(many(store, "/api/v1/configmaps?resourceVersion=99999999")), json.loads(recorded["toolarge"])
    del theirs["details"]["retryAfterSeconds"]  # it would ask the client to try the same again
    theirs["message"] = theirs["message"].replace("262", "234")
    assert ours == theirs


def test_a_field_of_a_custom_kind_is_served_only_where_the_set_has_it() -> None:
    store = Store(Records())
    red = "/apis/shop/v1/carts?fieldSelector=spec.color%3Dred"
    cart = read_object(b'{"apiVersion":"shop/v1","kind":"Cart","metadata":{"name":"c","namespace":"a"}}')
    read = ListRead("CartList", "shop/v1", "Cart", 5, "", None, [cart], None)
    store.put_list(key("/apis/shop/v1/carts"), read, Permit("me", 1.0))
    assert many(store, red).code == 503
    assert "spec.color" in body(many(store, red))["message"]
    store.put_list(key(red), read, Permit("me", 1.0))
    assert names(many(store, red)) == ["c"]
    assert names(many(store, red + "&labelSelector=%21x")) == ["c"]
    assert body(many(store, red))["kind"] == "CartList"


def test_an_empty_list_needs_to_be_covered() -> None:
    store = Store(Records())
    mine = "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1"
    assert many(store, mine).code == 503
    store.put_list(key(mine), ListRead("PodList", "v1", "Pod", 7, "", None, [], None), Permit("me", 1.0))
    assert names(many(store, mine)) == []
    assert body(many(store, mine))["metadata"] == {"resourceVersion": "7"}


def test_a_list_of_an_unknown_kind_cannot_be_written() -> None:
    store = Store(Records())
    store.put_list(
        key("/api/v1/pods"), ListRead("Table", "meta.k8s.io/v1", "", 7, "", None, [], b"[]"), Permit("me", 1.0)
    )
    assert many(store, "/api/v1/pods").code == 503
    assert many(store, "/api/v1/pods", TABLE).code == 200


def test_tables_need_columns(store: Store, recorded: Recorded) -> None:
    assert many(store, "/api/v1/configmaps", TABLE).code == 503
    assert "columns" in body(many(store, "/api/v1/configmaps", TABLE))["message"]
    assert get(store, "/api/v1/namespaces/a/configmaps/x", TABLE).code == 503
    table = read_list(recorded["table-Object"])
    store.put_list(key("/api/v1/namespaces/a/configmaps"), table, Permit("me", 50.0))
    rows = body(many(store, "/api/v1/namespaces/a/configmaps?labelSelector=l", TABLE, now=BORN + 3))["rows"]
    assert [row["cells"] for row in rows] == [["x", 1, "3s"]]


def test_one_object_as_a_table_is_what_the_cloud_sends(recorded: Recorded) -> None:
    store = Store(Records())
    one, columns = read_table_object(recorded["table-get"])
    store.put_object(MAPS, one, Permit("me", 1.0), columns=columns)
    form = Form(Shape.TABLE, include="Object")
    answer = get(store, "/api/v1/namespaces/a/configmaps/x", form, now=BORN + 3)
    cells = json.loads(recorded["table-get"])["rows"][0]["cells"]
    assert body(answer)["rows"][0]["cells"] == cells
    assert answer.body == recorded["table-get"]


def test_metadata_only_is_cut_out_of_what_is_kept(store: Store, recorded: Recorded) -> None:
    partial = Form(Shape.PARTIAL)
    assert get(store, "/api/v1/namespaces/a/configmaps/x", partial).body == recorded["partial"]
    found = body(many(store, "/api/v1/configmaps", partial))
    assert (found["kind"], found["apiVersion"]) == ("PartialObjectMetadataList", "meta.k8s.io/v1")
    assert {item["kind"] for item in found["items"]} == {"PartialObjectMetadata"}


def test_another_format_is_not_acceptable(store: Store) -> None:
    assert get(store, "/api/v1/namespaces/a/configmaps/x", None).code == 406
    assert body(many(store, "/api/v1/configmaps", None))["reason"] == "NotAcceptable"


def test_reading_keeps_a_set_from_being_evicted(store: Store) -> None:
    many(store, "/api/v1/configmaps", now=77.0)
    assert [coverage.used for coverage in store.coverages()] == [77.0]


# ---- pages that pass ----


def page(version: int, items: list[str], continue_: str = "", kind: str = "PodList") -> ListRead:
    objects = [Obj(("a", name), 1, b"{}") for name in items]
    return ListRead(kind, "v1", "Pod", version, continue_, 7, objects, None)


PODS = key("/api/v1/pods")


def test_pages_are_put_together_to_the_whole() -> None:
    pages = Collector()
    assert pages.add("me", PODS, "", page(5, ["a"], "t1"), 3.0) is None
    assert pages.add("me", PODS, "t1", page(5, ["b"], "t2"), 4.0) is None
    whole = pages.add("me", PODS, "t2", page(5, ["c"]), 5.0)
    assert whole is not None
    read, since = whole
    assert ([obj.key[1] for obj in read.items], read.continue_, read.remaining, since) == (
        ["a", "b", "c"],
        "",
        None,
        3.0,
    )
    assert pages.objects == 0


def test_a_list_in_one_page_is_whole() -> None:
    one = page(5, ["a"])
    assert Collector().add("me", PODS, "", one, 3.0) == (one, 3.0)


@pytest.mark.parametrize(
    ("identity", "asked", "last"),
    [("other", "t1", page(5, ["b"])), ("me", "t9", page(5, ["b"])), ("me", "t1", page(6, ["b"])),
     ("me", "t1", page(5, ["b"], kind="Table"))],
)  # fmt: skip
def test_pages_that_do_not_belong_together_complete_nothing(identity: str, asked: str, last: ListRead) -> None:
    pages = Collector()
    pages.add("me", PODS, "", page(5, ["a"], "t1"), 3.0)
    assert pages.add(identity, PODS, asked, last, 4.0) is None


def test_lists_that_were_begun_and_not_ended_are_bounded() -> None:
    pages = Collector(begun=2, objects=3)
    for at in range(4):
        pages.add("me", PODS, "", page(5, ["a"], f"t{at}"), 3.0)
    assert pages.objects == 2
    pages.add("me", PODS, "", page(5, ["a", "b", "c"], "big"), 3.0)
    assert pages.objects == 3
    assert pages.add("me", PODS, "t3", page(5, ["b"]), 4.0) is None


# ---- explain ----


def test_a_request_is_explained(store: Store) -> None:
    asked = Asked("GET", "/api/v1/configmaps?labelSelector=l%3D1", "me", "kubectl/v1.34.4")
    found = explain(store, agents("kubectl"), asked, 100.0)
    assert (found.component, found.verb, found.what) == ("kubectl", "list", "configmaps with labels l=1")
    assert (found.kept, found.lit, found.dark, found.dark_why, found.version) == (
        True, "the cloud; a copy is kept", 200, "kept as configmaps", 234,
    )  # fmt: skip
    stranger = explain(store, agents(None), Asked("GET", asked.target, "other", "kubectl/v1"), 100.0)
    assert (stranger.kept, stranger.lit, stranger.dark) == (False, "the cloud", 503)
    assert "this caller was not seen to be allowed" in stranger.dark_why


@pytest.mark.parametrize(
    ("method", "target", "code"),
    [
        ("GET", "/api/v1/namespaces/a/configmaps/x", 200),
        ("GET", "/api/v1/namespaces/a/configmaps/q", 404),
        ("GET", "/api/v1/configmaps?labelSelector=%3D", 400),
        ("GET", "/version", 0),
        ("DELETE", "/api/v1/namespaces/a/configmaps/x", 0),
        ("GET", "nonsense", 0),
    ],
)
def test_any_target_can_be_explained(store: Store, method: str, target: str, code: int) -> None:
    assert explain(store, agents(None), Asked(method, target, "me", ""), 100.0).dark == code
