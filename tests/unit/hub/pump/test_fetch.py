"""The hub's own requests: whole answers, inflated, or the reason why there is none."""

import asyncio
import gzip

import pytest
from kit.pump import pump
from kit.scripted import Asked, Keys, http1, ok
from yurt_hub.domain.callers import Identity
from yurt_hub.pump.fetch import Unanswered


async def test_an_answer_comes_whole_and_inflated(keys: Keys) -> None:
    body = gzip.compress(b"x" * 100_000)

    async def scripted(_asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(2) == b"{}"
        head = b"HTTP/1.1 201 Created\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))

    async with http1(keys, scripted) as server, pump(keys, server.url) as hub:
        answer = await hub.cloud.fetch("POST", "/api/v1/events", headers=(("Authorization", "Bearer t"),), body=b"{}")
        assert (answer.status, answer.body) == (201, b"x" * 100_000)
        assert answer.headers[b"content-encoding"] == b"gzip"
    assert server.asked[0].caller == "system:node:n1"


async def test_a_callers_fetch_shows_no_certificate(keys: Keys) -> None:
    async def plain(_asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ok())

    async with http1(keys, plain) as server, pump(keys, server.url) as hub:
        assert (await hub.cloud.fetch("GET", "/version", identity=Identity.CALLER)).body == b"ok"
    assert server.asked[0].caller is None


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "middle"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Encoding: gzip\r\n\r\nhalf", "gzip"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Encoding: br\r\n\r\nhalf", "coding"),
        (b"", "did not answer|no answer|before it answered"),
    ],
)
async def test_what_cannot_be_read_is_no_answer(keys: Keys, answer: bytes, why: str) -> None:
    async def scripted(_asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    async with http1(keys, scripted) as server, pump(keys, server.url) as hub:
        with pytest.raises(Unanswered, match=why):
            await hub.cloud.fetch("GET", "/version", within=5)


async def test_a_fetch_that_takes_too_long_takes_its_connection_with_it(keys: Keys) -> None:
    ended = asyncio.Event()

    async def never(_asked: Asked, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()
        ended.set()

    async with http1(keys, never) as server, pump(keys, server.url) as hub:
        with pytest.raises(Unanswered, match="within"):
            await hub.cloud.fetch("GET", "/version", within=0.3)
        await asyncio.wait_for(ended.wait(), 10)


async def test_a_probe_is_content_with_any_answer_and_fails_without_one(keys: Keys) -> None:
    async def refuse(_asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")

    async with http1(keys, refuse) as server, pump(keys, server.url) as hub:
        await hub.cloud.probe(server.url)
        await hub.cloud.probe(server.url)
        assert [asked.line for asked in server.asked] == ["GET /readyz", "GET /readyz"]
    async with pump(keys, server.url) as hub:
        with pytest.raises(ConnectionError):
            await hub.cloud.probe(server.url)
