"""Keep-alive HTTP/1.1 connections to one API server under one identity, and the short queue in front of them.

A connection carries one exchange at a time. Heads are judged, bodies only counted: what the cloud sends
is what the client gets.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from yurt_hub.pump.bodies import BadBody, ChunkWalker
from yurt_hub.pump.exchange import Exchange
from yurt_hub.pump.heads import CHUNKED, HEAD_LIMIT, UNTIL_CLOSE, BadHead, head_end, parse_response

if TYPE_CHECKING:
    from yurt_hub.pump.site import Site

WRITE_HIGH = 256 * 1024
"""Bytes of a request's body buffered towards the cloud before the client is paused."""


class Http1(asyncio.Protocol):
    """One connection to an API server."""

    __slots__ = (
        "_buffer",
        "_left",
        "_pool",
        "_walker",
        "answered",
        "exchange",
        "expires",
        "idle_since",
        "lost",
        "opened_at",
        "paused",
        "transport",
        "tunnel",
    )

    def __init__(self, pool: "Http1Pool") -> None:
        self._pool = pool
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set before anything else is called
        self.exchange: Exchange | None = None
        self._buffer = b""
        self._left = 0
        self._walker: ChunkWalker | None = None
        self.answered = 0
        self.expires = 0.0
        self.idle_since = 0.0
        self.opened_at = 0.0
        self.paused = False
        self.tunnel = False
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport; the pool decides what travels first."""
        self.transport = transport  # type: ignore[assignment]
        self.opened_at = self._pool.site.now()
        self.transport.set_write_buffer_limits(high=WRITE_HIGH)

    # -- towards the cloud

    def start(self, exchange: Exchange) -> None:
        """Send a request's head and what is held of its body."""
        self.exchange = exchange
        exchange.carrier = self
        exchange.attempts += 1
        held, exchange.held = exchange.held, b""
        self.transport.write(exchange.request.head + held if held else exchange.request.head)
        assert exchange.client is not None  # noqa: S101 - a cancelled exchange is never started
        exchange.client.sending(exchange)

    def send(self, exchange: Exchange, data: bytes) -> None:
        """Pass on bytes of the body or tunnel."""
        if exchange is self.exchange:
            self.transport.write(data)

    def pause(self, exchange: Exchange) -> None:
        """The client is slow."""
        if exchange is self.exchange and not self.paused:
            self.paused = True
            self.transport.pause_reading()

    def resume(self, exchange: Exchange) -> None:
        """The client has caught up."""
        if exchange is self.exchange:
            self._resume()

    def _resume(self) -> None:
        if self.paused:
            self.paused = False
            self.transport.resume_reading()

    def drop(self, exchange: Exchange) -> None:
        """The client has gone: the rest of the answer is of no use, nor is this connection."""
        if exchange is self.exchange:
            self.exchange = None
            self.transport.abort()

    def pause_writing(self) -> None:
        """The cloud takes the body slowly."""
        if self.exchange is not None and self.exchange.client is not None:
            self.exchange.client.upload(on=False)

    def resume_writing(self) -> None:
        """The cloud has caught up."""
        if self.exchange is not None and self.exchange.client is not None:
            self.exchange.client.upload(on=True)

    # -- from the cloud

    def data_received(self, data: bytes) -> None:
        """Take a piece of the answer."""
        self._pool.site.heard = True
        exchange = self.exchange
        if exchange is None or exchange.client is None:
            self.transport.abort()  # bytes that nobody asked for
            return
        if self.tunnel:
            exchange.client.deliver(exchange, data)
        elif exchange.begun:
            self._body(exchange, data, b"")
        elif self._buffer or not self._whole(exchange, data):
            self._head(exchange, self._buffer + data)

    def _whole(self, exchange: Exchange, data: bytes) -> bool:
        """Pass on an answer that came in one piece and needs no change; else say False, with nothing done."""
        client = exchange.client
        end = head_end(data)
        if end < 0 or client is None or not exchange.body_done or exchange.request.close:
            return False
        try:
            head = parse_response(data[:end], head_request=exchange.request.method == b"HEAD")
            if head.status < 200 or head.close or len(head.head) != end:
                return False
            if head.length == CHUNKED:
                walker = ChunkWalker()
                whole = walker.feed(data, end) == len(data) and walker.done
            else:
                whole = head.length == len(data) - end
        except (BadHead, BadBody):
            return False
        if whole:
            self.answered += 1
            self.exchange = None
            client.answer(exchange, head.status, data)
            self._resume()
            self._pool.release(self)
        return whole

    def _head(self, exchange: Exchange, data: bytes) -> None:
        assert exchange.client is not None  # noqa: S101 - data_received looked
        while True:
            end = head_end(data)
            if end < 0:
                self._buffer = data
                if len(data) > HEAD_LIMIT:
                    self._broken(exchange, "its head is too large")
                return
            try:
                head = parse_response(
                    data[:end] if len(data) > end else data, head_request=exchange.request.method == b"HEAD"
                )
            except BadHead as bad:
                self._broken(exchange, bad.message)
                return
            data = data[end:] if len(data) > end else b""
            if head.upgrade and exchange.request.upgrade is None:
                self._broken(exchange, "it changes the protocol, which nobody asked for")
                return
            if head.status >= 200 or head.upgrade:
                break
            exchange.client.deliver(exchange, head.head)  # 100-continue and its like come before the answer
            if not data:
                self._buffer = b""
                return
        self._buffer = b""
        self.answered += 1
        exchange.client.begin(exchange, head.status)
        if head.upgrade:
            self.tunnel = True
            exchange.client.deliver(exchange, head.head + data)
            exchange.client.switch(exchange)
            return
        self._left = head.length
        self._walker = ChunkWalker() if head.length == CHUNKED else None
        text = head.head
        if head.close:
            self.expires = 0.0
        if head.length == UNTIL_CLOSE or exchange.request.close:
            text = text[:-2] + b"Connection: close\r\n\r\n"
        self._body(exchange, data, text)

    def _body(self, exchange: Exchange, data: bytes, head: bytes) -> None:
        """Count `data` off the body and pass `head` and it on together."""
        surplus = False
        if self._walker is not None:
            try:
                end = self._walker.feed(data) if data else 0
            except BadBody:
                self._truncated(exchange)
                return
            done, surplus = self._walker.done, end < len(data)
        elif self._left == UNTIL_CLOSE:
            done, end = False, len(data)
        else:
            end = min(self._left, len(data))
            self._left -= end
            done, surplus = not self._left, end < len(data)
        client = exchange.client
        assert client is not None  # noqa: S101 - data_received looked
        if surplus:
            data = data[:end]
        if head:
            client.deliver(exchange, head + data if data else head)
        elif data:
            client.deliver(exchange, data)
        if done:
            self._done(exchange, reusable=not surplus)

    def _done(self, exchange: Exchange, *, reusable: bool) -> None:
        client = exchange.client
        assert client is not None  # noqa: S101 - it has just been given the last bytes
        self.exchange = None
        reusable = reusable and exchange.body_done
        client.end(exchange, close=False)
        self._resume()
        if reusable:
            self._pool.release(self)
        else:
            self.transport.abort()

    def _truncated(self, exchange: Exchange) -> None:
        self.exchange = None
        self.transport.abort()
        if exchange.client is not None:
            exchange.client.broken(exchange)

    def _broken(self, exchange: Exchange, why: str) -> None:
        self.exchange = None
        self.transport.abort()
        self._pool.site.failed(exchange, f"the API server's answer cannot be understood: {why}", retry=False)

    def eof_received(self) -> bool:
        """The server has ended: so does this connection."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits here is told or tried again."""
        self.lost = True
        self._pool.forget(self)
        exchange, self.exchange = self.exchange, None
        if exchange is None or exchange.client is None:
            return
        if self.tunnel or (exchange.begun and self._left == UNTIL_CLOSE and self._walker is None and exc is None):
            exchange.client.end(exchange, close=True)
        elif exchange.begun:
            exchange.client.broken(exchange)
        else:
            self._pool.site.failed(exchange, "the connection to the API server ended before it answered", retry=True)


