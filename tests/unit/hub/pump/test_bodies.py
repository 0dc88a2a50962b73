"""Chunked bodies: where they end, what is in them, what is refused, and that llhttp says the same."""

import gc
import itertools

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yurt_hub.pump.bodies import LINE_LIMIT, TRAILER_LIMIT, BadBody, ChunkDecoder, ChunkWalker

HEAD = b"POST / HTTP/1.1\r\nHost: hub\r\nTransfer-Encoding: chunked\r\n\r\n"


class Seen:
    """What llhttp sees of one body."""

    def __init__(self) -> None:
        self.payload = b""
        self.done = False

    def on_body(self, data: bytes) -> None:
        self.payload += data

    def on_message_complete(self) -> None:
        self.done = True


def by_llhttp(body: bytes) -> Seen:
    """Return what llhttp makes of a body; raises its error if it refuses it."""
    seen = Seen()
    parser = httptools.HttpRequestParser(seen)
    parser.feed_data(HEAD)
    parser.feed_data(body)
    return seen


def walked(pieces: list[bytes]) -> tuple[bool, int, int]:
    """Walk through pieces; return whether the body ended, where in their sum, and its payload."""
    walker, at = ChunkWalker(), 0
    for piece in pieces:
        end = walker.feed(piece)
        at += end
        if walker.done:
            break
        assert end == len(piece)
    return walker.done, at, walker.payload


def decoded(pieces: list[bytes]) -> tuple[bool, bytes, bytes]:
    """Decode pieces; return whether the body ended, its payload, and what came behind it."""
    decoder, payload = ChunkDecoder(), b""
    for piece in pieces:
        payload += b"".join(decoder.feed(piece))
    assert len(payload) == decoder.payload
    return decoder.done, payload, decoder.rest


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in itertools.pairwise(marks)]


