"""Random lives of a hub between clients that list and watch and a cloud that changes, vanishes, forgets and returns.

At any time nobody is told of an object that the cloud did not have so; a list is the cloud's as of its version; and
once all is quiet, what each client has put together from lists and events is what the cloud has.
"""

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import uvloop
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from kit.cluster import Cluster, Key, Object
from kit.keeping import Hub, Told, World, request, until, world
from kit.pump import Wire
from kit.scripted import Keys

NAMES = [(namespace, name) for namespace in ("a", "b") for name in ("x", "y", "z")]
Matches = Callable[[Key, Object], bool]


class History:
    """Everything that ever was in a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.states: dict[str, dict[int, dict[Key, Object]]] = {"pods": {}, "services": {}}
        self.note()

    def note(self) -> None:
        """Remember how things are now."""
        for plural, states in self.states.items():
            states[self.cluster.revision] = dict(self.cluster.objects.get(plural, {}))

    def state(self, plural: str, version: int) -> dict[Key, Object]:
        """All objects as of a version."""
        return next(self.states[plural][v] for v in range(version, 0, -1) if v in self.states[plural])

    def was(self, plural: str, key: Key, obj: Object) -> bool:
        """Tell whether an object was ever so."""
        version = int(obj["metadata"]["resourceVersion"])
        there = self.states[plural].get(version, {}).get(key)
        return there == {k: v for k, v in obj.items() if k not in ("kind", "apiVersion")}


class Client:
    """Lists and watches as client-go does, and checks whatever it is told."""

    def __init__(
        self, history: History, plural: str, path: str, query: dict[str, str], matches: Matches, **who: str
    ) -> None:
        self.history, self.plural, self.who, self.matches = history, plural, who, matches
        self.path = path + ("?" + urlencode(query) if query else "?")
        self.model: dict[Key, int] | None = None
        self.version = ""
        self.wrong = ""
        self.present = asyncio.Event()
        """Whether it lists and watches, or has hung up."""
        self.present.set()
        self._wire: Wire | None = None

    def leave(self) -> None:
        """Hang up, and do not come back before it is told to."""
        self.present.clear()
        if self._wire is not None:
            self._wire.writer.transport.abort()

    def truth(self) -> dict[Key, int]:
        found = self.history.cluster.objects.get(self.plural, {}).items()
        return {key: int(obj["metadata"]["resourceVersion"]) for key, obj in found if self.matches(key, obj)}

    async def run(self, hub: Hub) -> None:
        """Go on for ever; a hub that dies ends it."""
        try:
            while True:
                await self.present.wait()
                try:
                    await (self._watch(hub) if self.model is not None else self._list(hub))
                except (OSError, asyncio.IncompleteReadError):
                    await asyncio.sleep(0.05)
                await asyncio.sleep(0.01)
        except AssertionError as err:
            self.wrong = f"{self.path} {self.who}: {err}"

    async def _list(self, hub: Hub) -> None:
        got = await hub.ask(self.path, **self.who)
        assert got.status in (200, 503), (got.status, got.body)
        if got.status != 200:
            await asyncio.sleep(0.05)
            return
        listed = json.loads(got.body)
        self.version = listed["metadata"]["resourceVersion"]
        model = {}
        for obj in listed["items"]:
            key = self._check(obj)
            model[key] = int(obj["metadata"]["resourceVersion"])
        then = self.history.state(self.plural, int(self.version))
        expected = {k: int(o["metadata"]["resourceVersion"]) for k, o in then.items() if self.matches(k, o)}
        gone = {key for key in expected.keys() - model.keys() if self._left(key, int(self.version))}
        assert {k: v for k, v in expected.items() if k not in gone} == model, f"listed {model}, not {expected}"
        self.model = model

    def _left(self, key: Key, version: int) -> bool:
        """Tell whether an object was deleted after a version: another set may have heard of it already."""
        states = self.history.states[self.plural]
        return any(key not in state for v, state in states.items() if v > version)

    def _check(self, obj: Object) -> Key:
        key = obj["metadata"]["namespace"], obj["metadata"]["name"]
        assert self.history.was(self.plural, key, obj), f"was never so: {obj}"
        assert self.matches(key, obj), f"was not asked for: {obj}"
        return key

    async def _watch(self, hub: Hub) -> None:
        self._wire = wire = await hub.connect()
        try:
            target = f"{self.path}&watch=true&allowWatchBookmarks=true&resourceVersion={self.version}"
            wire.writer.write(request(target, **self.who))
            status, headers = await wire.head()
            assert status in (200, 410, 503), status
            if status == 410:
                self.model = None
            if status == 200:
                watch = Told(wire, status, headers)
                while (event := await watch.event(3600)) is not None and self.model is not None:
                    self._hear(event["type"], event["object"])
        finally:
            self._wire = None
            await wire.close()

    def _hear(self, what: str, obj: Object) -> None:
        assert self.model is not None
        if what == "ERROR":
            assert obj["code"] == 410, obj
            self.model = None
            return
        version = obj["metadata"]["resourceVersion"]
        assert int(version) <= self.history.cluster.revision, f"{version} is made up"
        self.version = version
        if what == "BOOKMARK":
            return
        key = obj["metadata"]["namespace"], obj["metadata"]["name"]
        if what == "DELETED":
            assert key in self.model, f"deleted, and not known: {key}"
            del self.model[key]
            return
        self._check(obj)
        if what == "ADDED":
            assert key not in self.model, f"added again: {key} {self.model}"
        else:
            # Perhaps not known: after a restart the hub knows what came since a version, not what was there before.
            assert what == "MODIFIED"
        self.model[key] = int(version)


def clients(history: History) -> list[Client]:
    """Who is there: the node's components and the holder of a token, with sets that contain each other."""
    web: Matches = lambda _, obj: obj["metadata"]["labels"].get("app") == "web"  # noqa: E731
    return [
        Client(history, "pods", "/api/v1/pods", {}, lambda *_: True),
        Client(history, "pods", "/api/v1/pods", {"labelSelector": "app=web"}, web, agent="kube-proxy"),
        Client(
            history, "pods", "/api/v1/namespaces/a/pods", {"fieldSelector": "spec.nodeName=n1"},
            lambda key, obj: key[0] == "a" and obj["spec"]["nodeName"] == "n1", token="t1",
        ),
        Client(history, "services", "/api/v1/services", {"labelSelector": "app=web"}, web, agent="kube-proxy"),
    ]  # fmt: skip