class Http1Pool:
    """The connections of one kind at one site: at most `cap`, the rest waits in line."""

    def __init__(self, site: "Site", *, cap: int, dial: Callable[["Http1Pool"], None]) -> None:
        self.site = site
        self._cap = cap
        self._dial = dial
        self.idle: list[Http1] = []
        self.open: set[Http1] = set()
        self.waiting: deque[Exchange] = deque()
        self.dialing = 0

    def take(self, exchange: Exchange) -> None:
        """Send an exchange on its way, at once or as soon as a connection is free."""
        while self.idle:
            connection = self.idle.pop()
            if not connection.lost and not connection.transport.is_closing():
                connection.start(exchange)
                return
        if len(self.waiting) >= self.site.limits.queue:
            self.site.overloaded(exchange)
            return
        self.waiting.append(exchange)
        self.grow()

    def grow(self) -> None:
        """Dial for those who wait; few at a time, since a burst of handshakes stalls the loop."""
        while (
            self.waiting
            and self.dialing < min(len(self.waiting), self.site.limits.dials)
            and len(self.open) + self.dialing < self._cap
        ):
            self.dialing += 1
            self._dial(self)

    def opened(self, connection: Http1) -> None:
        """A dial has succeeded."""
        if connection.lost:
            self.refused("the connection ended as soon as it was open")
            return
        self.dialing -= 1
        connection.expires = self.site.expiry()
        self.open.add(connection)
        self.release(connection)
        self.grow()

    def refused(self, why: str) -> None:
        """A dial has failed: nothing was sent, so whoever waits may be sent elsewhere."""
        self.dialing -= 1
        if self.dialing == 0 and not self.open:
            waiting, self.waiting = self.waiting, deque()
            for exchange in waiting:
                if exchange.client is not None:
                    self.site.unsent(exchange, why)

    def release(self, connection: Http1) -> None:
        """Give a free connection its next exchange, or let it rest."""
        if connection.expires <= self.site.now():
            connection.transport.close()
            return
        while self.waiting:
            exchange = self.waiting.popleft()
            if exchange.client is not None:
                connection.start(exchange)
                return
        connection.idle_since = self.site.now()
        self.idle.append(connection)

    def forget(self, connection: Http1) -> None:
        """A connection has ended."""
        self.open.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)
        self.grow()

    def sweep(self, now: float) -> None:
        """Close what is too old, and what has rested long while others rest too."""
        limits = self.site.limits
        keep = [c for c in self.idle if c.expires > now and now - c.idle_since < limits.idle_within]
        spare = [c for c in keep[: -limits.idle_kept or None] if now - c.idle_since > limits.spare_within]
        for connection in [*(c for c in self.idle if c not in keep), *spare]:
            connection.transport.close()
        self.idle = [c for c in keep if c not in spare]

    def retire(self) -> None:
        """Let every connection end after what it carries: its certificate is no longer the right one."""
        for connection in self.open:
            connection.expires = 0.0
        for connection in self.idle:
            connection.transport.close()
        self.idle = []

    def unanswered(self) -> list[Http1]:
        """Connections whose exchange has not got the first byte of its answer."""
        return [c for c in self.open if c.exchange is not None and not c.exchange.begun]

    def close(self) -> None:
        """End all connections at once."""
        for connection in list(self.open):
            connection.transport.abort()
