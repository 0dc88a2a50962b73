"""Chunked bodies (RFC 9112, section 7.1), walked strictly.

The walker finds where a body ends without copying a byte of it: chunks are skipped by arithmetic. The decoder uses the
same walk and hands out the payload, for roads that look into bodies. Both refuse what readers disagree about: bare line
feeds, blanks around sizes, quoted extensions, trailers that belong into a head.
"""

import re
from typing import NoReturn

from yurt_hub.pump.fields import MAX_LENGTH, claims_identity

LINE_LIMIT = 256
TRAILER_LIMIT = 8 * 1024

_TCHAR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_SIZE = rb"[0-9A-Fa-f]{1,16}"
_EXTENSIONS = rb"(?:;" + _TCHAR + rb"+(?:=" + _TCHAR + rb"+)?)*"
_FIRST = re.compile(rb"(" + _SIZE + rb")" + _EXTENSIONS + rb"\r\n")
_NEXT = re.compile(rb"\r\n(" + _SIZE + rb")" + _EXTENSIONS + rb"\r\n")
_PART = rb"(?:" + _SIZE + _EXTENSIONS + rb"(?:;(?:" + _TCHAR + rb"+=)?|\r)?)?"
_FIRST_PART = re.compile(_PART)
_NEXT_PART = re.compile(rb"\r?|\r\n" + _PART)
_TRAILER = re.compile(rb"(?:(" + _TCHAR + rb"+):[\t -~\x80-\xff]*)?\r\n")
_TRAILER_PART = re.compile(rb"(?:" + _TCHAR + rb"+(?::[\t -~\x80-\xff]*)?)?\r?")

_NOT_A_TRAILER = frozenset(
    b"content-length,transfer-encoding,host,authorization,connection,keep-alive,te,trailer,upgrade,expect,cookie,"
    b"set-cookie,content-type,content-encoding,content-range,cache-control,http2-settings".split(b",")
)


class BadBody(Exception):
    """A body whose framing is broken; the connection that it came on is of no more use."""


class _Framing:
    """The walk itself; it copies payload only for a caller who gives it a list."""

    __slots__ = ("_held", "_left", "_line", "_part", "_trailers", "done", "payload")

    def __init__(self) -> None:
        self.done = False
        """The last byte of the body was seen."""
        self.payload = 0
        """Decoded bytes seen so far."""
        self._left = 0
        self._held = b""
        self._line, self._part = _FIRST, _FIRST_PART
        self._trailers = -1

    def _walk(self, data: bytes, at: int, out: list[bytes] | None) -> int:
        end = len(data)
        while at < end and not self.done:
            left = self._left
            if left:
                step = min(left, end - at)
                if out is not None:
                    out.append(data[at : at + step])
                self.payload += step
                self._left = left - step
                at += step
            elif self._trailers >= 0:
                at = self._trailer(data, at)
            else:
                at = self._size(data, at)
        return at

    def _size(self, data: bytes, at: int) -> int:
        """Take the line in front of a chunk, together with the CRLF behind the chunk before it."""
        match = None if self._held else self._line.match(data, at)
        if match is None:
            probe, held = self._held + data[at : at + LINE_LIMIT + 3], len(self._held)
            match = self._line.match(probe)
            if match is None:
                return self._hold(probe, self._part, LINE_LIMIT + 2, data)
            at += match.end() - held
            self._held = b""
        else:
            at = match.end()
        if match.end() - match.start(1) > LINE_LIMIT:
            raise BadBody(f"The line in front of a chunk is longer than {LINE_LIMIT} bytes.")
        size = int(match.group(1), 16)
        if size >= MAX_LENGTH:
            raise BadBody("A chunk is not smaller than 2**53 bytes.")
        self._line, self._part = _NEXT, _NEXT_PART
        if size:
            self._left = size
        else:
            self._trailers = 0
        return at

    def _trailer(self, data: bytes, at: int) -> int:
        """Take one line behind the last chunk; an empty one ends the body."""
        room = TRAILER_LIMIT - self._trailers
        held = len(self._held)
        probe = self._held + data[at : at + room + 1 - held]
        match = _TRAILER.match(probe)
        if match is None:
            return self._hold(probe, _TRAILER_PART, room, data)
        if match.end() > room:
            _too_long()
        self._held = b""
        self._trailers += match.end()
        name = match.group(1)
        if name is None:
            self.done = True
        elif name.lower() in _NOT_A_TRAILER or claims_identity(name.lower()):
            raise BadBody(f"{name.decode()} must not stand behind a body.")
        return at + match.end() - held

    def _hold(self, probe: bytes, part: re.Pattern[bytes], limit: int, data: bytes) -> int:
        """Keep the beginning of a line until more of it comes."""
        if part.fullmatch(probe) is None:
            raise BadBody("The body's framing is broken.")
        if len(probe) > limit:
            _too_long()
        self._held = probe
        return len(data)


class ChunkWalker(_Framing):
    """Finds the end of one chunked body in the pieces in which it arrives."""

    __slots__ = ()

    def feed(self, data: bytes, start: int = 0) -> int:
        """Walk on through ``data`` from ``start``.

        Returns the index just behind the body's last byte if that is in ``data`` (``done`` is then true), else its
        length. After the end nothing more is taken.

        Raises:
            BadBody: at the first piece with a byte that cannot belong to a body.
        """
        return self._walk(data, start, None)


class ChunkDecoder(_Framing):
    """Hands out the payload of one chunked body."""

    __slots__ = ("rest",)

    def __init__(self) -> None:
        super().__init__()
        self.rest = b""
        """What came behind the body's end."""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the pieces of payload in ``data``, in order.

        Raises:
            BadBody: at the first piece with a byte that cannot belong to a body.
        """
        out: list[bytes] = []
        end = self._walk(data, 0, out)
        if self.done:
            self.rest += data[end:]
        return out


def _too_long() -> NoReturn:
    raise BadBody("A line of the body's framing is too long.")
