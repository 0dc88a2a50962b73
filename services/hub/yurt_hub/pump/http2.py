"""Watches over HTTP/2: many streams on one connection to an API server under one identity.

40 watches over one connection cost one handshake and some 70 bytes each, against 6 KB each over
connections of their own. `h2` judges the protocol; bytes of watches go around it (see `frames`).
What a client gets is HTTP/1.1: each DATA frame becomes a chunk.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

from yurt_hub.pump.exchange import Exchange
from yurt_hub.pump.frames import BadFrame, Cutter, Goaway, window_update
from yurt_hub.pump.replies import phrase

if TYPE_CHECKING:
    from yurt_hub.pump.site import Site

STREAM_WINDOW = 65_535
"""Initial window of a stream. Announcing another one before the preface leaves `h2`'s streams stuck after 64 KB."""
HALF_WINDOW = STREAM_WINDOW // 2
"""Bytes taken from a stream after which its window is given back."""
CONNECTION_WINDOW = 16 * 1024 * 1024
"""What all streams together may have under way: 100 streams with full windows fit more than twice."""
MOST_STREAMS = 100
"""kube-apiserver's limit; taken until the server has announced its own."""
CONFIG = h2.config.H2Configuration(client_side=True, header_encoding=None)
NOT_PASSED = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})


class Stream:
    """One exchange on a connection."""

    __slots__ = ("chunked", "exchange", "owed", "paused")

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.chunked = True
        self.owed = 0  # bytes taken from the server that its window has not been given back
        self.paused = False


