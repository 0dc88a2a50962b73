"""The raw client against servers that misbehave: every wait ends, every answer is bounded, every error is ours."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from yurtcore.adapters import answers
from yurtcore.adapters.kube import KubeClient
from yurtcore.adapters.kubeconfig import Credentials
from yurtcore.errors import BadInput, Gone, Refused, Retry, YurtError
from yurtcore.serve.server import bind

Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server that calls `answer` with each request's head; gives its URL."""
    handlers: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task := asyncio.current_task():
            handlers.add(task)
        try:
            while True:
                await answer(await reader.readuntil(b"\r\n\r\n"), writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    async with asyncio.timeout(60), server:
        scheme = "http" if tls is None else "https"
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for task in handlers:
        task.cancel()
    await asyncio.gather(*handlers, return_exceptions=True)


def says(payload: bytes) -> Answer:
    async def answer(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(payload)

    return answer


def http(code: int, body: bytes, *extra: str) -> bytes:
    head = [f"HTTP/1.1 {code} x", f"Content-Length: {len(body)}", *extra, "", ""]
    return "\r\n".join(head).encode() + body


def stream(*chunks: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(
        b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks
    )


async def lines(url: str, silence: float = 20.0) -> list[bytes]:
    async with KubeClient(url) as client:
        return [line async for line in client.lines("/api/v1/pods", "7", silence)]


async def problem(work: Awaitable[object], kind: type[YurtError]) -> str:
    with pytest.raises(kind) as caught:
        await work
    assert "\n" not in caught.value.why
    return caught.value.why


async def test_a_server_that_is_not_there_is_worth_another_try() -> None:
    with bind("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
    async with KubeClient(f"http://127.0.0.1:{port}") as client:
        why = await problem(client.get("/version"), Retry)
    assert why.startswith(f"GET /version at http://127.0.0.1:{port}: ")


async def test_an_exchange_has_a_deadline() -> None:
    async with serving(says(b"")) as url, KubeClient(url) as client:
        why = await problem(client.raw("GET", "/version", timeout=0.2), Retry)
        assert why == f"GET /version at {url}: no answer in time"


async def test_a_body_that_trickles_for_ever_meets_the_deadline_too() -> None:
    async def trickle(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with serving(trickle) as url, KubeClient(url) as client:
        await problem(client.raw("GET", "/", timeout=0.3), Retry)


async def test_a_cut_answer_is_worth_another_try() -> None:
    async def cut(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
        await writer.drain()
        writer.close()

    async with serving(cut) as url, KubeClient(url) as client:
        await problem(client.get("/version"), Retry)


async def test_an_answer_over_the_limit_is_refused() -> None:
    async with serving(says(http(200, b"x" * 5000))) as url, KubeClient(url) as client:
        assert (await client.raw("GET", "/", limit=5000))[2] == b"x" * 5000
        why = await problem(client.raw("GET", "/", limit=4999), Refused)
        assert why == "GET /: the answer is larger than 4999 bytes"


@pytest.mark.parametrize("body", [b"", b"<html>", b"k8s\x00"])
async def test_an_answer_that_is_not_json_is_worth_another_try(body: bytes) -> None:
    """A portal or a proxy on the way speaks so, for a while."""
    async with serving(says(http(200, body))) as url, KubeClient(url) as client:
        assert await problem(client.get("/x"), Retry) == "GET /x: the answer is not JSON"


async def test_a_redirect_is_not_followed() -> None:
    """Credentials go to the server that was named and to no other."""
    async with serving(says(http(302, b"", "Location: http://192.0.2.1/"))) as url, KubeClient(url) as client:
        await problem(client.get("/x"), Refused)


async def test_the_servers_wish_to_wait_is_heard() -> None:
    async with serving(says(http(429, b"busy", "Retry-After: 3"))) as url, KubeClient(url) as client:
        with pytest.raises(Retry) as caught:
            await client.get("/x")
    assert (caught.value.after, caught.value.why) == (3.0, "GET /x: 429: busy")


async def test_paths_go_out_as_they_are() -> None:
    heads: list[bytes] = []

    async def note(head: bytes, writer: asyncio.StreamWriter) -> None:
        heads.append(head.split(b"\r\n")[0])
        writer.write(http(200, b"{}"))

    async with serving(note) as url, KubeClient(url) as client:
        await client.get("/api/v1/a%2Fb/%41?x=%2B")
        await client.get("/x", query={"labelSelector": "a in (b,c)", "force": True, "limit": 5})
    assert heads == [
        b"GET /api/v1/a%2Fb/%41?x=%2B HTTP/1.1",
        b"GET /x?labelSelector=a%20in%20%28b%2Cc%29&force=true&limit=5 HTTP/1.1",
    ]


async def test_a_token_file_is_sent_as_the_identity(tmp_path: Path) -> None:
    heads: list[bytes] = []

    async def note(head: bytes, writer: asyncio.StreamWriter) -> None:
        heads.append(head)
        writer.write(http(200, b"{}"))

    (tmp_path / "token").write_text("abc\n")
    async with serving(note) as url:
        credentials = Credentials(url, token_file=tmp_path / "token")
        async with KubeClient(url, credentials=credentials, user_agent="yurt-x/1") as client:
            await client.get("/x")
    assert b"Authorization: Bearer abc\r\n" in heads[0]
    assert b"User-Agent: yurt-x/1\r\n" in heads[0]


async def test_the_client_certificate_is_shown_and_the_servers_name_is_checked(tmp_path: Path) -> None:
    ca = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(server)
    ca.issue_cert("127.0.0.1").configure_cert(server)
    own = ca.issue_cert("node@yurt")
    for name, blob in (("ca", ca.cert_pem), ("crt", own.cert_chain_pems[0]), ("key", own.private_key_pem)):
        blob.write_to_path(str(tmp_path / name))
    async with serving(says(http(200, b'{"a":1}')), server) as url:
        ca_file, cert_file, key_file = (tmp_path / name for name in ("ca", "crt", "key"))
        async with KubeClient(url, ca_file=ca_file, cert_file=cert_file, key_file=key_file) as client:
            assert await client.get("/x") == {"a": 1}
        port = url.rpartition(":")[2]
        async with KubeClient(f"https://localhost:{port}", ca_file=tmp_path / "ca") as client:
            assert "not trusted" in await problem(client.get("/x"), Refused)


async def test_events_are_whole_lines_however_they_arrive() -> None:
    async with serving(says(stream(b'{"a"', b":1}\n", b'{"b":2}\n{"c":', b"3}\n\n", b'{"cut":', b""))) as url:
        assert await lines(url) == [b'{"a":1}', b'{"b":2}', b'{"c":3}']


async def test_a_watch_that_falls_silent_is_given_up() -> None:
    opened = stream(b'{"a":1}\n')
    async with serving(says(opened)) as url, KubeClient(url) as client:
        seen = []

        async def read() -> None:
            async for line in client.lines("/api/v1/pods", "7", silence=0.2):
                seen.append(line)  # noqa: PERF401  what came before the error counts

        assert "no answer in time" in await problem(read(), Retry)
    assert seen == [b'{"a":1}']


async def test_a_watch_that_is_never_answered_is_given_up() -> None:
    async with serving(says(b"")) as url:
        await problem(lines(url, silence=0.2), Retry)


async def test_a_line_without_end_is_refused() -> None:
    chunk = b"x" * (1024 * 1024)

    async def endless(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(stream())
        while True:
            writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            await writer.drain()

    async with serving(endless) as url:
        why = await problem(lines(url), Refused)
    assert why == f"watch /api/v1/pods: one event is larger than {answers.LINE_LIMIT} bytes"


@pytest.mark.parametrize(
    ("event", "kind", "why"),
    [
        (
            b'{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old","reason":"Expired"}}\n',
            Gone,
            "watch /api/v1/pods: 410: too old",
        ),
        (b'{"type":"ERROR","object":{}}\n', Retry, "watch /api/v1/pods: ended with an error that can't be read"),
        (b'{"type":"ERROR","obj\n', Retry, "watch /api/v1/pods: ended with an error that can't be read"),
    ],
)
async def test_an_error_event_ends_the_watch(event: bytes, kind: type[YurtError], why: str) -> None:
    async with serving(says(stream(event, b""))) as url:
        assert await problem(lines(url), kind) == why


async def test_a_watch_that_is_refused_says_why() -> None:
    body = b'{"kind":"Status","code":410,"message":"too old"}'
    async with serving(says(http(410, body))) as url:
        assert await problem(lines(url), Gone) == "watch /api/v1/pods: 410: too old"


@pytest.mark.parametrize("server", ["", "nonsense", "http:", "ftp://a", "https://a:x", "https://a:70000", "a:6443"])
async def test_a_server_that_is_no_url_is_told(server: str) -> None:
    why = await problem(KubeClient(server).__aenter__(), BadInput)
    assert why == f"{server!r} is not a server's URL; write https://host:port"


async def test_use_outside_its_context_is_a_bug_that_shows() -> None:
    with pytest.raises(RuntimeError, match="outside its `async with`"):
        await KubeClient("http://127.0.0.1:1").get("/x")
