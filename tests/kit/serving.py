"""A `Cluster` on real sockets, HTTP/1.1 and HTTP/2 on one port, behind a link that can be cut."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import cast

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from kit.cluster import Cluster, Request
from kit.scripted import Keys, common_name


class Stream:
    """The answer to one HTTP/2 request."""

    def __init__(self, connection: "Connection", number: int) -> None:
        self._connection, self.number = connection, number
        self.waiting = bytearray()
        self.ending = False

    def head(self, status: int, headers: dict[str, str]) -> None:
        link = self._connection.h2
        assert link is not None
        with contextlib.suppress(h2.exceptions.ProtocolError):
            link.send_headers(self.number, [(":status", str(status)), *headers.items()])
        self._connection.flush()

    def send(self, data: bytes, *, end: bool) -> None:
        self.waiting += data
        self.ending = end
        self.pump()

    def pump(self) -> None:
        """Send as much as the window allows."""
        link = self._connection.h2
        assert link is not None
        with contextlib.suppress(h2.exceptions.ProtocolError):
            while self.waiting and (room := min(link.local_flow_control_window(self.number), 16_384)) > 0:
                piece, self.waiting = bytes(self.waiting[:room]), self.waiting[room:]
                last = self.ending and not self.waiting
                link.send_data(self.number, piece, end_stream=last)
                if last:
                    self.ending = False
                    self._connection.over(self.number)
            if self.ending and not self.waiting:
                self.ending = False
                link.end_stream(self.number)
                self._connection.over(self.number)
        self._connection.flush()


class Plain:
    """The answer to one HTTP/1.1 request."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._chunked = False

    def head(self, status: int, headers: dict[str, str]) -> None:
        self._chunked = "content-length" not in headers
        more = {"transfer-encoding": "chunked"} if self._chunked else {}
        lines = [f"HTTP/1.1 {status} Words", *(f"{name}: {value}" for name, value in {**headers, **more}.items())]
        self._transport.write("\r\n".join([*lines, "", ""]).encode())

    def send(self, data: bytes, *, end: bool) -> None:
        if self._chunked:
            data = (b"%x\r\n%b\r\n" % (len(data), data) if data else b"") + (b"0\r\n\r\n" if end else b"")
        self._transport.write(data)


class Connection(asyncio.Protocol):
    """One connection, HTTP/1.1 or HTTP/2 as its TLS agreed."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self.transport = cast("asyncio.Transport", None)
        self.h2: h2.connection.H2Connection | None = None
        self._buffer = b""
        self._open: dict[int, tuple[Request, Stream]] = {}
        self._caller: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._server.connections.add(self)
        self._caller = common_name(transport)
        if transport.get_extra_info("ssl_object").selected_alpn_protocol() == "h2":
            self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
            self.h2.initiate_connection()
            self.flush()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._server.connections.discard(self)
        for request, _ in self._open.values():
            self._server.cluster.dropped(request)

    def data_received(self, data: bytes) -> None:
        if self.h2 is None:
            self._buffer += data
            while self._plain():
                pass
            return
        for event in self.h2.receive_data(data):
            match event:
                case h2.events.RequestReceived():
                    self._begin(event)
                case h2.events.StreamReset():
                    self.over(event.stream_id)
                case h2.events.WindowUpdated():
                    for _, stream in list(self._open.values()):
                        stream.pump()
                case _:
                    pass
        self.flush()

    def over(self, number: int) -> None:
        """A stream has ended."""
        request, _ = self._open.pop(number, (None, None))
        if request is not None:
            self._server.cluster.dropped(request)

    def flush(self) -> None:
        """Send what `h2` has to say."""
        assert self.h2 is not None
        if data := self.h2.data_to_send():
            self.transport.write(data)

    def goaway(self) -> None:
        """Take no more streams; those that are there go on."""
        self.transport.write(b"\0\0\x08\x07\0\0\0\0\0" + max(self._open, default=0).to_bytes(4, "big") + b"\0\0\0\0")

    def _begin(self, event: h2.events.RequestReceived) -> None:
        headers = dict(event.headers or ())
        stream = Stream(self, event.stream_id)
        request = Request(headers[":method"], headers[":path"], headers, self._caller, stream)
        self._open[stream.number] = request, stream
        self._server.cluster.serve(request)

    def _plain(self) -> bool:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return False
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return False
        self._buffer = rest[length:]
        reply = Plain(self.transport)
        self._server.cluster.serve(Request(method, target, headers, self._caller, reply, rest[:length]))
        return True


@dataclass
class Server:
    """A cluster that listens."""

    cluster: Cluster
    connections: set[Connection] = field(default_factory=set)


class Pipe(asyncio.Protocol):
    """One half of a connection through the link."""

    def __init__(self, link: "Link", other: "Pipe | None" = None) -> None:
        self._link = link
        self.other = other
        self.transport: asyncio.Transport | None = None
        self.held: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self._link.refuses:  # it was under way when the link began to refuse
            self.transport.abort()
            return
        self._link.pipes.add(self)
        if self.other is None:
            self.other = Pipe(self._link, self)
            self._link.dial(self.other)
        self.go_on()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._link.pipes.discard(self)
        if self.other is not None and self.other.transport is not None:
            self.other.transport.abort()

    def data_received(self, data: bytes) -> None:
        assert self.other is not None
        self.held.append(data)
        self.other.go_on()

    def go_on(self) -> None:
        """Write what the other half has read, unless the link is silent."""
        if self._link.silent or self.transport is None or self.other is None:
            return
        for data in self.other.held:
            self.transport.write(data)
        self.other.held.clear()


@dataclass
class Link:
    """What lies between the hub and the cloud: TCP, byte by byte."""

    inner: int
    port: int = 0
    silent: bool = False
    pipes: set[Pipe] = field(default_factory=set)
    _listening: asyncio.Server | None = None
    _dials: set[asyncio.Task[object]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def dial(self, pipe: Pipe) -> None:
        """Connect the other half."""
        loop = asyncio.get_running_loop()
        task = loop.create_task(loop.create_connection(lambda: pipe, "127.0.0.1", self.inner))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    def hush(self) -> None:
        """Lose every byte's way: nothing is refused, nothing arrives."""
        self.silent = True

    @property
    def refuses(self) -> bool:
        """Nobody gets through."""
        return self._listening is None

    async def refuse(self) -> None:
        """End all connections and refuse new ones."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        for pipe in list(self.pipes):
            if pipe.transport is not None:
                pipe.transport.abort()
        await asyncio.sleep(0)

    async def mend(self) -> None:
        """Carry everything again; what was lost is sent again, as TCP does."""
        self.silent = False
        for pipe in list(self.pipes):
            pipe.go_on()
        if self.refuses:
            loop = asyncio.get_running_loop()
            self._listening = await loop.create_server(lambda: Pipe(self), "127.0.0.1", self.port)
            self.port = self._listening.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End everything."""
        await self.refuse()
        for task in list(self._dials):
            task.cancel()
        await asyncio.gather(*self._dials, return_exceptions=True)


@contextlib.asynccontextmanager
async def serving(keys: Keys, cluster: Cluster) -> AsyncIterator[tuple[Link, Server]]:
    """Run a cluster's server behind a link."""
    server = Server(cluster)
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(
        lambda: Connection(server), "127.0.0.1", 0, ssl=keys.server_context("h2", "http/1.1")
    )
    link = Link(listening.sockets[0].getsockname()[1])
    await link.mend()
    try:
        yield link, server
    finally:
        await link.close()
        listening.close()
        for connection in list(server.connections):
            connection.transport.abort()
        await asyncio.sleep(0)
