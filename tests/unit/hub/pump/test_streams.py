"""Watches: many on one HTTP/2 connection, and what its end, silence or change costs their clients."""

import asyncio

import pytest
from kit.pump import Wire, pump
from kit.scripted import Asked, Http2Connection, Http2Server, Keys, http1, http2, ok

WATCH = b"GET /api/v1/pods?watch=true HTTP/1.1\r\nHost: hub\r\nUser-Agent: test\r\n\r\n"
TOKEN = b"GET /api/v1/pods?watch=true HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer abc\r\n\r\n"
EVENT = b'{"type":"ADDED","object":{}}\n'


async def asked(server: Http2Server) -> tuple[Http2Connection, int, dict[str, str]]:
    """Wait for the next request."""
    async with asyncio.timeout(20):
        return await server.requests.get()


async def watch(hub_connect: Wire, server: Http2Server, request: bytes = WATCH) -> tuple[Http2Connection, int]:
    """Open a watch and let the server begin its answer."""
    hub_connect.writer.write(request)
    connection, stream, _ = await asked(server)
    connection.head(stream)
    assert (await hub_connect.head())[0] == 200
    return connection, stream


async def test_a_watch_arrives_event_by_event_in_chunks(keys: Keys) -> None:
    async with http2(keys) as server, pump(keys, server.url) as hub:
        wire = await hub.connect()
        wire.writer.write(WATCH)
        connection, stream, headers = await asked(server)
        assert (headers[":path"], headers[":authority"]) == ("/api/v1/pods?watch=true", "hub")
        assert headers["user-agent"] == "test"
        assert "host" not in headers
        assert connection.caller == "system:node:n1"
        connection.head(stream)
        status, answered = await wire.head()
        assert (status, answered["transfer-encoding"]) == (200, "chunked")
        for _ in range(3):
            connection.send(stream, EVENT)
            assert await wire.chunk() == EVENT
        connection.send(stream, EVENT, end=True)
        assert await wire.chunk() == EVENT
        assert await wire.chunk() == b""
        # The client's connection lives on, for the next watch.
        await watch(wire, server)
        await wire.close()


async def test_150_watches_share_two_connections(keys: Keys) -> None:
    """The server takes 100 streams to a connection."""
    async with http2(keys) as server, pump(keys, server.url) as hub:
        wires = [await hub.connect() for _ in range(150)]
        for wire in wires:
            wire.writer.write(WATCH)
        streams = [await asked(server) for _ in wires]
        for connection, stream, _ in streams:
            connection.head(stream)
            connection.send(stream, EVENT)
        for wire in wires:
            assert (await wire.head())[0] == 200
            assert await wire.chunk() == EVENT
        assert sorted(len(connection.streams) for connection in server.connections) == [50, 100]
        seen = [s for s in hub.cloud.snapshot() if s.streams]
        assert [(s.http2_open, s.streams) for s in seen] == [(2, 150)]
        for wire in wires:
            await wire.close()


async def test_tokens_and_the_node_watch_over_different_connections(keys: Keys) -> None:
    async with http2(keys) as server, pump(keys, server.url) as hub:
        one, two = await hub.connect(), await hub.connect()
        connection, _ = await watch(one, server)
        other, _ = await watch(two, server, TOKEN)
        assert (connection.caller, other.caller) == ("system:node:n1", None)
        await one.close()
        await two.close()


async def test_goaway_lets_watches_go_on_and_sends_new_ones_elsewhere(keys: Keys) -> None:
    async with http2(keys) as server, pump(keys, server.url) as hub:
        one, two, three = await hub.connect(), await hub.connect(), await hub.connect()
        connection, first = await watch(one, server)
        two.writer.write(WATCH)
        _, second, _ = await asked(server)
        connection.goaway(first)  # the second one was not accepted: it is asked again, its client sees nothing
        again, stream, _ = await asked(server)
        assert again is not connection
        assert second > first
        again.head(stream)
        assert (await two.head())[0] == 200
        connection.send(first, EVENT)
        assert await one.chunk() == EVENT
        third, _ = await watch(three, server)
        assert third is again
        assert hub.traffic.goaways[server.url] == 1
        # Its last stream over, the old connection goes.
        connection.send(first, b"", end=True)
        assert await one.chunk() == b""
        while hub.cloud.snapshot()[0].http2_open > 1:
            await asyncio.sleep(0.01)
        for wire in (one, two, three):
            await wire.close()


async def test_a_connection_that_breaks_ends_watches_as_a_time_out_does(keys: Keys) -> None:
    """Each client sees a whole answer and its next watch works, on the same connection of its own."""
    async with http2(keys) as server, pump(keys, server.url) as hub:
        wires = [await hub.connect() for _ in range(5)]
        for wire in wires:
            connection, stream = await watch(wire, server)
            connection.send(stream, EVENT)
        assert connection.transport is not None
        connection.transport.abort()
        for wire in wires:
            assert [piece async for piece in wire.chunks()] == [EVENT]
            await watch(wire, server)
            await wire.close()


async def test_a_silent_connection_is_found_out_by_a_ping(keys: Keys) -> None:
    async with (
        http2(keys) as server,
        pump(keys, server.url, upstream={"ping_after": 0.3, "ping_within": 0.3}) as hub,
    ):
        wire = await hub.connect()
        connection, _ = await watch(wire, server)
        connection.silent = True
        assert [piece async for piece in wire.chunks()] == []
        again, _ = await watch(wire, server)
        assert again is not connection
        assert hub.traffic.lost[server.url] == 1
        # One that answers pings stays, however quiet it is.
        for _ in range(6):
            await asyncio.sleep(0.25)
        assert hub.cloud.snapshot()[0].streams == 1
        await wire.close()


