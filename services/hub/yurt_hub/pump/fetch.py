"""The hub's own requests to an API server, over the same connections as everybody's.

A `Fetch` stands where a client stands. It collects one whole answer, within bounds.
"""

import asyncio
import zlib
from dataclasses import dataclass

from yurt_hub.domain.callers import Identity
from yurt_hub.domain.request import classify
from yurt_hub.pump.bodies import ChunkDecoder
from yurt_hub.pump.exchange import Exchange
from yurt_hub.pump.heads import CHUNKED, UNTIL_CLOSE, head_end, parse_request, parse_response

BODY_LIMIT = 64 * 1024 * 1024
"""Bytes of one answer, as sent; etcd's largest lists are smaller."""
INFLATED_LIMIT = 512 * 1024 * 1024


class Unanswered(ConnectionError):
    """There was no answer from the cloud, or none that could be read."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer; its body is inflated."""

    status: int
    headers: dict[bytes, bytes]
    """Names in lower case."""
    body: bytes


def read_answer(raw: bytes) -> Answer:
    """Read a whole HTTP/1.1 answer as the pump delivers it; raises ValueError if it is damaged or too large."""
    end = head_end(raw)
    head = parse_response(raw[:end], head_request=False)
    headers = dict(head.headers)
    body = raw[end:]
    if head.length == CHUNKED:
        decoder = ChunkDecoder()
        body = b"".join(decoder.feed(body))
        if not decoder.done:
            raise ValueError("the answer's last chunk is missing")
    elif head.length not in (UNTIL_CLOSE, len(body)):
        raise ValueError("the answer is shorter than announced")
    return Answer(head.status, headers, inflated(body, headers.get(b"content-encoding", b"identity")))


def inflated(body: bytes, coding: bytes) -> bytes:
    """Return a body without its content coding; raises ValueError for one that is unknown, damaged or too large."""
    if coding == b"identity":
        return body
    if coding != b"gzip":
        raise ValueError(f"content coding {coding!r}")
    inflater = zlib.decompressobj(wbits=31)
    try:
        out = inflater.decompress(body, INFLATED_LIMIT)
    except zlib.error as err:
        raise ValueError(f"gzip: {err}") from err
    if not inflater.eof:
        raise ValueError("gzip: the end is missing, or there is too much of it")
    return out


class Fetch:
    """One request of the hub itself: `exchange` is what to open, `answered` what to wait for."""

    def __init__(
        self,
        method: str,
        target: str,
        *,
        identity: Identity,
        now: float,
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes = b"",
        attempts: int = 0,
    ) -> None:
        lines = [f"{method} {target} HTTP/1.1", "Host: kubernetes", "User-Agent: yurt-hub"]
        lines += [f"{name}: {value}" for name, value in headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        request = parse_request("\r\n".join([*lines, "", ""]).encode("latin-1"))
        route = classify(request.method, request.target, False, bool(body))
        self.answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.exchange = Exchange(self, request, route, identity, now)
        self.exchange.held = body
        self.exchange.body_done = True
        self.exchange.attempts = attempts
        self._parts: list[bytes] = []
        self._size = 0

    def leave(self) -> None:
        """Give up, if the answer has not come: the connection that waits for it is of no further use."""
        exchange = self.exchange
        if exchange.client is not None:
            exchange.client = None
            if exchange.carrier is not None:
                exchange.carrier.drop(exchange)

    def sending(self, exchange: Exchange) -> None:
        """All of the body was held."""

    def upload(self, *, on: bool) -> None:
        """All of the body was held."""

    def begin(self, exchange: Exchange, status: int) -> None:
        """The server has answered."""
        exchange.begun = True
        exchange.status = status

    def deliver(self, exchange: Exchange, data: bytes) -> None:
        """Keep what comes; heads of 1xx answers come before `begin` and are none of ours."""
        if exchange.begun:
            self._size += len(data)
            self._parts.append(data)
            if self._size > BODY_LIMIT:
                self.leave()
                self._fail("the answer is too large")

    def switch(self, exchange: Exchange) -> None:
        """No upgrade was asked for."""

    def end(self, exchange: Exchange, *, close: bool) -> None:  # noqa: ARG002 - the port's signature
        """The answer is whole."""
        exchange.client = None
        exchange.carrier = None
        if not self.answered.done():
            try:
                self.answered.set_result(read_answer(b"".join(self._parts)))
            except ValueError as err:
                self._fail(str(err))

    def answer(self, exchange: Exchange, status: int, data: bytes) -> None:
        """The whole answer in one piece."""
        self.begin(exchange, status)
        self.deliver(exchange, data)
        self.end(exchange, close=False)

    def broken(self, exchange: Exchange) -> None:
        """It ended in its middle."""
        exchange.client = None
        self._fail("the answer ended in its middle")

    def failed(self, exchange: Exchange, code: int, message: str, *, retry_after: int | None = None) -> None:  # noqa: ARG002
        """There is no answer."""
        exchange.client = None
        self._fail(message)

    def _fail(self, why: str) -> None:
        if not self.answered.done():
            self.answered.set_exception(Unanswered(why))
