"""The upstream port: requests and streams go in, connections are its own business.

Chooses the server, dials, holds what cannot be sent yet and turns failures of connections into facts for
the link table. The two sets of connections of each server (`Identity`) have TLS contexts of their own.
"""

import asyncio
import random
import socket
import ssl
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import aiofastnet

from yurt_hub.domain.callers import Identity
from yurt_hub.domain.links import Changed, Link, LinkTable
from yurt_hub.domain.traffic import Traffic, UpstreamSeen
from yurt_hub.pump.exchange import Exchange
from yurt_hub.pump.fetch import Answer, Fetch, Unanswered
from yurt_hub.pump.http1 import Http1, Http1Pool
from yurt_hub.pump.http2 import Http2, Http2Mux
from yurt_hub.pump.site import Site, UpstreamLimits

USER_TIMEOUT_MS = 10_000
"""Bytes that the peer's kernel has not acknowledged for this long end a connection (RFC 5482)."""

P = TypeVar("P", Http1, Http2)


class Log(Protocol):
    """What the pump needs of a logger."""

    def debug(self, event: str, **facts: Any) -> Any:
        """A repetition."""

    def info(self, event: str, **facts: Any) -> Any:
        """A transition."""

    def warning(self, event: str, **facts: Any) -> Any:
        """Something went wrong and is dealt with."""


class Spawn(Protocol):
    """Starts a short job that may end by itself; `yurtcore.flow.tasks.Tasks.spawn`."""

    def __call__(self, name: str, work: Coroutine[Any, Any, None]) -> object:
        """Start it."""


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    """Files that prove the API server to us and this node to the API server; PEM."""

    ca_file: Path
    cert_file: Path
    key_file: Path

    def context(self, identity: Identity, protocol: str) -> ssl.SSLContext:
        """Return a context for one set of connections; raises OSError or ssl.SSLError if a file is unusable."""
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(self.ca_file))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols([protocol])
        if identity is Identity.NODE:
            context.load_cert_chain(self.cert_file, self.key_file)
        return context