class Http2(asyncio.Protocol):
    """One connection to an API server."""

    def __init__(self, mux: "Http2Mux") -> None:
        self._mux = mux
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set before anything else is called
        self._h2 = h2.connection.H2Connection(CONFIG)
        self._cutter = Cutter()
        self._streams: dict[int, Stream] = {}
        self._ids: dict[Exchange, int] = {}
        self._owed = 0
        self._updates: list[bytes] = []
        self._flushing = False
        self.most = MOST_STREAMS
        self.expires = 0.0
        self.draining = False
        self.lost = False
        self.heard_at = 0.0
        self.pinged_at = 0.0
        self.opened_at = 0.0
        self.agreed = False
        """The server speaks HTTP/2 (ALPN)."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the preface and a wide window for the connection."""
        self.transport = transport  # type: ignore[assignment]
        self.opened_at = self.heard_at = self._mux.site.now()
        tls = transport.get_extra_info("ssl_object")
        self.agreed = tls is not None and tls.selected_alpn_protocol() == "h2"
        if not self.agreed:
            transport.close()
            return
        self._h2.initiate_connection()
        transport.write(self._h2.data_to_send() + window_update(0, CONNECTION_WINDOW - STREAM_WINDOW))  # type: ignore[attr-defined]

    @property
    def streams(self) -> int:
        """How many exchanges are under way."""
        return len(self._streams)

    @property
    def free(self) -> int:
        """How many more exchanges it can take."""
        return 0 if self.draining or self.lost else self.most - len(self._streams)

    # -- towards the cloud

    def start(self, exchange: Exchange) -> None:
        """Open a stream for a request without a body."""
        stream = self._h2.get_next_available_stream_id()
        request = exchange.request
        headers = [
            (b":method", request.method),
            (b":scheme", b"https"),
            (b":authority", request.host),
            (b":path", request.target),
        ]
        headers += [(name, value) for name, value in request.headers if name != b"host" and name not in NOT_PASSED]
        self._h2.send_headers(stream, headers, end_stream=True)
        self._streams[stream] = Stream(exchange)
        self._ids[exchange] = stream
        exchange.carrier = self
        exchange.attempts += 1
        self._flush_soon()
        assert exchange.client is not None  # noqa: S101 - a cancelled exchange is never started
        exchange.client.sending(exchange)

    def send(self, exchange: Exchange, data: bytes) -> None:
        """Streams carry no bodies upwards; such requests take another road."""

    def pause(self, exchange: Exchange) -> None:
        """The client is slow: its window is not given back, so the server stops after 64 KB."""
        stream = self._streams.get(self._ids.get(exchange, 0))
        if stream is not None:
            stream.paused = True

    def resume(self, exchange: Exchange) -> None:
        """The client has caught up."""
        number = self._ids.get(exchange, 0)
        stream = self._streams.get(number)
        if stream is not None:
            stream.paused = False
            if stream.owed:
                self.transport.write(window_update(number, stream.owed))
                stream.owed = 0

    def drop(self, exchange: Exchange) -> None:
        """The client has gone: the server shall stop this stream, and only it."""
        number = self._ids.pop(exchange, 0)
        if self._streams.pop(number, None) is not None and not self.lost:
            try:
                self._h2.reset_stream(number, error_code=0x8)  # CANCEL
            except h2.exceptions.ProtocolError:
                return  # it has ended by itself
            self._flush_soon()
            self._mux.freed(self)

    def ping(self, now: float) -> None:
        """Ask for a sign of life."""
        self.pinged_at = now
        self._h2.ping(b"yurt-hub")
        self._flush()

    def _flush_soon(self) -> None:
        # Requests of one turn of the loop share a packet: after a heal that is most of them.
        if not self._flushing:
            self._flushing = True
            self._mux.site.soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if not self.lost and (data := self._h2.data_to_send()):
            self.transport.write(data)

    # -- from the cloud

    def data_received(self, data: bytes) -> None:
        """Take a piece of the byte stream."""
        site = self._mux.site
        site.heard = True
        self.heard_at = site.now()
        self.pinged_at = 0.0
        try:
            for cut in self._cutter.feed(data):
                if cut.data:
                    self._data(cut.data)
                if cut.rest:
                    for event in self._h2.receive_data(cut.rest):
                        self._event(event)
                if cut.goaway is not None:
                    self._goaway(cut.goaway)
        except (BadFrame, h2.exceptions.ProtocolError) as bad:
            self._mux.site.note_lost("bad_http2", str(bad))
            self.transport.abort()
            return
        if self._owed > CONNECTION_WINDOW // 4:
            self._updates.append(window_update(0, self._owed))
            self._owed = 0
        if self._updates:  # windows of many streams in one TLS record: a tenth of what a watch costs
            self.transport.write(b"".join(self._updates))
            self._updates.clear()
        self._flush()

    def _data(self, pieces: list[tuple[int, bytes]]) -> None:
        for number, payload in pieces:
            self._owed += len(payload)
            stream = self._streams.get(number)
            if stream is None:
                continue  # of a stream that was reset a moment ago
            self._deliver(number, stream, payload)

    def _deliver(self, number: int, stream: Stream, payload: bytes) -> None:
        client = stream.exchange.client
        if client is None:
            return
        client.deliver(stream.exchange, b"%x\r\n%b\r\n" % (len(payload), payload) if stream.chunked else payload)
        stream.owed += len(payload)
        if stream.owed > HALF_WINDOW and not stream.paused:
            self._updates.append(window_update(number, stream.owed))
            stream.owed = 0

    def _event(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived():
                self._head(event)
            case h2.events.DataReceived():  # the last piece of a stream, or a padded one
                self._owed += event.flow_controlled_length or 0
                stream = self._streams.get(event.stream_id)
                if stream is not None and event.data:
                    self._deliver(event.stream_id, stream, event.data)
            case h2.events.StreamEnded():
                self._ended(event.stream_id)
            case h2.events.StreamReset():
                self._reset(event.stream_id, int(event.error_code or 0))
            case h2.events.RemoteSettingsChanged():
                change = event.changed_settings.get(h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS)
                if change is not None:
                    self.most = max(1, min(change.new_value, 1000))
                    self._mux.freed(self)
            case _:
                pass  # pings, window updates and acknowledgements: h2 has answered what needs an answer

    def _head(self, event: h2.events.ResponseReceived) -> None:
        stream = self._streams.get(event.stream_id or 0)
        if stream is None or stream.exchange.client is None:
            return
        code, lines = 0, [b""]
        stream.chunked = True
        for name, value in event.headers:
            if b"\r" in value or b"\n" in value or b"\0" in value:
                raise h2.exceptions.ProtocolError(f"a line break in header {name!r}")
            if name == b":status":
                code = int(value)
            elif name == b"content-length":
                stream.chunked = False
                # Plain DATA goes around h2, so what h2 counts is no measure: it would end the whole connection.
                self._h2.streams[event.stream_id or 0]._expected_content_length = None
                lines.append(b"content-length: " + value)
            elif name not in NOT_PASSED:
                lines.append(name + b": " + value)
        if stream.chunked:
            lines.append(b"transfer-encoding: chunked")
        if stream.exchange.request.close:
            lines.append(b"connection: close")
        lines[0] = b"HTTP/1.1 %d %s" % (code, phrase(code))
        stream.exchange.client.begin(stream.exchange, code)
        stream.exchange.client.deliver(stream.exchange, b"\r\n".join(lines) + b"\r\n\r\n")

    def _ended(self, number: int) -> None:
        stream = self._take(number)
        if stream is not None and stream.exchange.client is not None:
            self._finish(stream)
        self._mux.freed(self)

    def _finish(self, stream: Stream) -> None:
        exchange = stream.exchange
        client = exchange.client
        assert client is not None  # noqa: S101 - the callers looked
        if not exchange.begun:
            self._mux.site.failed(exchange, "the API server ended the stream before it answered", retry=True)
            return
        if stream.chunked:
            client.deliver(exchange, b"0\r\n\r\n")
        client.end(exchange, close=False)

    def _reset(self, number: int, code: int) -> None:
        stream = self._take(number)
        if stream is not None:
            self._cut_off(stream, f"the API server reset the stream (error {code})")
        self._mux.freed(self)

    def _cut_off(self, stream: Stream, why: str) -> None:
        """A stream has ended without its own end.

        A watch that had begun ends for its client as it would at its time-out: the client watches on from the
        last version it saw, which is what the API server itself makes it do every few minutes.
        """
        exchange = stream.exchange
        if exchange.client is None:
            return
        if not exchange.begun:
            self._mux.site.failed(exchange, why, retry=True)
        elif stream.chunked and exchange.route.verb == "watch":
            self._finish(stream)
        else:
            exchange.client.broken(exchange)

    def _goaway(self, goaway: Goaway) -> None:
        """Open no more streams here; those that the server has not seen are asked for elsewhere."""
        self.draining = True
        self._mux.site.note_goaway(goaway)
        for number in [n for n in self._streams if n > goaway.last_stream]:
            stream = self._take(number)
            if stream is not None:
                self._cut_off(stream, "the API server is going away")
        self._mux.freed(self)

    def _take(self, number: int) -> Stream | None:
        stream = self._streams.pop(number, None)
        if stream is not None:
            self._ids.pop(stream.exchange, None)
        return stream

    def connection_lost(self, _exc: Exception | None) -> None:
        """Every stream has ended with its connection."""
        self.lost = True
        self._mux.forget(self)
        streams, self._streams = list(self._streams.values()), {}
        self._ids.clear()
        for stream in streams:
            self._cut_off(stream, "the connection to the API server ended before it answered")


class Http2Mux:
    """The HTTP/2 connections of one site: one as long as its streams suffice, then another."""

    def __init__(self, site: "Site", *, dial: Callable[["Http2Mux"], None]) -> None:
        self.site = site
        self._dial = dial
        self.open: list[Http2] = []
        self.waiting: deque[Exchange] = deque()
        self.dialing = 0

    def take(self, exchange: Exchange) -> None:
        """Open a stream, at once or as soon as a connection has room."""
        for connection in self.open:
            if connection.free > 0:
                connection.start(exchange)
                return
        if len(self.waiting) >= self.site.limits.queue:
            self.site.overloaded(exchange)
            return
        self.waiting.append(exchange)
        self._grow()

    def _grow(self) -> None:
        if self.waiting and not self.dialing:
            self.dialing = 1
            self._dial(self)

    def opened(self, connection: Http2) -> None:
        """A dial has succeeded."""
        if connection.lost:
            self.refused("the connection ended as soon as it was open")
            return
        self.dialing = 0
        connection.expires = self.site.expiry()
        self.open.append(connection)
        self.freed(connection)

    def refused(self, why: str) -> None:
        """A dial has failed: nothing was sent."""
        self.dialing = 0
        waiting, self.waiting = self.waiting, deque()
        for exchange in waiting:
            if exchange.client is not None:
                self.site.unsent(exchange, why)

    def freed(self, connection: Http2) -> None:
        """A connection has room, or has ended its last stream."""
        while self.waiting and connection.free > 0:
            exchange = self.waiting.popleft()
            if exchange.client is not None:
                connection.start(exchange)
        if connection.draining and not connection.streams and not connection.lost:
            connection.transport.close()
        self._grow()

    def forget(self, connection: Http2) -> None:
        """A connection has ended."""
        if connection in self.open:
            self.open.remove(connection)
        self._grow()

    def sweep(self, now: float) -> None:
        """Ask silent connections for a sign of life, end those that give none, let old ones drain."""
        limits = self.site.limits
        for connection in list(self.open):
            if connection.pinged_at and now - connection.pinged_at > limits.ping_within:
                self.site.missed("an HTTP/2 ping was not answered", connection.pinged_at)
                self.site.note_lost("silent", "an HTTP/2 ping was not answered")
                connection.transport.abort()
            elif not connection.pinged_at and now - connection.heard_at > limits.ping_after:
                connection.ping(now)
            if connection.expires <= now and not connection.draining:
                connection.draining = True
            if not connection.streams and (connection.draining or now - connection.heard_at > limits.idle_within):
                connection.transport.close()

    def ping(self, now: float) -> None:
        """Ask every connection for a sign of life: somebody doubts the link."""
        for connection in self.open:
            if not connection.pinged_at:
                connection.ping(now)

    def retire(self) -> None:
        """Let every connection drain."""
        for connection in list(self.open):
            connection.draining = True
            self.freed(connection)

    def close(self) -> None:
        """End all connections at once."""
        for connection in list(self.open):
            connection.transport.abort()
