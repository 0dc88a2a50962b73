"""A control API answers, explains itself without the internet, tells its health, and stops."""

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from typing import TypeAlias
from urllib.parse import urljoin

import aiohttp
import pytest
from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from prometheus_client import Counter
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp
from yurtcore.errors import BadInput, Missing, Retry
from yurtcore.serve.health import Checks
from yurtcore.serve.metrics import Metrics
from yurtcore.serve.server import BODY_LIMIT, app, bind, serve

Get: TypeAlias = Callable[[str], Awaitable[tuple[int, str]]]


@asynccontextmanager
async def served(api: ASGIApp) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """A running server, a client for it, and its URL."""
    sock = bind("127.0.0.1", 0)
    stop = asyncio.Event()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(serve(api, stop=stop, sock=sock))
        try:
            async with aiohttp.ClientSession() as session:
                yield session, f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            stop.set()


@asynccontextmanager
async def asking(*routers: APIRouter) -> AsyncIterator[Get]:
    api = app("Test", "1.0")
    for router in routers:
        api.include_router(router)
    async with served(api) as (session, url):

        async def get(path: str) -> tuple[int, str]:
            async with session.get(url + path) as answer:
                return answer.status, (await answer.read()).decode(errors="replace")

        yield get


class Assets(HTMLParser):
    """Everything that a page makes a browser load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for key, value in attrs if key in ("src", "href") and value]


async def test_the_docs_page_opens_without_the_internet() -> None:
    """Nothing on the page or in what it loads by address lies outside; each asset is there."""
    async with asking() as get:
        code, page = await get("/docs")
        assert code == 200
        assert "http://" not in page
        assert "https://" not in page
        assert '"validatorUrl": null' in page
        assets = Assets()
        assets.feed(page)
        assert len(assets.found) == 3
        for asset in assets.found:
            assert (await get(urljoin("/docs", asset)))[0] == 200
        spec = re.search(r"url: '([^']+)'", page)
        assert spec is not None
        assert (await get(urljoin("/docs", spec[1])))[0] == 200


async def test_the_page_also_opens_behind_a_path_prefix() -> None:
    """All its addresses are relative, as kube-apiserver's service proxy needs it."""
    async with asking() as get:
        assets = Assets()
        assets.feed((await get("/docs"))[1])
        assert not [asset for asset in assets.found if asset.startswith("/")]


async def test_errors_are_kubernetes_statuses() -> None:
    router = APIRouter()

    @router.get("/missing")
    async def missing() -> None:
        raise Missing("pods x: not here")

    @router.get("/busy")
    async def busy() -> None:
        raise Retry("later", after=2.4)

    @router.get("/number/{n}")
    async def number(n: int) -> int:
        return n

    api = app("Test", "1.0")
    api.include_router(router)
    async with served(api) as (session, url):
        for path, code, reason, message in (
            ("/missing", 404, "NotFound", "pods x: not here"),
            ("/busy", 503, "ServiceUnavailable", "later"),
            ("/nowhere", 404, "NotFound", "Not Found"),
            ("/number/x", 400, "BadRequest", "path.n: Input should be a valid integer"),
        ):
            async with session.get(url + path) as answer:
                body = await answer.json()
                assert (answer.status, body["kind"], body["reason"]) == (code, "Status", reason)
                assert body["message"].startswith(message)
                assert answer.headers.get("Retry-After") == ("2" if path == "/busy" else None)
        async with session.post(url + "/missing") as answer:
            assert (answer.status, (await answer.json())["reason"]) == (405, "MethodNotAllowed")
            assert answer.headers["Allow"] == "GET"


async def test_a_body_over_the_limit_is_refused() -> None:
    router = APIRouter()

    @router.post("/size")
    async def size(body: dict[str, str]) -> int:
        return len(body["text"])

    api = app("Test", "1.0")
    api.include_router(router)
    async with served(api) as (session, url):

        async def post(size: int) -> tuple[int, str]:
            body = json.dumps({"text": "x" * size}).encode()
            headers = {"Content-Type": "application/json"}
            async with session.post(url + "/size", data=io.BytesIO(body), headers=headers) as answer:
                return answer.status, await answer.text()

        assert await post(BODY_LIMIT - 100) == (200, str(BODY_LIMIT - 100))
        code, body = await post(BODY_LIMIT)
        assert (code, json.loads(body)["reason"]) == (413, "RequestEntityTooLarge")


async def test_health_reads_like_kube_apiservers() -> None:
    checks = Checks()
    cloud: list[str | None] = ["no answer for 12 s"]
    checks.ready("cloud", lambda: cloud[0])
    async with asking(checks.routes()) as get:
        assert await get("/livez") == (200, "ok")
        assert await get("/livez?verbose") == (200, "[+]loop ok\nlivez check passed\n")
        assert await get("/readyz") == (500, "[+]loop ok\n[-]cloud failed: no answer for 12 s\nreadyz check failed\n")
        assert await get("/healthz") == (500, "[+]loop ok\n[-]cloud failed: no answer for 12 s\nhealthz check failed\n")
        assert await get("/readyz?exclude=cloud") == (200, "ok")
        assert await get("/readyz?exclude=cloud&exclude=x&verbose") == (
            200,
            (
                "[+]loop ok\n[+]cloud excluded: ok\n"
                "warn: some health checks cannot be excluded: no matches for 'x'\nreadyz check passed\n"
            ),
        )
        assert await get("/readyz/cloud") == (500, "cloud: no answer for 12 s\n")
        assert await get("/readyz/loop") == (200, "ok")
        assert await get("/livez/cloud") == (404, "no check 'cloud'; there are loop\n")
        cloud[0] = None
        assert await get("/readyz?verbose") == (200, "[+]loop ok\n[+]cloud ok\nreadyz check passed\n")


