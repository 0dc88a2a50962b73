"""Heads against llhttp: whatever is accepted means the same to it, in every split, mutated or not."""

import itertools
import random
from dataclasses import fields as dataclass_fields

import httptools
from hypothesis import example, given, settings
from hypothesis import strategies as st
from yurt_hub.pump.fields import claims_identity
from yurt_hub.pump.heads import (
    CHUNKED,
    UNTIL_CLOSE,
    BadHead,
    RequestHead,
    ResponseHead,
    _request_at_length,
    _response_at_length,
    head_end,
    parse_request,
    parse_response,
)

GET = b"GET /api/v1/pods HTTP/1.1\r\n"
HOST = b"Host: hub\r\n"
OK = b"HTTP/1.1 200 OK\r\n"


class Seen:
    """What llhttp sees in a stream of bytes."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.ended = 0

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_message_complete(self) -> None:
        self.ended += 1


def judged(parser: httptools.HttpRequestParser | httptools.HttpResponseParser, *pieces: bytes) -> str:
    """Feed llhttp; say whether it went through, saw an upgrade, or refused."""
    try:
        for piece in pieces:
            parser.feed_data(piece)
    except httptools.HttpParserUpgrade:
        return "upgrade"
    except httptools.HttpParserError:
        return "refused"
    return "through"


def lowered(pairs: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower(), value.strip(b" \t")) for name, value in pairs]


def values(pairs: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for key, value in pairs if key == name]


def agrees_with_llhttp(data: bytes, head: RequestHead) -> None:
    """Assert that llhttp reads the request as we do, and ends it at the same byte."""
    seen = Seen()
    parser = httptools.HttpRequestParser(seen)
    outcome = judged(parser, data)
    assert outcome != "refused"
    pairs = lowered(seen.headers)
    assert (parser.get_method(), seen.url, parser.get_http_version()) == (head.method, head.target, "1.1")
    assert values(pairs, b"host") == [head.host]
    assert values(pairs, b"authorization") == ([] if head.authorization is None else [head.authorization])
    assert (values(pairs, b"user-agent") or [b""])[0] == head.user_agent
    assert (b", ".join(values(pairs, b"accept")) if values(pairs, b"accept") else None) == head.accept
    if outcome == "upgrade":
        assert head.length == 0 or b"h2c" in [value.lower() for value in values(pairs, b"upgrade")]
        return
    assert head.upgrade is None
    if head.length == CHUNKED:
        assert seen.ended == 0
        parser.feed_data(b"0\r\n\r\n")
    elif head.length:
        assert values(pairs, b"content-length")[0].lstrip(b"0") == str(head.length).encode()
        assert seen.ended == 0
        if head.length > 2000:
            return
        parser.feed_data(b"x" * (head.length - 1))
        assert seen.ended == 0
        parser.feed_data(b"x")
    assert seen.ended == 1


def same(one: RequestHead | ResponseHead, other: RequestHead | ResponseHead) -> bool:
    return [getattr(one, field.name) for field in dataclass_fields(one)] == [
        getattr(other, field.name) for field in dataclass_fields(other)
    ]


TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
SPECIAL_NAMES = [
    b"Accept", b"User-Agent", b"accept", b"Authorization", b"Connection", b"TE", b"Trailer", b"Upgrade", b"Keep-Alive",
    b"Proxy-Authorization", b"X-Remote-User", b"x-remote-group", b"X-Forwarded-For", b"X-Forwarded-User", b"Expect",
    b"Content-Length", b"Transfer-Encoding", b"Impersonate-User", b"Sec-WebSocket-Protocol", b"X-Own", b"Host",
]  # fmt: skip
SPECIAL_VALUES = [
    b"close", b"keep-alive", b"Upgrade", b"upgrade, x-own", b"websocket", b"h2c", b"trailers", b"chunked", b"0", b"7",
    b"1999", b"100-continue", b"Bearer abc", b"", b"x-own, close", b"hub:1", b"a/b",
]  # fmt: skip

plain_names = st.builds(
    lambda text: b"Y-" + text, st.binary(max_size=8).map(lambda b: bytes(TOKEN[c % len(TOKEN)] for c in b))
)
plain_values = st.binary(max_size=24).map(lambda b: bytes(c if c >= 32 and c != 127 else 9 for c in b))
blanks = st.sampled_from([b"", b" ", b"\t", b"  \t"])
GOOD_PAIRS = [
    (b"Connection", b"keep-alive"), (b"Connection", b"close"), (b"connection", b"x-own, close"), (b"X-Own", b"1"),
    (b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"), (b"Upgrade", b"h2c"), (b"TE", b"trailers"),
    (b"Content-Length", b"7"), (b"Content-Length", b"0"), (b"content-length", b"1999"), (b"Expect", b"100-continue"),
    (b"Transfer-Encoding", b"chunked"), (b"transfer-encoding", b"Chunked"), (b"Authorization", b"Bearer abc"),
]  # fmt: skip
own_pairs = st.one_of(
    st.tuples(plain_names, plain_values),
    st.tuples(st.sampled_from([b"Accept", b"User-Agent", b"accept", b"X-Remote-User", b"Keep-Alive"]), plain_values),
)
headers = st.one_of(
    st.lists(st.one_of(own_pairs, st.tuples(st.just(b"Authorization"), plain_values)), max_size=4),
    st.builds(
        lambda many, few: [*many, *few],
        st.lists(own_pairs, max_size=6),
        st.lists(st.sampled_from(GOOD_PAIRS), max_size=3, unique_by=lambda pair: pair[0].lower()),
    ).flatmap(st.permutations),
    st.lists(st.tuples(st.sampled_from(SPECIAL_NAMES), st.sampled_from(SPECIAL_VALUES)), max_size=6),
)
segments = st.text("abcXYZ019-._~:!$&'()*+,=@", min_size=1, max_size=8).map(str.encode)
targets = st.builds(
    lambda parts, query: b"/" + b"/".join(parts) + query,
    st.lists(segments, max_size=6),
    st.one_of(st.just(b""), st.text("abc=&%2F+;/?.:,", max_size=20).map(lambda q: b"?" + q.encode())),
)
methods = st.sampled_from([b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"])


@st.composite
def request_heads(draw: st.DrawFn) -> bytes:
    pairs = draw(headers)
    pairs.insert(draw(st.integers(0, len(pairs))), (draw(st.sampled_from([b"Host", b"host"])), b"hub:10268"))
    lines = [name + b":" + draw(blanks) + value + draw(blanks) for name, value in pairs]
    return draw(methods) + b" " + draw(targets) + b" HTTP/1.1\r\n" + b"\r\n".join([*lines, b"", b""])


@st.composite
def response_heads(draw: st.DrawFn) -> bytes:
    lines = [name + b":" + draw(blanks) + value + draw(blanks) for name, value in draw(headers)]
    status = draw(st.sampled_from([b"100", b"101", b"200", b"201", b"204", b"304", b"404", b"503"]))
    version = draw(st.sampled_from([b"HTTP/1.1 ", b"HTTP/1.1 ", b"HTTP/1.0 "]))
    return version + status + b" Words\r\n" + b"\r\n".join([*lines, b"", b""])


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in itertools.pairwise(marks)]


@settings(max_examples=400, deadline=None)
@given(data=request_heads(), rest=st.binary(max_size=20), places=st.lists(st.integers(0, 5000), max_size=6))
def test_a_request_is_read_as_llhttp_reads_it_however_it_is_split(data: bytes, rest: bytes, places: list[int]) -> None:
    """The end is found where it is in every split, and an accepted head means to llhttp what it means to us."""
    buffer, found = bytearray(), -1
    for piece in cut(data + rest, places):
        before = len(buffer)
        buffer += piece
        found = head_end(buffer, max(0, before - 3))
        assert found == head_end(buffer)
        if found >= 0:
            break
    assert found == len(data)
    try:
        head = parse_request(bytes(buffer[:found]))
    except BadHead:
        return
    agrees_with_llhttp(data, head)
    seen = Seen()
    assert judged(httptools.HttpRequestParser(seen), *cut(data, places)) != "refused"
    plain = [pair for pair in lowered(seen.headers) if pair[0].startswith((b"y-", b"impersonate-"))]
    options = {
        part.strip().lower() for value in values(lowered(seen.headers), b"connection") for part in value.split(b",")
    }
    wanted = [pair for pair in plain if pair[0] not in options]
    assert [pair for pair in head.headers if pair[0].startswith((b"y-", b"impersonate-"))] == wanted


@settings(max_examples=300, deadline=None)
@given(pairs=st.lists(st.tuples(plain_names, plain_values), max_size=10), method=methods, target=targets)
def test_every_valid_head_is_accepted_with_llhttps_headers(
    pairs: list[tuple[bytes, bytes]], method: bytes, target: bytes
) -> None:
    if any(part in (b".", b"..") for part in target.partition(b"?")[0].split(b"/")):
        target = b"/"
    data = method + b" " + target + b" HTTP/1.1\r\n" + HOST + b"".join(b"%b: %b\r\n" % pair for pair in pairs) + b"\r\n"
    head = parse_request(data)
    seen = Seen()
    assert judged(httptools.HttpRequestParser(seen), data) == "through"
    assert (head.head, head.target, head.method) == (data, seen.url, method)
    assert head.headers == lowered(seen.headers)[1:]


@settings(max_examples=400, deadline=None)
@given(data=request_heads())
@example(GET + HOST + b"Connection: x-remote-user\r\nX-Remote-User: a\r\nA:\r\n\r\n")
def test_what_goes_upstream_reads_the_same_again_and_has_nothing_left_to_remove(data: bytes) -> None:
    try:
        head = parse_request(data)
    except BadHead:
        return
    again = parse_request(head.head)
    assert again.head == head.head
    assert again.headers == head.headers
    assert (again.method, again.target, again.length) == (head.method, head.target, head.length)
    assert (again.host, again.authorization, again.upgrade) == (head.host, head.authorization, head.upgrade)
    assert not again.close
    names = {name for name, _ in head.headers}
    assert not names & {b"connection", b"te", b"trailer", b"keep-alive", b"upgrade", b"http2-settings"}
    assert not any(claims_identity(name) or name.startswith(b"proxy-") for name in names)


@settings(max_examples=400, deadline=None)
@given(data=request_heads())
def test_the_short_and_the_long_road_give_the_same_request(data: bytes) -> None:
    line_end = data.index(b"\r\n") + 2
    method, target, _ = data[:line_end].split(b" ")
    try:
        head = parse_request(data)
    except BadHead:
        return
    assert same(head, _request_at_length(data, line_end, method, target))
    assert same(head, parse_request(data))


@settings(max_examples=400, deadline=None)
@given(data=response_heads(), head_request=st.booleans())
def test_a_response_is_read_as_llhttp_reads_it(data: bytes, head_request: bool) -> None:  # noqa: FBT001  generated
    try:
        head = parse_response(data, head_request=head_request)
    except BadHead:
        return
    assert same(head, parse_response(data, head_request=head_request))
    line_end = data.index(b"\r\n") + 2
    assert same(head, _response_at_length(data, line_end, head.status, head_request=head_request))
    assert head.head.startswith(b"HTTP/1.1 ")
    assert parse_response(head.head, head_request=head_request).headers == head.headers
    seen = Seen()
    parser = httptools.HttpResponseParser(seen)
    outcome = judged(parser, data)
    assert outcome == ("upgrade" if head.upgrade else "through")
    assert parser.get_status_code() == head.status
    if outcome == "upgrade" or head_request:
        return
    if head.length == CHUNKED:
        parser.feed_data(b"0\r\n\r\n")
    elif head.length == UNTIL_CLOSE:
        parser.feed_data(b"x" * 100)
        assert seen.ended == 0
        return
    elif head.length:
        parser.feed_data(b"x" * (head.length - 1))
        assert seen.ended == 0
        parser.feed_data(b"x")
    assert seen.ended == 1


NASTY = [
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b"\x00", b"\x0b", b":", b",", b";", b"/", b"%2e", b"%2f", b"..",
    b"#", b"\r\n ", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"transfer-encoding: x\r\n",
    b"Host: evil\r\n", b"Connection: close\r\n", b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    b"\r\nAuthorization: Bearer x", b"+5",
    b"0x5", b"-1", b"99999999999999999999", b"chunked, ", b"HTTP/1.1", b"HTTP/1.0", b"GET / HTTP/1.1\r\n",
    b"\xff", b"\x7f",
]  # fmt: skip
SEEDS = [
    b"GET /api/v1/pods?watch=1 HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer abc\r\nAccept: a/b\r\n\r\n",
    b"POST /api/v1/x HTTP/1.1\r\nHost: hub\r\nContent-Length: 11\r\nUser-Agent: a\r\n\r\n",
    b"PUT /a/%20b HTTP/1.1\r\nhost: hub\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
    b"GET /exec HTTP/1.1\r\nHost: hub\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Remote-User: a\r\n\r\n",
    b"DELETE / HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close, x-own\r\nX-Own: 1\r\nTE: trailers\r\n\r\n",
]


def mutated(data: bytes, chance: random.Random) -> bytes:
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0:
                data = data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
            case 1:
                data = data[:at] + chance.choice(NASTY) + data[at:]
            case 2:
                data = data[:at] + data[at + chance.randint(1, 4) :]
            case 3:
                to = min(len(data), at + chance.randint(1, 40))
                data = data[:to] + data[at:to] + data[to:]
            case _:
                lines = data.split(b"\r\n")
                lines.insert(chance.randrange(len(lines)), chance.choice(lines))
                data = b"\r\n".join(lines)
    return data


def test_ten_thousand_bad_heads_are_refused_or_read_as_llhttp_reads_them() -> None:
    chance = random.Random(20261125)  # noqa: S311  a fixed set of heads
    refused: list[int] = []
    accepted = 0
    for _ in range(10_000):
        data = mutated(chance.choice(SEEDS), chance)
        try:
            head = parse_request(data)
        except BadHead as bad:
            refused.append(bad.status)
            continue
        accepted += 1
        assert head_end(data) == len(data)
        agrees_with_llhttp(data, head)
        agrees_with_llhttp(head.head, parse_request(head.head))
    assert set(refused) <= {400, 405, 417, 431, 501, 505}
    assert min(len(refused), accepted) > 500


def test_ten_thousand_bad_responses_are_refused_or_read_again_as_the_same() -> None:
    chance = random.Random(20261126)  # noqa: S311  a fixed set of heads
    seeds = [
        OK + b"Content-Length: 11\r\nDate: now\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.0 204 None\r\n\r\n",
    ]
    refused: list[int] = []
    for _ in range(10_000):
        try:
            head = parse_response(mutated(chance.choice(seeds), chance), head_request=False)
        except BadHead as bad:
            refused.append(bad.status)
            continue
        again = parse_response(head.head, head_request=False)
        assert (again.status, again.length, again.head) == (head.status, head.length, head.head)
    assert set(refused) == {502}
    assert 500 < len(refused) < 9500