STEPS = st.one_of(
    st.tuples(
        st.just("put"), st.sampled_from(["pods", "pods", "services"]), st.sampled_from(NAMES),
        st.sampled_from(["web", "db"]), st.sampled_from(["n1", "n2"]),
    ),
    st.tuples(st.just("remove"), st.sampled_from(["pods", "pods", "services"]), st.sampled_from(NAMES)),
    st.tuples(st.sampled_from(["refuse", "hush", "mend", "mend", "compact", "end", "abort"])),
    st.tuples(st.sampled_from(["bookmark", "quiet", "pause"])),
    st.tuples(st.sampled_from(["leave", "return"]), st.integers(0, 3)),
    st.tuples(st.sampled_from(["stop", "kill", "kill now"])),
)  # fmt: skip


class Life:
    """One example."""

    def __init__(self, sky: World) -> None:
        self.sky = sky
        self.history = History(sky.cluster)
        self.clients = clients(self.history)
        self.cut = False
        self.folders = 0

    async def live(self, script: list[tuple[Any, ...]]) -> None:
        """Run the script, over as many hubs as it takes, and see that all ends well."""
        todo = list(script)
        while True:
            async with self.sky.hub() as hub, asyncio.TaskGroup() as group:
                tasks = [group.create_task(client.run(hub)) for client in self.clients]
                try:
                    restart = None
                    while todo and restart is None:
                        restart = await self._step(hub, *todo.pop(0))
                    if restart is None:
                        await self._quiet()
                        break
                finally:
                    for task in tasks:
                        task.cancel()
            if restart != "stop":
                self.sky.folder = self.sky.folder.with_name(f"copy{self.folders}")
        assert not self.sky.cluster.made_up()

    async def _step(self, hub: Hub, what: str, *more: Any) -> str | None:
        cluster = self.sky.cluster
        match what:
            case "put":
                plural, (namespace, name), app, node = more
                there = cluster.objects.get(plural, {}).get((namespace, name))
                spec = there["spec"] if there else {"nodeName": node}  # a pod stays on its node until it is deleted
                cluster.put(plural, name, namespace, labels={"app": app}, spec=spec)
            case "remove":
                plural, (namespace, name) = more
                if (namespace, name) in cluster.objects.get(plural, {}):
                    cluster.remove(plural, name, namespace)
            case "refuse" | "hush":
                await (self.sky.link.refuse() if what == "refuse" else asyncio.sleep(0, self.sky.link.hush()))
                self.cut = True
                await hub.dark()
            case "mend":
                await self.sky.link.mend()
                self.cut = False
            case "leave":
                self.clients[more[0]].leave()
            case "return":
                self.clients[more[0]].present.set()
            case "compact":
                cluster.compact()
            case "end":
                cluster.end_watches()
            case "abort":
                for connection in list(self.sky.server.connections):
                    connection.transport.abort()
            case "bookmark":
                cluster.bookmark()
            case "pause":
                await asyncio.sleep(0.05)
            case "quiet":
                await self._quiet()
            case _:
                if what == "kill now":
                    await hub.keeping.disk.flush()
                if what != "stop":
                    self.folders += 1
                    shutil.copytree(self.sky.folder, self.sky.folder.with_name(f"copy{self.folders}"))
                return what
        self.history.note()
        for client in self.clients:
            assert not client.wrong, client.wrong
        return None

    async def _quiet(self) -> None:
        await self.sky.link.mend()
        self.cut = False
        for client in self.clients:
            client.present.set()
        for client in self.clients:
            try:
                await until(lambda client=client: client.wrong or client.model == client.truth(), "the truth")  # type: ignore[misc]
            except AssertionError:
                raise AssertionError(
                    f"{client.path}: {client.model}, not {client.truth()}, at {client.version}"
                ) from None
            assert not client.wrong, client.wrong


@settings(
    max_examples=int(os.environ.get("YURT_ROAD_EXAMPLES", "8")),
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # an example may take seconds: no shrinking
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(script=st.lists(STEPS, min_size=4, max_size=30))
def test_clients_end_up_with_the_truth_whatever_happens(keys: Keys, script: list[tuple[Any, ...]]) -> None:
    async def life() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with world(keys, Path(folder)) as sky:
                sky.cluster.tokens["t1"] = "jane"
                one = Life(sky)
                for plural in one.history.states:
                    for namespace, name in NAMES[:3]:
                        sky.cluster.put(plural, name, namespace, labels={"app": "web"}, spec={"nodeName": "n1"})
                        one.history.note()
                await one.live(script)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(life())
