"""A client's watch, told by the hub: it outlives the hub's own watch of the cloud."""

from collections.abc import Callable

from yurt_hub.domain.kept.readers import Reader
from yurt_hub.pump.exchange import Caller, Exchange

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-cache, private\r\n"
    b"Transfer-Encoding: chunked\r\n"
)


class LocalWatch:
    """Carries a reader's lines to one client; the reader waits while the client is slow."""

    def __init__(
        self,
        exchange: Exchange,
        client: Caller,
        reader: Reader,
        *,
        ends_at: float,
        gone: Callable[["LocalWatch"], None],
        more: Callable[[], None],
    ) -> None:
        self.ends_at = ends_at
        self.identity = ""
        self._exchange = exchange
        self._client = client
        self._reader = reader
        self._gone = gone
        self._more = more
        self._paused = False
        self._over = False

    def start(self, now: float) -> None:
        """Answer with the head at once, and with what is due; `now` is wall time."""
        exchange = self._exchange
        exchange.carrier = self
        self._client.sending(exchange)
        self._client.begin(exchange, 200)
        close = b"Connection: close\r\n" if exchange.request.close else b""
        self._client.deliver(exchange, HEAD + close + b"\r\n")
        self.tell(now)

    def tell(self, now: float) -> None:
        """Tell what the reader has."""
        while not self._paused and not self._over:
            lines = self._reader.take(now)
            if lines:
                self._client.deliver(self._exchange, b"%x\r\n%b\r\n" % (len(lines), lines))
            if self._reader.ended:
                self.end()
            if not lines:
                return

    def mark(self) -> None:
        """Tell a quiet client how far all is known."""
        if not self._paused and not self._over and (line := self._reader.mark()):
            self._client.deliver(self._exchange, b"%x\r\n%b\r\n" % (len(line), line))

    def end(self) -> None:
        """Its time is over: the client watches on from what it saw last."""
        if not self._over:
            self._leave()
            self._client.deliver(self._exchange, b"0\r\n\r\n")
            self._client.end(self._exchange, close=False)

    def _leave(self) -> None:
        self._over = True
        self._reader.close()
        self._gone(self)

    # -- as a carrier

    def send(self, exchange: Exchange, data: bytes) -> None:
        """A watch has no body."""

    def pause(self, exchange: Exchange) -> None:  # noqa: ARG002 - the port's signature
        """The client is slow."""
        self._paused = True

    def resume(self, exchange: Exchange) -> None:  # noqa: ARG002 - the port's signature
        """The client has caught up: the feed tells it more at the end of this turn of the loop."""
        self._paused = False
        self._more()

    def drop(self, exchange: Exchange) -> None:  # noqa: ARG002 - the port's signature
        """The client has gone."""
        if not self._over:
            self._leave()
