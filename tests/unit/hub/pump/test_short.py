"""Short requests: what reaches the server, what the client gets, and what a failing connection costs."""

import asyncio
import gc

import pytest
from kit.pump import Wire, pump
from kit.scripted import Asked, Keys, http1, ok
from yurt_hub.domain.callers import Shown

GET = b"GET /api/v1/nodes/n1 HTTP/1.1\r\nHost: hub\r\n\r\n"
TOKEN = b"GET /api/v1/nodes/n1 HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer abc.def.ghi\r\n\r\n"


async def plain(_asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(ok())


async def test_hub_014_a_token_travels_without_the_nodes_certificate_and_a_component_with_it(keys: Keys) -> None:
    """The node's certificate and a caller's token never share a connection, also for a caller who shows both."""
    async with http1(keys, plain) as server, pump(keys, server.url, shown=Shown.NODE) as hub:
        wire = await hub.connect()
        for request in (GET, TOKEN, GET, TOKEN):
            assert (await wire.ask(request)).body == b"ok"
        await wire.close()
    by_connection = {(asked.connection, asked.caller, b"Bearer" in asked.head) for asked in server.asked}
    assert sorted(by_connection, key=str) == sorted(
        {(1, "system:node:n1", False), (2, None, True)} if server.asked[0].connection == 1 else by_connection, key=str
    )
    assert {(caller, token) for _, caller, token in by_connection} == {("system:node:n1", False), (None, True)}


@pytest.mark.parametrize(
    ("shown", "request_", "code"),
    [
        (Shown.NOTHING, GET, 401),
        (Shown.FOREIGN, GET, 401),
        (Shown.UNKNOWN, GET, 401),
        (Shown.UNKNOWN, TOKEN, 401),
        (Shown.NOTHING, GET.replace(b"Host", b"Authorization: Basic eDp5\r\nHost"), 401),
        (Shown.NOTHING, TOKEN, 200),
        (Shown.FOREIGN, TOKEN, 200),
    ],
)
async def test_hub_083_a_caller_that_cannot_be_named_is_refused(
    keys: Keys, shown: Shown, request_: bytes, code: int
) -> None:
    async with http1(keys, plain) as server, pump(keys, server.url, shown=shown) as hub:
        got = await hub.ask(request_)
        assert got.status == code
        assert len(server.asked) == (code == 200)
        if code == 401:
            assert b'"reason":"Unauthorized"' in got.body
            assert sum(hub.traffic.refused.values()) == 1


async def test_a_refusal_keeps_the_connection_for_a_better_request(keys: Keys) -> None:
    async with http1(keys, plain) as server, pump(keys, server.url, shown=Shown.NOTHING) as hub:
        wire = await hub.connect()
        assert (await wire.ask(GET)).status == 401
        assert (await wire.ask(TOKEN)).status == 200
        await wire.close()


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_arrives_byte_by_byte_as_it_was_sent(keys: Keys, chunked: bool) -> None:  # noqa: FBT001
    body = bytes(range(256)) * 400
    framed = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (body[:7], body[7:70_000], body[70_000:])) + b"0\r\n\r\n"
    sent = framed if chunked else body
    how = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)

    async def read(_asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(await reader.readexactly(len(sent))))

    async with http1(keys, read) as server, pump(keys, server.url) as hub:
        wire = await hub.connect()
        wire.writer.write(b"POST /api/v1/namespaces/a/pods HTTP/1.1\r\nHost: hub\r\n" + how + b"\r\n\r\n")
        for at in range(0, len(sent), 9999):
            wire.writer.write(sent[at : at + 9999])
            await asyncio.sleep(0)
        assert (await wire.answer()).body == sent
        # The connection is whole: the next request on it is understood.
        wire.writer.write(b"POST /x HTTP/1.1\r\nHost: hub\r\n" + how + b"\r\n\r\n" + sent)
        assert (await wire.answer()).body == sent
        await wire.close()
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200, b"abc"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", 304, b""),
        (b"HTTP/1.1 409 Conflict\r\nContent-Length: 2\r\n\r\n{}", 409, b"{}"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", 100, b""),
    ],
)
async def test_every_framing_of_an_answer_passes(keys: Keys, answer: bytes, status: int, body: bytes) -> None:
    async def scripted(_asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in answer:  # in the smallest pieces there are
            writer.write(bytes([byte]))

    async with http1(keys, scripted) as server, pump(keys, server.url) as hub:
        wire = await hub.connect()
        for _ in range(2):
            wire.writer.write(GET)
            if status == 100:
                assert (await wire.head())[0] == 100
                assert (await wire.answer()).body == b"x"
            else:
                got = await wire.answer()
                assert (got.status, got.body) == (status, body)
        await wire.close()
    assert server.connections == 1


async def test_an_answer_that_ends_with_its_connection_ends_the_clients_too(keys: Keys) -> None:
    async def scripted(_asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        writer.close()

    async with http1(keys, scripted) as server, pump(keys, server.url) as hub:
        got = await hub.ask(GET)
        assert (got.body, got.headers["connection"]) == (b"all of it", "close")


async def test_a_truncated_answer_is_never_shown_as_whole(keys: Keys) -> None:
    async def scripted(_asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await writer.drain()
        writer.transport.abort()

    async with http1(keys, scripted) as server, pump(keys, server.url) as hub:
        wire = await hub.connect()
        wire.writer.write(GET)
        assert (await wire.head())[0] == 200
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await wire.reader.readexactly(100)
        await wire.close()
    assert len(server.asked) == 1


async def test_pipelined_requests_are_answered_in_order(keys: Keys) -> None:
    async def echo(asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(asked.line.encode()))

    async with http1(keys, echo) as server, pump(keys, server.url) as hub:
        wire = await hub.connect()
        wire.writer.write(b"".join(b"GET /%d HTTP/1.1\r\nHost: hub\r\n\r\n" % number for number in range(20)))
        assert [(await wire.answer()).body for _ in range(20)] == [b"GET /%d" % number for number in range(20)]
        await wire.close()


async def test_many_clients_share_few_connections(keys: Keys) -> None:
    """A node's requests cost the API server a handful of handshakes, however many ask at once."""
    async with http1(keys, plain) as server, pump(keys, server.url) as hub:
        answers = await asyncio.gather(*(hub.ask(GET) for _ in range(100)))
        assert {got.status for got in answers} == {200}
        assert 1 <= server.connections <= hub.cloud.limits.connections
        assert hub.traffic.requests == {("get", "nodes", 200): 100}
        assert hub.traffic.in_flight == 0


async def test_a_connection_that_closes_under_a_read_costs_the_client_nothing(keys: Keys) -> None:
    async def once(asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if sum(a.connection == asked.connection for a in server.asked) > 1:
            writer.transport.abort()  # the second request of each connection meets its end
        else:
            writer.write(ok())

    async with http1(keys, once) as server, pump(keys, server.url) as hub:
        wire = await hub.connect()
        for _ in range(5):
            assert (await wire.ask(GET)).status == 200
        await wire.close()
        assert hub.traffic.retried["connection_lost"] == 4


async def test_a_write_is_never_sent_twice(keys: Keys) -> None:
    async def drop(_asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with http1(keys, drop) as server, pump(keys, server.url) as hub:
        got = await hub.ask(b"POST /api/v1/namespaces HTTP/1.1\r\nHost: hub\r\nContent-Length: 2\r\n\r\n{}")
        assert got.status == 504
        assert b"whether it was carried out is not known" in got.body
        assert len(server.asked) == 1


async def test_a_server_that_is_not_there_yet_is_waited_for(keys: Keys) -> None:
    """Also a write waits: nothing of it was sent."""
    async with http1(keys, plain) as reserved:
        url = reserved.url
    async with pump(keys, url, upstream={"hold_within": 15.0}) as hub:
        asking = asyncio.gather(
            hub.ask(GET), hub.ask(b"POST /api/v1/namespaces HTTP/1.1\r\nHost: hub\r\nContent-Length: 0\r\n\r\n")
        )
        while not hub.traffic.lost[url]:
            await asyncio.sleep(0.01)
        listening = await asyncio.start_server(
            reserved.serve, "127.0.0.1", int(url.rsplit(":", 1)[1]), ssl=keys.server_context("http/1.1")
        )
        hub.links.heard(url, hub.front.clock() + 1)  # what a good probe says
        hub.links.heard(url, hub.front.clock() + 5)
        assert [got.status for got in await asking] == [200, 200]
        listening.close()


async def test_hub_013_no_server_at_all_is_503_with_a_reason_and_retry_after(keys: Keys) -> None:
    async with http1(keys, plain) as gone:
        url = gone.url
    async with pump(keys, url, upstream={"hold_within": 0.2}) as hub:
        got = await hub.ask(GET)
        assert got.status == 503
        assert int(got.headers["retry-after"]) >= 1
        assert b'"reason":"ServiceUnavailable"' in got.body
        assert url.encode() in got.body


async def test_a_server_with_another_ca_is_refused(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> None:
    foreign = Keys.make(tmp_path_factory.mktemp("foreign"))
    async with http1(foreign, plain) as server, pump(keys, server.url, upstream={"hold_within": 0.2}) as hub:
        got = await hub.ask(GET)
        assert got.status == 503
        assert b"certificate" in got.body.lower()
        assert not server.asked


async def test_hub_019_a_client_that_leaves_ends_its_request_at_the_server(keys: Keys) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def endless(_asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nx")
        begun.set()
        try:
            await reader.read()
        finally:
            ended.set()

    async with http1(keys, endless) as server, pump(keys, server.url) as hub:
        wire = await hub.connect()
        wire.writer.write(GET)
        await asyncio.wait_for(begun.wait(), 10)
        await wire.close()
        await asyncio.wait_for(ended.wait(), 10)


async def test_hub_017_a_get_is_answered_before_its_client_gives_up(keys: Keys) -> None:
    async def never(_asked: Asked, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with http1(keys, never) as server, pump(keys, server.url) as hub:
        started = hub.front.clock()
        got = await hub.ask(b"GET /api/v1/nodes/n1?timeout=2500ms HTTP/1.1\r\nHost: hub\r\n\r\n")
        assert got.status == 504
        assert hub.front.clock() - started < 2.5
        assert hub.traffic.in_flight == 0


async def test_a_slow_reader_does_not_fill_the_hub_and_gets_every_byte(keys: Keys) -> None:
    """And the connection that was paused for it serves the next request (a leak of that pause hangs)."""
    size = 20_000_000

    async def big(_asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 100_000):
            writer.write(bytes(100_000))
            await writer.drain()

    async with http1(keys, big) as server, pump(keys, server.url, upstream={"connections": 1}) as hub:
        wire = Wire(*await asyncio.open_connection("127.0.0.1", hub.port, limit=4096))
        wire.writer.write(GET)
        await wire.head()
        client = next(iter(hub.front._clients))
        assert client.exchange is not None
        for _ in range(200):
            await asyncio.sleep(0)
        assert client.transport.get_write_buffer_size() < 1_000_000
        await wire.reader.readexactly(size)
        for _ in range(3):
            assert len((await hub.ask(GET)).body) == size
        await wire.close()


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", 505),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ],
)
async def test_what_is_ambiguous_is_refused_and_the_connection_ends(keys: Keys, sent: bytes, code: int) -> None:
    async with http1(keys, plain) as server, pump(keys, server.url) as hub:
        wire = await hub.connect()
        wire.writer.write(sent)
        got = await wire.answer()
        assert got.status == code
        assert got.headers["connection"] == "close"
        assert await wire.ended()
        await wire.close()
        assert hub.traffic.in_flight == 0


async def test_a_slow_head_is_refused(keys: Keys) -> None:
    async with http1(keys, plain) as server, pump(keys, server.url, clients={"head_within": 0.3}) as hub:
        wire = await hub.connect()
        wire.writer.write(GET[:30])
        assert (await wire.answer()).status == 408
        assert await wire.ended()
        await wire.close()
        assert hub.traffic.refused["slow_head"] == 1


async def test_an_answer_that_is_not_http_is_502(keys: Keys) -> None:
    async def babble(_asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")

    async with http1(keys, babble) as server, pump(keys, server.url) as hub:
        assert (await hub.ask(GET)).status == 502


async def test_hub_016_an_upgrade_is_tunnelled_both_ways(keys: Keys) -> None:
    async def upgrade(_asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\nhello")
        while data := await reader.read(100):
            writer.write(data.upper())

    request = (
        b"POST /api/v1/namespaces/a/pods/p/exec?command=sh HTTP/1.1\r\nHost: hub\r\n"
        b"Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n\r\n"
    )
    async with http1(keys, upgrade) as server, pump(keys, server.url) as hub:
        wire = await hub.connect()
        wire.writer.write(request)
        status, headers = await wire.head()
        assert (status, headers["upgrade"]) == (101, "SPDY/3.1")
        assert await wire.reader.readexactly(5) == b"hello"
        for word in (b"abc", b"x" * 100_000):
            wire.writer.write(word)
            assert await wire.reader.readexactly(len(word)) == word.upper()
        await wire.close()
    assert len(server.asked) == 1


async def test_an_upgrade_that_nobody_asked_for_is_502(keys: Keys) -> None:
    async def switch(_asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")

    async with http1(keys, switch) as server, pump(keys, server.url) as hub:
        assert (await hub.ask(GET)).status == 502


async def test_requests_leave_no_garbage_behind(keys: Keys) -> None:
    """A cycle per request costs a fifth of the throughput, so there is none."""
    async with http1(keys, plain) as server, pump(keys, server.url) as hub:
        wire = await hub.connect()
        await wire.ask(GET)
        gc.collect()
        gc.disable()
        try:
            for _ in range(300):
                await wire.ask(GET)
            found = [o for o in gc.get_objects() if type(o).__name__ in ("Exchange", "RequestHead", "ResponseHead")]
            assert len(found) < 5
        finally:
            gc.enable()
        await wire.close()


async def test_draining_lets_a_short_request_finish_and_takes_no_new_one(keys: Keys) -> None:
    go = asyncio.Event()

    async def slow(_asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        writer.write(ok())

    async with http1(keys, slow) as server, pump(keys, server.url) as hub:
        wire = await hub.connect()
        wire.writer.write(GET)
        while not server.asked:
            await asyncio.sleep(0.01)
        draining = asyncio.gather(hub.front.drain(10))
        await asyncio.sleep(0)
        with pytest.raises(OSError):
            await hub.connect()
        go.set()
        assert (await wire.answer()).body == b"ok"
        await draining
        assert await wire.ended()
        await wire.close()
