"""Rewritten requests say the same in other words."""

from yurt_hub.pump.heads import parse_request
from yurt_hub.pump.rewrite import asking, with_query

HEAD = (
    b"GET /api/v1/pods?limit=500 HTTP/1.1\r\nHost: hub\r\nAccept: application/vnd.kubernetes.protobuf, */*\r\n"
    b"User-Agent: kubelet/v1.34\r\nACCEPT: text/plain\r\nAccept-Encoding: gzip\r\n\r\n"
)


def test_only_accept_and_target_change() -> None:
    got = asking(parse_request(HEAD), accept=b"application/json", target=b"/api/v1/pods?limit=500&includeObject=Object")
    assert got.head == (
        b"GET /api/v1/pods?limit=500&includeObject=Object HTTP/1.1\r\nAccept: application/json\r\nHost: hub\r\n"
        b"User-Agent: kubelet/v1.34\r\nAccept-Encoding: gzip\r\n\r\n"
    )
    again = parse_request(got.head)
    assert (again.accept, again.target, again.host) == (got.accept, got.target, got.host)


def test_a_request_without_accept_gets_one() -> None:
    got = asking(parse_request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), accept=b"application/json")
    assert got.head == b"GET / HTTP/1.1\r\nAccept: application/json\r\nHost: a\r\n\r\n"


def test_a_parameter_is_added_once() -> None:
    assert with_query(b"/a", b"x", b"1") == b"/a?x=1"
    assert with_query(b"/a?x=2&y=3&x=", b"x", b"1") == b"/a?y=3&x=1"
