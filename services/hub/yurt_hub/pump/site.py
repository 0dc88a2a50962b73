"""One API server under one identity: its connections, and what happens when one of them fails.

The node's certificate and a caller's token never share a connection, so each server is two sites.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from yurt_hub.domain.callers import Identity
from yurt_hub.domain.request import Road
from yurt_hub.domain.traffic import UpstreamSeen
from yurt_hub.pump.exchange import REPLAYABLE, Exchange
from yurt_hub.pump.frames import Goaway
from yurt_hub.pump.http1 import Http1Pool
from yurt_hub.pump.http2 import Http2Mux

if TYPE_CHECKING:
    from yurt_hub.pump.cloud import Cloud


@dataclass(frozen=True, slots=True)
class UpstreamLimits:
    """How the hub holds its connections to the cloud; durations in seconds."""

    connections: int = 6
    """HTTP/1.1 connections for short requests, per server and identity; with the HTTP/2 one a node holds 7."""
    tunnels: int = 64
    """Connections for protocol upgrades, per server and identity."""
    dials: int = 2
    """Handshakes under way at once in one pool: more stall the loop and a thin link."""
    dial_within: float = 5.0
    """For TCP and TLS together."""
    max_age: float = 600.0
    """A connection older than this, ±20 %, takes nothing new: servers behind a balancer get their share."""
    idle_within: float = 50.0
    """Idle connections end before the server's own limit, so that no request meets a closing one."""
    idle_kept: int = 1
    spare_within: float = 5.0
    """More than `idle_kept` idle connections rest no longer than this."""
    ping_after: float = 10.0
    """Silence on an HTTP/2 connection after which it is asked for a sign of life."""
    ping_within: float = 3.0
    """A ping that takes longer is a dead connection."""
    queue: int = 1000
    """Requests that may wait for a connection or for the cloud; more are answered 429."""
    hold_within: float = 5.0
    """A request that could not be sent waits this long, counted from its arrival, for the cloud to come back."""
    attempts: int = 3
    """How often a request that changes nothing is sent before the hub gives up."""
    suspect_after: float = 2.0
    """A request that waits longer has its server probed."""
    hedge_after: float = 10.0
    """A request that changes nothing and got no byte on a used connection by then is sent again on another one."""


class Site:
    """Connections to one server under one identity."""

    def __init__(self, cloud: "Cloud", server: str, identity: Identity, limits: UpstreamLimits) -> None:
        self._cloud = cloud
        self.server = server
        self.identity = identity
        self.limits = limits
        self.heard = False
        self.streams_by_http2 = True
        self.short = Http1Pool(self, cap=limits.connections, dial=cloud.dial_http1)
        self.wide = Http1Pool(self, cap=limits.tunnels, dial=cloud.dial_http1)
        self.streams = Http1Pool(self, cap=256, dial=cloud.dial_http1)
        self.mux = Http2Mux(self, dial=cloud.dial_http2)
        self.now: Callable[[], float] = cloud.coarse_now
        self.soon: Callable[[Callable[[], None]], None] = cloud.soon

    def open(self, exchange: Exchange) -> None:
        """Send an exchange by the road that its route names."""
        exchange.site = self
        road = exchange.route.road
        if road is Road.SHORT:
            self.short.take(exchange)
        elif road is Road.TUNNEL:
            self.wide.take(exchange)
        elif self.streams_by_http2:
            self.mux.take(exchange)
        else:
            self.streams.take(exchange)

    def without_http2(self) -> None:
        """The server (or what stands before it) speaks no HTTP/2: every stream takes a connection of its own."""
        self.streams_by_http2 = False
        waiting = list(self.mux.waiting)
        self.mux.waiting.clear()
        for exchange in waiting:
            if exchange.client is not None:
                self.streams.take(exchange)

    # -- what connections report

    def failed(self, exchange: Exchange, why: str, *, retry: bool) -> None:
        """A request was sent and got no answer: send it again if that can do no harm, else say so."""
        exchange.carrier = None
        client = exchange.client
        if client is None:
            return
        if retry and exchange.replayable and exchange.attempts < self.limits.attempts:
            self._cloud.traffic.retried["connection_lost"] += 1
            self._cloud.open(exchange)
        elif not retry:
            client.failed(exchange, 502, why)
        elif exchange.request.method in REPLAYABLE:
            client.failed(exchange, 503, why, retry_after=1)
        else:
            client.failed(exchange, 504, f"{why}; whether it was carried out is not known")

    def unsent(self, exchange: Exchange, why: str) -> None:
        """No connection could be had: nothing was sent, so even a write may wait for a better moment."""
        self._cloud.hold(exchange, why)

    def overloaded(self, exchange: Exchange) -> None:
        """The line is too long."""
        if exchange.client is not None:
            self._cloud.traffic.refused["overloaded"] += 1
            exchange.client.failed(
                exchange, 429, "too many requests wait for the API server, please try again later", retry_after=1
            )

    def missed(self, why: str, since: float) -> None:
        """Something that began at `since` speaks against the link."""
        self._cloud.missed(self.server, why, since)

    def note_goaway(self, goaway: Goaway) -> None:
        """The server has asked to be left."""
        self._cloud.traffic.goaways[self.server] += 1
        self._cloud.log.info(
            "upstream.goaway", server=self.server, identity=self.identity.value, code=goaway.code, text=goaway.text
        )

    def note_lost(self, reason: str, why: str) -> None:
        """A connection was given up by us."""
        self._cloud.traffic.lost[self.server] += 1
        self._cloud.log.warning(
            "upstream.lost", server=self.server, identity=self.identity.value, reason=reason, why=why
        )

    def expiry(self) -> float:
        """When a connection that opens now has become too old."""
        return self.now() + self.limits.max_age * (0.8 + 0.4 * self._cloud.draw())

    # -- time

    def sweep(self, now: float) -> None:
        """Look at ages, pings and idle connections."""
        for pool in (self.short, self.wide, self.streams):
            pool.sweep(now)
        self.mux.sweep(now)

    def doubt(self, now: float) -> None:
        """The link is taken for dead: connections show whether they live, and who has waited long goes elsewhere."""
        self.mux.ping(now)
        for pool in (self.short, self.wide, self.streams):
            for connection in pool.unanswered():
                exchange = connection.exchange
                if exchange is not None and now - exchange.started >= self.limits.suspect_after:
                    connection.drop(exchange)
                    self.failed(exchange, "the API server does not answer", retry=True)

    def seen(self, now: float) -> UpstreamSeen:
        """What is open."""
        http1 = [connection for pool in (self.short, self.wide, self.streams) for connection in pool.open]
        opened = [connection.opened_at for connection in http1] + [connection.opened_at for connection in self.mux.open]
        return UpstreamSeen(
            server=self.server,
            identity=self.identity,
            http1_open=len(http1),
            http1_busy=sum(connection.exchange is not None for connection in http1),
            http2_open=len(self.mux.open),
            streams=sum(connection.streams for connection in self.mux.open),
            waiting=len(self.short.waiting)
            + len(self.wide.waiting)
            + len(self.streams.waiting)
            + len(self.mux.waiting),
            oldest_age=max(0.0, now - min(opened)) if opened else 0.0,
        )

    def retire(self) -> None:
        """Let all connections end after what they carry."""
        for pool in (self.short, self.wide, self.streams):
            pool.retire()
        self.mux.retire()

    def close(self) -> None:
        """End everything at once."""
        for pool in (self.short, self.wide, self.streams):
            pool.close()
        self.mux.close()
