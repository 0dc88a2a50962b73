"""HTTP/1.1 heads (RFC 9110, RFC 9112), judged strictly on the hot path.

llhttp (through httptools, all leniencies off) judges every byte of a head: names, values, line ends, folding, lengths
against codings. This module adds what llhttp lets pass: empty lines and blanks around the first line, absent and other
versions, absolute and asterisk targets, fragments, none or several Hosts, codings besides ``chunked``, several heads in
one piece. Whatever could be read in two ways is refused, so that no server behind us reads another message than we do.

Two roads give the same answer. The short one serves heads in which nothing has to be done, which it knows by the names
alone; the long one removes what concerns one connection, and teaches the short one the names that are of no concern.
"""

import re
from dataclasses import dataclass
from typing import NoReturn

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, HttpResponseParser

from yurt_hub.pump.fields import (
    CHUNKED,
    END,
    MAX_HEADERS,
    UNTIL_CLOSE,
    BadHead,
    body_length,
    connection_options,
    easy_request,
    easy_response,
    end_to_end,
    ends_here,
    join,
    passing,
    read_coding,
    read_length,
    split,
)
from yurt_hub.pump.targets import fault

__all__ = [
    "CHUNKED",
    "HEAD_LIMIT",
    "UNTIL_CLOSE",
    "BadHead",
    "RequestHead",
    "ResponseHead",
    "head_end",
    "header_block",
    "parse_repeated",
    "parse_request",
    "parse_response",
]

HEAD_LIMIT = 64 * 1024
_METHODS = rb"GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS"
_REQUEST_LINE = re.compile(rb"(" + _METHODS + rb") (/(?!/)[!\"$-~]*) HTTP/1\.1\r\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [\t -~\x80-\xff]*)?\r\n")
_HOST = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_HARMLESS = frozenset((b"keep-alive",))
_NOTHING = (b"",)
_WS_BEARER = b"base64url.bearer.authorization.k8s.io."


class _Found(dict[bytes, bytes]):
    """Collects headers for httptools without a Python frame per header; of equal names the first one stays."""

    on_header = dict.setdefault


_CHUNKED_LINE = b"\r\nTransfer-Encoding: chunked\r\n"


