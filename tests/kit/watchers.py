"""Clients that live through trouble: watchers that resume as client-go's reflectors do, and askers of short requests.

Each notes what it saw and how each answer ended, so that a test can say afterwards what the trouble cost.
"""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from kit.accounts import Account, there
from kit.hub import LOOK_EVERY, WITHIN, Hub, request, until
from kit.pump import Got, Wire
from yurtcore.adapters.kube import KubeClient
from yurtcore.errors import Conflict, Retry
from yurtsim.pki import Pair

Connect: TypeAlias = Callable[[], Awaitable[Wire]]
Seen: TypeAlias = tuple[str, int]
"""An object's name and version."""

SHARDS: Final = 10


@dataclass
class Refused:
    """An answer other than 200."""

    status: int
    retry_after: str | None
    message: str

    @classmethod
    def of(cls, got: Got) -> "Refused":
        """Read one; what is no Status has no message."""
        with contextlib.suppress(ValueError, KeyError, TypeError):
            said = json.loads(got.body)
            if said["kind"] == "Status" and said["code"] == got.status:
                return cls(got.status, got.headers.get("retry-after"), said["message"])
        return cls(got.status, got.headers.get("retry-after"), "")

    @property
    def invites(self) -> bool:
        """The hub's or the API server's 503 or 429 with a Status that says when to come back."""
        return self.status in (429, 503) and self.retry_after is not None and bool(self.message)


