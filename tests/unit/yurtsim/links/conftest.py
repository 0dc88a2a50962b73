"""A cloud to link to: servers on loopback that echo, talk and swallow."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Self, TypeAlias

import pytest
from yurtsim.links import Links

Peer: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Cloud:
    """A server whose connections the test holds in its hands."""

    def __init__(self) -> None:
        self.came: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        self.address = ""
        self.echoes = True
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        if not self.echoes:
            self.came.put_nowait((reader, writer))
            return
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
            writer.write_eof()


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    async with Cloud() as cloud:
        yield cloud


@pytest.fixture
async def links() -> AsyncIterator[Links]:
    async with Links() as links:
        yield links


class Clients:
    """Opens connections and aborts what the test leaves open."""

    def __init__(self) -> None:
        self.writers: list[asyncio.StreamWriter] = []

    async def __call__(self, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        self.writers.append(writer)
        return reader, writer


@pytest.fixture
async def connect() -> AsyncIterator[Clients]:
    clients = Clients()
    yield clients
    for writer in clients.writers:
        writer.transport.abort()
    await asyncio.sleep(0)
