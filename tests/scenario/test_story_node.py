"""The story of a node in the dark: real kubelet's and kube-proxy's code, kubectl, and a cloud that goes and comes back.

One story, told once: its stages are fixtures, each built on the one before, and the tests look at what each shows.
A control plane of its own, because it is restarted.
"""

import asyncio
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from kit.accounts import Audit, admin, cluster_account, there
from kit.dark import Kubectl, Reader, Watching, ageless, cut, heal, keep_answers_of, start_again, table
from kit.hub import LOOK_EVERY, WITHIN, Site, metrics, until
from kit.plane import run
from kit.watchers import Watcher, living
from yurtcore.adapters.kube import KubeClient
from yurtsim import seed
from yurtsim.controlplane import ControlPlane, Wishes
from yurtsim.hollow import HollowKubelet, HollowNode
from yurtsim.processes import Child

pytestmark = pytest.mark.controlplane

NODE = "edge-1"
SHOP = "/api/v1/namespaces/shop"
READ = {"verbs": ["get", "list", "watch"]}
READER = (
    {"apiGroups": [""], "resources": ["nodes", "pods", "services", "events", "namespaces", "configmaps"], **READ},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], **READ},
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], **READ},
)
AGENTS = ("hollow-kubelet", "hollow-proxy", "kubectl")
ALL = ("nodes,pods,services", "-A")
SHOWN = {
    "table": ("get", *ALL),
    "json": ("get", *ALL, "-o", "json"),
    "yaml": ("get", *ALL, "-o", "yaml"),
    "describe": ("describe", *ALL),
}
"""What is asked lit and dark, through the hub."""
NEVER_ASKED = {
    "selector": ("get", "pods", "-A", "-l", "tier in (back,middle),!old"),
    "wide": ("get", "pods,services", "-n", "shop", "-o", "wide"),
    "one": ("get", "pod", "bare-1", "-n", "shop", "-o", "json"),
    "pages": ("get", "pods", "-A", "--chunk-size=3"),
    "pages of json": ("get", "pods", "-A", "--chunk-size=2", "-o", "json"),
    "sorted": ("get", "services", "-A", "--sort-by=.metadata.name", "-o", "name"),
}
"""What nobody has asked the hub while it was lit; the truth comes from the API server itself."""
PODS = 5


@dataclass
class Story:
    """Who plays."""

    cloud: ControlPlane
    site: Site
    hollow: HollowNode
    kubelet: HollowKubelet
    proxy: Child
    kubectl: Kubectl
    truth: Kubectl
    """kubectl as admin, straight to the API server."""
    folder: Path
    lit: dict[str, str] = field(default_factory=dict)
    watches: dict[str, Watching] = field(default_factory=dict)
    lists: int = 0
    """Lists that the killed hub was asked for until kubelet and kube-proxy were watching again."""

    def watch(self, name: str, *args: str) -> Watching:
        """Start a kubectl that watches."""
        made = self.watches[name] = self.kubectl.watching(*args, log=self.folder / f"watch-{name}.log")
        made.spawn()
        return made

    async def listed(self) -> int:
        """Return how many lists local callers have asked this hub for, since it started."""
        now = await self.site.hub.metrics()
        mine = [key for key in now if key.startswith("yurt_hub_requests_total{") and 'verb="list"' in key]
        return int(sum(now[key] for key in mine))

    async def kubelet_told(self, path: str) -> str:
        """Ask the kubelet's read-only port."""
        flag = next(part for part in self.kubelet.command if part.startswith("--kubelet-read-only-port="))
        url = f"http://127.0.0.1:{flag.partition('=')[2]}{path}"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return await answer.text()

    async def kubelet_pods(self) -> dict[str, dict[str, Any]]:
        """Return the pods that the kubelet knows, by name."""
        return {pod["metadata"]["name"]: pod for pod in json.loads(await self.kubelet_told("/pods"))["items"] or []}

    async def running(self) -> int:
        """Return how many pods the kubelet itself says to run."""
        found = [v for k, v in metrics(await self.kubelet_told("/metrics")).items() if k == "kubelet_running_pods"]
        return int(found[0]) if found else 0

    async def runs(self, count: int) -> None:
        """Wait until the kubelet runs as many pods."""
        try:
            async with asyncio.timeout(WITHIN):
                while await self.running() != count:
                    await asyncio.sleep(LOOK_EVERY)
        except TimeoutError:
            raise AssertionError(f"{await self.running()} of {count} pods run: {self.kubelet.obituary()}") from None

    async def stop(self) -> None:
        """End all, last started first."""
        for child in (*self.watches.values(), self.proxy, self.kubelet):
            await child.stop()
        await self.site.stop()
        await self.cloud.stop()