@dataclass(slots=True, eq=False, repr=False)
class RequestHead:
    """What a request's head says and the bytes that go upstream in its place."""

    method: bytes
    target: bytes
    length: int
    """Bytes of body, or ``CHUNKED``."""
    host: bytes
    user_agent: bytes
    accept: bytes | None
    """All Accept headers, joined by a comma."""
    authorization: bytes | None
    head: bytes
    """What to send upstream, with its last CRLFCRLF: the original bytes if nothing had to go."""
    close: bool = False
    """The client wants its connection closed after the answer."""
    upgrade: bytes | None = None
    """The protocol asked for, in lower case; such a request has no body."""
    expect: bool = False
    """The client waits for ``100 Continue`` before it sends the body."""
    ws_bearer: bool = False
    """A WebSocket subprotocol carries a bearer token."""

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The end-to-end headers of ``head`` in order, names in lower case, as HTTP/2 takes them.

        Without Host (``host`` goes into ``:authority``), Connection, Upgrade and Transfer-Encoding.
        """
        return end_to_end(self.head)

    def __repr__(self) -> str:
        return f"RequestHead({self.method!r}, {self.target!r})"


@dataclass(slots=True, eq=False, repr=False)
class ResponseHead:
    """What a response's head says and the bytes that go to the client in its place."""

    status: int
    length: int
    """Bytes of body, ``CHUNKED`` or ``UNTIL_CLOSE``; 0 where the request or the status forbids a body."""
    head: bytes
    """What to send to the client, with its last CRLFCRLF, as HTTP/1.1 and without Connection (but for 101).

    A caller who is going to close the client's connection says so by a ``Connection: close`` of his own.
    """
    close: bool = False
    """The upstream connection cannot be used again."""
    upgrade: bool = False
    """Status 101: after the head both sides speak another protocol."""

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The end-to-end headers of ``head`` in order, names in lower case."""
        return end_to_end(self.head)

    def __repr__(self) -> str:
        return f"ResponseHead({self.status})"


def head_end(data: bytes | bytearray, start: int = 0) -> int:
    """Return the index just behind the first CRLFCRLF at or after ``start``, or -1.

    A caller whose buffer grows passes the former length less three, so that no byte is searched twice. Bare line feeds
    end nothing, and an empty line in front of a request line is a (bad) head of its own.
    """
    at = data.find(END, start)
    return at + 4 if at >= 0 else -1


def parse_request(data: bytes) -> RequestHead:
    """Judge one request head, its last CRLFCRLF included.

    Raises:
        BadHead: what is ambiguous, not supported or too large, with the status to answer.
    """
    if len(data) > HEAD_LIMIT:
        raise BadHead(431, f"The head is longer than {HEAD_LIMIT} bytes.")
    line = _REQUEST_LINE.match(data)
    if line is None:
        _refuse_request_line(data)
    method, target = line.groups()
    if b"%" in target or b"/." in target:
        why = fault(target)
        if why:
            raise BadHead(400, why)
    found = _Found()
    try:
        HttpRequestParser(found).feed_data(data)
    except HttpParserUpgrade:
        return _request_at_length(data, line.end(), method, target)
    except HttpParserError as err:
        _refuse_request(str(err))
    if (
        not MAX_HEADERS >= len(found) == data.count(b"\n") - 2
        or not found.keys() <= easy_request
        or not data.endswith(END)
    ):
        return _request_at_length(data, line.end(), method, target)
    get = found.get
    host = get(b"Host", b"")
    if _HOST.fullmatch(host) is None:
        return _request_at_length(data, line.end(), method, target)
    length = get(b"Content-Length")
    token = get(b"Authorization")
    accept = get(b"Accept")
    return RequestHead(
        method,
        target,
        0 if length is None else read_length(length, 400),
        host,
        get(b"User-Agent", b"").rstrip(b" \t"),
        accept if accept is None else accept.rstrip(b" \t"),
        token if token is None else token.rstrip(b" \t"),
        data,
    )


def header_block(request: RequestHead) -> bytes | None:
    """Return the header lines of a head that was forwarded as it came, for `parse_repeated`.

    None if a body, an upgrade, an expectation or a close belongs to it: those are judged anew each time.
    """
    if request.length or request.upgrade or request.expect or request.close or request.ws_bearer:
        return None
    return request.head[request.head.find(b"\n") + 1 :]


def parse_repeated(data: bytes, block: bytes, before: RequestHead) -> RequestHead | None:
    """Judge a head whose header lines are, byte for byte, those of a good one: only its first line is new.

    Components ask again and again with the same fields on the same connection. None: it is not such a head, or its
    target needs a closer look.
    """
    if not data.endswith(block):
        return None
    line = _REQUEST_LINE.fullmatch(data, 0, len(data) - len(block))
    if line is None:
        return None
    method, target = line.groups()
    if b"%" in target or b"/." in target:
        return None
    return RequestHead(
        method, target, 0, before.host, before.user_agent, before.accept, before.authorization, data
    )  # fmt: skip


def parse_response(data: bytes, *, head_request: bool) -> ResponseHead:
    """Judge one response head, its last CRLFCRLF included; ``head_request`` tells that it answers HEAD.

    Raises:
        BadHead: with status 502.
    """
    if len(data) > HEAD_LIMIT:
        raise BadHead(502, f"The upstream's head is longer than {HEAD_LIMIT} bytes.")
    line = _STATUS_LINE.match(data)
    if line is None:
        raise BadHead(502, "The upstream's status line is not one of HTTP/1.0 or HTTP/1.1.")
    minor, code = line.groups()
    status = int(code)
    found = _Found()
    try:
        HttpResponseParser(found).feed_data(data)
    except HttpParserUpgrade:
        return _response_at_length(data, line.end(), status, head_request=head_request)
    except HttpParserError as err:
        raise BadHead(502, f"The upstream's head is malformed: {err}.") from None
    if (
        not MAX_HEADERS >= len(found) == data.count(b"\n") - 2
        or not found.keys() <= easy_response
        or not data.endswith(END)
        or minor == b"0"
        or status < 200
        or status == 204
    ):
        return _response_at_length(data, line.end(), status, head_request=head_request)
    length = found.get(b"Content-Length")
    coding = found.get(b"Transfer-Encoding")
    if coding is not None:
        if data.find(_CHUNKED_LINE) < 0:  # in other words: with a blank or tab that llhttp may read otherwise
            return _response_at_length(data, line.end(), status, head_request=head_request)
        size = read_coding(coding, 502)
    elif length is not None:
        size = read_length(length, 502)
    elif head_request or status == 304:
        size = 0
    else:
        return _response_at_length(data, line.end(), status, head_request=head_request)
    return ResponseHead(status, 0 if head_request or status == 304 else size, data)


def _request_at_length(data: bytes, at: int, method: bytes, target: bytes) -> RequestHead:
    """Judge a head that llhttp accepted, of which something may have to go; the first line ends at ``at``."""
    lines, special = split(data, at, 400)
    host = special.get(b"host", _NOTHING)[0]
    if _HOST.fullmatch(host) is None:
        raise BadHead(400, "The head needs exactly one Host with a name or an address in it.")
    length = body_length(special, 400)
    options = connection_options(special, 400)
    upgrade = special[b"upgrade"][0] if b"upgrade" in options and b"upgrade" in special else b""
    if upgrade.lower() == b"h2c":  # deprecated, and a way around every check of ours: served as a plain request
        upgrade = b""
    if upgrade and length:
        raise BadHead(400, "A request that asks for another protocol must not have a body.")
    expect = b"expect" in special
    if expect and special[b"expect"][0].lower() != b"100-continue":
        raise BadHead(417, "The only expectation that is known is 100-continue.")
    head = data
    if upgrade:
        head = join(data[:at], [*passing(lines, options), b"Connection: Upgrade", b"Upgrade: " + upgrade])
    elif not options <= _HARMLESS or any(name != b"connection" and ends_here(name) for name in special):
        head = join(data[:at], passing(lines, options))
    return RequestHead(
        method,
        target,
        length,
        host,
        special.get(b"user-agent", _NOTHING)[0],
        b", ".join(special[b"accept"]) if b"accept" in special else None,
        special[b"authorization"][0] if b"authorization" in special else None,
        head,
        b"close" in options,
        upgrade.lower() or None,
        expect,
        b"sec-websocket-protocol" in special and _WS_BEARER in b",".join(special[b"sec-websocket-protocol"]).lower(),
    )


def _response_at_length(data: bytes, at: int, status: int, *, head_request: bool) -> ResponseHead:
    """Judge a response head that llhttp accepted, of which something may have to go."""
    lines, special = split(data, at, 502)
    old = data.startswith(b"HTTP/1.0")
    if old and b"transfer-encoding" in special:
        raise BadHead(502, "The upstream's HTTP/1.0 response has a transfer coding.")
    options = connection_options(special, 502)
    length = body_length(special, 502)
    framed = b"content-length" in special or b"transfer-encoding" in special
    bodiless = status < 200 or status == 204
    if head_request or bodiless or status == 304:
        length = 0
    elif not framed:
        length = UNTIL_CLOSE
    close = old or length == UNTIL_CLOSE or b"close" in options
    if bodiless and framed:
        options |= {b"content-length", b"transfer-encoding"}
    upgrade = status == 101
    left = passing(lines, options)
    if upgrade:
        if b"upgrade" not in special:
            raise BadHead(502, "The upstream switches protocols without naming one.")
        left += [b"Connection: Upgrade", b"Upgrade: " + special[b"upgrade"][0]]
    head = data
    if upgrade or old or len(left) != len(lines):
        head = join(b"HTTP/1.1" + data[8:at], left)
    return ResponseHead(status, length, head, close, upgrade)


def _refuse_request_line(data: bytes) -> NoReturn:
    """Say what is wrong with a request line that the pattern of good ones does not match."""
    parts = data[: data.find(b"\r\n")].split(b" ")
    if len(parts) != 3 or re.fullmatch(rb"HTTP/[0-9]\.[0-9]", parts[2]) is None:
        raise BadHead(400, "The first line is not a method, a target and a version with one space between them.")
    method, target, version = parts
    if version != b"HTTP/1.1":
        raise BadHead(505, "The only version that is spoken here is HTTP/1.1.")
    if re.fullmatch(rb"[A-Z]+", method) is None:
        raise BadHead(400, "The method is not a word of upper-case letters.")
    if method in (b"CONNECT", b"TRACE"):
        raise BadHead(405, f"The method {method.decode()} is not allowed.")
    if re.fullmatch(_METHODS, method) is None:
        raise BadHead(501, "The method is not known.")
    if re.match(rb"/(?!/)", target) is None:
        raise BadHead(400, "The target does not begin with exactly one slash.")
    raise BadHead(400, "The target has a character that is not visible ASCII, or a fragment.")


def _refuse_request(why: str) -> NoReturn:
    """Translate llhttp's verdict; it never quotes the head."""
    if "invalid `Transfer-Encoding`" in why:
        raise BadHead(501, "The only transfer coding that is supported is chunked.") from None
    raise BadHead(400, f"The head is malformed: {why}.") from None
