"""The hub's pump in the test's own loop, in front of any server, and a client that sees bytes."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import structlog
from kit.scripted import Keys
from yurt_hub.domain.callers import Shown
from yurt_hub.domain.links import LinkPolicy, LinkTable
from yurt_hub.domain.traffic import Traffic
from yurt_hub.pump.cloud import Cloud, UpstreamTls
from yurt_hub.pump.front import ClientLimits, Front
from yurt_hub.pump.site import UpstreamLimits
from yurtcore.flow.tasks import Tasks

WITHIN = 20.0
"""Seconds that anything in these tests may take before it counts as hanging."""


class OpenDoor:
    """Lets everybody in as what the test says."""

    ssl = None

    def __init__(self, shown: Shown) -> None:
        self.shown = shown

    async def greet(self, _transport: asyncio.Transport) -> Shown:
        """Say what the test said."""
        return self.shown


@dataclass
class Pump:
    """A running pump."""

    port: int
    cloud: Cloud
    front: Front
    links: LinkTable
    traffic: Traffic
    failures: list[str]

    async def connect(self) -> "Wire":
        """Open a connection to it."""
        return Wire(*await asyncio.open_connection("127.0.0.1", self.port))

    async def ask(self, request: bytes) -> "Got":
        """Send one request on a connection of its own and read the answer."""
        wire = await self.connect()
        try:
            return await wire.ask(request)
        finally:
            await wire.close()


@dataclass
class Got:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """One connection of a client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, request: bytes) -> Got:
        """Send a request, read the whole answer."""
        self.writer.write(request)
        return await self.answer(head_only=request.startswith(b"HEAD "))

    async def head(self) -> tuple[int, dict[str, str]]:
        """Read an answer's head."""
        async with asyncio.timeout(WITHIN):
            raw = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
        return int(first.split(" ")[1]), {
            name.lower(): value for name, value in (line.split(": ", 1) for line in lines)
        }

    async def answer(self, *, head_only: bool = False) -> Got:
        """Read a whole answer."""
        status, headers = await self.head()
        async with asyncio.timeout(WITHIN):
            if head_only or status in (204, 304):
                body = b""
            elif "chunked" in headers.get("transfer-encoding", ""):
                body = b"".join([piece async for piece in self.chunks()])
            elif "content-length" in headers:
                body = await self.reader.readexactly(int(headers["content-length"]))
            else:
                body = await self.reader.read()
        return Got(status, headers, body)

    async def chunk(self) -> bytes:
        """Read one chunk; empty for the last one."""
        async with asyncio.timeout(WITHIN):
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            return (await self.reader.readexactly(size + 2))[:-2]

    async def chunks(self) -> AsyncIterator[bytes]:
        """Read chunks up to the last one."""
        while piece := await self.chunk():
            yield piece

    async def ended(self) -> bool:
        """Wait for the end of the connection; True if nothing more came before."""
        async with asyncio.timeout(WITHIN):
            with contextlib.suppress(ConnectionResetError):
                return not await self.reader.read()
            return True

    async def close(self) -> None:
        """Hang up."""
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


@contextlib.asynccontextmanager
async def pump(
    keys: Keys,
    *servers: str,
    shown: Shown = Shown.NODE,
    upstream: dict[str, Any] | None = None,
    clients: dict[str, Any] | None = None,
) -> AsyncIterator[Pump]:
    """Run a pump in front of servers; `upstream` and `clients` override limits."""
    loop = asyncio.get_running_loop()
    failures: list[str] = []
    traffic = Traffic()
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        tasks = Tasks(group, stop, lambda name, err: failures.append(f"{name}: {err!r}"))
        links = LinkTable(
            servers, LinkPolicy(mode="priority"), now=loop.time(), told=lambda change: cloud.changed(change)
        )
        cloud = Cloud(
            list(servers),
            tls=UpstreamTls(keys.ca_file, keys.cert_file, keys.key_file),
            links=links,
            traffic=traffic,
            limits=dataclasses.replace(UpstreamLimits(), **(upstream or {})),
            spawn=tasks.spawn,
            log=structlog.get_logger(),
            clock=loop.time,
        )
        front = Front(
            cloud,
            traffic=traffic,
            limits=dataclasses.replace(ClientLimits(), **(clients or {})),
            spawn=tasks.spawn,
            clock=loop.time,
        )
        port = await front.listen("127.0.0.1", 0, OpenDoor(shown))
        tasks.start("sweep", front.run())
        try:
            yield Pump(port, cloud, front, links, traffic, failures)
        finally:
            await front.drain(0)
            await cloud.close()
            stop.set()
            tasks.cancel()
    assert not failures, failures
