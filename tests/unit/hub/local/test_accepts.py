"""Choosing the form of a document by an Accept header."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yurt_hub.domain.local import accepts
from yurt_hub.domain.local.accepts import AGGREGATED, AGGREGATED_BETA, ASK_DISCOVERY, JSON, PROTOBUF, media_type, wanted

ALL = (AGGREGATED, AGGREGATED_BETA, JSON, PROTOBUF)
SPELLED = {
    AGGREGATED: media_type(AGGREGATED),
    AGGREGATED_BETA: media_type(AGGREGATED_BETA),
    JSON: "application/json",
    PROTOBUF: "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
}


@pytest.mark.parametrize(
    ("accept", "there", "form"),
    [
        (ASK_DISCOVERY, ALL, AGGREGATED),
        (ASK_DISCOVERY, (JSON,), JSON),
        (ASK_DISCOVERY, (AGGREGATED_BETA, JSON), AGGREGATED_BETA),
        ("application/json", ALL, JSON),
        ("*/*", ALL, JSON),
        ("", ALL, JSON),
        ("application/*", ALL, JSON),
        ("application/json, */*", (PROTOBUF,), None),
        ("application/vnd.kubernetes.protobuf", (JSON,), None),
        ("application/vnd.kubernetes.protobuf, */*", (JSON,), JSON),
        (SPELLED[PROTOBUF], (JSON, PROTOBUF), PROTOBUF),
        ("application/json;q=0, */*;q=0.1", (JSON,), JSON),
        ("application/json;q=0", (JSON,), None),
        (f"application/json;q=0.5,{media_type(AGGREGATED)}", ALL, AGGREGATED),
        (f"application/json,{media_type(AGGREGATED)};q=0.5", ALL, JSON),
        ("application/json;as=Table;g=meta.k8s.io;v=v1", ALL, None),
        ("application/json;as=APIGroupDiscoveryList;g=other;v=v2", ALL, None),
        ("APPLICATION/JSON ; Q=1", ALL, JSON),
        ("application/yaml", ALL, None),
        ("nonsense", ALL, None),
        ("application/json;q=much", ALL, None),
    ],
)
def test_the_best_form_there_is_for_a_header(accept: str, there: tuple[str, ...], form: str | None) -> None:
    assert wanted(accept, there) == form


@given(st.permutations(ALL), st.sets(st.sampled_from(ALL)))
def test_the_first_form_named_that_is_there_wins(named: list[str], there: set[str]) -> None:
    """Among clauses of equal quality a client's own order decides, whatever is kept."""
    best = next((form for form in named if form in there), None)
    assert wanted(",".join(SPELLED[form] for form in named), there) == best


@given(st.text())
def test_any_header_is_read(accept: str) -> None:
    """What makes no sense selects nothing and breaks nothing."""
    assert wanted(accept, ALL) in (*ALL, None)
    assert accepts.form_of(accept) in (*ALL, None)


@pytest.mark.parametrize(
    ("content_type", "form"),
    [
        ("application/json", JSON),
        ("application/json; charset=utf-8", JSON),
        ("application/jwk-set+json", JSON),
        ("text/plain; charset=utf-8", JSON),
        (media_type(AGGREGATED), AGGREGATED),
        (media_type(AGGREGATED_BETA), AGGREGATED_BETA),
        ("application/json;g=apidiscovery.k8s.io;v=v3;as=APIGroupDiscoveryList", None),
        ("application/vnd.kubernetes.protobuf", PROTOBUF),
        ("application/yaml", None),
        ("", None),
    ],
)
def test_the_form_of_an_answer_is_its_content_type(content_type: str, form: str | None) -> None:
    assert accepts.form_of(content_type) == form


@pytest.mark.parametrize(
    ("accept", "taken"),
    [
        ("application/vnd.kubernetes.protobuf, */*", True),
        ("application/vnd.kubernetes.protobuf,application/json", True),
        ("application/vnd.kubernetes.protobuf", False),
        ("application/*", True),
        ("", True),
    ],
)
def test_a_client_takes_json_when_it_says_so(accept: str, *, taken: bool) -> None:
    assert accepts.takes(accept, "application/json; charset=utf-8") is taken
