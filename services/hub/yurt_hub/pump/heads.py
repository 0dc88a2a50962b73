"""HTTP/1.1 heads (RFC 9110, RFC 9112), judged strictly on the hot path.

llhttp (through httptools, all leniencies off) judges every byte of a head; this module adds what llhttp lets pass:
absent versions, absolute and asterisk targets, a missing Host, codings besides ``chunked``. Whatever could be read in
two ways is refused, so that no server behind us understands another message than we do.

Two roads give the same answer. The short one serves heads whose header names are all in the usual spelling and ask for
nothing to be done; the long one lower-cases names, removes what concerns one connection alone, and rebuilds the head.
"""

import re
from dataclasses import dataclass
from typing import NoReturn

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, HttpResponseParser

HEAD_LIMIT = 64 * 1024
MAX_HEADERS = 200
MAX_LENGTH = 2**53  # what every JSON reader and every counter of ours still holds exactly
CHUNKED = -1
UNTIL_CLOSE = -2

_END = b"\r\n\r\n"
_METHODS = rb"GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS"
_REQUEST_LINE = re.compile(rb"(" + _METHODS + rb") (/(?!/)[!\"$-~]*) HTTP/1\.1\r\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [\t -~\x80-\xff]*)?\r\n")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HOST = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_WS_BEARER = b"base64url.bearer.authorization.k8s.io."

# In the path: controls, "/", "\", and what never needs an escape (letters, digits, "-._~").
_HIDDEN = re.compile(rb"%(?:[01].|7[fF]|2[dDeEfF]|5[cCfF]|7[eE]|3[0-9]|[46][1-9a-fA-F]|[57][0-9aA])")
_DOT_SEGMENT = re.compile(rb"/\.\.?(?:/|$)")

# Headers of the usual clients, as they spell them, that are forwarded unread (or read by the short road itself).
_PLAIN_REQUEST = frozenset(
    b"Host,User-Agent,Authorization,Accept,Accept-Encoding,Accept-Language,Content-Type,Content-Length,Content-Encoding,"
    b"If-None-Match,If-Match,If-Modified-Since,Cache-Control,Pragma,Origin,Referer,Cookie,Range,Traceparent,Tracestate,"
    b"traceparent,tracestate,baggage,Kubectl-Command,Kubectl-Session,Impersonate-User,Impersonate-Group,"
    b"Impersonate-Uid,X-Request-Id,X-Forwarded-For,X-Forwarded-Host,X-Forwarded-Proto,Audit-Id".split(b",")
)
_PLAIN_RESPONSE = frozenset(
    b"Audit-Id,Cache-Control,Content-Type,Content-Length,Content-Encoding,Transfer-Encoding,Date,Etag,Last-Modified,"
    b"Location,Vary,Warning,Retry-After,Server,Accept-Ranges,Content-Range,X-Content-Type-Options,Www-Authenticate,"
    b"X-Kubernetes-Pf-Flowschema-Uid,X-Kubernetes-Pf-Prioritylevel-Uid,Strict-Transport-Security,Traceparent".split(
        b","
    )
)

