"""Answers that are kept: every byte goes to the client first, a copy of the whole answer to the store after.

A `Tee` stands between the cloud's side and the client of one exchange. If the cloud has no answer, whoever keeps
may give one instead.
"""

from typing import Protocol

from yurt_hub.pump.exchange import Caller, Exchange

COPY_LIMIT = 64 * 1024 * 1024
"""Bytes of one answer that are copied; a larger one passes and is not kept."""


class Keep(Protocol):
    """What happens with the copy of one answer, and without an answer."""

    def whole(self, exchange: Exchange, status: int, raw: bytes) -> None:
        """The answer has passed: `raw` is all of it, head included."""

    def missing(self, exchange: Exchange, client: Caller) -> bool:
        """The cloud has none: answer the client and return True, or return False."""


class Tee:
    """The client's end of an exchange whose answer is kept."""

    __slots__ = ("_client", "_copy", "_keep", "_size")

    def __init__(self, client: Caller, keep: Keep) -> None:
        self._client = client
        self._keep = keep
        self._copy: list[bytes] | None = []
        self._size = 0

    def sending(self, exchange: Exchange) -> None:
        """As for the client itself."""
        self._client.sending(exchange)

    def upload(self, *, on: bool) -> None:
        """As for the client itself."""
        self._client.upload(on=on)

    def begin(self, exchange: Exchange, status: int) -> None:
        """As for the client itself."""
        self._client.begin(exchange, status)

    def deliver(self, exchange: Exchange, data: bytes) -> None:
        """First the client, then the copy. What comes before the final head (1xx) is not copied."""
        self._client.deliver(exchange, data)
        if self._copy is not None and exchange.begun:
            self._size += len(data)
            if self._size > COPY_LIMIT:
                self._copy = None
            else:
                self._copy.append(data)

    def switch(self, exchange: Exchange) -> None:
        """As for the client itself."""
        self._client.switch(exchange)

    def end(self, exchange: Exchange, *, close: bool) -> None:
        """The client has everything: now the store."""
        self._client.end(exchange, close=close)
        if self._copy is not None:
            self._keep.whole(exchange, exchange.status, b"".join(self._copy))

    def answer(self, exchange: Exchange, status: int, data: bytes) -> None:
        """The whole answer in one piece."""
        self._client.answer(exchange, status, data)
        if self._copy is not None:
            self._keep.whole(exchange, status, data)

    def broken(self, exchange: Exchange) -> None:
        """Half an answer is none."""
        self._client.broken(exchange)

    def failed(self, exchange: Exchange, code: int, message: str, *, retry_after: int | None = None) -> None:
        """No answer from the cloud: perhaps there is one here."""
        if not self.without(exchange):
            self._client.failed(exchange, code, message, retry_after=retry_after)

    def without(self, exchange: Exchange) -> bool:
        """Answer without the cloud, if that is possible; the exchange must have no carrier any more."""
        self._copy = None
        return self._keep.missing(exchange, self._client)