@dataclass
class Watcher:
    """One reflector without a store."""

    connect: Connect
    agent: str
    path: str
    """The collection."""
    selector: str
    """Query that selects, such as `labelSelector=shard%3D3`."""
    shard: int | None
    """Which objects it must see; None means all of its kind."""
    since: int
    token: str | None = None
    lasts: int = 600
    """`timeoutSeconds` of each watch."""
    seen: list[Seen] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    """Answers that broke off without their end."""
    answers: int = 0
    """Watches that were answered with 200."""
    relists: int = 0
    _wire: Wire | None = None

    async def run(self) -> None:
        """Watch for ever."""
        try:
            while True:
                try:
                    await self._once()
                except (OSError, asyncio.IncompleteReadError) as err:
                    self.torn.append(repr(err))
                    await self._hang_up()
                    await asyncio.sleep(LOOK_EVERY)
        finally:
            await self._hang_up()

    async def _once(self) -> None:
        wire = await self._connected()
        query = f"watch=1&allowWatchBookmarks=true&resourceVersion={self.since}&timeoutSeconds={self.lasts}"
        wire.writer.write(request(f"{self.path}?{self.selector}&{query}", agent=self.agent, token=self.token))
        status, headers = await _head(wire)
        if status == 200:
            self.answers += 1
            gone = False
            async for line in _lines(wire):
                gone = self._event(json.loads(line)) or gone
        else:
            gone = status == 410
            refused = Refused.of(await _rest(wire, status, headers))
            if not gone:
                self.refused.append(refused)
        if headers.get("connection") == "close":
            await self._hang_up()
        if gone:
            await self._relist()
        elif status != 200:
            await asyncio.sleep(float(headers.get("retry-after", "1")))

    def _event(self, event: dict[str, Any]) -> bool:
        """Take one event; True if the versions up to here are gone."""
        if event["type"] == "ERROR":
            assert event["object"]["code"] == 410, event
            return True
        version = int(event["object"]["metadata"]["resourceVersion"])
        if event["type"] != "BOOKMARK":
            self.seen.append((event["object"]["metadata"]["name"], version))
        self.since = version
        return False

    async def _relist(self) -> None:
        self.relists += 1
        wire = await self._connected()
        wire.writer.write(request(f"{self.path}?{self.selector}", agent=self.agent, token=self.token))
        got = await _rest(wire, *await _head(wire))
        if got.headers.get("connection") == "close":
            await self._hang_up()
        if got.status != 200:
            self.refused.append(Refused.of(got))
            await asyncio.sleep(float(got.headers.get("retry-after", "1")))
            return
        found = json.loads(got.body)
        items = [(one["metadata"]["name"], int(one["metadata"]["resourceVersion"])) for one in found["items"]]
        self.seen += sorted((one for one in items if one[1] > self.since), key=lambda one: one[1])
        self.since = int(found["metadata"]["resourceVersion"])

    async def _connected(self) -> Wire:
        if self._wire is None or self._wire.reader.at_eof():
            await self._hang_up()
            self._wire = await self.connect()
        return self._wire

    async def _hang_up(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()


async def _head(wire: Wire) -> tuple[int, dict[str, str]]:
    async with asyncio.timeout(2 * WITHIN):
        raw = await wire.reader.readuntil(b"\r\n\r\n")
    first, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
    return int(first.split(" ")[1]), {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}


async def _rest(wire: Wire, status: int, headers: dict[str, str]) -> Got:
    """Read an answer's body."""
    if "content-length" in headers:
        return Got(status, headers, await wire.reader.readexactly(int(headers["content-length"])))
    return Got(status, headers, b"".join([piece async for piece in wire.chunks()]))


async def _lines(wire: Wire) -> AsyncIterator[bytes]:
    """Return the lines of a chunked answer up to its own end; one that breaks off raises."""
    rest = b""
    while size := int(await wire.reader.readuntil(b"\r\n"), 16):
        rest += (await wire.reader.readexactly(size + 2))[:-2]
        *whole, rest = rest.split(b"\n")
        for line in whole:
            yield line
    await wire.reader.readexactly(2)
    assert not rest, f"an answer ended inside an event: {rest[:100]!r}"


@dataclass
class Asker:
    """Asks for one object again and again, each time waiting for the answer."""

    connect: Connect
    sent: bytes
    pause: float = 0.02
    statuses: Counter[int] = field(default_factory=Counter)
    refused: list[Refused] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    slowest: float = 0.0

    async def run(self) -> None:
        """Ask for ever."""
        wire: Wire | None = None
        loop = asyncio.get_running_loop()
        try:
            while True:
                begun, close = loop.time(), True
                try:
                    wire = wire or await self.connect()
                    wire.writer.write(self.sent)
                    got = await _rest(wire, *await _head(wire))
                except (OSError, asyncio.IncompleteReadError) as err:
                    self.torn.append(repr(err))
                else:
                    self._note(got, loop.time() - begun)
                    close = got.headers.get("connection") == "close"
                if close and wire is not None:
                    await wire.close()
                    wire = None
                await asyncio.sleep(self.pause)
        finally:
            if wire is not None:
                await wire.close()

    def _note(self, got: Got, took: float) -> None:
        self.statuses[got.status] += 1
        self.slowest = max(self.slowest, took)
        if got.status != 200:
            self.refused.append(Refused.of(got))


@contextlib.asynccontextmanager
async def living(*works: Watcher | Asker) -> AsyncIterator[None]:
    """Run watchers and askers until the block ends."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one.run()) for one in works]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


@dataclass
class Changes:
    """Writes, straight to the API server, and what must be seen of it."""

    kube: KubeClient
    namespace: str
    since: int
    """The version before all of them; part of the names that they make."""
    made: list[tuple[str, int, Seen]] = field(default_factory=list)
    """Kind, shard, and what was written, in order."""

    def expected(self, watcher: Watcher) -> list[Seen]:
        """Return what a watcher must have seen, in order."""
        kind = watcher.path.rpartition("/")[2]
        return [seen for what, shard, seen in self.made if what == kind and watcher.shard in (None, shard)]

    async def create(self) -> None:
        """Create one more ConfigMap, and now and then a Service; goes on until the API server has taken it."""
        number = len(self.made)
        await self._create("configmaps", number, {"data": {"number": str(number)}})
        if number % 5 == 0:
            await self._create("services", number, {"spec": {"ports": [{"port": 80}]}})

    async def update(self) -> None:
        """Change the ConfigMap of one shard."""
        number = len(self.made)
        shard = number % SHARDS
        path = f"/api/v1/namespaces/{self.namespace}/configmaps/counter-{shard}"
        meta = {"name": f"counter-{shard}", "labels": {"shard": str(shard)}}
        made = await self.kube.apply(
            path,
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"number": str(number)}},
            "yurt-test",
        )
        self._note("configmaps", shard, made)

    async def _create(self, kind: str, number: int, what: dict[str, Any]) -> None:
        shard = number % SHARDS
        path = f"/api/v1/namespaces/{self.namespace}/{kind}"
        name = f"made-{self.since}-{number}"
        obj = what | {"metadata": {"name": name, "labels": {"shard": str(shard)}}}
        async with asyncio.timeout(2 * WITHIN):
            while True:
                try:
                    self._note(kind, shard, await self.kube.create(path, obj))
                except Conflict:  # an earlier attempt got through, its answer did not
                    self._note(kind, shard, await self.kube.get(f"{path}/{name}"))
                except Retry:
                    await asyncio.sleep(LOOK_EVERY)
                    continue
                return

    def _note(self, kind: str, shard: int, obj: dict[str, Any]) -> None:
        meta = obj["metadata"]
        self.made.append((kind, shard, (meta["name"], int(meta["resourceVersion"]))))


class Flock:
    """Many watchers through one hub, and the changes that all of them must see."""

    def __init__(self, watchers: Sequence[Watcher], changes: Changes) -> None:
        self.watchers, self.changes = watchers, changes

    @property
    def agents(self) -> set[str]:
        """Names of all watchers, as the API server knows them."""
        return {watcher.agent for watcher in self.watchers}

    async def settled(self, within: float = WITHIN) -> None:
        """Wait until each has seen every change exactly once, in order."""
        try:
            await until(lambda: not any(self.behind()), "all watchers have seen all changes", within=within)
        except AssertionError:
            agent, seen, expected = next(self.behind())
            behind = sum(1 for _ in self.behind())
            raise AssertionError(f"{behind} watchers differ, such as {agent}: {seen} is not {expected}") from None

    def behind(self) -> Iterator[tuple[str, list[Seen], list[Seen]]]:
        """Yield each watcher that has not seen what it must, or more than that."""
        for watcher in self.watchers:
            expected = self.changes.expected(watcher)
            if watcher.seen != expected:
                yield watcher.agent, watcher.seen[-5:], expected[-5:]

    @property
    def refused(self) -> list[Refused]:
        """All answers other than 200."""
        return [one for watcher in self.watchers for one in watcher.refused]

    @property
    def torn(self) -> list[str]:
        """All answers that broke off."""
        return [one for watcher in self.watchers for one in watcher.torn]

    @property
    def relists(self) -> int:
        """How often a watcher had to begin anew."""
        return sum(watcher.relists for watcher in self.watchers)

    @property
    def answers(self) -> Counter[str]:
        """Watches that were answered, by watcher."""
        return Counter({watcher.agent: watcher.answers for watcher in self.watchers})


async def flock(
    hub: Hub, kube: KubeClient, caller: Account, kubelet: Pair, *, size: int, of_node: int, lasts: int = 600
) -> Flock:
    """Make `size` watchers, `of_node` of them with the kubelet's certificate on Services, the others with a token."""
    home = f"/api/v1/namespaces/{caller.namespace}"
    await there(kube, f"{home}/configmaps/kube-root-ca.crt")
    since = int((await kube.list(f"{home}/configmaps"))["metadata"]["resourceVersion"])
    watchers = [
        Watcher(
            lambda: hub.secure(kubelet),
            f"watcher-{number:03}",
            "/api/v1/services",
            f"fieldSelector=metadata.namespace%3D{caller.namespace}",
            None,
            since,
            lasts=lasts,
        )
        for number in range(of_node)
    ]
    watchers += [
        Watcher(
            hub.secure,
            f"watcher-{number:03}",
            f"{home}/configmaps",
            "" if number % (SHARDS + 1) == SHARDS else f"labelSelector=shard%3D{number % (SHARDS + 1)}",
            None if number % (SHARDS + 1) == SHARDS else number % (SHARDS + 1),
            since,
            token=caller.token,
            lasts=lasts,
        )
        for number in range(of_node, size)
    ]
    return Flock(watchers, Changes(kube, caller.namespace, since))