def single(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


words = st.text("abcXYZ019-_!", min_size=1, max_size=6)
extensions = st.lists(st.one_of(words, st.builds("{}={}".format, words, words)), max_size=2).map(
    lambda parts: "".join(f";{part}" for part in parts)
)
trailers = st.lists(st.builds("X-{}: {}\r\n".format, words, st.text("ab :;\t~", max_size=8)), max_size=3)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Return a valid chunked body and its payload."""
    out, payload = b"", b""
    for data in draw(
        st.lists(st.one_of(st.binary(min_size=1, max_size=40), st.sampled_from([b"\r\n0\r\n\r\n"])), max_size=6)
    ):
        size = draw(st.sampled_from(["{:x}", "{:X}", "{:04x}", "{:016X}"])).format(len(data))
        out += f"{size}{draw(extensions)}\r\n".encode() + data + b"\r\n"
        payload += data
    last = draw(st.sampled_from(["0", "000", "0" * 16])) + draw(extensions)
    return out + f"{last}\r\n{''.join(draw(trailers))}\r\n".encode(), payload


@settings(max_examples=300, deadline=None)
@given(body=bodies(), rest=st.binary(max_size=20), places=st.lists(st.integers(0, 2000), max_size=8))
def test_a_body_ends_where_llhttp_ends_it_in_every_split(
    body: tuple[bytes, bytes], rest: bytes, places: list[int]
) -> None:
    data, payload = body
    assert by_llhttp(data).payload == payload
    assert by_llhttp(data).done
    for pieces in (cut(data + rest, places), single(data + rest), [data + rest]):
        assert walked(pieces) == (True, len(data), len(payload))
        assert decoded(pieces) == (True, payload, rest)


@settings(max_examples=100, deadline=None)
@given(body=bodies(), before=st.binary(max_size=9))
def test_a_body_is_walked_from_where_it_begins(body: tuple[bytes, bytes], before: bytes) -> None:
    walker = ChunkWalker()
    assert walker.feed(before + body[0] + b"GET", len(before)) == len(before) + len(body[0])
    assert walker.done


@settings(max_examples=60, deadline=None)
@given(body=bodies())
def test_every_beginning_of_a_body_is_not_yet_its_end(body: tuple[bytes, bytes]) -> None:
    data, _ = body
    for end in range(len(data)):
        seen = by_llhttp(data[:end])
        assert walked([data[:end]]) == (False, end, len(seen.payload))
        assert not seen.done


def outcome(pieces: list[bytes]) -> tuple[bool, int, int] | None:
    try:
        return walked(pieces)
    except BadBody:
        return None


def agrees(data: bytes) -> bool:
    """Whether bytes are accepted; if so llhttp sees (asserted) the same payload and the same end in them."""
    whole = outcome([data])
    assert outcome(single(data)) == whole
    if whole is None:
        return False
    done, end, payload = whole
    seen = by_llhttp(data[:end])
    assert (seen.done, len(seen.payload)) == (done, payload)
    assert decoded([data])[:2] == (done, seen.payload)
    assert not done or not by_llhttp(data[: end - 1]).done
    return True


def test_every_corruption_of_one_byte_is_refused_or_read_as_llhttp_reads_it() -> None:
    data = b"5;a=b\r\nhello\r\n00A\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n"
    refused = accepted = 0
    for at in range(len(data)):
        for byte in range(256):
            for bad in (data[:at] + bytes([byte]) + data[at + 1 :], data[:at] + bytes([byte]) + data[at:]):
                if agrees(bad):
                    accepted += 1
                else:
                    refused += 1
        agrees(data[:at] + data[at + 1 :])
    assert refused > 10_000
    assert accepted > 1_000


@settings(max_examples=300, deadline=None)
@given(data=st.lists(st.sampled_from(list(b'0123aF;="x: \t\r\n\x00\xff')), max_size=24).map(bytes))
def test_bytes_made_of_framing_are_refused_or_read_as_llhttp_reads_them(data: bytes) -> None:
    agrees(data)


@pytest.mark.parametrize(
    "body",
    [
        b"\r\n",
        b"\n",
        b"g\r\n",
        b"-1\r\n",
        b"+5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b" 5\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b"5\t\r\nhello\r\n",
        b"5 ;a\r\nhello\r\n",
        b"5\nhello\r\n",
        b"5\rhello\r\n",
        b"5\r\nhello\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n",
        b"4\r\nhello\r\n0\r\n\r\n",
        b"6\r\nhello\r\n0\r\n\r\n",
        b"5_0\r\n",
        b"\xc2\xb2\r\n",
        b";a\r\n",
        b"5;\r\n",
        b"5;a=\r\n",
        b"5;a b\r\n",
        b'5;a="b"\r\n',
        b'5;a="\r\n0\r\n\r\n"\r\n',
        b"5;a\nhello\r\n",
        b"5;a\x00\r\n",
        b"00000000000000005\r\nhello\r\n",
        b"20000000000000\r\n",
        b"ffffffffffffffff\r\n",
        b"5;" + b"a" * LINE_LIMIT + b"\r\n",
        b"5;" + b"a" * 100_000,
        b"0\r\n\n",
        b"0\r\n\rx",
        b"0\r\nX\r\n\r\n",
        b"0\r\nX : 1\r\n\r\n",
        b"0\r\n X: 1\r\n\r\n",
        b"0\r\nX: 1\r\n 2\r\n\r\n",
        b"0\r\nX: 1\n\r\n",
        b"0\r\nX: \x00\r\n\r\n",
        b"0\r\n: 1\r\n\r\n",
        b"0\r\nContent-Length: 5\r\n\r\n",
        b"0\r\ncontent-length: 5\r\n\r\n",
        b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"0\r\nHost: other\r\n\r\n",
        b"0\r\nAuthorization: Bearer a\r\n\r\n",
        b"0\r\nX-Ok: 1\r\nAUTHORIZATION: Bearer a\r\n\r\n",
        b"0\r\nX-Remote-User: admin\r\n\r\n",
        b"0\r\nX: " + b"a" * TRAILER_LIMIT + b"\r\n\r\n",
        b"0\r\n" + b"X: 1\r\n" * 2_000 + b"\r\n",
    ],
)
def test_a_broken_body_is_refused_in_every_split(body: bytes) -> None:
    for pieces in ([body], cut(body, [1, 2, 3]), single(body)):
        with pytest.raises(BadBody):
            walked(pieces)
        with pytest.raises(BadBody):
            decoded(pieces)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (b"5\r\nhello", b"!"),
        (b"5", b"\n"),
        (b"5\r", b"x"),
        (b"0\r\n\r", b"\r"),
        (b"0\r\nA:b\r", b"\r"),
        (b"1;a=", b";"),
    ],
)
def test_the_first_bad_byte_is_enough(good: bytes, bad: bytes) -> None:
    """What came before it is taken without complaint, so a body is given up exactly at that byte."""
    walker = ChunkWalker()
    assert walker.feed(good) == len(good)
    with pytest.raises(BadBody):
        walker.feed(bad)


def test_lines_and_trailers_may_be_as_long_as_their_limits() -> None:
    extension = b"0;" + b"a" * (LINE_LIMIT - 4) + b"\r\n"
    assert len(extension) == LINE_LIMIT
    trailer = b"X: " + b"a" * (TRAILER_LIMIT - 7) + b"\r\n"
    body = extension + trailer + b"\r\n"
    assert len(trailer) + 2 == TRAILER_LIMIT
    assert walked([body]) == walked(single(body)) == (True, len(body), 0)
    for over in (extension.replace(b"a", b"aa", 1) + b"\r\n", extension + trailer.replace(b"a", b"aa", 1) + b"\r\n"):
        for pieces in ([over], single(over)):
            with pytest.raises(BadBody):
                walked(pieces)


def test_a_chunk_of_terabytes_is_counted_not_kept() -> None:
    walker, piece = ChunkWalker(), bytes(1 << 20)
    assert walker.feed(b"FFFFFFFFFFF\r\n") == 13
    for _ in range(64):
        assert walker.feed(piece) == len(piece)
    assert walker.payload == 64 << 20
    assert walker._left == 0xFFFFFFFFFFF - (64 << 20)
    assert not walker.done


def test_nothing_is_taken_after_the_end() -> None:
    walker = ChunkWalker()
    assert walker.feed(b"0\r\n\r\nGET") == 5
    assert walker.feed(b"GET / HTTP/1.1") == 0
    decoder = ChunkDecoder()
    assert decoder.feed(b"1\r\na\r\n0\r\n\r\nGET") == [b"a"]
    assert decoder.feed(b" /") == []
    assert decoder.rest == b"GET /"


def test_walking_leaves_no_garbage() -> None:
    gc.collect()
    gc.disable()
    try:
        for _ in range(2_000):
            ChunkWalker().feed(b"5\r\nhello\r\n0\r\n\r\n")
            ChunkDecoder().feed(b"5\r\nhello\r\n0\r\nX: 1\r\n\r\n")
        found = gc.collect()
    finally:
        gc.enable()
    assert found == 0
