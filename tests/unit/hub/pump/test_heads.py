"""Heads: what is refused, what is understood, what goes on, and what is left behind."""

import gc
import itertools

import pytest
from yurt_hub.pump.fields import MAX_HEADERS, easy_request, easy_response
from yurt_hub.pump.heads import (
    CHUNKED,
    HEAD_LIMIT,
    UNTIL_CLOSE,
    BadHead,
    parse_request,
    parse_response,
)
from yurt_hub.pump.targets import fault

GET = b"GET /api/v1/pods HTTP/1.1\r\n"
HOST = b"Host: hub\r\n"
OK = b"HTTP/1.1 200 OK\r\n"


# --- what is refused


@pytest.mark.parametrize(
    ("status", "data"),
    [
        (400, b"\r\n\r\n"),
        (400, b"\r\n" + GET + HOST + b"\r\n"),
        (400, b"\n" + GET + HOST + b"\r\n"),
        (400, b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n"),
        (400, b" GET / HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET\t/ HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET /\r\n" + HOST + b"\r\n"),
        (400, b"GET / http/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET / HTTP/1.1\n" + HOST + b"\r\n"),
        (400, b"GET / HTTP/1.1\r" + HOST + b"\r\n"),
        (505, b"GET / HTTP/1.0\r\n" + HOST + b"\r\n"),
        (505, b"GET / HTTP/0.9\r\n" + HOST + b"\r\n"),
        (505, b"GET / HTTP/1.2\r\n" + HOST + b"\r\n"),
        (505, b"PRI * HTTP/2.0\r\n\r\n"),
        (400, b"get / HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GE T / HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"G\x00T / HTTP/1.1\r\n" + HOST + b"\r\n"),
        (405, b"CONNECT hub:443 HTTP/1.1\r\n" + HOST + b"\r\n"),
        (405, b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n"),
        (501, b"LIST / HTTP/1.1\r\n" + HOST + b"\r\n"),
        (501, b"PROPFIND / HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET * HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET http://hub/ HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET //evil/api HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET api HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET /a\tb HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET /a\x00b HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET /a\x7fb HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET /\xc3\xa9 HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET /api/../secrets HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET /api/./v1 HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET /api/.. HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET /api/.?watch=1 HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET /api/%2e%2E/secrets HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET /api/.%2e/secrets HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET /api/v1/pods%2Fa HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET /api/v1/pods%2fa HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET /api/v1/pods%5Ca HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET /api/v1/%73ecrets HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET /api/v1/pods%0d%0aX:y HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET /api/v1/pods%00 HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET /api/v1/pods%7f HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET /api/v1/pods%4 HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET /api/v1/pods%zz HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, GET + b"\r\n"),
        (400, GET + b"Host:\r\n\r\n"),
        (400, GET + b"Host: a b\r\n\r\n"),
        (400, GET + b"Host: a,b\r\n\r\n"),
        (400, GET + b"Host: user@hub\r\n\r\n"),
        (400, GET + b"Host: hub/path\r\n\r\n"),
        (400, GET + b"Host: hub:port\r\n\r\n"),
        (400, GET + HOST + HOST + b"\r\n"),
        (400, GET + HOST + b"host: other\r\n\r\n"),
        (400, GET + b"Host : hub\r\n\r\n"),
        (400, GET + b"Host\r\n\r\n"),
        (400, GET + b" Host: hub\r\n\r\n"),
        (400, GET + HOST + b"A: b\r\n c\r\n\r\n"),
        (400, GET + HOST + b"A: b\r\n\tc\r\n\r\n"),
        (400, GET + HOST + b"A:\r\n b\r\n\r\n"),
        (400, GET + HOST + b"A: b\nC: d\r\n\r\n"),
        (400, GET + HOST + b"A: b\rC: d\r\n\r\n"),
        (400, GET + HOST + b"A: b\x00\r\n\r\n"),
        (400, GET + HOST + b"A: b\x0b\r\n\r\n"),
        (400, GET + HOST + b"A: b\x7f\r\n\r\n"),
        (400, GET + HOST + b": b\r\n\r\n"),
        (400, GET + HOST + b"A B: c\r\n\r\n"),
        (400, GET + HOST + b"A\x80: c\r\n\r\n"),
        (400, GET + HOST + b"A(: c\r\n\r\n"),
        (400, GET + HOST + b"A\r\n\r\n"),
        (400, GET + HOST + b"\r\n" + GET + HOST + b"\r\n"),
        (400, GET + HOST + b"Content-Length: 4\r\n\r\na\r\n\r\n"),
        (400, GET + HOST),
        (400, GET + HOST + b"A: b\r\n\r"),
        (400, GET + HOST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n"),
        (400, GET + HOST + b"Content-Length: 5\r\ncontent-length: 6\r\n\r\n"),
        (400, GET + HOST + b"Content-Length: 5, 5\r\n\r\n"),
        (400, GET + HOST + b"Content-Length: 5 5\r\n\r\n"),
        (400, GET + HOST + b"Content-Length: +5\r\n\r\n"),
        (400, GET + HOST + b"Content-Length: -5\r\n\r\n"),
        (400, GET + HOST + b"Content-Length: 0x5\r\n\r\n"),
        (400, GET + HOST + b"Content-Length: 5_0\r\n\r\n"),
        (400, GET + HOST + b"Content-Length: 5.0\r\n\r\n"),
        (400, GET + HOST + b"Content-Length: \xb2\r\n\r\n"),
        (400, GET + HOST + b"Content-Length:\r\n\r\n"),
        (400, GET + HOST + b"Content-Length: %d\r\n\r\n" % 2**53),
        (400, GET + HOST + b"Content-Length: %d\r\n\r\n" % (2**64 + 5)),
        (400, GET + HOST + b"Content-Length: " + b"0" * 5000 + b"\r\n\r\n"),
        (400, GET + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (400, GET + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"),
        (400, GET + HOST + b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\n"),
        (400, GET + HOST + b"Transfer-Encoding: chunked, chunked\r\n\r\n"),
        (400, GET + HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (400, GET + HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n"),
        (400, GET + HOST + b"Transfer-Encoding: chunked, identity\r\n\r\n"),
        (400, GET + HOST + b"Transfer-Encoding: \x0bchunked\r\n\r\n"),
        (400, GET + HOST + b"Transfer-Encoding:\r\n chunked\r\n\r\n"),
        (400, GET + HOST + b"Transfer-Encoding:\r\n\r\n"),
        (400, GET + HOST + b"Transfer-Encoding : chunked\r\n\r\n"),
        (501, GET + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n"),
        (501, GET + HOST + b"Transfer-Encoding: gzip\r\n\r\n"),
        (501, GET + HOST + b"Transfer-Encoding: xchunked\r\n\r\n"),
        (501, GET + HOST + b"Transfer-Encoding: chunked;q=1\r\n\r\n"),
        (501, GET + HOST + b'Transfer-Encoding: "chunked"\r\n\r\n'),
        (400, GET + HOST + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n"),
        (400, GET + HOST + b"Authorization: Bearer a\r\nauthorization: Bearer a\r\n\r\n"),
        (417, GET + HOST + b"Expect: 200-ok\r\n\r\n"),
        (400, GET + HOST + b"Connection: Authorization\r\n\r\n"),
        (400, GET + HOST + b"Connection: close, Content-Length\r\nContent-Length: 5\r\n\r\n"),
        (400, GET + HOST + b"Connection: transfer-encoding\r\n\r\n"),
        (400, GET + HOST + b"Connection: Host\r\n\r\n"),
        (400, GET + HOST + b"Connection: Impersonate-User\r\nImpersonate-User: bob\r\n\r\n"),
        (400, GET + HOST + b"Connection: clo\tse\r\n\r\n"),
        (400, GET + HOST + b"Connection: close;x\r\n\r\n"),
        (400, GET + HOST + b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\n"),
        (400, GET + HOST + b"Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (400, GET + HOST + b"Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n\r\n"),
        (431, GET + HOST + b"A: b\r\n" * MAX_HEADERS + b"\r\n"),
        (431, GET + HOST + b"".join(b"Own-%d: b\r\n" % n for n in range(MAX_HEADERS)) + b"\r\n"),
        (431, GET + HOST + b"A: " + b"b" * HEAD_LIMIT + b"\r\n\r\n"),
    ],
)
def test_an_ambiguous_request_is_refused_with_its_status(status: int, data: bytes) -> None:
    for _ in range(2):  # the second time every name is known
        with pytest.raises(BadHead) as caught:
            parse_request(data)
        assert caught.value.status == status, caught.value.message
        assert caught.value.message.endswith(".")


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 000 OK\r\n\r\n",
        b"HTTP/1.1 600 OK\r\n\r\n",
        b"HTTP/1.1 0200 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1 200 O\x00K\r\n\r\n",
        b"HTTP/1.1 200 O\rK\r\n\r\n",
        b"HTTP/1.1 200 OK\nA: b\n\n",
        OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
        OK + b"Content-Length: -5\r\n\r\n",
        OK + b"Content-Length: +5\r\n\r\n",
        OK + b"Content-Length: 5, 5\r\n\r\n",
        OK + b"Content-Length: %d\r\n\r\n" % 2**53,
        OK + b"Transfer-Encoding: gzip\r\n\r\n",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n",
        OK + b"A: b\r\n c\r\n\r\n",
        OK + b"A : b\r\n\r\n",
        OK + b"A: b\x00\r\n\r\n",
        OK + b"Connection: content-length\r\nContent-Length: 5\r\n\r\n",
        OK + b"\r\n" + OK + b"\r\n",
        OK + b"A: " + b"b" * HEAD_LIMIT + b"\r\n\r\n",
        OK + b"A: b\r\n" * 300 + b"\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n",
    ],
)
def test_an_ambiguous_response_is_refused_with_502(data: bytes) -> None:
    for _ in range(2):
        with pytest.raises(BadHead) as caught:
            parse_response(data, head_request=False)
        assert caught.value.status == 502


# --- what is understood


def test_a_usual_request_goes_on_byte_by_byte() -> None:
    data = (
        b"PUT /api/v1/nodes/n1/status?timeout=10s HTTP/1.1\r\nHost: 127.0.0.1:10268\r\n"
        b"User-Agent: kubelet/v1.34.4 \t\r\n"
        b"Authorization: Bearer abc \t\r\nAccept: a/b\t\r\nAccept-Encoding: gzip\r\nContent-Length: 12\r\n\r\n"
    )
    parse_request(data)  # now every name is known, and the short road serves the next one
    head = parse_request(data)
    assert (head.method, head.target) == (b"PUT", b"/api/v1/nodes/n1/status?timeout=10s")
    assert (head.host, head.user_agent, head.accept) == (b"127.0.0.1:10268", b"kubelet/v1.34.4", b"a/b")
    assert (head.authorization, head.length, head.head) == (b"Bearer abc", 12, data)
    assert (head.close, head.upgrade, head.expect, head.ws_bearer) == (False, None, False, False)
    assert head.headers == [
        (b"user-agent", b"kubelet/v1.34.4"),
        (b"authorization", b"Bearer abc"),
        (b"accept", b"a/b"),
        (b"accept-encoding", b"gzip"),
        (b"content-length", b"12"),
    ]


@pytest.mark.parametrize(
    "sent",
    [
        b"Connection: close\r\n",
        b"connection: Close\r\n",
        b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n",
        b"Connection: close, X-Own\r\nX-Own: 1\r\n",
        b"Connection: X-Own\r\nConnection: x-two\r\nx-own: 1\r\nX-TWO: 2\r\n",
        b"TE: trailers\r\n",
        b"Trailer: X-Sum\r\n",
        b"Proxy-Authorization: Basic abc\r\n",
        b"Proxy-Connection: keep-alive\r\n",
        b"Upgrade: websocket\r\n",
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n",
        b"HTTP2-Settings: AAMA\r\n",
        b"X-Remote-User: admin\r\nX-Remote-Group: system:masters\r\nX-Remote-Extra-Scopes: all\r\nX-Remote-Uid: 1\r\n",
        b"x-remote-user: admin\r\n",
        b"X-Forwarded-User: admin\r\nX-Forwarded-Groups: system:masters\r\nX-Forwarded-Client-Cert: abc\r\n",
    ],
)
def test_what_concerns_one_connection_or_claims_an_identity_does_not_go_upstream(sent: bytes) -> None:
    for _ in range(2):
        head = parse_request(GET + HOST + b"X-Before: 1\r\n" + sent + b"X-After: 2\r\n\r\n")
        assert head.head == GET + HOST + b"X-Before: 1\r\nX-After: 2\r\n\r\n"
        assert head.headers == [(b"x-before", b"1"), (b"x-after", b"2")]
        assert head.close == (b"close" in sent.lower())
        assert head.upgrade is None


@pytest.mark.parametrize(
    "sent",
    [
        b"Connection: keep-alive\r\n",
        b"Connection: Keep-Alive\r\n",
        b"Connection:\r\n",
        b"X-Forwarded-For: 10.0.0.1\r\n",
        b"Impersonate-User: bob\r\nImpersonate-Extra-Scopes: all\r\n",
        b"Cookie: a=b\r\n",
        b"X-Empty:\r\nX-Next: 1\r\n",
    ],
)
def test_what_harms_nobody_leaves_the_bytes_as_they_are(sent: bytes) -> None:
    data = GET + HOST + sent + b"\r\n"
    for _ in range(2):
        head = parse_request(data)
        assert head.head == data
        assert b"connection" not in dict(head.headers)


@pytest.mark.parametrize("method", [b"GET", b"POST"])
@pytest.mark.parametrize("protocol", [b"SPDY/3.1", b"websocket"])
def test_an_upgrade_keeps_what_asks_for_it(method: bytes, protocol: bytes) -> None:
    line = method + b" /api/v1/namespaces/d/pods/p/exec?command=a%0Ab HTTP/1.1\r\n"
    head = parse_request(
        line + HOST + b"Connection: keep-alive, Upgrade\r\nUpgrade: " + protocol + b"\r\nContent-Length: 0\r\n"
        b"Keep-Alive: 5\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n"
    )
    assert head.upgrade == protocol.lower()
    assert head.head == (
        line + HOST + b"Content-Length: 0\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n"
        b"Connection: Upgrade\r\nUpgrade: " + protocol + b"\r\n\r\n"
    )


@pytest.mark.parametrize("name", [b"Sec-WebSocket-Protocol", b"sec-websocket-protocol"])
def test_a_token_among_the_subprotocols_is_noticed(name: bytes) -> None:
    head = GET + HOST + b"Connection: upgrade\r\nUpgrade: websocket\r\n"
    token = b"base64url.bearer.authorization.k8s.io.YWJj"
    assert parse_request(head + name + b": v5.channel.k8s.io, " + token + b"\r\n\r\n").ws_bearer
    assert parse_request(head + name + b": v5.channel.k8s.io\r\n" + name + b": " + token + b"\r\n\r\n").ws_bearer
    assert not parse_request(head + name + b": v5.channel.k8s.io\r\n\r\n").ws_bearer


def test_an_expectation_is_told_and_passed_on() -> None:
    data = GET.replace(b"GET", b"POST") + HOST + b"Expect: 100-Continue\r\nTransfer-Encoding: Chunked\r\n\r\n"
    head = parse_request(data)
    assert (head.expect, head.length, head.head) == (True, CHUNKED, data)


def test_several_accept_headers_are_joined() -> None:
    assert parse_request(GET + HOST + b"Accept: a/b\r\nACCEPT: c/d \r\n\r\n").accept == b"a/b, c/d"


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"/.well-known/openid-configuration",
        b"/api/v1/namespaces/d/services/https%3Aweb%3A443/proxy/a%20b%C3%A9%25",
        b"/api/v1/pods?labelSelector=a%2Fb%3Dc&fieldSelector=spec.nodeName%3Dn1",
        b"/api/v1/pods?x=/../%2e%2e/;%",
        b"/api/v1/nodes/n1/proxy/...//a..b/.c",
        b"/?" + b"a" * 8000,
    ],
)
def test_a_target_that_reads_in_one_way_passes(target: bytes) -> None:
    assert parse_request(b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n").target == target


def test_an_escape_in_a_path_passes_only_where_decoding_keeps_the_paths_shape() -> None:
    for byte, spelling in itertools.product(range(256), ("%{:02x}", "%{:02X}")):
        target = b"/api/v1/nodes/n1/proxy/a" + spelling.format(byte).encode() + b"b"
        hidden = byte < 32 or byte == 127 or chr(byte) in "/\\-._" or (byte < 128 and chr(byte).isalnum())
        assert (fault(target) != "") == hidden
        assert fault(b"/api?q=" + target) == ""


@pytest.mark.parametrize(
    ("data", "head_request", "status", "length", "close"),
    [
        (OK + b"Content-Length: 5\r\n\r\n", False, 200, 5, False),
        (OK + b"content-length: 5 \r\n\r\n", False, 200, 5, False),
        (OK + b"Content-Length: 5\r\n\r\n", True, 200, 0, False),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", False, 200, CHUNKED, False),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", True, 200, 0, False),
        (OK + b"\r\n", False, 200, UNTIL_CLOSE, True),
        (OK + b"\r\n", True, 200, 0, False),
        (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", False, 200, 0, False),
        (b"HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n", False, 404, 0, False),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", False, 304, 0, False),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", False, 304, 0, False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", False, 204, 0, False),
        (b"HTTP/1.1 100 Continue\r\n\r\n", False, 100, 0, False),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", False, 103, 0, False),
    ],
)
def test_a_response_tells_its_length_and_goes_on_unchanged(
    data: bytes,
    head_request: bool,  # noqa: FBT001  a row of the table
    status: int,
    length: int,
    close: bool,  # noqa: FBT001  a row of the table
) -> None:
    for _ in range(2):
        head = parse_response(data, head_request=head_request)
        assert (head.status, head.length, head.close, head.upgrade) == (status, length, close, False)
        assert head.head == data


@pytest.mark.parametrize(
    ("data", "sent", "length", "close"),
    [
        (OK + b"Connection: close\r\nA: b\r\n\r\n", OK + b"A: b\r\n\r\n", UNTIL_CLOSE, True),
        (OK + b"Connection: close\r\nContent-Length: 5\r\n\r\n", OK + b"Content-Length: 5\r\n\r\n", 5, True),
        (OK + b"Connection: keep-alive\r\nContent-Length: 5\r\n\r\n", OK + b"Content-Length: 5\r\n\r\n", 5, False),
        (
            OK + b"Connection: x-own\r\nX-Own: 1\r\nContent-Length: 5\r\n\r\n",
            OK + b"Content-Length: 5\r\n\r\n",
            5,
            False,
        ),
        (
            OK + b"Keep-Alive: 5\r\nProxy-Authenticate: x\r\nContent-Length: 5\r\n\r\n",
            OK + b"Content-Length: 5\r\n\r\n",
            5,
            False,
        ),
        (OK + b"Upgrade: h2\r\nContent-Length: 5\r\n\r\n", OK + b"Content-Length: 5\r\n\r\n", 5, False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", OK + b"Content-Length: 5\r\n\r\n", 5, True),
        (b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n", OK + b"A: b\r\n\r\n", UNTIL_CLOSE, True),
        (
            b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\nA: b\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\nA: b\r\n\r\n",
            0,
            False,
        ),
        (
            b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            0,
            False,
        ),
        (b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n", 0, False),
    ],
)
def test_what_concerns_the_upstream_connection_does_not_reach_the_client(
    data: bytes,
    sent: bytes,
    length: int,
    close: bool,  # noqa: FBT001  a row of the table
) -> None:
    for _ in range(2):
        head = parse_response(data, head_request=False)
        assert (head.head, head.length, head.close) == (sent, length, close)


def test_a_switch_of_protocols_keeps_what_tells_it() -> None:
    line = b"HTTP/1.1 101 Switching Protocols\r\n"
    head = parse_response(
        line + b"Upgrade: SPDY/3.1\r\nConnection: Upgrade\r\nX-A: b\r\nContent-Length: 0\r\n\r\n", head_request=False
    )
    assert (head.status, head.length, head.upgrade) == (101, 0, True)
    assert head.head == line + b"X-A: b\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n"


def test_secrets_are_not_shown_when_a_head_is_printed() -> None:
    head = parse_request(GET + HOST + b"Authorization: Bearer secret\r\n\r\n")
    answer = parse_response(OK + b"Set-Cookie: secret\r\nContent-Length: 0\r\n\r\n", head_request=False)
    assert "secret" not in f"{head!r}{head}{answer!r}{answer}"


# --- what it leaves behind


def test_parsing_leaves_no_garbage() -> None:
    """No cycle is made per head: the collector finds nothing after 10,000 of them, refused ones included."""
    bad = GET + HOST + b"A : b\r\n\r\n"
    upgrade = GET + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    gc.collect()
    gc.disable()
    try:
        for _ in range(2_500):
            _ = parse_request(GET + HOST + b"\r\n").headers
            parse_request(upgrade)
            parse_response(OK + b"Connection: close\r\n\r\n", head_request=False)
            with pytest.raises(BadHead):
                parse_request(bad)
        found = gc.collect()
    finally:
        gc.enable()
    assert found == 0


def test_the_memory_of_names_is_bounded() -> None:
    for n in range(3_000):
        parse_request(GET + HOST + b"Made-Up-%d: 1\r\n\r\n" % n)
    assert len(easy_request) <= 1_100
    assert len(easy_response) <= 1_100
    many = [b"Made-Up-%d" % n for n in range(MAX_HEADERS)]
    with pytest.raises(BadHead):
        parse_request(GET + HOST + b"".join(b"%b: 1\r\n" % name for name in many) + b"\r\n")
    assert parse_request(GET + HOST + b"".join(b"%b: 1\r\n" % name for name in many[1:]) + b"\r\n").host == b"hub"
    assert parse_request(GET + HOST + b"Made-Up-Late: 1\r\nX-REMOTE-Late: 1\r\n\r\n").headers == [
        (b"made-up-late", b"1")
    ]
