"""Answers of the hub's own, written to a client as HTTP/1.1; and whole request bodies for whoever needs them."""

from collections.abc import Callable

from yurt_hub.domain.local.answers import Local
from yurt_hub.pump.bodies import ChunkDecoder
from yurt_hub.pump.exchange import Caller, Exchange
from yurt_hub.pump.heads import CHUNKED
from yurt_hub.pump.replies import phrase

BODY_LIMIT = 4 * 1024 * 1024
"""Bytes of a request's body that the hub reads itself; the API server's own limit is 3 MiB."""


def head(local: Local, *, close: bool, length: int | None) -> bytes:
    """Return the head of an answer; `length` None announces chunks."""
    lines = [b"HTTP/1.1 %d %b" % (local.status, phrase(local.status))]
    lines += [b"%b: %b" % pair for pair in local.headers]
    lines.append(b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length)
    if close:
        lines.append(b"Connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n"


def send(exchange: Exchange, client: Caller, local: Local) -> None:
    """Give a client a whole answer and end the exchange."""
    close = exchange.request.close or not exchange.body_done
    start = head(local, close=close, length=len(local.body))
    client.begin(exchange, local.status)
    client.deliver(exchange, start if exchange.request.method == b"HEAD" else start + local.body)
    client.end(exchange, close=close)


class Collector:
    """A carrier that takes a request's body and sends nothing: the hub reads it itself."""

    def __init__(self, then: Callable[[Exchange, bytes], None]) -> None:
        self._then = then
        self._parts: list[bytes] = []
        self._size = 0

    @classmethod
    def collect(cls, exchange: Exchange, then: Callable[[Exchange, bytes], None]) -> None:
        """Call `then` with the whole body, now or when it is here; a body over the limit is refused with 413.

        The exchange then holds its body as it was sent, ready for the cloud.
        """
        collector = cls(then)
        exchange.carrier = collector
        held, exchange.held = exchange.held, b""
        if exchange.client is not None:
            exchange.client.sending(exchange)
        collector.send(exchange, held)

    def send(self, exchange: Exchange, data: bytes) -> None:
        """Take a piece."""
        client = exchange.client
        if client is None:
            return
        self._parts.append(data)
        self._size += len(data)
        if self._size > BODY_LIMIT:
            exchange.carrier = None
            client.failed(exchange, 413, f"the request's body is larger than {BODY_LIMIT} bytes")
        elif exchange.body_done:
            exchange.carrier = None
            exchange.held = raw = b"".join(self._parts)
            # The client's side has walked the chunks already, so they are valid.
            body = b"".join(ChunkDecoder().feed(raw)) if exchange.request.length == CHUNKED else raw
            self._then(exchange, body)

    def pause(self, exchange: Exchange) -> None:
        """There is no answer yet."""

    def resume(self, exchange: Exchange) -> None:
        """There is no answer yet."""

    def drop(self, exchange: Exchange) -> None:
        """The client has gone; nothing else knows of it."""
