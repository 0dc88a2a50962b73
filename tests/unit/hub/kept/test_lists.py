"""Bodies of lists, pages and tokens."""

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yurt_hub.domain.kept import lists, partial
from yurt_hub.domain.kept.coverage import order
from yurt_hub.domain.kept.forms import OBJECTS, Form, Shape
from yurt_hub.domain.kept.lists import Page, page
from yurt_hub.domain.kept.objects import Obj, read_list
from yurtcore.errors import BadInput, Gone

Recorded = Mapping[str, bytes]
ITEMS = [Obj((namespace, name), 1, b"{}") for namespace, name in (("a-b", "x"), ("a", "x"), ("a", "y"), ("b", "x"))]


def test_keys_sort_as_the_storage_of_the_api_server_sorts_them() -> None:
    assert sorted(ITEMS, key=lambda obj: order(obj.key)) == ITEMS
    assert order(("", "n")) == "n"


@pytest.mark.parametrize(("name", "count"), [("page", 4), ("list", None)])
def test_tokens_are_those_of_the_api_server(recorded: Recorded, name: str, count: int | None) -> None:
    read = read_list(recorded[name])
    more = [*read.items, *[Obj((f"z{at}", "x"), 1, b"{}") for at in range(4)]]
    found = page(more, read.version, namespace="", limit=len(read.items), count=count is not None)
    assert found.continue_ == read.continue_
    assert found.remaining == count


def test_a_token_of_a_namespace_is_relative_to_it(recorded: Recorded) -> None:
    read = read_list(recorded["table-Object"])
    found = page([*read.items, Obj(("a", "y"), 209, b"{}")], read.version, namespace="a", limit=1)
    assert found.continue_ == read.continue_
    rest = page(
        [*read.items, Obj(("a", "y"), 209, b"{}")], read.version, namespace="a", limit=1, continue_=found.continue_
    )
    assert [obj.key for obj in rest.items] == [("a", "y")]
    assert rest.continue_ == ""


@given(
    st.sets(st.tuples(st.sampled_from(["a", "a-b", "b"]), st.text("xyz-", min_size=1)), max_size=12), st.integers(1, 5)
)
def test_pages_make_up_the_whole(keys: set[tuple[str, str]], limit: int) -> None:
    items = [Obj(key, 1, b"{}") for key in sorted(keys, key=order)]
    got: list[Obj] = []
    token = ""
    while True:
        one = page(items, 9, namespace="", limit=limit, continue_=token)
        got += one.items
        assert one.version == 9
        assert len(one.items) <= limit
        assert (one.remaining or 0) == len(items) - len(got)
        if not (token := one.continue_):
            break
    assert got == items


def test_later_pages_bear_the_version_of_the_first() -> None:
    first = page(ITEMS, 5, namespace="", limit=2)
    changed = [ITEMS[0], *ITEMS[2:]]  # one of the first page was deleted meanwhile
    rest = page(changed, 8, namespace="", limit=2, continue_=first.continue_)
    assert (list(rest.items), rest.version) == (ITEMS[2:], 5)


def test_a_list_that_was_begun_at_the_cloud_later_than_what_is_kept_is_begun_anew() -> None:
    token = lists.encode_token(9, "a/x")
    with pytest.raises(Gone):
        page(ITEMS, 8, namespace="", limit=1, continue_=token)


@pytest.mark.parametrize("text", ["xxx", "!", "e30", "eyJ2IjoidjIiLCJydiI6MSwic3RhcnQiOiJ4In0", "ä"])
def test_a_token_of_another_kind_is_bad_input(text: str) -> None:
    with pytest.raises(BadInput, match="continue key is not valid"):
        lists.decode_token(text)


def test_a_list_is_what_the_cloud_sends(recorded: Recorded) -> None:
    read = read_list(recorded["list"])
    whole = lists.body(Page(read.items, 210, read.continue_), "ConfigMapList", "v1", OBJECTS, None, 0.0)
    ours, theirs = json.loads(whole), json.loads(recorded["list"])
    for item in ours["items"]:
        assert (item.pop("kind"), item.pop("apiVersion")) == ("ConfigMap", "v1")
    assert ours == theirs
    assert whole.endswith(b"\n")


def test_metadata_only_is_what_the_cloud_sends(recorded: Recorded) -> None:
    read = read_list(recorded["partial-list"])
    whole = read_list(recorded["table-Object"]).items
    found = Page(whole, read.version, read.continue_, read.remaining)
    ours = lists.body(found, "ConfigMapList", "v1", Form(Shape.PARTIAL), None, 0.0)
    assert ours == recorded["partial-list"]
    assert partial.of_object(whole[0].raw) + b"\n" == recorded["partial"]


@pytest.mark.parametrize("include", ["Object", "Metadata", "None"])
def test_tables_are_what_the_cloud_sends(recorded: Recorded, include: str) -> None:
    """Three seconds after the objects were made, as the recording was; all bytes are equal."""
    read = read_list(recorded["table-Object"])
    found = Page(read.items, read.version, read.continue_, read.remaining)
    now = 1795629670.0 + 3.0  # 2026-11-25T18:01:10Z
    ours = lists.body(found, "", "", Form(Shape.TABLE, include=include), read.columns, now)
    assert ours == recorded[f"table-{include}"]


def test_only_the_age_of_a_table_is_computed_anew(recorded: Recorded) -> None:
    read = read_list(recorded["table-Object"])
    later = lists.body(Page(read.items, 1), "", "", Form(Shape.TABLE), read.columns, 1795629670.0 + 7200)
    assert json.loads(later)["rows"][0]["cells"] == ["x", 1, "120m"]


def test_an_object_without_cells_shows_what_is_known(recorded: Recorded) -> None:
    read = read_list(recorded["table-Object"])
    bare = Obj(read.items[0].key, 1, read.items[0].raw)
    body = lists.body(Page([bare], 1), "", "", Form(Shape.TABLE), read.columns, 1795629670.0 + 60)
    assert json.loads(body)["rows"][0]["cells"] == ["x", "<unknown>", "60s"]


def test_another_version_changes_nothing_else() -> None:
    raw = b'{"kind":"K","spec":{"resourceVersion":"5"},"metadata":{"a":"\xc3\xa4","resourceVersion":"5"}}'
    assert partial.with_version(raw, 77) == raw[:-4] + b'77"}}'
