"""The hub's road of kept requests in the test's own loop, and clients that list and watch through it."""

import asyncio
import contextlib
import functools
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from kit.cluster import Cluster, Object
from kit.pump import Got, OpenDoor, Wire
from kit.scripted import Keys
from kit.serving import Link, Server, serving
from yurt_hub.adapters.prober import keep_probing
from yurt_hub.domain.callers import Shown
from yurt_hub.domain.links import Changed, LinkPolicy, LinkTable
from yurt_hub.domain.links import Link as LinkState
from yurt_hub.domain.traffic import Traffic
from yurt_hub.keeping import Keeping, open_disk
from yurt_hub.pump.cloud import Cloud, UpstreamTls
from yurt_hub.pump.front import ClientLimits, Front
from yurt_hub.pump.site import UpstreamLimits
from yurtcore.flow.tasks import Tasks

WITHIN = 15.0
QUICK = LinkPolicy(
    mode="priority", interval=2.0, timeout=0.4, recover_every=0.1, miss_gap=0.05, down_base=0.2, down_cap=0.3
)
"""The hub's own policy, ten times faster."""
QUICK_LIMITS = {"ping_within": 0.5, "dial_within": 1.0, "hold_within": 0.0}
"""Nothing is held in the hope that the cloud comes back: what the dark answers is answered at once."""
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
KUBELET = "kubelet/v1.34.4 (linux/amd64)"


async def until(true: Callable[[], object], what: str = "it", within: float = WITHIN) -> None:
    """Wait for something that other parts of this loop bring about."""
    try:
        async with asyncio.timeout(within):
            while not true():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"{what} did not come within {within:g} s") from None