async def test_hub_019_a_client_that_leaves_resets_its_stream_and_no_other(keys: Keys) -> None:
    async with http2(keys) as server, pump(keys, server.url) as hub:
        one, two = await hub.connect(), await hub.connect()
        connection, first = await watch(one, server)
        _, second = await watch(two, server)
        server.noticed.clear()
        await one.close()
        async with asyncio.timeout(20):
            await server.noticed.wait()
        assert connection.resets == [first]
        connection.send(second, EVENT)
        assert await two.chunk() == EVENT
        await two.close()


async def test_a_slow_watcher_stops_its_own_stream_only(keys: Keys) -> None:
    async with http2(keys) as server, pump(keys, server.url) as hub:
        slow = Wire(*await asyncio.open_connection("127.0.0.1", hub.port, limit=1024))
        quick = await hub.connect()
        connection, first = await watch(slow, server)
        _, second = await watch(quick, server)
        piece = b"x" * 16_000
        sent = 0
        for _ in range(2000):
            if connection.h2.local_flow_control_window(first) < len(piece):
                for _ in range(20):
                    await asyncio.sleep(0)
                if connection.h2.local_flow_control_window(first) < len(piece):
                    break
            connection.send(first, piece)
            sent += 1
        else:
            pytest.fail("the hub took 32 MB for a client that does not read")
        connection.send(second, EVENT)
        assert await quick.chunk() == EVENT
        # Once it reads, it gets everything.
        for _ in range(sent):
            assert await slow.chunk() == piece
        connection.send(first, EVENT)
        assert await slow.chunk() == EVENT
        await slow.close()
        await quick.close()


async def test_a_refused_watch_passes_with_its_own_status(keys: Keys) -> None:
    async with http2(keys) as server, pump(keys, server.url) as hub:
        wire = await hub.connect()
        wire.writer.write(WATCH)
        connection, stream, _ = await asked(server)
        body = b'{"kind":"Status","code":403}'
        connection.head(stream, 403, content_length=str(len(body)))
        connection.send(stream, body, end=True)
        got = await wire.answer()
        assert (got.status, got.body, got.headers["content-length"]) == (403, body, str(len(body)))
        await wire.close()


async def test_an_end_that_comes_after_the_last_byte_ends_that_stream_only(keys: Keys) -> None:
    async with http2(keys) as server, pump(keys, server.url) as hub:
        other, wire = await hub.connect(), await hub.connect()
        await watch(other, server)
        wire.writer.write(WATCH)
        connection, stream, _ = await asked(server)
        body = b'{"kind":"Status","code":403}'
        connection.head(stream, 403, content_length=str(len(body)))
        connection.send(stream, body)
        connection.send(stream, b"", end=True)
        assert (await wire.answer()).body == body
        connection.send(connection.streams[0], EVENT)
        assert await other.chunk() == EVENT
        await wire.close()
        await other.close()


async def test_hub_017_a_watch_is_cut_fifteen_seconds_after_its_own_end(keys: Keys) -> None:
    """Judged by the deadline that was set, not by waiting for it."""
    async with http2(keys) as server, pump(keys, server.url) as hub:
        wire = await hub.connect()
        await watch(wire, server, WATCH.replace(b"true", b"true&timeoutSeconds=5"))
        client = next(iter(hub.front._clients))
        assert client.exchange is not None
        assert client.deadline == pytest.approx(client.exchange.started + 20)
        hub.front.sweep(client.deadline)
        assert await wire.ended()
        await wire.close()


async def test_a_server_without_http2_gets_a_connection_for_each_watch(keys: Keys) -> None:
    async def stream(request: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"watch" in request.head:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(EVENT), EVENT))
        else:
            writer.write(ok())

    async with http1(keys, stream) as server, pump(keys, server.url) as hub:
        wires = [await hub.connect() for _ in range(3)]
        for wire in wires:
            wire.writer.write(WATCH)
        for wire in wires:
            assert (await wire.head())[0] == 200
            assert await wire.chunk() == EVENT
            await wire.close()


async def test_a_server_that_breaks_http2_is_left(keys: Keys) -> None:
    async with http2(keys) as server, pump(keys, server.url) as hub:
        wire = await hub.connect()
        connection, _ = await watch(wire, server)
        assert connection.transport is not None
        connection.transport.write(b"\xff\xff\xff\0\0\0\0\0\0")
        assert [piece async for piece in wire.chunks()] == []
        await wire.close()
        assert hub.traffic.lost[server.url] == 1


async def test_a_watch_moves_many_megabytes(keys: Keys) -> None:
    """Windows are given back: far more than one window passes, on a stream and on the connection."""
    async with http2(keys) as server, pump(keys, server.url) as hub:
        wire = await hub.connect()
        connection, stream = await watch(wire, server)
        piece = b"y" * 16_000
        left = 40_000_000 // len(piece)

        async def read() -> int:
            total = 0
            while total < left * len(piece):
                total += len(await wire.chunk())
            return total

        reading = asyncio.gather(read())
        for _ in range(left):
            while min(connection.h2.local_flow_control_window(stream), 1 << 30) < len(piece):
                await asyncio.sleep(0)
            connection.send(stream, piece)
        assert (await reading)[0] == left * len(piece)
        await wire.close()