@pytest.fixture(scope="module")
def cloud(binaries: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Return a control plane of this story alone."""
    made = ControlPlane(tmp_path_factory.mktemp("story-cloud"), binaries, Wishes(audit=True))

    async def start() -> None:
        await made.start()
        await seed.rights(made)

    try:
        run(start())
        yield made
    finally:
        run(made.stop())
        shutil.rmtree(made.folder)


@pytest.fixture(scope="module")
def story(cloud: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Return a node that is Ready through its hub, with pods and services, and what kubectl showed of it lit."""
    folder = tmp_path_factory.mktemp("story")
    site = Site(cloud, folder / "site", node=NODE)
    hollow = HollowNode(NODE, site.hub.plain_url, folder / "hollow", cloud.binaries)
    reader = site.config("reader")  # its token is not there yet
    truth = Kubectl(cloud, cloud.admin_kubeconfig, folder / "caches")
    kubectl = Kubectl(cloud, reader, folder / "caches")
    made = Story(cloud, site, hollow, hollow.kubelet(), hollow.proxy(), kubectl, truth, folder)
    try:
        run(_begin(made))
        yield made
    finally:
        run(made.stop())
        shutil.rmtree(folder)


async def _begin(story: Story) -> None:
    await story.site.start()
    async with admin(story.cloud) as kube:
        await keep_answers_of(kube, story.site, *AGENTS)
        reader = await cluster_account(kube, "people", "reader", rules=READER)
        story.site.config("reader", token=reader.token)
        await story.kubelet.start(WITHIN)
        await story.proxy.start(WITHIN)
        await _fill(kube)
    for name, args in SHOWN.items():
        story.lit[name] = await story.kubectl.out(*args)
    for name, args in NEVER_ASKED.items():
        story.lit[name] = await story.truth.out(*args)


async def _fill(kube: KubeClient) -> None:
    """Put pods on the node and services before them, and wait until all run and the node is Ready."""
    await kube.create("/api/v1/namespaces", {"metadata": {"name": "shop"}})
    await there(kube, f"{SHOP}/serviceaccounts/default")
    await there(kube, f"{SHOP}/configmaps/kube-root-ca.crt")
    for number in range(PODS):
        name = f"bare-{number}"
        await kube.create(f"{SHOP}/configmaps", {"metadata": {"name": name}, "data": {"a": name}})
        await kube.create(f"{SHOP}/secrets", {"metadata": {"name": name}, "stringData": {"b": name}})
        labels = {"app": "shop", "tier": "back" if number % 2 else "front"}
        await kube.create(f"{SHOP}/pods", {"metadata": {"name": name, "labels": labels}, "spec": _spec(name)})
    for name in ("shop", "going", "changing"):
        await kube.create(f"{SHOP}/services", _service(name))
    await there(kube, f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{NODE}")
    async with asyncio.timeout(2 * WITHIN):
        while not _is_true(await there(kube, f"/api/v1/nodes/{NODE}"), "Ready"):
            await asyncio.sleep(LOOK_EVERY)
        while sum(_is_true(pod, "Ready") for pod in (await kube.list(f"{SHOP}/pods"))["items"]) != PODS:
            await asyncio.sleep(LOOK_EVERY)
        while not any(
            len(one["endpoints"] or []) == PODS
            for one in (await kube.list("/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices"))["items"]
        ):
            await asyncio.sleep(LOOK_EVERY)


def _service(name: str, **labels: str) -> dict[str, Any]:
    meta = {"name": name, "labels": {"app": "shop", **labels}}
    return {"metadata": meta, "spec": {"selector": {"app": "shop"}, "ports": [{"port": 80}]}}


def _spec(name: str) -> dict[str, Any]:
    mounts = [{"name": kind, "mountPath": f"/{kind}"} for kind in ("config", "secret")]
    return {
        "nodeName": NODE,
        "containers": [{"name": "c", "image": "registry.k8s.io/pause:3.10", "volumeMounts": mounts}],
        "volumes": [
            {"name": "config", "configMap": {"name": name}},
            {"name": "secret", "secret": {"secretName": name}},
        ],
    }


def _is_true(obj: dict[str, Any], condition: str) -> bool:
    found = obj.get("status", {}).get("conditions", [])
    return any(one["type"] == condition and one["status"] == "True" for one in found)


@pytest.fixture(scope="module")
def dark(story: Story) -> Story:
    """The cloud is gone, without a word."""
    run(cut(story.site))
    return story


def shows_the_same(name: str, lit: str, now: str) -> None:
    """Assert that kubectl shows what it showed."""
    if name in ("json", "yaml", "one", "sorted"):
        assert now == lit
    elif name == "pages of json":
        assert json.loads(now)["items"] == json.loads(lit)["items"]
    elif name == "describe":
        assert ageless(now) == ageless(lit)
    else:
        assert table(now) == table(lit)


async def test_lit_the_node_is_ready_and_all_is_shown(story: Story) -> None:
    """What follows compares with this, so it must not be empty."""
    rows = table(story.lit["table"])
    assert [f"node/{NODE}", "Ready"] in [row[:2] for row in rows]
    assert sum(row[-2:] == ["Running", "0"] for row in rows) == PODS
    assert len(json.loads(story.lit["json"])["items"]) == 1 + PODS + 4
    assert f"Name:               {NODE}\n" in story.lit["describe"]
    assert len(table(story.lit["selector"])) == 1 + PODS // 2


@pytest.mark.parametrize("name", [*SHOWN, *NEVER_ASKED])
async def test_in_the_dark_kubectl_shows_what_it_showed_lit(dark: Story, name: str) -> None:
    """With an empty cache folder each time; standard error names the age of what it shows."""
    said = await dark.kubectl(*(SHOWN | NEVER_ASKED)[name])
    assert said.code == 0, said.err
    shows_the_same(name, dark.lit[name], said.out)
    assert re.search(r"Warning: the cloud cannot be reached; this answer is \d+ s old", said.err), said.err


@pytest.fixture(scope="module")
def changed(dark: Story) -> Story:
    """Meanwhile in the cloud: services and pods change, and the API server is another one."""

    async def change() -> None:
        dark.watch("before", "services", "-n", "shop")
        await until(lambda: len(dark.watches["before"].events()) == 3, "a watch begun in the dark shows what is kept")
        async with admin(dark.cloud) as kube:
            await kube.delete(f"{SHOP}/services/going")
            await kube.patch(f"{SHOP}/services/changing", {"metadata": {"labels": {"changed": "yes"}}})
            await kube.create(f"{SHOP}/services", _service("coming"))
            await kube.delete(f"{SHOP}/pods/bare-0", query={"gracePeriodSeconds": 0})
            await kube.patch(f"{SHOP}/pods/bare-1", {"metadata": {"labels": {"changed": "yes"}}})
        await dark.cloud.stop_api_server(kill=True)
        await dark.cloud.start_api_server()

    run(change())
    return dark


@pytest.fixture(scope="module")
def restarted(changed: Story) -> Story:
    """The hub was killed and is here again, all in the dark; kubelet and kube-proxy watch again."""

    async def restart() -> None:
        before = (await changed.site.hub.metrics())["yurt_hub_streams"]
        await start_again(changed.site)
        async with asyncio.timeout(WITHIN):
            while (await changed.site.hub.metrics())["yurt_hub_streams"] < before - 1:  # less kubectl's
                await asyncio.sleep(LOOK_EVERY)
        changed.lists = await changed.listed()

    run(restart())
    return changed


async def test_a_watch_in_the_dark_stays_open_and_invents_nothing(changed: Story) -> None:
    """It shows what is kept and waits; what happens in the cloud meanwhile it cannot know."""
    watch = changed.watches["before"]
    assert watch.running
    assert sorted(watch.events()) == [("ADDED", name) for name in ("changing", "going", "shop")]


@pytest.mark.parametrize("name", [*SHOWN, *NEVER_ASKED])
async def test_a_hub_that_was_killed_shows_the_same_from_its_disk(restarted: Story, name: str) -> None:
    """Nothing but its folder was left to it."""
    said = await restarted.kubectl(*(SHOWN | NEVER_ASKED)[name])
    assert said.code == 0, said.err
    shows_the_same(name, restarted.lit[name], said.out)


def test_watches_come_back_to_a_hub_that_was_killed_without_a_list(restarted: Story) -> None:
    """It tells from its disk what they have seen last, so kubelet and kube-proxy go on from there."""
    assert restarted.lists == 0


@pytest.fixture(scope="module")
def rebooted(restarted: Story) -> Story:
    """The kubelet was killed too, and has started in the dark."""

    async def reboot() -> None:
        assert await restarted.running() == PODS
        restarted.kubelet.kill()
        await restarted.kubelet.start(WITHIN)
        await restarted.runs(PODS)

    run(reboot())
    return restarted


async def test_a_kubelet_that_starts_in_the_dark_runs_its_pods(rebooted: Story) -> None:
    """It was told that its node is there, has read its pods and what they mount, and runs all of them."""
    assert set(await rebooted.kubelet_pods()) == {f"bare-{number}" for number in range(PODS)}
    assert await rebooted.running() == PODS


@dataclass
class Healed:
    """What was counted from just before the heal until every difference had arrived."""

    story: Story
    audit: Audit
    lists: Callable[[], int]
    reflector: Watcher
    """Watches services as kube-proxy does, and notes what it saw."""


@pytest.fixture(scope="module")
def healed(rebooted: Story) -> Healed:
    """The cloud is back, and whoever watches has heard what it missed."""
    story = rebooted
    audit = Audit(story.cloud)
    counted: dict[str, int] = {}

    reflector = Watcher(
        lambda: story.site.hub.secure(story.cloud.node_files(NODE)),
        "kube-proxy/v1.34.4",
        "/api/v1/services",
        "labelSelector=%21service.kubernetes.io%2Fheadless",
        None,
        since=0,
    )

    async def begin() -> None:
        watches = story.watch("services", "services", "-n", "shop"), story.watch("pods", "pods", "-n", "shop")
        await until(lambda: [len(one.events()) for one in watches] == [3, PODS], "two watches have begun in the dark")
        known = await Reader(story.site, pair=story.cloud.node_files(NODE)).read("/api/v1/services")
        reflector.since = int(known["metadata"]["resourceVersion"])
        counted["lists"] = await story.listed()
        async with living(reflector):
            await until(lambda: reflector.answers == 1, "a watch as kube-proxy's has begun")
            await heal(story.site)
            await until(lambda: len(watches[0].events()) >= 6, "three differences of services")
            await until(lambda: len(watches[1].events()) >= PODS + 2, "two differences of pods")
            await until(lambda: len(reflector.seen) >= 3, "three differences for kube-proxy")
        async with asyncio.timeout(WITHIN):
            while set(await story.kubelet_pods()) != {f"bare-{number}" for number in range(1, PODS)}:
                await asyncio.sleep(LOOK_EVERY)
        await story.runs(PODS - 1)

    async def lists() -> int:
        return await story.listed() - counted["lists"]

    run(begin())
    return Healed(story, audit, lambda: run(lists()), reflector)


def test_at_heal_every_difference_arrives_once_and_in_order(healed: Healed) -> None:
    """What is gone, what has changed and what is new; the pods' own news may follow."""
    told = healed.story.watches["services"].events()[3:]
    assert sorted(told) == [("ADDED", "coming"), ("DELETED", "going"), ("MODIFIED", "changing")]
    pods = healed.story.watches["pods"].events()[PODS:]
    assert pods.count(("DELETED", "bare-0")) == 1
    assert ("MODIFIED", "bare-1") in pods
    assert not [event for event in pods if event[0] == "ADDED"]
    seen = healed.reflector.seen
    assert sorted(name for name, _ in seen) == ["changing", "coming", "going"]
    assert (healed.reflector.relists, healed.reflector.torn, healed.reflector.refused) == (0, [], [])


async def test_the_kubelet_has_the_changes_and_the_cloud_hears_of_the_pods(healed: Healed) -> None:
    """A label that was set in the dark stands at the kubelet, the pod that was deleted is gone there; all are Ready."""
    assert (await healed.story.kubelet_pods())["bare-1"]["metadata"]["labels"]["changed"] == "yes"
    async with admin(healed.story.cloud) as kube:
        async with asyncio.timeout(2 * WITHIN):
            while not _is_true(await kube.get(f"/api/v1/nodes/{NODE}"), "Ready") or not all(
                _is_true(pod, "Ready") for pod in (await kube.list(f"{SHOP}/pods"))["items"]
            ):
                await asyncio.sleep(LOOK_EVERY)


def test_at_heal_nobody_lists_anew(healed: Healed) -> None:
    """Counted at the API server, by User-Agent; the hub's own lists are its own."""
    listed = [line for agent in AGENTS for line in healed.audit.by(agent) if line["verb"] == "list"]
    assert [(line["userAgent"], line["requestURI"]) for line in listed] == []
    assert all(watch.running for name, watch in healed.story.watches.items() if name != "before")
    own = {line["user"]["username"] for line in healed.audit.by("yurt-hub") if line["verb"] == "list"}
    assert own <= {f"system:node:{NODE}", "system:serviceaccount:people:reader"}


async def test_the_cloud_hears_of_the_lease_from_the_hub_alone(healed: Healed) -> None:
    """The kubelet may make it; all renewals, in both lives of the kubelet, come from the hub."""

    def by(agent: str) -> set[str]:
        lines = Audit(healed.story.cloud, whole=True).by(agent)
        return {line["verb"] for line in lines if f"/leases/{NODE}" in line["requestURI"]}

    await until(lambda: "patch" in by("yurt-hub"), "the hub has renewed the Lease")
    assert by("hollow-kubelet") <= {"get"}


@pytest.mark.parametrize("name", [*SHOWN, *NEVER_ASKED])
async def test_lit_again_kubectl_shows_what_the_cloud_says(healed: Healed, name: str) -> None:
    """Nothing old is left."""
    command = (SHOWN | NEVER_ASKED)[name]
    story = healed.story
    async with asyncio.timeout(WITHIN):
        while True:
            truth, said = await story.truth.out(*command), await story.kubectl.out(*command)
            if await story.truth.out(*command) == truth:
                break  # nothing has changed in between
    shows_the_same(name, truth, said)
