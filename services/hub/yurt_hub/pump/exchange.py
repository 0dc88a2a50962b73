"""One request on its way: what the client's side and the cloud's side of the pump share.

The two sides hold each other through this object and nothing else: no queue, no task and no future
per request. It is thrown away, links cut, as soon as the answer is complete.
"""

from typing import TYPE_CHECKING, Protocol

from yurt_hub.domain.callers import Identity
from yurt_hub.domain.request import Route
from yurt_hub.pump.heads import RequestHead

if TYPE_CHECKING:
    from yurt_hub.pump.site import Site


class Caller(Protocol):
    """The client's end of one exchange, as the cloud's end sees it: a local connection, or the hub's own probe."""

    def sending(self, exchange: "Exchange") -> None:
        """It has a carrier, and what was held of it is on its way."""

    def upload(self, *, on: bool) -> None:
        """Stop or go on bringing bytes of the body."""

    def begin(self, exchange: "Exchange", status: int) -> None:
        """The answer's final head is here; its bytes come by `deliver`."""

    def deliver(self, exchange: "Exchange", data: bytes) -> None:
        """Bytes of the answer, framed for HTTP/1.1."""

    def switch(self, exchange: "Exchange") -> None:
        """101: from here on both sides pass bytes."""

    def end(self, exchange: "Exchange", *, close: bool) -> None:
        """The answer is complete; with `close` the connection below cannot carry another one."""

    def answer(self, exchange: "Exchange", status: int, data: bytes) -> None:
        """A whole answer in one piece, head included; the connection below can carry another one."""

    def broken(self, exchange: "Exchange") -> None:
        """The answer ended in its middle and must not be taken for whole."""

    def failed(self, exchange: "Exchange", code: int, message: str, *, retry_after: int | None = None) -> None:
        """There is no answer from the cloud; the hub gives this one."""


HELD_LIMIT = 64 * 1024
"""Bytes of a body that wait for an upstream connection before the client's side stops reading."""
REPLAYABLE = frozenset({b"GET", b"HEAD", b"OPTIONS"})
"""Methods that may be sent again after the first attempt got no answer (RFC 9110, 9.2.1)."""


class Carrier(Protocol):
    """The cloud's end of one exchange: an HTTP/1.1 connection or one HTTP/2 stream's connection."""

    def send(self, exchange: "Exchange", data: bytes) -> None:
        """Send bytes of the request's body (or of a tunnel), framed as the client framed them."""

    def pause(self, exchange: "Exchange") -> None:
        """Stop bringing bytes of this answer: the client reads slowly."""

    def resume(self, exchange: "Exchange") -> None:
        """Go on bringing bytes."""

    def drop(self, exchange: "Exchange") -> None:
        """End the exchange at once, the client does not want it any more; it is not called back."""


class Exchange:
    """A request and the state of its answer."""

    __slots__ = (
        "attempts",
        "begun",
        "body_done",
        "carrier",
        "client",
        "held",
        "identity",
        "patience",
        "request",
        "route",
        "site",
        "started",
        "status",
        "suspected",
    )

    def __init__(self, client: Caller, request: RequestHead, route: Route, identity: Identity, started: float) -> None:
        self.client: Caller | None = client
        self.request = request
        self.route = route
        self.identity = identity
        self.started = started
        self.carrier: Carrier | None = None
        self.site: Site | None = None
        self.held = b""
        self.body_done = request.length == 0
        self.attempts = 0
        self.begun = False
        self.suspected = False
        self.patience = float("inf")
        """Seconds after which it may be answered without the cloud."""
        self.status = 0

    @property
    def replayable(self) -> bool:
        """True while sending it a second time can do no harm and all of it is still here."""
        return not self.begun and self.request.length == 0 and self.request.method in REPLAYABLE
