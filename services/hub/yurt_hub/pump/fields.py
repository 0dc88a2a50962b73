"""Header fields: which of them are read here, which end at this hop, and what they say about a message's length.

Works on heads that llhttp has accepted, so a line is always a name, a colon and a value without control characters.
"""

import re

MAX_HEADERS = 200
MAX_LENGTH = 2**53  # what every JSON reader and every counter of ours still holds exactly
CHUNKED = -1
UNTIL_CLOSE = -2

END = b"\r\n\r\n"
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HOP = frozenset((b"connection", b"keep-alive", b"te", b"trailer", b"upgrade", b"http2-settings"))
_SINGLE = frozenset((b"content-length", b"transfer-encoding", b"host", b"expect", b"authorization", b"upgrade"))
_READ = _SINGLE | {b"user-agent", b"accept", b"sec-websocket-protocol"}
_MEANING = _SINGLE - {b"upgrade"} | {b"content-type", b"content-encoding", b"cookie", b"accept"}
_NOT_END_TO_END = frozenset((b"host", b"connection", b"transfer-encoding", b"upgrade"))
_IDENTITY = (b"x-remote-", b"x-forwarded-")
_NOT_FOR_CLIENTS = (*_IDENTITY, b"proxy-")
_FORWARDED_FACTS = frozenset(
    (b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port", b"x-forwarded-prefix")
)
_LEARNT_LIMIT = 1024
_learnt: dict[bytes, bytes] = {}
"""Names as they came, with what `_special` says of them; full, it learns no more."""

easy_request = {b"Host", b"User-Agent", b"Authorization", b"Accept", b"Content-Length"}
"""Names as they came that make a request's head no work: read by the short road, or learnt to be of no concern."""
easy_response = {b"Content-Length", b"Transfer-Encoding"}
"""The same for a response's head."""

Special = dict[bytes, list[bytes]]


class BadHead(Exception):
    """A head that is refused.

    ``status`` is what to answer: 400, 405, 417, 431, 501 or 505 for a request, 502 for a response. ``message`` says in
    one sentence what is ambiguous or not supported and never repeats a header's value.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def split(data: bytes, at: int, status: int) -> tuple[list[bytes], Special]:
    """Split a head that llhttp accepted into its lines, and the values of all headers that concern us by name."""
    if not data.endswith(END) or data.find(END) != len(data) - 4:
        raise BadHead(status, "A head ends with its first empty line.")
    lines = data[at:-4].split(b"\r\n") if at < len(data) - 2 else []
    if len(lines) > MAX_HEADERS:
        raise BadHead(431 if status == 400 else status, f"There are more than {MAX_HEADERS} headers.")
    special: Special = {}
    for line in lines:
        raw, _, value = line.partition(b":")
        name = _learnt.get(raw)
        if name is None:
            name = _special(raw)
        if name:
            if name == b"transfer-encoding" and b"\t" in value.lstrip(b" \t"):
                raise BadHead(
                    501 if status == 400 else status, "There is a tab behind a transfer coding."
                )  # to llhttp it is another one
            if name not in special:
                special[name] = [value.strip(b" \t")]
            elif name in _SINGLE:
                raise BadHead(status, f"The header {name.decode()} stands there more than once.")
            else:
                special[name].append(value.strip(b" \t"))
    return lines, special


def _special(raw: bytes) -> bytes:
    """Return a header's name in lower case if it is read here or may have to go, else nothing."""
    name = raw.lower()
    name = name if name in _READ or ends_here(name) else b""
    if len(_learnt) < _LEARNT_LIMIT and len(raw) <= 64:
        _learnt[raw] = name
        if not name:
            easy_request.add(raw)
            easy_response.add(raw)
    return name


def body_length(special: Special, status: int) -> int:
    """Return the length of the body that a head announces, 0 without an announcement."""
    if b"transfer-encoding" in special:
        if b"content-length" in special:
            raise BadHead(status, "Content-Length and Transfer-Encoding contradict each other.")
        return read_coding(special[b"transfer-encoding"][0], status)
    return read_length(special[b"content-length"][0], status) if b"content-length" in special else 0


def read_length(value: bytes, status: int) -> int:
    """Read a Content-Length: digits only, below 2**53."""
    value = value.rstrip(b" \t")
    if not value.isdigit() or len(value) > 20 or (size := int(value)) >= MAX_LENGTH:
        raise BadHead(status, "Content-Length is not one number below 2**53.")
    return size


def read_coding(value: bytes, status: int) -> int:
    """Accept the one transfer coding that is walked here."""
    if value.rstrip(b" \t").lower() != b"chunked":
        raise BadHead(501 if status == 400 else status, "The only transfer coding that is supported is chunked.")
    return CHUNKED


def connection_options(special: Special, status: int) -> set[bytes]:
    """Read the options of all Connection headers, in lower case.

    Nothing that frames a message, names its caller or gives its body a meaning can be declared hop-by-hop: one side
    would read such a header and the other would not get it.
    """
    if b"connection" not in special:
        return set()
    options = {part.strip(b" \t").lower() for value in special[b"connection"] for part in value.split(b",")}
    options.discard(b"")
    for option in options:
        if _TOKEN.fullmatch(option) is None:
            raise BadHead(status, "Connection does not hold a list of names.")
        if option in _MEANING or option.startswith((b"impersonate-", b"sec-websocket-")):
            raise BadHead(status, "Connection must not name a header that frames, routes, explains or identifies.")
    return options


def ends_here(name: bytes) -> bool:
    """Whether a header (lower-case name) concerns one connection alone or claims an identity."""
    return name in _HOP or (name.startswith(_NOT_FOR_CLIENTS) and name not in _FORWARDED_FACTS)


def passing(lines: list[bytes], options: set[bytes]) -> list[bytes]:
    """Return the lines that go on to the other side."""
    kept = []
    for line in lines:
        name = line.partition(b":")[0].lower()
        if name not in options and not ends_here(name):
            kept.append(line)
    return kept


def join(first: bytes, lines: list[bytes]) -> bytes:
    """Build a head from its first line, CRLF included, and its header lines."""
    return first + b"".join([line + b"\r\n" for line in lines]) + b"\r\n"


def claims_identity(name: bytes) -> bool:
    """Whether a header (lower-case name) tells a server who asks, as only a trusted front proxy may do."""
    return name.startswith(_IDENTITY) and name not in _FORWARDED_FACTS


def end_to_end(head: bytes) -> list[tuple[bytes, bytes]]:
    """Return the headers of a head as HTTP/2 takes them: lower-case names, none that HTTP/2 tells by other means."""
    out = []
    for line in head[:-4].split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name not in _NOT_END_TO_END:
            out.append((name, value.strip(b" \t")))
    return out