async def test_a_check_that_breaks_or_hangs_has_failed() -> None:
    checks = Checks()

    async def hang() -> None:
        await asyncio.Event().wait()

    def broken() -> None:
        raise KeyError("x")

    checks.live("hang", hang)
    checks.live("broken", broken)
    async with asking(checks.routes()) as get:
        code, text = await get("/livez")
    assert code == 500
    assert "[-]hang failed: no answer within 2 s\n" in text
    assert "[-]broken failed: KeyError: 'x'\n" in text


class Plain(Collector):
    """Counters that the data path keeps as plain values."""

    def __init__(self) -> None:
        self.bytes_down = {"cloud": 0}

    def collect(self) -> Iterable[CounterMetricFamily]:
        family = CounterMetricFamily("yurt_bytes", "Bytes.", labels=["peer"])
        for peer, count in self.bytes_down.items():
            family.add_metric([peer], count)
        yield family


async def test_metrics_show_the_process_and_what_was_registered() -> None:
    metrics = Metrics()
    Counter("yurt_requests", "Requests.", ["verb"], registry=metrics.registry).labels("get").inc(3)
    plain = Plain()
    metrics.show(plain)
    async with asking(metrics.routes()) as get:
        plain.bytes_down["cloud"] = 7
        code, text = await get("/metrics")
        plain.bytes_down["pool"] = 8
        _, later = await get("/metrics")
    lines = text.splitlines()
    assert code == 200
    assert 'yurt_requests_total{verb="get"} 3.0' in lines
    assert 'yurt_bytes_total{peer="cloud"} 7.0' in lines
    assert 'yurt_bytes_total{peer="pool"} 8.0' in later.splitlines()
    for name in ("cpu_seconds_total", "resident_memory_bytes", "open_fds", "start_time_seconds"):
        assert re.search(rf"^process_{name} \d", text, re.MULTILINE)
    assert text.endswith("\n")


async def test_two_process_objects_keep_their_metrics_apart() -> None:
    one, other = Metrics(), Metrics()
    Counter("yurt_requests", "Requests.", registry=one.registry).inc()
    Counter("yurt_requests", "Requests.", registry=other.registry)
    assert b"yurt_requests_total 1.0" in await one.render()
    assert b"yurt_requests_total 0.0" in await other.render()


def test_a_taken_port_is_told_with_its_flag() -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadInput) as caught:
            bind("127.0.0.1", port, flag="--serve-port")
    assert caught.value.why == (
        f"127.0.0.1:{port} is taken by another process; stop it or choose another port with --serve-port"
    )


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("", "an address to listen on must be given"),
        ("192.0.2.1", "192.0.2.1:0: this machine has no such address"),
        ("not an address", "cannot listen on not an address:0"),
    ],
)
def test_an_address_that_cannot_be_had_is_told(host: str, why: str) -> None:
    with pytest.raises(BadInput, match=f"^{re.escape(why)}"):
        bind(host, 0)


async def test_stopping_frees_the_port() -> None:
    async with served(app("Test", "1.0")) as (session, url):
        async with session.get(url + "/openapi.json") as answer:
            assert answer.status == 200
        port = int(url.rpartition(":")[2])
    bind("127.0.0.1", port).close()


async def test_stop_before_the_first_request_is_a_clean_end() -> None:
    stop = asyncio.Event()
    stop.set()
    async with asyncio.timeout(20):
        await serve(app("Test", "1.0"), host="127.0.0.1", port=0, stop=stop)


async def test_a_cancelled_server_leaves_no_port_and_no_connection_open() -> None:
    sock = bind("127.0.0.1", 0)
    port = sock.getsockname()[1]
    async with asyncio.timeout(60), aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        serving = group.create_task(serve(app("Test", "1.0"), stop=asyncio.Event(), sock=sock))
        async with session.get(f"http://127.0.0.1:{port}/openapi.json") as answer:
            assert answer.status == 200
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        serving.cancel()
        await reader.read()  # to the end: the server closes a connection that was kept alive
        writer.close()
    bind("127.0.0.1", port).close()


async def test_a_stream_that_does_not_end_is_cut_after_the_grace() -> None:
    cancelled = asyncio.Event()
    router = APIRouter()

    async def ticks() -> AsyncIterator[bytes]:
        try:
            yield b"tick\n"
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    @router.get("/ticks")
    async def stream() -> StreamingResponse:
        return StreamingResponse(ticks())

    api = app("Test", "1.0")
    api.include_router(router)
    sock = bind("127.0.0.1", 0)
    stop = asyncio.Event()
    async with asyncio.timeout(60), aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        group.create_task(serve(api, stop=stop, sock=sock))
        async with session.get(f"http://127.0.0.1:{sock.getsockname()[1]}/ticks") as answer:
            assert await answer.content.readline() == b"tick\n"
            stop.set()
            await cancelled.wait()