def request(
    path: str,
    method: str = "GET",
    *,
    agent: str = KUBELET,
    token: str = "",
    accept: str = "application/json",
    body: bytes = b"",
    **headers: str,
) -> bytes:
    """A request as it is sent; header names may have `_` for `-`."""
    lines = [f"{method} {path} HTTP/1.1", "Host: hub"]
    if agent:
        lines.append(f"User-Agent: {agent}")
    if accept:
        lines.append(f"Accept: {accept}")
    if token:
        lines.append(f"Authorization: Bearer {token}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass
class Hub:
    """A running hub."""

    port: int
    cloud: Cloud
    front: Front
    links: LinkTable
    traffic: Traffic
    keeping: Keeping

    async def connect(self) -> Wire:
        return Wire(*await asyncio.open_connection("127.0.0.1", self.port))

    async def ask(self, path: str, method: str = "GET", **more: Any) -> Got:
        """Send one request on a connection of its own and read the answer."""
        wire = await self.connect()
        try:
            return await wire.ask(request(path, method, **more))
        finally:
            await wire.close()

    async def get(self, path: str, **more: Any) -> Any:
        """The body of a 200."""
        got = await self.ask(path, **more)
        assert got.status == 200, (path, got.status, got.body)
        return json.loads(got.body)

    @contextlib.asynccontextmanager
    async def watch(self, path: str, **more: Any) -> AsyncIterator["Told"]:
        """Watch, once the answer has begun."""
        wire = await self.connect()
        try:
            path += ("&" if "?" in path else "?") + "watch=true"
            wire.writer.write(request(path, **more))
            status, headers = await wire.head()
            yield Told(wire, status, headers)
        finally:
            await wire.close()

    def feeds(self) -> list[tuple[str, bool, int]]:
        """Kind, liveness and followers of each feed but that of the configuration."""
        return [(k.gvr.resource, live, n) for k, live, n in self.keeping.feeds.seen() if k.gvr.resource != "configmaps"]

    async def dark(self) -> None:
        """Wait until the hub has given up the cloud."""
        await until(lambda: not self.keeping.lit(), "the dark")

    async def lit(self) -> None:
        """Wait until the hub has the cloud back."""
        await until(lambda: any(link.state is LinkState.UP for link in self.links.view()), "the light")


@dataclass
class Told:
    """What one watch tells."""

    wire: Wire
    status: int
    headers: dict[str, str]
    _lines: list[bytes] = field(default_factory=list)
    _rest: bytes = b""
    over: bool = False

    async def event(self, within: float = WITHIN) -> Object | None:
        """The next event; None once the watch has ended."""
        async with asyncio.timeout(within):
            while not self._lines and not self.over:
                chunk = await self.wire.chunk()
                self.over = not chunk
                *lines, self._rest = (self._rest + chunk).split(b"\n")
                self._lines += lines
        found: Object | None = json.loads(self._lines.pop(0)) if self._lines else None
        return found

    async def told(self, within: float = WITHIN) -> tuple[str, str, int]:
        """Type, name and version of the next event."""
        event = await self.event(within)
        if event is None:
            return "END", "", 0
        obj = event["object"]
        if event["type"] == "ERROR":
            return "ERROR", obj["reason"], obj["code"]
        if obj["kind"] == "Table":
            obj = obj["rows"][0]["object"]
        return event["type"], obj["metadata"].get("name", ""), int(obj["metadata"]["resourceVersion"])

    async def quiet(self, seconds: float = 0.1) -> bool:
        """Tell whether nothing comes for a moment."""
        if self._lines:
            return False
        try:
            async with asyncio.timeout(seconds):
                self._rest += await self.wire.reader.readexactly(1)
        except TimeoutError:
            return True
        return False


@contextlib.asynccontextmanager
async def running(
    keys: Keys, folder: Path, *servers: str, policy: LinkPolicy = QUICK, upstream: dict[str, Any] | None = None
) -> AsyncIterator[Hub]:
    """Run a hub with its store in a folder; leaving it is an orderly stop."""
    loop = asyncio.get_running_loop()
    failures: list[str] = []
    stop = asyncio.Event()
    folder.mkdir(exist_ok=True)  # noqa: ASYNC240 - the tests' own
    async with asyncio.TaskGroup() as group:
        tasks = Tasks(group, stop, lambda name, err: failures.append(f"{name}: {err!r}"))

        def changed(change: Changed) -> None:
            cloud.changed(change)
            if change.now is LinkState.UP:
                keeping.link_up()

        traffic = Traffic()
        links = LinkTable(servers, policy, now=loop.time(), told=changed)
        cloud = Cloud(
            list(servers),
            tls=UpstreamTls(keys.ca_file, keys.cert_file, keys.key_file),
            links=links,
            traffic=traffic,
            limits=UpstreamLimits(**(QUICK_LIMITS if upstream is None else upstream)),
            spawn=tasks.spawn,
            log=structlog.get_logger(),
            clock=loop.time,
        )
        front = Front(cloud, traffic=traffic, limits=ClientLimits(), spawn=tasks.spawn, clock=loop.time)
        disk = open_disk(folder / "cache", folder, 64 << 20)
        keeping = Keeping(node="n1", disk=disk, quota_bytes=64 << 20, cloud=cloud, links=links, tasks=tasks)
        front.desk = keeping.desk
        try:
            port = await front.listen("127.0.0.1", 0, OpenDoor(Shown.NODE))
            tasks.start("sweep", front.run())
            keeping.start(tasks)
            probing = functools.partial(keep_probing, links, probe=cloud.probe, spawn=tasks.spawn)
            tasks.start("links", probing(clock=loop.time, timeout=policy.timeout))
            yield Hub(port, cloud, front, links, traffic, keeping)
        finally:
            await front.drain(0)
            keeping.close()
            with contextlib.suppress(TimeoutError):  # a dial that is cancelled leaves its socket to the collector
                async with asyncio.timeout(2.0):
                    while "dial" in tasks.names:
                        await asyncio.sleep(0.005)
            await cloud.close()
            stop.set()
            tasks.cancel()
            await asyncio.sleep(0.01)
    assert not failures, failures


@dataclass
class World:
    """A cloud, the link to it, and where the hub keeps its store."""

    keys: Keys
    cluster: Cluster
    link: Link
    server: Server
    folder: Path

    @contextlib.asynccontextmanager
    async def hub(self, folder: Path | None = None, **more: Any) -> AsyncIterator[Hub]:
        """Run a hub, lit if the link carries."""
        async with running(self.keys, folder or self.folder, self.link.url, **more) as hub:
            yield hub


@contextlib.asynccontextmanager
async def world(keys: Keys, folder: Path) -> AsyncIterator[World]:
    """Run a cloud."""
    cluster = Cluster()
    async with serving(keys, cluster) as (link, server):
        yield World(keys, cluster, link, server, folder / "hub")
