"""Requests mean the same to us and to kube-apiserver."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yurtcore.wire.gvr import Gvr, parse_target, path, verb

TARGETS = [json.loads(line) for line in (Path(__file__).parent / "golden" / "targets.jsonl").read_text().splitlines()]
NAMES = st.text("abcxyz09-.", min_size=1, max_size=10).filter(lambda name: name not in ("status", "finalize"))
GVRS = st.builds(
    Gvr,
    st.sampled_from(["", "apps", "coordination.k8s.io"]),
    st.sampled_from(["v1", "v1beta1"]),
    st.sampled_from(["pods", "nodes", "leases", "endpointslices"]),
)


@pytest.mark.parametrize("row", TARGETS, ids=lambda row: f"{row['method']} {row['text']}")
def test_a_target_means_what_it_means_to_the_api_server(row: dict[str, Any]) -> None:
    """The answers were given by RequestInfoFactory itself (see golden/main.go)."""
    target = parse_target(row["text"])
    got = {
        "is": target.is_resource,
        "verb": verb(row["method"], target),
        "group": target.group,
        "version": target.version,
        "ns": target.namespace,
        "resource": target.resource,
        "sub": target.subresource,
        "path": target.path,
        "query": {key: list(values) for key, values in target.query.items()},
        # A name from a field selector counts for reads of a set only.
        "name": target.name if target.name_in_path or verb(row["method"], target) in ("list", "watch") else "",
    }
    want = {key: row.get(key, type(value)()) for key, value in got.items()}
    assert got == want


@given(st.text())
@example("*")
@example("")
@example("http://")
@example("/api/v1/watch")
@example("/api/v1/pods?fieldSelector=" + "%")
@example("/api/v1/pods?limit=" + "9" * 5000 + "&fieldSelector=metadata.name=x")
def test_any_text_is_a_target(text: str) -> None:
    target = parse_target(text)
    assert verb("GET", target) in ("get", "list", "watch", "proxy")
    assert target.is_resource or not target.resource


@given(st.text("/apisv1?=&;%+ \x00é", max_size=60))
def test_texts_near_the_grammar_are_targets_too(text: str) -> None:
    assert parse_target("/api/" + text).path.startswith("/api/")


@given(GVRS, st.none() | NAMES, st.none() | NAMES, st.none() | st.sampled_from(["status", "log", "proxy"]))
def test_a_built_path_reads_back_as_what_it_was_built_from(
    gvr: Gvr, namespace: str | None, name: str | None, subresource: str | None
) -> None:
    target = parse_target(path(gvr, namespace=namespace, name=name, subresource=subresource))
    assert (target.gvr, target.namespace, target.name) == (gvr, namespace or "", name or "")
    assert target.subresource == ((subresource or "") if name else "")


@given(st.text(min_size=1))
def test_no_name_breaks_out_of_its_place_in_a_built_path(name: str) -> None:
    built = path(Gvr("", "v1", "pods"), namespace="x", name=name.encode("utf-8", "replace").decode())
    assert built.count("/") == 6
    assert "?" not in built
    assert "#" not in built


@given(st.dictionaries(st.text(min_size=1), st.lists(st.text(), min_size=1, max_size=3), max_size=4))
def test_queries_read_as_the_standard_library_reads_them(query: dict[str, list[str]]) -> None:
    raw = "&".join(
        f"{quote(key, safe='', errors='replace')}={quote(value, safe='', errors='replace')}"
        for key, values in query.items()
        for value in values
    )
    read = parse_target("/x?" + raw).query
    assert {key: list(values) for key, values in read.items()} == parse_qs(raw, keep_blank_values=True)


def test_an_old_path_without_its_resource_is_a_resource_request_without_a_name() -> None:
    """The API server answers such a request with 500; it has to reach it, and never match a real resource."""
    target = parse_target("/api/v1/watch")
    assert (target.is_resource, target.resource, target.name) == (True, "", "")


def test_a_shared_target_cannot_be_changed_by_one_of_its_readers() -> None:
    target = parse_target("/api/v1/pods?watch=1")
    with pytest.raises(TypeError):
        target.query["watch"] = ("0",)  # type: ignore[index]
