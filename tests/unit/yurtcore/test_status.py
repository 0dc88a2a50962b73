"""Status bodies are Kubernetes' own, both ways."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yurtcore import errors
from yurtcore.wire.status import REASONS, encode, from_error, problem, status


def test_a_refusal_reads_as_kube_apiserver_writes_it() -> None:
    assert status(403, "no", details={"kind": "pods", "name": "x"}) == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "no",
        "reason": "Forbidden",
        "details": {"kind": "pods", "name": "x"},
        "code": 403,
    }


@pytest.mark.parametrize(("code", "reason"), sorted(REASONS.items()))
def test_every_code_has_the_reason_that_clients_switch_on(code: int, reason: str) -> None:
    assert status(code, "m")["reason"] == reason


def test_a_code_without_a_reason_in_kubernetes_has_none() -> None:
    assert "reason" not in status(431, "head too large")
    assert status(200, "done")["status"] == "Success"


def test_the_wait_is_told_in_details_and_read_back() -> None:
    err = problem(429, encode(status(429, "slow down", retry_after=7)))
    assert isinstance(err, errors.Retry)
    assert (err.after, err.reason, err.why) == (7.0, "TooManyRequests", "429: slow down")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "502"),
        (b"upstream is away", "502: upstream is away"),
        (b'{"kind":"Pod"}', '502: {"kind":"Pod"}'),
        (b'{"kind":"Status"}', "502: no reason given"),
        (b'{"kind":"Status","message":7,"details":[]}', "502: 7"),
        (b'{"kind":"Status"', '502: {"kind":"Status"'),
        (b"k8s\x00\x0a\x0c", "502: 6 bytes that are not text"),
        (b"x" * 10_000, "502: " + "x" * 200),
    ],
)
def test_any_body_of_an_error_gives_one_short_line(body: bytes, why: str) -> None:
    err = problem(502, body)
    assert isinstance(err, errors.Retry)
    assert err.why == why


@given(
    st.integers(400, 599),
    st.binary() | st.recursive(st.none() | st.text(), st.lists).map(lambda x: json.dumps(x).encode()),
)
def test_reading_an_answer_never_raises(code: int, body: bytes) -> None:
    assert problem(code, body).code == code


@given(
    st.dictionaries(
        st.sampled_from(["kind", "message", "reason", "details", "code"]),
        st.text() | st.just({"retryAfterSeconds": "x"}),
    )
)
def test_reading_a_malformed_status_never_raises(fields: dict[str, object]) -> None:
    assert problem(503, json.dumps({**fields, "kind": "Status"}).encode()).code == 503


@pytest.mark.parametrize(
    ("err", "code"),
    [
        (errors.BadInput("x"), 400),
        (errors.Refused("x"), 403),
        (errors.Missing("x"), 404),
        (errors.Conflict("x"), 409),
        (errors.Gone("x"), 410),
        (errors.Retry("x"), 503),
        (errors.YurtError("x"), 500),
        (errors.Refused("x", code=401), 401),
    ],
)
def test_our_errors_become_the_status_that_fits(err: errors.YurtError, code: int) -> None:
    body = from_error(err)
    assert (body["code"], body["reason"], body["message"]) == (code, REASONS[code], "x")


def test_names_that_are_no_text_can_be_sent() -> None:
    """A lone surrogate, as it comes from undecodable bytes, does not break the answer."""
    assert json.loads(encode(status(404, "pods \udcff")))["message"] == "pods ?"
