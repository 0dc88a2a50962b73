"""The client's side of the pump: one HTTP/1.1 connection of a node component.

Requests come one after the other; bytes that a client sends ahead wait, and so does the client. Every
state has a deadline that the front's sweep looks at, so no request costs a timer of its own.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from yurt_hub.domain.callers import Identity, Refusal, Shown, decide
from yurt_hub.domain.request import Road, classify
from yurt_hub.pump.bodies import BadBody, ChunkWalker
from yurt_hub.pump.exchange import HELD_LIMIT, Exchange
from yurt_hub.pump.heads import (
    CHUNKED,
    HEAD_LIMIT,
    BadHead,
    RequestHead,
    head_end,
    header_block,
    parse_repeated,
    parse_request,
)
from yurt_hub.pump.replies import reply

if TYPE_CHECKING:
    from yurt_hub.pump.front import Front

WRITE_HIGH = 64 * 1024
"""Bytes buffered for a slow reader before its upstream is paused; 1 MB cost 1.4 MB of memory each and won nothing."""
NEVER = float("inf")


class Client(asyncio.Protocol):
    """One connection from below."""

    __slots__ = (
        "_before",
        "_body",
        "_buffer",
        "_exchange",
        "_front",
        "_left",
        "_lingering",
        "_paused_reading",
        "_paused_writing",
        "_walker",
        "deadline",
        "shown",
        "since_head",
        "transport",
        "tunnel",
    )  # fmt: skip

    def __init__(self, front: "Front") -> None:
        self._front = front
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set before anything else is called
        self.shown: Shown | None = None
        self.deadline = NEVER
        self.since_head = 0.0
        self.tunnel = False
        self._exchange: Exchange | None = None
        self._buffer = b""
        self._before: tuple[bytes, RequestHead, Identity] | None = None
        self._left = 0
        self._walker: ChunkWalker | None = None
        self._paused_writing = False
        self._paused_reading = False
        self._lingering = False

    # -- the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: who calls is found out before the first byte is looked at."""
        self.transport = transport  # type: ignore[assignment]
        self.transport.set_write_buffer_limits(high=WRITE_HIGH)
        self.deadline = self._front.now + self._front.limits.head_within
        if not self._front.admit(self):
            self.transport.abort()

    def known(self, shown: Shown) -> None:
        """Go on: the door has said what this connection proved."""
        self.shown = shown
        if self._buffer:
            data, self._buffer = self._buffer, b""
            self._requests(data)
        self._read(on=True)

    def connection_lost(self, _exc: Exception | None) -> None:
        """End whatever was under way; the cloud's side hears of it at once."""
        self._front.gone(self)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            self._front.cancelled(exchange)
        self._buffer = b""

    def eof_received(self) -> bool:
        """A client that sends no more has left, as Go's server takes it: nobody would read the rest of a watch."""
        return False

    def pause_writing(self) -> None:
        """The client reads slowly: stop its upstream."""
        self._paused_writing = True
        if self._exchange is not None and self._exchange.carrier is not None:
            self._exchange.carrier.pause(self._exchange)

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._paused_writing = False
        if self._exchange is not None and self._exchange.carrier is not None:
            self._exchange.carrier.resume(self._exchange)

    # -- bytes from the client

    def data_received(self, data: bytes) -> None:
        """Take bytes in whatever pieces they come."""
        exchange = self._exchange
        if exchange is None:
            if self._lingering:
                return
            if self._buffer:
                data, self._buffer = self._buffer + data, b""
            if self.shown is None:
                self._buffer = data
                if len(data) > HEAD_LIMIT:
                    self._read(on=False)
                return
            self._requests(data)
        elif self.tunnel:
            assert exchange.carrier is not None  # noqa: S101 - a tunnel exists because a carrier answered 101
            exchange.carrier.send(exchange, data)
        elif not exchange.body_done:
            self._body_bytes(exchange, data)
        else:
            self._buffer += data
            self._read(on=False)

    def _requests(self, data: bytes) -> None:
        """Begin the exchange that `data` starts with, if its head is whole."""
        before = self._before
        if before is not None and (again := parse_repeated(data, before[0], before[1])) is not None:
            self._go(again, before[2], b"")
            return
        end = head_end(data)
        if end < 0 or end > HEAD_LIMIT:
            if len(data) > HEAD_LIMIT:
                self._reject(431, f"the request's head is larger than {HEAD_LIMIT} bytes", "bad_head")
                return
            if not self.since_head:
                self.since_head = self._front.now
                self.deadline = self.since_head + self._front.limits.head_within
            self._buffer = data
            return
        try:
            request = parse_request(data[:end] if len(data) > end else data)
        except BadHead as bad:
            self._reject(bad.status, bad.message, "bad_head")
            return
        assert self.shown is not None  # noqa: S101 - known() came first
        identity = decide(self.shown, request.authorization, request.ws_bearer)
        rest = data[end:] if len(data) > end else b""
        if isinstance(identity, Refusal):
            self._refuse(
                identity,
                keep=request.length == 0 and not rest and not request.close,
                head_only=request.method == b"HEAD",
            )
            return
        block = header_block(request) if request.head is data else None
        self._before = None if block is None else (block, request, identity)
        self._go(request, identity, rest)

    def _go(self, request: RequestHead, identity: Identity, rest: bytes) -> None:
        """Begin an exchange; `rest` came behind its head."""
        self.since_head = 0.0
        route = classify(request.method, request.target, request.upgrade is not None, request.length != 0)
        exchange = Exchange(self, request, route, identity, self._front.clock())
        self._exchange = exchange
        self._front.arrived(exchange)
        self.deadline = exchange.started + route.answer_within
        if request.length:
            self._left = request.length
            self._walker = ChunkWalker() if request.length == CHUNKED else None
            if rest and not self._body_bytes(exchange, rest):
                return
        elif rest:
            self._buffer = rest
            self._read(on=False)
        self._front.ready(exchange)

    def _body_bytes(self, exchange: Exchange, data: bytes) -> bool:
        """Pass on what belongs to the body, keep what comes after it; False if the body is broken."""
        if self._walker is not None:
            try:
                end = self._walker.feed(data)
            except BadBody as bad:
                self._exchange = None
                self._front.cancelled(exchange)
                if exchange.begun:
                    self.transport.abort()
                else:
                    self._reject(400, f"the request's body is not validly chunked: {bad}", "bad_body")
                return False
            exchange.body_done = self._walker.done
        else:
            end = min(self._left, len(data))
            self._left -= end
            exchange.body_done = not self._left
        mine = data if end == len(data) else data[:end]
        if end < len(data):
            self._buffer += data[end:]
            self._read(on=False)
        if exchange.carrier is not None:
            exchange.carrier.send(exchange, mine)
        else:
            exchange.held += mine
            if len(exchange.held) > HELD_LIMIT:
                self._read(on=False)
        if not exchange.begun:
            self.deadline = self._front.now + exchange.route.answer_within
        self._front.traffic.bytes_to_cloud += len(mine)
        return True

    def _read(self, *, on: bool) -> None:
        if on is self._paused_reading:
            self._paused_reading = not on
            if on:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    # -- called by the cloud's side

    def sending(self, exchange: Exchange) -> None:
        """The exchange has a carrier and what was held is on its way: read on, unless the next request waits here."""
        if self._paused_reading and not self._buffer:
            self._read(on=True)
        if self._paused_writing and exchange.carrier is not None:
            exchange.carrier.pause(exchange)

    def upload(self, *, on: bool) -> None:
        """Stop or go on reading the body: the cloud takes bytes slowly."""
        if on and self._buffer:
            return
        self._read(on=on)

    def begin(self, exchange: Exchange, status: int) -> None:
        """The final head of the answer is here; its bytes follow by `deliver`."""
        exchange.begun = True
        exchange.status = status
        front = self._front
        if exchange.route.ends_within is not None:
            self.deadline = exchange.started + exchange.route.ends_within
        elif exchange.route.road is Road.SHORT:
            self.deadline = front.now + front.limits.stall_within
        else:
            self.deadline = NEVER

    def deliver(self, exchange: Exchange, data: bytes) -> None:
        """Bytes of the answer, framed for HTTP/1.1."""
        self._front.traffic.bytes_to_client += len(data)
        self.transport.write(data)
        if exchange.route.road is Road.SHORT and exchange.begun:
            self.deadline = self._front.now + self._front.limits.stall_within

    def switch(self, exchange: Exchange) -> None:
        """101: from here on both sides pass bytes."""
        self.tunnel = True
        self.deadline = NEVER
        waiting, self._buffer = self._buffer, b""
        if waiting and exchange.carrier is not None:
            exchange.carrier.send(exchange, waiting)
        self._read(on=True)

    def end(self, exchange: Exchange, *, close: bool) -> None:
        """The answer is complete; `close` if the connection cannot carry another one."""
        self._exchange = None
        exchange.carrier = None
        exchange.client = None
        front = self._front
        front.finished(exchange)
        if not exchange.body_done and not self.tunnel:
            self._linger()
            return
        if close or exchange.request.close or self.tunnel or front.draining:
            self.transport.close()
            return
        self._rest()

    def answer(self, exchange: Exchange, status: int, data: bytes) -> None:
        """The whole answer at once, the usual case: what `begin`, `deliver` and `end` do, in one call."""
        self._exchange = None
        exchange.carrier = None
        exchange.client = None
        exchange.status = status
        exchange.begun = True
        front = self._front
        front.traffic.bytes_to_client += len(data)
        self.transport.write(data)
        front.finished(exchange)
        if front.draining:
            self.transport.close()
        else:
            self._rest()

    def _rest(self) -> None:
        self.deadline = self._front.now + self._front.limits.idle_within
        if self._buffer:
            self._front.soon(self._next)
        elif self._paused_reading:
            self._read(on=True)

    def broken(self, exchange: Exchange) -> None:
        """The answer ended in its middle: the client must not take it for whole."""
        self._exchange = None
        exchange.carrier = None
        exchange.client = None
        self._front.finished(exchange)
        self.transport.abort()

    def failed(self, exchange: Exchange, code: int, message: str, *, retry_after: int | None = None) -> None:
        """No answer from the cloud: the hub says why."""
        exchange.status = code
        exchange.begun = True
        # A body that is still coming would be taken for the next request.
        close = not exchange.body_done or exchange.request.close
        self.transport.write(
            reply(code, message, close=close, head_only=exchange.request.method == b"HEAD", retry_after=retry_after)
        )
        self.end(exchange, close=close)

    def _next(self) -> None:
        if self._exchange is None and self._buffer and not self.transport.is_closing():
            data, self._buffer = self._buffer, b""
            self._requests(data)
            if not self._buffer:
                self._read(on=True)

    # -- refusals and time

    def _refuse(self, refusal: Refusal, *, keep: bool, head_only: bool) -> None:
        self._front.refused(refusal.reason)
        self.transport.write(reply(refusal.code, refusal.message, close=not keep, head_only=head_only))
        self.deadline = self._front.now + self._front.limits.head_within
        if not keep:
            self._linger()

    def _reject(self, code: int, message: str, reason: str) -> None:
        """Answer what cannot be understood and close: what follows on this connection has no known meaning."""
        self._front.refused(reason)
        self.transport.write(reply(code, message, close=True))
        self._linger()

    def _linger(self) -> None:
        """Close, but read on for a moment: closing over unread bytes would reset the answer away (RFC 9112, 9.6)."""
        self._lingering = True
        self._buffer = b""
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.deadline = self._front.now + self._front.limits.linger
        self._read(on=True)

    def expired(self, fail: Callable[[Exchange], None]) -> None:
        """The deadline of the present state has passed."""
        exchange = self._exchange
        if exchange is None:
            if not self._lingering and (self.since_head or self.shown is None):
                self._reject(
                    408, f"the request's head did not arrive within {self._front.limits.head_within:g} s", "slow_head"
                )
                return
            self.transport.close()
        elif not exchange.begun:
            fail(exchange)
        else:
            self._exchange = None
            self._front.cancelled(exchange)
            self.transport.abort()

    @property
    def exchange(self) -> Exchange | None:
        """What is under way here."""
        return self._exchange
