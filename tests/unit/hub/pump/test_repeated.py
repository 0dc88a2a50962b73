"""A head whose lines repeat those of the one before is read by its first line alone, and to the same effect."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yurt_hub.pump.heads import BadHead, RequestHead, header_block, parse_repeated, parse_request

BLOCK = b"Host: hub\r\nUser-Agent: kubelet/v1.34\r\nAccept: */*\r\nAuthorization: Bearer abc\r\n\r\n"
FIRST = parse_request(b"GET /api/v1/pods HTTP/1.1\r\n" + BLOCK)
FACTS = ("method", "target", "length", "host", "user_agent", "accept", "authorization", "close", "upgrade", "expect")


def facts(head: RequestHead) -> tuple[object, ...]:
    return (*(getattr(head, name) for name in FACTS), head.ws_bearer, head.head, head.headers)


lines = st.one_of(
    st.builds(
        b"%b %b HTTP/1.1\r\n".__mod__,
        st.tuples(
            st.sampled_from([b"GET", b"POST", b"HEAD", b"PATCH", b"CONNECT", b"get", b"TRACE", b""]),
            st.text("/abc.%?&=-_~#\\ 2eE\r\n:@", max_size=30).map(lambda t: ("/" + t).encode()),
        ),
    ),
    st.binary(max_size=60),
    st.binary(max_size=30).map(lambda b: b"GET /a HTTP/1.1\r\n" + b + b"GET /b HTTP/1.1\r\n"),
)


@given(lines)
def test_a_repeated_head_is_never_read_differently(line: bytes) -> None:
    data = line + BLOCK
    again = parse_repeated(data, BLOCK, FIRST)
    if again is not None:
        assert facts(again) == facts(parse_request(data))


def test_the_usual_next_request_takes_the_short_way() -> None:
    data = b"PATCH /api/v1/nodes/n1/status?x=y HTTP/1.1\r\n" + BLOCK
    again = parse_repeated(data, BLOCK, FIRST)
    assert again is not None
    assert (again.method, again.target) == (b"PATCH", b"/api/v1/nodes/n1/status?x=y")


@pytest.mark.parametrize(
    "line",
    [b"GET //a HTTP/1.1\r\n", b"GET /a/../b HTTP/1.1\r\n", b"GET /%2e HTTP/1.1\r\n", b"GET /a HTTP/1.0\r\n", b""],
)
def test_what_needs_a_closer_look_gets_it(line: bytes) -> None:
    assert parse_repeated(line + BLOCK, BLOCK, FIRST) is None


@pytest.mark.parametrize(
    "more",
    [b"Content-Length: 1\r\n", b"Connection: close\r\n", b"Expect: 100-continue\r\nContent-Length: 3\r\n"],
)
def test_what_changes_the_exchange_is_judged_each_time(more: bytes) -> None:
    assert header_block(parse_request(b"POST / HTTP/1.1\r\n" + more + BLOCK)) is None


def test_a_refused_head_is_not_remembered() -> None:
    with pytest.raises(BadHead):
        parse_request(b"GET / HTTP/1.1\r\nHost: a\r\n" + BLOCK)
