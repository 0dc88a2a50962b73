"""The hub's own watch of a set: lines of events from the cloud, and how it ended."""

from collections.abc import Callable

from yurt_hub.domain.callers import Identity
from yurt_hub.domain.request import classify
from yurt_hub.pump.bodies import BadBody, ChunkDecoder
from yurt_hub.pump.exchange import Exchange
from yurt_hub.pump.heads import CHUNKED, head_end, parse_request, parse_response

LINE_LIMIT = 16 * 1024 * 1024
"""Bytes of one event; etcd's objects are at most 1.5 MiB."""
REASON_LIMIT = 64 * 1024


class UpstreamWatch:
    """Stands where a client stands; `line` hears each event, `ended` hears once that it is over.

    `ended(status, reason)`: the status of the answer, 0 if there was none; the body of a refusal or what went wrong.
    """

    def __init__(
        self,
        target: str,
        headers: tuple[tuple[str, str], ...],
        identity: Identity,
        *,
        now: float,
        line: Callable[[bytes], None],
        ended: Callable[[int, bytes], None],
    ) -> None:
        lines = [f"GET {target} HTTP/1.1", "Host: kubernetes", "User-Agent: yurt-hub"]
        lines += [f"{name}: {value}" for name, value in headers]
        request = parse_request("\r\n".join([*lines, "", ""]).encode("latin-1"))
        route = classify(request.method, request.target, False, False)
        self.exchange = Exchange(self, request, route, identity, now)
        self._line = line
        self._ended = ended
        self._status = 0
        self._head = b""
        self._chunks: ChunkDecoder | None = None
        self._framed = False
        self._rest: list[bytes] = []
        self._size = 0

    def leave(self) -> None:
        """End it from our side; nothing more is heard of it."""
        exchange = self.exchange
        carrier, exchange.carrier, exchange.client = exchange.carrier, None, None
        if carrier is not None:
            carrier.drop(exchange)

    def sending(self, exchange: Exchange) -> None:
        """There is no body."""

    def upload(self, *, on: bool) -> None:
        """There is no body."""

    def begin(self, exchange: Exchange, status: int) -> None:
        """The server has answered."""
        exchange.begun = True
        exchange.status = self._status = status

    def deliver(self, exchange: Exchange, data: bytes) -> None:
        """Take a piece of the answer, its head first."""
        if not exchange.begun:
            return  # an answer before the answer (1xx)
        if not self._framed:
            data = self._frame(data)
        if self._chunks is not None:
            try:
                pieces = self._chunks.feed(data)
            except BadBody:
                self.leave()
                self._over(0, b"the answer's chunks are broken")
                return
        else:
            pieces = [data]
        for piece in pieces:
            self._take(piece)

    def _frame(self, data: bytes) -> bytes:
        self._head += data
        end = head_end(self._head)
        if end < 0:
            return b""
        self._framed = True
        if parse_response(self._head[:end], head_request=False).length == CHUNKED:
            self._chunks = ChunkDecoder()
        rest, self._head = self._head[end:], b""
        return rest

    def _take(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._status != 200:
            if self._size <= REASON_LIMIT:
                self._rest.append(piece)
            return
        if b"\n" not in piece:
            self._rest.append(piece)
        else:
            first, *others = piece.split(b"\n")
            self._rest.append(first)
            others.insert(0, b"".join(self._rest))
            last = others.pop()
            self._rest = [last] if last else []
            self._size = len(last)
            for line in others:
                if line and self.exchange.client is not None:
                    self._line(line)
        if self._size > LINE_LIMIT:
            self.leave()
            self._over(0, b"an event is too large")

    def switch(self, exchange: Exchange) -> None:
        """No upgrade was asked for."""

    def end(self, exchange: Exchange, *, close: bool) -> None:  # noqa: ARG002 - the port's signature
        """The server has ended it: its time is over, or it was refused."""
        exchange.client = None
        exchange.carrier = None
        self._over(self._status, b"".join(self._rest))

    def answer(self, exchange: Exchange, status: int, data: bytes) -> None:
        """The whole answer in one piece: a refusal, or a watch that ended at once."""
        self.begin(exchange, status)
        self.deliver(exchange, data)
        self.end(exchange, close=False)

    def broken(self, exchange: Exchange) -> None:
        """Its connection was lost."""
        exchange.client = None
        self._over(self._status, b"the connection was lost")

    def failed(self, exchange: Exchange, code: int, message: str, *, retry_after: int | None = None) -> None:  # noqa: ARG002
        """The cloud cannot be reached."""
        exchange.client = None
        self._over(0, message.encode())

    def _over(self, status: int, reason: bytes) -> None:
        ended, self._ended = self._ended, lambda *_: None
        ended(status, reason)