_HOP = frozenset((b"connection", b"keep-alive", b"te", b"trailer", b"upgrade", b"http2-settings"))
_FRAMING = frozenset((b"content-length", b"transfer-encoding", b"host", b"expect"))
_MEANING = frozenset((b"authorization", b"content-type", b"content-encoding", b"cookie", b"accept"))
_NOT_END_TO_END = frozenset((b"host", b"connection", b"transfer-encoding", b"upgrade"))
_FORWARDED_FACTS = frozenset(
    (b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port", b"x-forwarded-prefix")
)


class BadHead(Exception):  # noqa: N818  named as what came, like BadBody
    """A head that is refused.

    ``status`` is what to answer: 400, 405, 417, 431, 501 or 505 for a request, 502 for a response. ``message`` says in
    one sentence what is ambiguous or not supported and never repeats a header's value.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class _Found(dict[bytes, bytes]):
    """Collects headers for httptools without a Python frame per header; of equal names the first one stays."""

    on_header = dict.setdefault


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
        return _end_to_end(self.head)

    def __repr__(self) -> str:
        return f"RequestHead({self.method!r}, {self.target!r})"


@dataclass(slots=True, eq=False, repr=False)
class ResponseHead:
    """What a response's head says and the bytes that go to the client in its place."""

    status: int
    length: int
    """Bytes of body, ``CHUNKED`` or ``UNTIL_CLOSE``; 0 where the request or the status forbids a body."""
    head: bytes
    """What to send to the client, with its last CRLFCRLF; says ``Connection: close`` only with ``UNTIL_CLOSE``."""
    close: bool = False
    """The upstream connection cannot be used again."""
    upgrade: bool = False
    """Status 101: after the head both sides speak another protocol."""

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The end-to-end headers of ``head`` in order, names in lower case."""
        return _end_to_end(self.head)

    def __repr__(self) -> str:
        return f"ResponseHead({self.status})"


def head_end(data: bytes | bytearray, start: int = 0) -> int:
    """Return the index just behind the first CRLFCRLF at or after ``start``, or -1.

    A caller whose buffer grows passes the former length less three, so that no byte is searched twice. Bare line feeds
    end nothing, and an empty line in front of a request line is a (bad) head of its own.
    """
    at = data.find(_END, start)
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
    if b"%" in target or b"/." in target or b";" in target:
        _check_target(target)
    found = _Found()
    try:
        HttpRequestParser(found).feed_data(data)
    except HttpParserUpgrade:
        return _request_at_length(data, line.end(), method, target)
    except HttpParserError as err:
        _refuse_request(str(err))
    if len(found) != data.count(b"\n") - 2 or not found.keys() <= _PLAIN_REQUEST or not data.endswith(_END):
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
        0 if length is None else _length(length, 400),
        host,
        get(b"User-Agent", b"").rstrip(b" \t"),
        accept if accept is None else accept.rstrip(b" \t"),
        token if token is None else token.rstrip(b" \t"),
        data,
    )


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
        len(found) != data.count(b"\n") - 2
        or not found.keys() <= _PLAIN_RESPONSE
        or not data.endswith(_END)
        or minor == b"0"
        or status < 200
        or status == 204
    ):
        return _response_at_length(data, line.end(), status, head_request=head_request)
    length = found.get(b"Content-Length")
    coding = found.get(b"Transfer-Encoding")
    if coding is not None:
        size = _coding(coding, 502)
    elif length is not None:
        size = _length(length, 502)
    elif head_request or status == 304:
        size = 0
    else:
        return _response_at_length(data, line.end(), status, head_request=head_request)
    return ResponseHead(status, 0 if head_request or status == 304 else size, data)


def claims_identity(name: bytes) -> bool:
    """Whether a header (lower-case name) tells a server who asks, as only a trusted front proxy may do."""
    if name.startswith(b"x-forwarded-"):
        return name not in _FORWARDED_FACTS
    return name.startswith(b"x-remote-")


def _request_at_length(data: bytes, at: int, method: bytes, target: bytes) -> RequestHead:
    """Judge a head that llhttp accepted, of which something may have to go; the first line ends at ``at``."""
    lines, fields = _fields(data, at, 400, "the head")
    once = _once(fields, 400)
    host = once.get(b"host", b"")
    if _HOST.fullmatch(host) is None:
        raise BadHead(400, "The head needs exactly one Host with a name or an address in it.")
    length = _size(once, 400)
    options = _options(fields, 400)
    upgrade = once.get(b"upgrade", b"").lower() if b"upgrade" in options else b""
    if upgrade == b"h2c":  # deprecated, and a way around every check of ours: served as the plain request it also is
        upgrade = b""
    if upgrade and length:
        raise BadHead(400, "A request that asks for another protocol must not have a body.")
    expect = once.get(b"expect")
    if expect is not None and expect.lower() != b"100-continue":
        raise BadHead(417, "The only expectation that is known is 100-continue.")
    kept = [line for line, (name, _) in zip(lines, fields, strict=True) if not _goes(name, options)]
    head = data
    if upgrade:
        head = data[:at] + b"\r\n".join([*kept, b"Connection: Upgrade", b"Upgrade: " + once[b"upgrade"], b"", b""])
    elif len(kept) != len(lines) and not _only_keep_alive(lines, kept, options):
        head = data[:at] + b"\r\n".join([*kept, b"", b""])
    protocols = b",".join([value for name, value in fields if name == b"sec-websocket-protocol"])
    return RequestHead(
        method,
        target,
        length,
        host,
        once.get(b"user-agent", b""),
        b", ".join([value for name, value in fields if name == b"accept"]) if b"accept" in once else None,
        once.get(b"authorization"),
        head,
        b"close" in options,
        upgrade or None,
        expect is not None,
        _WS_BEARER in protocols.lower(),
    )


def _response_at_length(data: bytes, at: int, status: int, *, head_request: bool) -> ResponseHead:
    """Judge a response head that llhttp accepted, of which something may have to go or to be added."""
    lines, fields = _fields(data, at, 502, "the upstream's head")
    once = _once(fields, 502)
    old = data.startswith(b"HTTP/1.0")
    if old and b"transfer-encoding" in once:
        raise BadHead(502, "The upstream's HTTP/1.0 response has a transfer coding.")
    options = _options(fields, 502)
    bodiless = status < 200 or status == 204
    length = _size(once, 502)
    if head_request or bodiless or status == 304:
        length = 0
    elif b"content-length" not in once and b"transfer-encoding" not in once:
        length = UNTIL_CLOSE
    upgrade = status == 101
    kept = [
        line
        for line, (name, _) in zip(lines, fields, strict=True)
        if not _goes(name, options) and not (bodiless and name in _FRAMING)
    ]
    added = []
    if upgrade:
        added = [b"Connection: Upgrade", b"Upgrade: " + once[b"upgrade"]]
    elif length == UNTIL_CLOSE:
        added = [b"Connection: close"]
    head = data
    if added or old or (len(kept) != len(lines) and not _only_keep_alive(lines, kept, options)):
        head = b"HTTP/1.1" + data[8:at] + b"\r\n".join([*kept, *added, b"", b""])
    close = old or length == UNTIL_CLOSE or b"close" in options
    return ResponseHead(status, length, head, close, upgrade)


def _fields(data: bytes, at: int, status: int, what: str) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
    """Split the header lines of a head that llhttp accepted; names in lower case, values without outer blanks."""
    if not data.endswith(_END) or data.find(_END) != len(data) - 4:
        raise BadHead(status, "A head ends with its first empty line.")
    if at == len(data) - 2:
        return [], []
    lines = data[at:-4].split(b"\r\n")
    if len(lines) > MAX_HEADERS:
        raise BadHead(431 if status == 400 else status, f"There are more than {MAX_HEADERS} headers in {what}.")
    fields = []
    for line in lines:
        name, _, value = line.partition(b":")
        fields.append((name.lower(), value.strip(b" \t")))
    return lines, fields


def _once(fields: list[tuple[bytes, bytes]], status: int) -> dict[bytes, bytes]:
    """Index headers by name; those that decide about framing, place or caller may stand only once."""
    index: dict[bytes, bytes] = {}
    for name, value in fields:
        if name not in index:
            index[name] = value
        elif name in _FRAMING or name in (b"authorization", b"upgrade"):
            raise BadHead(status, f"The header {name.decode()} stands there more than once.")
    return index


def _size(once: dict[bytes, bytes], status: int) -> int:
    """Return the length of the body that a head announces, 0 without an announcement."""
    length, coding = once.get(b"content-length"), once.get(b"transfer-encoding")
    if coding is not None:
        if length is not None:
            raise BadHead(status, "Content-Length and Transfer-Encoding contradict each other.")
        return _coding(coding, status)
    return 0 if length is None else _length(length, status)


def _length(value: bytes, status: int) -> int:
    """Read a Content-Length: digits only, below 2**53."""
    value = value.rstrip(b" \t")
    if not value.isdigit() or len(value) > 20 or (size := int(value)) >= MAX_LENGTH:
        raise BadHead(status, "Content-Length is not one number below 2**53.")
    return size


def _coding(value: bytes, status: int) -> int:
    """Accept the one transfer coding that is walked here."""
    if value.rstrip(b" \t").lower() != b"chunked":
        raise BadHead(501 if status == 400 else status, "The only transfer coding that is supported is chunked.")
    return CHUNKED


def _options(fields: list[tuple[bytes, bytes]], status: int) -> set[bytes]:
    """Read the options of all Connection headers, in lower case.

    Nothing that frames a message, names its caller or gives its body a meaning can be declared hop-by-hop: one side
    would read such a header and the other would not get it.
    """
    options: set[bytes] = set()
    for name, value in fields:
        if name == b"connection":
            options.update(part.strip(b" \t").lower() for part in value.split(b","))
    options.discard(b"")
    for option in options:
        if _TOKEN.fullmatch(option) is None:
            raise BadHead(status, "Connection does not hold a list of names.")
        if option in _FRAMING or option in _MEANING or option.startswith((b"impersonate-", b"sec-websocket-")):
            raise BadHead(status, f"Connection must not name {option.decode()}.")
    return options


def _goes(name: bytes, options: set[bytes]) -> bool:
    """Whether a header (lower-case name) concerns one connection alone or claims an identity."""
    return name in _HOP or name in options or name.startswith(b"proxy-") or claims_identity(name)


def _only_keep_alive(lines: list[bytes], kept: list[bytes], options: set[bytes]) -> bool:
    """Whether all that would go is one ``Connection: keep-alive``, which harms nobody."""
    return len(lines) - len(kept) == 1 and options == {b"keep-alive"}


def _end_to_end(head: bytes) -> list[tuple[bytes, bytes]]:
    out = []
    for line in head[:-4].split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name not in _NOT_END_TO_END:
            out.append((name, value.strip(b" \t")))
    return out


def _check_target(target: bytes) -> None:
    """Refuse targets that we and the API server could understand differently.

    The server decodes the path once and splits it then; a path that changes its shape by that (``%2f``, ``%2e%2e``,
    ``%73ecrets``) would be another one for it than for us. It drops query pairs with a bad escape or a raw semicolon
    without a word, so that a selector which we see would not be there for it.
    """
    path, _, query = target.partition(b"?")
    if _BAD_ESCAPE.search(target) is not None:
        raise BadHead(400, "The target has a percent sign without two hexadecimal digits.")
    if _HIDDEN.search(path) is not None:
        raise BadHead(400, "The path hides a control character, a slash or a plain character behind an escape.")
    if _DOT_SEGMENT.search(path) is not None:
        raise BadHead(400, "The path has a segment of dots alone.")
    if b";" in query:
        raise BadHead(400, "The query has a semicolon, which servers read in different ways; write %3B.")


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
