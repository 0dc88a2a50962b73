"""Selectors pick the sets that the API server picks."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yurtcore.errors import BadInput
from yurtcore.wire.selectors import fields, labels
from yurtcore.wire.selectors.labels import Op, Requirement

GOLDEN = Path(__file__).parent / "golden"
KEYS = st.sampled_from(["app", "tier", "in", "notin", "x.io/y", "a_B.c"])
VALUES = st.text("abz019", max_size=6)
SETS = st.dictionaries(KEYS, VALUES, max_size=5)


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (GOLDEN / name).read_text().splitlines()]


def requirements(op: Op) -> st.SearchStrategy[Requirement]:
    match op:
        case Op.EXISTS | Op.ABSENT:
            values: st.SearchStrategy[tuple[str, ...]] = st.just(())
        case Op.IN | Op.NOT_IN:
            values = st.sets(VALUES, min_size=1, max_size=4).map(lambda found: tuple(sorted(found)))
        case Op.GREATER | Op.LESS:
            values = st.integers(0, 2**63 - 1).map(lambda number: (str(number),))
        case _:
            values = VALUES.map(lambda value: (value,))
    return st.builds(Requirement, KEYS, st.just(op), values)


LABEL_SELECTORS = st.lists(st.one_of(*map(requirements, Op)), max_size=5).map(
    lambda found: tuple(sorted(found, key=lambda requirement: requirement.key))
)
TERMS = st.builds(fields.Term, st.sampled_from(["metadata.name", "spec.nodeName"]), st.text(), st.booleans())


@pytest.mark.parametrize("row", rows("labels.jsonl"), ids=lambda row: repr(row["text"]))
def test_label_selectors_mean_what_they_mean_to_the_api_server(row: dict[str, Any]) -> None:
    if row.get("bad"):
        with pytest.raises(BadInput, match="label selector"):
            labels.parse(row["text"])
    else:
        assert labels.match(labels.parse(row["text"]), row["set"]) is row["match"]


@pytest.mark.parametrize("row", rows("fields.jsonl"), ids=lambda row: repr(row["text"]))
def test_field_selectors_mean_what_they_mean_to_the_api_server(row: dict[str, Any]) -> None:
    if row.get("bad"):
        with pytest.raises(BadInput, match="field selector"):
            fields.parse(row["text"])
    else:
        selector = fields.parse(row["text"])
        assert fields.write(selector) == row["text_back"]
        assert fields.match(selector, row["set"]) is row["match"]


@given(LABEL_SELECTORS)
def test_a_written_label_selector_reads_back_equal(selector: labels.Selector) -> None:
    assert labels.parse(labels.write(selector)) == selector


@given(st.lists(TERMS, max_size=4))
def test_a_written_field_selector_reads_back_with_the_same_terms(terms: list[fields.Term]) -> None:
    back = fields.parse(fields.write(tuple(terms)))
    assert sorted(map(repr, back)) == sorted(map(repr, terms))


@given(st.text())
def test_any_text_is_a_selector_or_bad_input(text: str) -> None:
    for kind in (labels, fields):
        try:
            selector = kind.parse(text)
        except BadInput as err:
            assert "selector" in err.why  # noqa: PT017  both outcomes are right
        else:
            assert isinstance(selector, tuple)


@given(KEYS, VALUES, SETS)
def test_an_operator_and_its_opposite_split_every_set(key: str, value: str, found: dict[str, str]) -> None:
    for one, other in ((f"{key}={value}", f"{key}!={value}"), (key, f"!{key}")):
        assert labels.match(labels.parse(one), found) is not labels.match(labels.parse(other), found)
    within, without = labels.parse(f"{key} in ({value},zz)"), labels.parse(f"{key} notin ({value},zz)")
    assert labels.match(within, found) is not labels.match(without, found)


@given(LABEL_SELECTORS, LABEL_SELECTORS, SETS)
def test_a_comma_means_and(one: labels.Selector, other: labels.Selector, found: dict[str, str]) -> None:
    assert labels.match(one + other, found) is (labels.match(one, found) and labels.match(other, found))


def test_an_exact_field_is_known() -> None:
    selector = fields.parse("metadata.name=a,status.phase!=Running")
    assert (fields.exact(selector, "metadata.name"), fields.exact(selector, "status.phase")) == ("a", None)
