"""Servers that do on purpose what API servers do by accident: TLS, HTTP/1.1 or HTTP/2, steered line by line."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import h2.config
import h2.connection
import h2.events
import h2.settings
import trustme


@dataclass(frozen=True)
class Keys:
    """A CA, and the files of one client, for servers on 127.0.0.1."""

    authority: trustme.CA
    ca_file: Path
    cert_file: Path
    key_file: Path

    @classmethod
    def make(cls, folder: Path) -> "Keys":
        """Issue everything into a folder."""
        authority = trustme.CA()
        client = authority.issue_cert(common_name="system:node:n1", organization_name="system:nodes")
        keys = cls(authority, folder / "ca.crt", folder / "node.crt", folder / "node.key")
        authority.cert_pem.write_to_path(keys.ca_file)
        client.cert_chain_pems[0].write_to_path(keys.cert_file)
        client.private_key_pem.write_to_path(keys.key_file)
        return keys

    def server_context(self, *protocols: str) -> ssl.SSLContext:
        """Return the TLS of a server that asks for a client certificate, as kube-apiserver does."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert("127.0.0.1").configure_cert(context)
        self.authority.configure_trust(context)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.set_alpn_protocols(list(protocols))
        return context


def common_name(transport: asyncio.BaseTransport) -> str | None:
    """Return who a connection's client certificate names, if it showed one."""
    certificate = transport.get_extra_info("peercert")
    if not certificate:
        return None
    return next(value for part in certificate["subject"] for name, value in part if name == "commonName")


@dataclass
class Asked:
    """One request as a server saw it."""

    head: bytes
    caller: str | None
    connection: int

    @property
    def line(self) -> str:
        """The request line without the version."""
        return self.head.split(b"\r\n", 1)[0].decode().rsplit(" ", 1)[0]


Answer = Callable[[Asked, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def ok(body: bytes = b"ok") -> bytes:
    """Return a plain answer."""
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@dataclass
class Http1Server:
    """Answers each request by a coroutine of the test; keeps what was asked and how many connections came."""

    answer: Answer
    asked: list[Asked] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    connections: int = 0
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        number = self.connections
        self.writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                asked = Asked(head, common_name(writer.transport), number)
                self.asked.append(asked)
                await self.answer(asked, reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def http1(keys: Keys, answer: Answer) -> AsyncIterator[Http1Server]:
    """Run an HTTP/1.1 server on a free port."""
    server = Http1Server(answer)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=keys.server_context("http/1.1"))
    server.url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listening.close()
        for writer in server.writers:
            writer.transport.abort()


class Http2Connection(asyncio.Protocol):
    """One HTTP/2 connection at the server's end, driven by the test through `h2`."""

    def __init__(self, server: "Http2Server") -> None:
        self._server = server
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.transport: asyncio.Transport | None = None
        self.streams: list[int] = []
        self.silent = False
        self.window_updates = 0
        self.resets: list[int] = []
        self.caller: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self.caller = common_name(transport)
        self._server.connections.append(self)
        self.h2.initiate_connection()
        self.h2.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: self._server.most})
        self.flush()

    def data_received(self, data: bytes) -> None:
        if self.silent:
            return
        for event in self.h2.receive_data(data):
            match event:
                case h2.events.RequestReceived():
                    self.streams.append(event.stream_id)
                    self._server.requests.put_nowait((self, event.stream_id, dict(event.headers)))
                case h2.events.WindowUpdated():
                    self.window_updates += 1
                case h2.events.StreamReset():
                    self.resets.append(event.stream_id)
                    self._server.noticed.set()
                case _:
                    pass
        self.flush()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._server.noticed.set()

    def flush(self) -> None:
        """Send what `h2` has to say."""
        assert self.transport is not None
        self.transport.write(self.h2.data_to_send())

    def head(self, stream: int, status: int = 200, **headers: str) -> None:
        """Begin an answer."""
        names = [(name.replace("_", "-"), value) for name, value in headers.items()]
        self.h2.send_headers(stream, [(":status", str(status)), ("content-type", "application/json"), *names])
        self.flush()

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Send a piece of an answer."""
        self.h2.send_data(stream, data, end_stream=end)
        self.flush()

    def goaway(self, last_stream: int) -> None:
        """Announce the end as a graceful server does: streams up to `last_stream` go on."""
        assert self.transport is not None
        frame = b"\0\0\x08\x07\0\0\0\0\0" + last_stream.to_bytes(4, "big") + b"\0\0\0\0"
        self.transport.write(frame)


@dataclass
class Http2Server:
    """Keeps its connections, and hands each request to the test."""

    most: int = 100
    connections: list[Http2Connection] = field(default_factory=list)
    requests: asyncio.Queue[tuple[Http2Connection, int, dict[str, str]]] = field(default_factory=asyncio.Queue)
    noticed: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""


@contextlib.asynccontextmanager
async def http2(keys: Keys, *, most: int = 100) -> AsyncIterator[Http2Server]:
    """Run an HTTP/2 server on a free port."""
    server = Http2Server(most)
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: Http2Connection(server), "127.0.0.1", 0, ssl=keys.server_context("h2"))
    server.url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listening.close()
        for connection in server.connections:
            if connection.transport is not None:
                connection.transport.abort()
