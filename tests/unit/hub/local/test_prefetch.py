"""When documents are fetched, in virtual time."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from kit.local import Asked, Cloud, Records, Told
from structlog.testing import capture_logs
from yurt_hub.adapters.documents import Prefetch
from yurt_hub.domain.local import accepts
from yurt_hub.domain.local.documents import Documents
from yurt_hub.domain.local.jwks import Keys

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

ROUND = ["/version", "/openid/v1/jwks", "/.well-known/openid-configuration", "/api", "/apis"]
PLAIN = ["/api", "/apis", "/api/v1", "/apis/apps/v1"]


class Server:
    """A cloud with two aggregated lists that tell by ETag whether they changed."""

    def __init__(self) -> None:
        self.state = 1
        self.up = True
        self.statuses: dict[str, int] = {}
        self.cloud = Cloud(self.reply)

    def reply(self, asked: Asked) -> Told | Exception:
        if not self.up:
            return ConnectionError("the link is cut")
        if (status := self.statuses.get(asked.target)) is not None:
            return Told(status, b"{}")
        if "APIGroupDiscoveryList" not in asked.headers["Accept"]:
            return Told(200, json.dumps({"path": asked.target, "state": self.state}).encode())
        tag = f'"{asked.target}{self.state}"'
        if asked.headers.get("If-None-Match") == tag:
            return Told(304, b"", {b"etag": tag.encode()})
        name = {} if asked.target == "/api" else {"name": "apps"}
        body = {"kind": "APIGroupDiscoveryList", "items": [{"metadata": name, "versions": [{"version": "v1"}]}]}
        head = {b"content-type": accepts.media_type("v2").encode(), b"etag": tag.encode()}
        return Told(200, json.dumps(body).encode(), head)

    def taken(self) -> list[str]:
        """What was asked since the last look."""
        asked = [one.target for one in self.cloud.asked]
        self.cloud.asked.clear()
        return asked


@asynccontextmanager
async def fetching(
    server: Server, documents: Documents, told: Callable[[], None] = lambda: None
) -> AsyncIterator[Prefetch]:
    loop = asyncio.get_running_loop()
    prefetch = Prefetch(
        documents,
        fetch=server.cloud.fetch,
        lit=lambda: server.up,
        wall=lambda: 1_000_000 + loop.time(),
        told=told,
        draw=lambda: 0.5,
    )
    async with asyncio.TaskGroup() as group:
        task = group.create_task(prefetch.run())
        yield prefetch
        task.cancel()


async def test_all_is_fetched_at_once_and_only_news_after_ten_minutes() -> None:
    """The second round is five requests; the plain documents come again when the lists have changed."""
    server, documents = Server(), Documents(Records())
    told: list[float] = []
    async with fetching(server, documents, lambda: told.append(asyncio.get_running_loop().time())):
        await asyncio.sleep(1)
        assert server.taken() == ROUND + PLAIN
        assert len(documents) == 9
        await asyncio.sleep(598)
        assert server.taken() == []
        await asyncio.sleep(2)
        assert server.taken() == ROUND
        server.state = 2
        await asyncio.sleep(600)
        assert server.taken() == ROUND + PLAIN
    assert told == [0, 600, 1200]


async def test_a_link_that_comes_back_is_asked_at_once_but_not_at_every_flap() -> None:
    server, documents = Server(), Documents(Records())
    async with fetching(server, documents) as prefetch:
        await asyncio.sleep(100)
        server.taken()
        prefetch.link_up()
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        assert server.taken() == ROUND
        for _ in range(20):
            prefetch.link_up()
            await asyncio.sleep(1)
        assert server.taken() == []
        await asyncio.sleep(11)
        assert server.taken() == ROUND


async def test_nothing_is_asked_in_the_dark_and_all_when_the_link_is_up() -> None:
    server, documents = Server(), Documents(Records())
    server.up = False
    async with fetching(server, documents) as prefetch:
        await asyncio.sleep(3600)
        assert server.taken() == []
        server.up = True
        prefetch.link_up()
        await asyncio.sleep(0.001)
        assert server.taken() == ROUND + PLAIN


async def test_a_round_that_breaks_off_keeps_what_came_and_goes_on_with_back_off() -> None:
    """What is there serves; the failure is told once, and the pause between tries grows to two minutes."""
    server, documents = Server(), Documents(Records())
    server.statuses["/apis"] = 503
    with capture_logs() as lines:
        async with fetching(server, documents) as prefetch:
            await asyncio.sleep(0.001)
            assert documents.body("/version") is not None
            assert documents.body("/apis") is None
            assert prefetch.failures == 1
            await asyncio.sleep(1000)
            starts = [one.at for one in server.cloud.asked if one.target == "/version"]
            assert [round(b - a, 2) for a, b in itertools.pairwise(starts)][:6] == [
                3.75, 7.5, 15.0, 30.0, 60.0, 90.0,
            ]  # fmt: skip
            del server.statuses["/apis"]
            await asyncio.sleep(90)
            assert documents.body("/apis") is not None
            assert (prefetch.failures, prefetch.rounds) == (0, 1)
    assert [line["log_level"] for line in lines if line["event"] == "documents.unfetched"][:2] == ["info", "debug"]


async def test_keys_that_came_are_used_though_the_round_broke_off() -> None:
    server, documents = Server(), Documents(Records())
    keys: list[object] = []
    server.statuses["/api"] = 500
    async with fetching(server, documents, lambda: keys.append(documents.keys())):
        await asyncio.sleep(1)
    assert keys == [Keys("", (), 1_000_000)]


async def test_what_a_node_may_not_read_is_told_once_and_holds_nothing_up() -> None:
    server, documents = Server(), Documents(Records())
    server.statuses["/openid/v1/jwks"] = 403
    with capture_logs() as lines:
        async with fetching(server, documents):
            await asyncio.sleep(1300)
    assert [line["path"] for line in lines if line["event"] == "document.refused"] == ["/openid/v1/jwks"]
    assert documents.body("/apis/apps/v1") is not None