class Cloud:
    """All configured API servers."""

    def __init__(  # noqa: PLR0913 - wiring
        self,
        servers: list[str],
        *,
        tls: UpstreamTls,
        links: LinkTable,
        traffic: Traffic,
        limits: UpstreamLimits,
        spawn: Spawn,
        log: Log,
        clock: Callable[[], float],
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._tls = tls
        self._links = links
        self._spawn = spawn
        self._clock = clock
        self._now = clock()
        self._held: deque[Exchange] = deque()
        self._contexts: dict[tuple[Identity, str], ssl.SSLContext] = {}
        self.traffic = traffic
        self.limits = limits
        self.log = log
        self.draw = draw
        self.sites = {
            (server, identity): Site(self, server, identity, limits) for server in servers for identity in Identity
        }
        # Enums hash slowly, and this is looked up for every request.
        self._pairs = {s: (self.sites[s, Identity.NODE], self.sites[s, Identity.CALLER]) for s in servers}
        self.reload()

    def reload(self) -> None:
        """Read the certificate files again; connections that carry the old ones end after what they carry.

        Raises OSError or ssl.SSLError and changes nothing if a file is unusable.
        """
        self._contexts = {
            (identity, protocol): self._tls.context(identity, protocol)
            for identity in Identity
            for protocol in ("http/1.1", "h2")
        }
        for site in self.sites.values():
            site.retire()

    # -- exchanges

    def open(self, exchange: Exchange) -> None:
        """Send a request to the cloud; the answer, or the reason why there is none, comes back to its client."""
        server = self._links.choose(self._now)
        if server is None:
            self.hold(exchange, "the API server cannot be reached")
        else:
            node, caller = self._pairs[server]
            (node if exchange.identity is Identity.NODE else caller).open(exchange)

    def hold(self, exchange: Exchange, why: str) -> None:
        """Keep a request that could not be sent until the cloud is back, or its patience is over."""
        if exchange.client is None:
            return
        patient = (
            exchange.attempts < self.limits.attempts and self._clock() - exchange.started < self.limits.hold_within
        )
        if not patient or self._dark_for() >= self.limits.hold_within:
            self._unreachable(exchange, why)
        elif len(self._held) >= self.limits.queue:
            self.traffic.refused["overloaded"] += 1
            exchange.client.failed(
                exchange, 429, "too many requests wait for the API server, please try again later", retry_after=1
            )
        else:
            self._held.append(exchange)

    def _dark_for(self) -> float:
        """Seconds since the last server went down; 0 while any may be asked."""
        seen = self._links.view()
        if any(link.state is not Link.DOWN for link in seen):
            return 0.0
        return self._now - max(link.since for link in seen)

    def _unreachable(self, exchange: Exchange, why: str) -> None:
        if exchange.client is not None:
            errors = {link.server: link.last_error for link in self._links.view() if link.last_error}
            told = "; ".join(f"{server}: {error}" for server, error in errors.items()) or why
            message = f"the cloud cannot be reached from this node ({told})"
            exchange.client.failed(exchange, 503, message, retry_after=self._links.retry_after(self._now))

    def suspect(self, exchange: Exchange) -> None:
        """A request waits long for its answer."""
        if exchange.site is not None:
            self._links.suspect(exchange.site.server, self._now)

    def hedge(self, exchange: Exchange) -> None:
        """Send a request that got no byte on a used connection once more, on another one."""
        carrier = exchange.carrier
        if (
            exchange.attempts == 1
            and exchange.replayable
            and isinstance(carrier, Http1)
            and carrier.answered
            and exchange.site is not None
        ):
            carrier.drop(exchange)
            exchange.site.failed(exchange, "the API server does not answer", retry=True)

    # -- links

    def missed(self, server: str, why: str, since: float) -> None:
        """A connection failed at what it began at `since`."""
        self._links.missed(server, self._clock(), why, since=since)

    def changed(self, change: Changed) -> None:
        """The link table has changed its mind: told by whoever wired the two together."""
        if change.now is Link.DOWN:
            for identity in Identity:
                self.soon(lambda site=self.sites[change.server, identity]: site.doubt(self._clock()))  # type: ignore[misc]
        elif change.now is Link.UP:
            self.soon(self._release)

    async def probe(self, server: str) -> None:
        """Ask a server for `/readyz` as the node; returns when any answer came, raises ConnectionError if none did.

        Bounded by whoever calls it: a cancelled probe takes its connection with it.
        """
        site = self.sites[server, Identity.NODE]
        # One attempt on one connection: its failure is the answer.
        fetch = Fetch("GET", "/readyz", identity=Identity.NODE, now=self._clock(), attempts=self.limits.attempts)
        fetch.exchange.site = site
        (site.short if site.short.idle else site.wide).take(fetch.exchange)
        try:
            await fetch.answered
        finally:
            fetch.leave()

    async def fetch(
        self,
        method: str,
        target: str,
        *,
        identity: Identity = Identity.NODE,
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes = b"",
        within: float = 30.0,
    ) -> Answer:
        """Send a request of the hub's own and return the whole answer, whatever its status.

        Raises Unanswered if none came within `within` seconds.
        """
        fetch = Fetch(method, target, identity=identity, now=self._clock(), headers=headers, body=body)
        self.open(fetch.exchange)
        try:
            async with asyncio.timeout(within):
                return await fetch.answered
        except TimeoutError as err:
            raise Unanswered(f"no answer within {within:g} s") from err
        finally:
            fetch.leave()

    # -- dialing

    def dial_http1(self, pool: Http1Pool) -> None:
        """Open one more connection for a pool."""
        self._spawn("dial", self._dial_http1(pool))

    def dial_http2(self, mux: Http2Mux) -> None:
        """Open one more connection for streams."""
        self._spawn("dial", self._dial_http2(mux))

    async def _dial_http1(self, pool: Http1Pool) -> None:
        began = self._clock()
        try:
            connection = await self._connect(pool.site, "http/1.1", lambda: Http1(pool))
        except Exception as failure:  # noqa: BLE001 - whatever it was, the pool must not wait for this dial any more
            pool.refused(self._dial_failed(pool.site, failure, began))
            return
        pool.opened(connection)

    async def _dial_http2(self, mux: Http2Mux) -> None:
        began = self._clock()
        try:
            connection = await self._connect(mux.site, "h2", lambda: Http2(mux))
        except Exception as failure:  # noqa: BLE001 - as above
            mux.refused(self._dial_failed(mux.site, failure, began))
            return
        if connection.agreed:
            mux.opened(connection)
        else:
            mux.dialing = 0
            mux.site.without_http2()

    async def _connect(self, site: Site, protocol: str, factory: Callable[[], P]) -> P:
        """Open TCP and TLS within the deadline; raises OSError (ssl.SSLError is one) or TimeoutError."""
        url = urlsplit(site.server)
        self.traffic.dials[site.server] += 1
        async with asyncio.timeout(self.limits.dial_within):
            transport, connection = await aiofastnet.create_connection(
                asyncio.get_running_loop(),
                factory,
                url.hostname,
                url.port or 443,
                ssl=self._contexts[site.identity, protocol],
                server_hostname=url.hostname,
            )
        self.traffic.handshakes[site.server] += 1
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        return connection

    def _dial_failed(self, site: Site, failure: Exception, began: float) -> str:
        why = (
            f"no connection within {self.limits.dial_within:g} s"
            if isinstance(failure, TimeoutError)
            else str(failure) or repr(failure)
        )
        self.traffic.lost[site.server] += 1
        self.missed(site.server, why, began)
        return why

    # -- time

    def coarse_now(self) -> float:
        """The time of the last tick: exact enough for ages and deadlines, and free."""
        return self._now

    def soon(self, work: Callable[[], None]) -> None:
        """Run at the end of this turn of the loop."""
        asyncio.get_running_loop().call_soon(work)

    def tick(self, now: float) -> None:
        """Look at everything that depends on time; called a few times a second."""
        self._now = now
        for site in self.sites.values():
            if site.heard:
                site.heard = False
                self._links.heard(site.server, now)
            site.sweep(now)
        self._release()

    def _release(self) -> None:
        held, self._held = self._held, deque()
        for exchange in held:
            if exchange.client is not None:
                self.open(exchange)

    def snapshot(self) -> list[UpstreamSeen]:
        """What is open towards each server, by identity."""
        return [site.seen(self._clock()) for site in self.sites.values()]

    async def close(self) -> None:
        """End all connections."""
        for site in self.sites.values():
            site.close()
