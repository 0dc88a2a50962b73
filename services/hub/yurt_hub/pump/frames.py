"""HTTP/2 frames (RFC 9113, section 4): cut from the byte stream, and the two kinds that go around `h2`.

`h2` judges every frame that changes the state of a connection or stream. Two kinds are taken out before:

- DATA without END_STREAM and without padding, nearly all bytes of a watch: `h2` spends some 40 µs on each.
- GOAWAY: `h2` ends the connection at once, while a server that shuts down gracefully (RFC 9113, 6.8)
  goes on with the streams that it has accepted; kube-apiserver does so with `--goaway-chance`.

Flow control of the inbound direction is therefore ours too: WINDOW_UPDATE frames are made here, and `h2`'s
own windows stay as they were, which only makes its check of the peer more lenient.
"""

import struct
from dataclasses import dataclass, field

DATA, GOAWAY = 0x0, 0x7
END_STREAM, PADDED = 0x1, 0x8
HEADER = 9
FRAME_LIMIT = 16_384 + 256
"""SETTINGS_MAX_FRAME_SIZE that `h2` announces, with room for padding."""

_update = struct.Struct(">HBBBII").pack


class BadFrame(Exception):
    """The peer breaks the framing; the connection cannot go on."""


@dataclass(frozen=True, slots=True)
class Goaway:
    """The server takes no streams above `last_stream`."""

    last_stream: int
    code: int
    text: str


@dataclass(slots=True)
class Cut:
    """What one piece of the byte stream holds."""

    data: list[tuple[int, bytes]] = field(default_factory=list)
    """(stream, payload) of plain DATA, in order."""
    rest: bytes = b""
    """The other frames, for `h2`. They may be fed after `data`: see `Cutter.feed`."""
    goaway: Goaway | None = None


class Cutter:
    """Cuts a byte stream into frames; keeps an unfinished one until the rest of it comes."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept = b""

    def feed(self, piece: bytes) -> list[Cut]:
        """Return what is complete, in order: within one `Cut` all plain DATA precedes the other frames.

        Raises BadFrame for a frame over the limit, DATA on stream 0 or a GOAWAY that is too short.
        """
        data = self._kept + piece if self._kept else piece
        size, at = len(data), 0
        cut = Cut()
        cuts = [cut]
        rest_from = -1  # start of a run of frames for h2
        while size - at >= HEADER:
            length = (data[at] << 16) | (data[at + 1] << 8) | data[at + 2]
            if length > FRAME_LIMIT:
                raise BadFrame(f"a frame of {length} bytes")
            end = at + HEADER + length
            if end > size:
                break
            kind, flags = data[at + 3], data[at + 4]
            if kind == DATA and not flags & (END_STREAM | PADDED):
                if rest_from >= 0:
                    cut.rest = data[rest_from:at]
                    rest_from = -1
                    cut = Cut()
                    cuts.append(cut)
                stream = int.from_bytes(data[at + 5 : at + 9], "big") & 0x7FFFFFFF
                if not stream:
                    raise BadFrame("DATA on stream 0")
                if length:
                    cut.data.append((stream, data[at + HEADER : end]))
            elif kind == GOAWAY:
                if length < 8:
                    raise BadFrame("a GOAWAY that is too short")
                if rest_from >= 0:
                    cut.rest = data[rest_from:at]
                    rest_from = -1
                last, code = struct.unpack_from(">II", data, at + HEADER)
                cut.goaway = Goaway(last & 0x7FFFFFFF, code, data[at + HEADER + 8 : end][:200].decode("latin-1"))
                cut = Cut()
                cuts.append(cut)
            elif rest_from < 0:
                rest_from = at
            at = end
        if rest_from >= 0:
            cut.rest = data[rest_from:at]
        self._kept = data[at:] if at < size else b""
        return cuts


def window_update(stream: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE frame (RFC 9113, 6.9); stream 0 is the connection."""
    return _update(0, 4, 0x8, 0, stream, increment)
