"""The local side of the pump: listeners, the clients on them, and one sweep for all their deadlines."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import aiofastnet

from yurt_hub.domain.callers import Shown
from yurt_hub.domain.request import Road
from yurt_hub.domain.traffic import Traffic
from yurt_hub.pump.client import Client
from yurt_hub.pump.cloud import Cloud, Spawn
from yurt_hub.pump.exchange import Exchange

TICK = 0.25
"""Seconds between sweeps: how exact deadlines are. A timer for each request would cost more than parsing it."""


class Door(Protocol):
    """Finds out who connects to one listener."""

    @property
    def ssl(self) -> ssl.SSLContext | None:
        """TLS of this listener; None for a plain one."""

    async def greet(self, transport: asyncio.Transport) -> Shown:
        """Say what a new connection proves; within bounds of its own."""


class Answers(Protocol):
    """Looks at each request before it goes to the cloud."""

    def take(self, exchange: Exchange) -> bool:
        """Take care of it, or return False."""

    def impatient(self, exchange: Exchange) -> None:
        """It has waited as long as it said."""


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """What local clients may take; durations in seconds."""

    clients: int = 4096
    """Connections at once; more are closed as they come."""
    head_within: float = 10.0
    """A request's head must be whole by then."""
    idle_within: float = 180.0
    """A connection without a request is closed after this."""
    stall_within: float = 60.0
    """An answer of which no byte moved for this long is given up."""
    linger: float = 1.0
    """How long what a client still sends is read after a refusal, so that it gets to read the refusal."""


class Front:
    """All listeners of one hub."""

    def __init__(
        self,
        cloud: Cloud,
        *,
        traffic: Traffic,
        limits: ClientLimits,
        spawn: Spawn,
        clock: Callable[[], float],
    ) -> None:
        self._cloud = cloud
        self._spawn = spawn
        self._servers: list[asyncio.Server] = []
        self._clients: set[Client] = set()
        self._doors: dict[Client, Door] = {}
        self._empty = asyncio.Event()
        self._empty.set()
        self._moved = asyncio.Event()
        self.traffic = traffic
        self.limits = limits
        self.clock = clock
        self.now = clock()
        self.draining = False
        self.desk: Answers | None = None
        """Who answers what need not go to the cloud, or cannot."""

    # -- listeners

    async def listen(self, host: str, port: int, door: Door) -> int:
        """Open a port (0: any) and return its number; raises OSError if it is taken."""

        def factory() -> Client:
            client = Client(self)
            self._doors[client] = door
            return client

        loop = asyncio.get_running_loop()
        if door.ssl is None:
            # uvloop joins the writes of one turn of the loop, which plain sockets gain more from.
            server = await loop.create_server(factory, host, port, backlog=512)
        else:
            server = await aiofastnet.create_server(
                loop, factory, host, port, ssl=door.ssl, backlog=512, ssl_handshake_timeout=self.limits.head_within
            )
        self._servers.append(server)
        bound: int = server.sockets[0].getsockname()[1]
        return bound

    async def run(self) -> None:
        """Sweep for ever: deadlines of clients here, ages and pings of the cloud's connections there."""
        while True:
            self.sweep(self.clock())
            await asyncio.sleep(TICK)

    def sweep(self, now: float) -> None:
        """Act on every deadline that has passed."""
        self.now = now
        self._cloud.tick(now)
        limits = self._cloud.limits
        for client in [c for c in self._clients if c.deadline <= now]:
            client.expired(self._late)
        for client in list(self._clients):
            exchange = client.exchange
            if exchange is None or exchange.begun:
                continue
            waits = now - exchange.started
            if waits >= exchange.patience and self.desk is not None:
                self.desk.impatient(exchange)
            if exchange.carrier is None:
                continue
            if waits > limits.suspect_after and not exchange.suspected:
                exchange.suspected = True
                self._cloud.suspect(exchange)
            elif waits > limits.hedge_after:
                self._cloud.hedge(exchange)

    def _late(self, exchange: Exchange) -> None:
        client, carrier = exchange.client, exchange.carrier
        if carrier is not None:
            carrier.drop(exchange)
        if client is not None:
            client.failed(exchange, 504, f"the API server did not answer within {exchange.route.answer_within:g} s")

    async def drain(self, within: float) -> None:
        """Accept nothing new, let short requests finish for `within` seconds, then end watches and all the rest."""
        self.draining = True
        for server in self._servers:
            server.close()
        for client in list(self._clients):
            if client.exchange is None:
                client.transport.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while any(c.exchange is not None and c.exchange.route.road is Road.SHORT for c in self._clients):
                    self._moved.clear()
                    await self._moved.wait()
        for client in list(self._clients):
            client.transport.abort()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self._empty.wait()

    # -- called by clients

    def admit(self, client: Client) -> bool:
        """Take in a new connection and find out who it is; False if there are too many."""
        door = self._doors.pop(client)
        if self.draining or len(self._clients) >= self.limits.clients:
            self.traffic.refused["too_many_clients"] += 1
            return False
        self._clients.add(client)
        self._empty.clear()
        self.traffic.clients_open = len(self._clients)
        self.traffic.clients_total += 1
        self._spawn("greet", self._greet(client, door))
        return True

    async def _greet(self, client: Client, door: Door) -> None:
        shown = await door.greet(client.transport)
        if client in self._clients:
            client.known(shown)

    def gone(self, client: Client) -> None:
        """A connection has ended."""
        self._clients.discard(client)
        self.traffic.clients_open = len(self._clients)
        if not self._clients:
            self._empty.set()

    def arrived(self, exchange: Exchange) -> None:
        """A request's head is understood; it counts from here on until `finished` or `cancelled`."""
        self.traffic.in_flight += 1
        if exchange.route.road is not Road.SHORT:
            self.traffic.streams += 1

    def ready(self, exchange: Exchange) -> None:
        """Send it, with what has come of its body; unless it is answered here."""
        if self.desk is None or not self.desk.take(exchange):
            self._cloud.open(exchange)

    def finished(self, exchange: Exchange) -> None:
        """A request has its answer."""
        self._leave(exchange)
        route = exchange.route
        self.traffic.answered(route.verb, route.resource, exchange.status or 499, self.clock() - exchange.started)

    def cancelled(self, exchange: Exchange) -> None:
        """The client does not want the answer any more: the cloud's side hears of it at once."""
        self._leave(exchange)
        self.traffic.count(exchange.route.verb, exchange.route.resource, exchange.status or 499)
        carrier, exchange.carrier = exchange.carrier, None
        exchange.client = None
        if carrier is not None:
            carrier.drop(exchange)

    def _leave(self, exchange: Exchange) -> None:
        self.traffic.in_flight -= 1
        if self.draining:
            self._moved.set()
        if exchange.route.road is not Road.SHORT:
            self.traffic.streams -= 1

    def refused(self, reason: str) -> None:
        """The hub has refused a request itself."""
        self.traffic.refused[reason] += 1

    def soon(self, work: Callable[[], None]) -> None:
        """Run at the end of this turn of the loop."""
        asyncio.get_running_loop().call_soon(work)
