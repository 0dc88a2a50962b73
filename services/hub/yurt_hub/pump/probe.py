"""The hub's own question to an API server: does it answer?"""

import asyncio

from yurt_hub.domain.callers import Identity
from yurt_hub.domain.request import classify
from yurt_hub.pump.exchange import Exchange
from yurt_hub.pump.heads import parse_request

HEAD = b"GET /readyz HTTP/1.1\r\nHost: kubernetes\r\nUser-Agent: yurt-hub\r\nAccept: */*\r\n\r\n"


class Probe:
    """Stands where a client stands, and only waits for an answer: any status proves the link."""

    def __init__(self, now: float) -> None:
        self.answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.exchange = Exchange(
            self, parse_request(HEAD), classify(b"GET", b"/readyz", False, False), Identity.NODE, now
        )
        # A probe is one attempt on one connection: its failure is the answer.
        self.exchange.attempts = 1000

    def leave(self) -> None:
        """Give up: nothing more is wanted of the connection if the answer has not come."""
        exchange = self.exchange
        if exchange.client is not None:
            exchange.client = None
            if exchange.carrier is not None:
                exchange.carrier.drop(exchange)

    def sending(self, exchange: Exchange) -> None:
        """Nothing waits here."""

    def upload(self, *, on: bool) -> None:
        """There is no body."""

    def begin(self, exchange: Exchange, status: int) -> None:
        """The server has answered."""
        exchange.begun = True
        exchange.status = status

    def deliver(self, exchange: Exchange, data: bytes) -> None:
        """Its words do not matter."""

    def switch(self, exchange: Exchange) -> None:
        """No upgrade was asked for."""

    def end(self, exchange: Exchange, *, close: bool) -> None:  # noqa: ARG002 - the port's signature
        """The answer is whole and its connection free again."""
        self._proven(exchange)

    def broken(self, exchange: Exchange) -> None:
        """It had begun to answer, which is enough."""
        self._proven(exchange)

    def _proven(self, exchange: Exchange) -> None:
        exchange.client = None
        exchange.carrier = None
        if not self.answered.done():
            self.answered.set_result(exchange.status)

    def failed(self, exchange: Exchange, code: int, message: str, *, retry_after: int | None = None) -> None:  # noqa: ARG002 - the port's signature
        """There is no answer."""
        exchange.client = None
        if not self.answered.done():
            self.answered.set_exception(ConnectionError(message))
