"""What a hub keeps and answers from it, scenario by scenario: all is asked lit, then the cloud goes once.

The stages are fixtures: `lit` asks, `dark` takes the cloud away, `again` kills the hub in the dark, `healed` gives the
cloud back. Each scenario looks at its own part.
"""

import asyncio
import contextlib
import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from kit.accounts import RBAC, account, admin, cluster_account, there
from kit.dark import CONFIG, Reader, cut, heal, keep_answers_of, start_again
from kit.hub import LOOK_EVERY, WITHIN, Site, request
from kit.plane import run
from kit.pump import Wire
from yurtcore.adapters.kube import KubeClient
from yurtcore.errors import Missing
from yurtsim.controlplane import ControlPlane

pytestmark = pytest.mark.controlplane

CRONTABS = "stable.example.com"
KINDS = ["configmaps", "secrets", "pods", "services"]
READER = (
    {"apiGroups": [""], "resources": KINDS, "verbs": ["get", "list", "watch"]},
    {"apiGroups": [CRONTABS], "resources": ["*"], "verbs": ["get", "list", "watch"]},
)
PARTIAL = "Accept: application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
UPDATES = 200
BIG = 40
"""ConfigMaps of 10 KB each: a list that the API server compresses."""


@dataclass
class Cast:
    """Callers, and what they saw lit."""

    site: Site
    home: str
    reader: Reader
    kubelet: Reader
    named: Reader
    """An account of its own for the question whose answers are kept."""
    other: str
    """A second namespace."""
    seen: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The module's namespace."""
        return f"/api/v1/namespaces/{self.home}"


@pytest.fixture(scope="module")
def site(plane: ControlPlane, home: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return a hub that notices a cut within seconds."""
    flags = {"heartbeat-interval-seconds": "1", "heartbeat-timeout-seconds": "1"}
    made = Site(plane, tmp_path_factory.mktemp(home), node=home, flags=flags)
    run(made.start())
    try:
        yield made
    finally:
        run(made.stop())


@pytest.fixture(scope="module")
def lit(plane: ControlPlane, site: Site, home: str) -> Iterator[Cast]:
    """Return callers who have asked for everything that the scenarios are about."""

    async def make() -> Cast:
        async with admin(plane) as kube:
            reader = await cluster_account(kube, home, "reader", rules=READER)
            named = await account(kube, home, "named")
            cast = Cast(
                site,
                home,
                Reader(site, reader.token),
                Reader(site, pair=plane.node_files(home), agent="kubelet/v1.34.4 (linux/amd64)"),
                Reader(site, named.token, agent="foo/v1.2 (linux)"),
                f"{home}-other",
            )
            await _fill(kube, cast)
            await _ask_all(kube, cast)
        return cast

    async def remove() -> None:
        async with admin(plane) as kube:
            for path in (
                CONFIG,
                f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/crontabs.{CRONTABS}",
                f"{RBAC}/clusterroles/{home}-reader",
                f"{RBAC}/clusterrolebindings/{home}-reader",
                f"/api/v1/nodes/{home}",
                f"/api/v1/namespaces/{home}",
                f"/api/v1/namespaces/{home}-other",
            ):
                with contextlib.suppress(Missing):
                    await kube.delete(path)

    try:
        yield run(make())
    finally:
        run(remove())


async def _fill(kube: KubeClient, cast: Cast) -> None:
    home = cast.path
    await kube.create("/api/v1/namespaces", {"metadata": {"name": cast.other}})
    await kube.create("/api/v1/nodes", {"metadata": {"name": cast.home}})
    await there(kube, f"{home}/serviceaccounts/default")
    for number in (1, 2):
        labels = {"a": str(number)}
        for name in (f"s{number}-x", f"s{number}-y"):
            await kube.create(f"{home}/secrets", {"metadata": {"name": name, "labels": labels}})
    for name in ("plain", "sibling", *(f"named-{n}" for n in range(1, 7))):
        await kube.create(f"{home}/configmaps", {"metadata": {"name": name}, "data": {"name": name}})
    for number in range(7):
        await kube.create(f"{home}/configmaps", {"metadata": {"name": f"page-{number}", "labels": {"set": "pages"}}})
    for number in range(BIG):
        meta = {"name": f"big-{number:02}", "labels": {"set": "big"}}
        await kube.create(f"{home}/configmaps", {"metadata": meta, "data": {"text": "lorem ipsum " * 900}})
    await kube.create(f"/api/v1/namespaces/{cast.other}/services", {"metadata": {"name": "far"}, "spec": _PORTS})
    await kube.create(f"{home}/services", {"metadata": {"name": "near"}, "spec": _PORTS})
    for name, where in (("bound", {"nodeName": cast.home}), ("unbound", {"schedulerName": "nobody"})):
        spec = {"containers": [{"name": "c", "image": "none"}], "automountServiceAccountToken": False, **where}
        await kube.create(f"{home}/pods", {"metadata": {"name": name}, "spec": spec})
    await kube.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", _CRONTAB)
    await until_served(kube, _crontabs(cast))
    await kube.create(_crontabs(cast), {**_CRON, "metadata": {"name": "nightly"}, "spec": {"cron": "@daily"}})


async def until_served(kube: KubeClient, path: str) -> None:
    """Wait until the API server serves a new kind."""
    async with asyncio.timeout(WITHIN):
        while True:
            with contextlib.suppress(Missing):
                await kube.list(path)
                return
            await asyncio.sleep(LOOK_EVERY)


_PORTS = {"ports": [{"port": 80}]}
_CRON = {"apiVersion": f"{CRONTABS}/v1", "kind": "CronTab"}
_CRONTAB = {
    "metadata": {"name": f"crontabs.{CRONTABS}"},
    "spec": {
        "group": CRONTABS,
        "scope": "Namespaced",
        "names": {"plural": "crontabs", "singular": "crontab", "kind": "CronTab"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


def _crontabs(cast: Cast) -> str:
    return f"/apis/{CRONTABS}/v1/namespaces/{cast.home}/crontabs"


def _pods(cast: Cast) -> str:
    return f"/api/v1/pods?fieldSelector=spec.nodeName%3D{cast.home}"


def _watched(cast: Cast) -> str:
    return f"{cast.path}/configmaps?labelSelector=set%3Dwatched"


async def _ask_all(kube: KubeClient, cast: Cast) -> None:
    home, reader, seen = cast.path, cast.reader, cast.seen
    seen["pods"] = await cast.kubelet.read(_pods(cast))
    for number in (1, 2):
        seen[f"a={number}"] = await reader.read(f"{home}/secrets?labelSelector=a%3D{number}")
    seen["services"] = await reader.read("/api/v1/services")
    seen["near"] = await reader.read(f"{home}/services")
    seen["by name"] = await reader.read(f"{home}/configmaps?fieldSelector=metadata.name%3Dsibling")
    seen["no such"] = await reader.read(f"{home}/configmaps?fieldSelector=metadata.name%3Dno-such")
    seen["crontabs"] = await reader.read(_crontabs(cast))
    seen["pages"] = await _pages(cast)
    big = await reader.ask(f"{home}/configmaps?labelSelector=set%3Dbig", "Accept-Encoding: gzip")
    assert big.headers["content-encoding"] == "gzip"
    seen["big"] = json.loads(gzip.decompress(big.body))
    partial = await reader.read(f"{home}/pods", PARTIAL)
    assert partial["kind"] == "PartialObjectMetadataList"
    assert (await reader.ask(f"/apis/{CRONTABS}/v1/namespaces/{cast.home}/nosuch")).status == 404
    await _ask_by_name(kube, cast)
    await _watch(kube, cast)


async def _pages(cast: Cast) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    more = ""
    while True:
        page = await cast.reader.read(f"{cast.path}/configmaps?labelSelector=set%3Dpages&limit=3{more}")
        found += page["items"]
        if "continue" not in page["metadata"]:
            assert len(found) == 7
            return found
        more = f"&continue={page['metadata']['continue']}"


async def _ask_by_name(kube: KubeClient, cast: Cast) -> None:
    """Ask under names that are kept, or not yet, or never."""

    async def ask(number: int, agent: str) -> None:
        await cast.named.by(agent).read(f"{cast.path}/configmaps/named-{number}")

    await keep_answers_of(kube, cast.site, "other")
    await ask(1, "foo/v1.2 (linux)")
    await keep_answers_of(kube, cast.site, "foo")
    await ask(2, "foo/v1.2 (linux)")
    await ask(3, "FOO/v2 (linux)")
    await ask(4, "bar/v1")
    await keep_answers_of(kube, cast.site, "*")
    await ask(5, "bar/v1")
    await ask(6, "")
    await keep_answers_of(kube, cast.site, "foo")


async def _watch(kube: KubeClient, cast: Cast) -> None:
    """Follow what is added, changed and removed, among it 200 changes of one object at once."""
    path = f"{cast.path}/configmaps"
    start = await cast.reader.read(_watched(cast))
    since = start["metadata"]["resourceVersion"]
    target = f"{_watched(cast)}&watch=1&allowWatchBookmarks=true&resourceVersion={since}"
    watch = await Events.begin(cast.reader, target)
    meta = {"labels": {"set": "watched"}}
    for name in ("kept", "gone", "busy"):
        await kube.create(path, {"metadata": {"name": name, **meta}, "data": {"n": "0"}})
    await kube.patch(f"{path}/kept", {"data": {"n": "1"}})
    await kube.patch(f"{path}/kept", {"data": {"n": "2"}})
    await kube.delete(f"{path}/gone")
    await asyncio.gather(*(kube.patch(f"{path}/busy", {"data": {"n": str(n)}}) for n in range(1, UPDATES + 1)))
    cast.seen["watched"] = await kube.list(path, query={"labelSelector": "set=watched"})
    newest = max(int(one["metadata"]["resourceVersion"]) for one in cast.seen["watched"]["items"])
    async with asyncio.timeout(WITHIN):
        while int((await watch.next(in_=cast.home))["object"]["metadata"]["resourceVersion"]) < newest:
            pass
    await watch.wire.close()


@dataclass
class Events:
    """A watch through the hub."""

    wire: Wire
    rest: bytes = b""

    @classmethod
    async def begin(cls, reader: Reader, target: str) -> "Events":
        """Begin it and see its 200."""
        wire = await reader.site.hub.secure(reader.pair)
        wire.writer.write(request(target, token=reader.token, agent=reader.agent))
        assert (await wire.head())[0] == 200
        return cls(wire)

    async def next(self, *, in_: str) -> dict[str, Any]:
        """Return the next event of an object in a namespace."""
        async with asyncio.timeout(WITHIN):
            while (found := await self.any())["object"]["metadata"].get("namespace") != in_:
                pass
        return found

    async def any(self) -> dict[str, Any]:
        """Return the next event."""
        while b"\n" not in self.rest:
            piece = await self.wire.chunk()
            assert piece, "the watch has ended"
            self.rest += piece
        line, _, self.rest = self.rest.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found


@pytest.fixture(scope="module")
def dark(lit: Cast) -> Cast:
    """The cloud is gone."""
    run(cut(lit.site))
    return lit


def bare(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return objects without what the API server leaves out in lists and the hub does not: kind and version."""
    return [{key: value for key, value in one.items() if key not in ("kind", "apiVersion")} for one in items]


def same(now: dict[str, Any], lit: dict[str, Any]) -> None:
    """Assert that a list says what it said."""
    assert (now["kind"], now["apiVersion"]) == (lit["kind"], lit["apiVersion"])
    assert bare(now["items"]) == bare(lit["items"])


def of(cast: Cast, found: dict[str, Any]) -> dict[str, Any]:
    """Return a list of all namespaces without those of other tests, where things go on happening."""
    mine = (cast.home, cast.other)
    return found | {"items": [one for one in found["items"] if one["metadata"]["namespace"] in mine]}


async def test_hub_020_the_kubelets_pods_are_listed_and_a_watch_goes_on_from_them(dark: Cast) -> None:
    """The version of the list in the dark is the cloud's own, not more than what was seen."""
    now = await dark.kubelet.read(_pods(dark))
    same(now, dark.seen["pods"])
    version = int(now["metadata"]["resourceVersion"])
    assert version >= int(dark.seen["pods"]["metadata"]["resourceVersion"])
    got = await dark.kubelet.ask(f"{_pods(dark)}&watch=1&timeoutSeconds=1&resourceVersion={version}")
    assert (got.status, got.body) == (200, b"")


async def test_hub_022_what_a_watch_told_is_what_is_kept(dark: Cast) -> None:
    """Added, changed twice, removed: the last state of each, as the cloud itself has it."""
    now = await dark.reader.read(_watched(dark))
    assert sorted(one["metadata"]["name"] for one in now["items"]) == ["busy", "kept"]
    by_name = {one["metadata"]["name"]: one for one in now["items"]}
    assert by_name["kept"]["data"] == {"n": "2"}


async def test_hub_037_of_two_hundred_changes_at_once_the_last_is_kept(dark: Cast) -> None:
    """With its data, not only its version."""
    now = await dark.reader.read(_watched(dark))
    truth = {one["metadata"]["name"]: one for one in dark.seen["watched"]["items"]}
    found = {one["metadata"]["name"]: one for one in now["items"]}
    assert found["busy"]["metadata"]["resourceVersion"] == truth["busy"]["metadata"]["resourceVersion"]
    assert found["busy"]["data"] == truth["busy"]["data"]


async def test_hub_023_a_pod_without_a_node_is_not_the_kubelets(dark: Cast) -> None:
    """It is in no answer that the kubelet got, so it is in none that it gets in the dark."""
    assert await dark.kubelet.names(_pods(dark)) == ["bound"]
    code, why = await dark.kubelet.refused(f"{dark.path}/pods/unbound")
    assert (code, "unbound" in why or "pods" in why) == (503, True)


@pytest.mark.parametrize(
    ("number", "status"), [(1, 503), (2, 200), (4, 503), (5, 200), (6, 503)], ids=lambda value: str(value)
)
async def test_hub_025_who_is_named_is_kept_from_then_on(dark: Cast, number: int, status: int) -> None:
    """Not named: nothing; named: from the next get on, without a restart; `*`: everyone but who gives no name."""
    assert (await dark.named.ask(f"{dark.path}/configmaps/named-{number}")).status == status


async def test_hub_026_the_component_is_the_user_agent_up_to_the_slash_in_lower_case(dark: Cast) -> None:
    """`FOO/v2 (linux)` is foo, which the ConfigMap names."""
    found = await dark.named.read(f"{dark.path}/configmaps/named-3")
    assert found["data"] == {"name": "named-3"}


async def test_hub_028_two_selectors_are_two_sets(dark: Cast) -> None:
    """Each list returns its own."""
    for number in (1, 2):
        now = await dark.reader.read(f"{dark.path}/secrets?labelSelector=a%3D{number}")
        same(now, dark.seen[f"a={number}"])
        assert [one["metadata"]["name"] for one in now["items"]] == [f"s{number}-x", f"s{number}-y"]
    code, _ = await dark.reader.refused(f"{dark.path}/secrets")
    assert code == 503, "two parts are not the whole"


async def test_hub_029_all_namespaces_and_one_are_both_right(dark: Cast) -> None:
    """The list of all, the list of one, and one that nobody asked for, cut from the list of all."""
    same(of(dark, await dark.reader.read("/api/v1/services")), of(dark, dark.seen["services"]))
    same(await dark.reader.read(f"{dark.path}/services"), dark.seen["near"])
    assert await dark.reader.names(f"/api/v1/namespaces/{dark.other}/services") == ["far"]


async def test_hub_031_a_list_by_name_answers_for_that_name(dark: Cast) -> None:
    """The one that was listed, a name outside all sets, and names inside one that has them or not."""
    path = f"{dark.path}/configmaps?fieldSelector=metadata.name%3D"
    same(await dark.reader.read(f"{path}sibling"), dark.seen["by name"])
    assert (await dark.reader.read(f"{path}no-such"))["items"] == []
    assert (await dark.reader.refused(f"{path}plain"))[0] == 503
    inside = f"/api/v1/namespaces/{dark.other}/services?fieldSelector=metadata.name%3D"
    assert await dark.reader.names(f"{inside}far") == ["far"]
    assert await dark.reader.names(f"{inside}near") == []


async def test_hub_032_custom_resources_are_kept_like_others(dark: Cast) -> None:
    """Listed as CronTabList; of a kind that the hub has never seen it says that it cannot know."""
    now = await dark.reader.read(_crontabs(dark))
    same(now, dark.seen["crontabs"])
    assert (now["kind"], now["items"][0]["spec"]) == ("CronTabList", {"cron": "@daily"})
    code, why = await dark.reader.refused(f"/apis/{CRONTABS}/v1/namespaces/{dark.home}/nosuch")
    assert (code, "nosuch" in why) == (503, True)


async def test_hub_034_metadata_alone_is_served_from_whole_objects_and_never_taken_for_them(dark: Cast) -> None:
    """Of services, kept whole, metadata is answered; pods, of which this caller saw only metadata, are not."""
    now = await dark.reader.read(f"{dark.path}/services", PARTIAL)
    assert now["kind"] == "PartialObjectMetadataList"
    assert [one["metadata"] for one in now["items"]] == [one["metadata"] for one in dark.seen["near"]["items"]]
    assert {key for one in now["items"] for key in one} <= {"metadata", "kind", "apiVersion"}
    assert (await dark.reader.refused(f"{dark.path}/pods"))[0] == 503


async def test_hub_035_a_compressed_answer_is_kept_as_objects(dark: Cast) -> None:
    """The client got it compressed; in the dark each object can be had alone."""
    same(await dark.reader.read(f"{dark.path}/configmaps?labelSelector=set%3Dbig"), dark.seen["big"])
    one = await dark.reader.read(f"{dark.path}/configmaps/big-07")
    assert one["data"] == dark.seen["big"]["items"][7]["data"]


async def test_hub_038_all_pages_are_kept_and_served_whole_or_in_pages(dark: Cast) -> None:
    """Seven objects that came in three pages."""
    now = await dark.reader.read(f"{dark.path}/configmaps?labelSelector=set%3Dpages")
    assert bare(now["items"]) == bare(dark.seen["pages"])
    assert bare(await _pages(dark)) == bare(dark.seen["pages"])


async def test_hub_040_a_get_is_answered_refused_or_not_known(dark: Cast) -> None:
    """200 with its age, 404 inside a set that is kept, 503 outside of all with what is missing."""
    got = await dark.reader.ask(f"{dark.path}/services/near")
    assert (got.status, json.loads(got.body)["metadata"]["name"]) == (200, "near")
    assert re.fullmatch(r'299 yurt-hub ".* \d+ s.*"', got.headers["warning"])
    assert await dark.reader.refused(f"{dark.path}/services/no-such") == (404, 'services "no-such" not found')
    code, why = await dark.reader.refused(f"{dark.path}/configmaps/plain")
    assert (code, "configmaps" in why, "cannot be reached" in why) == (503, True, True)


async def test_hub_043_a_watch_in_the_dark_ends_at_its_time(dark: Cast) -> None:
    """Five seconds were asked for, so it takes four to six; nothing is told because nothing can be known."""
    now = asyncio.get_running_loop().time
    begun = now()
    version = (await dark.reader.read("/api/v1/services"))["metadata"]["resourceVersion"]
    got = await dark.reader.ask(f"/api/v1/services?watch=1&timeoutSeconds=5&resourceVersion={version}")
    assert (got.status, got.body) == (200, b"")
    assert 4 <= now() - begun <= 6


@pytest.fixture(scope="module")
def again(dark: Cast) -> Cast:
    """The hub was killed and started in the dark."""
    run(start_again(dark.site))
    return dark


async def test_hub_008_a_hub_that_starts_in_the_dark_is_ready_and_serves_the_kubelets_pods(again: Cast) -> None:
    """From its disk alone: certificates, settings, who is kept and what is kept."""
    status, told = await again.site.hub.asks("/v1/readyz")
    assert status == 200, told
    same(await again.kubelet.read(_pods(again)), again.seen["pods"])


async def test_hub_008_all_that_was_kept_is_there_after_a_kill(again: Cast) -> None:
    """Sets, selectors, pages, names and their absence."""
    reader, home = again.reader, again.path
    same(of(again, await reader.read("/api/v1/services")), of(again, again.seen["services"]))
    same(await reader.read(_crontabs(again)), again.seen["crontabs"])
    same(await reader.read(f"{home}/configmaps?labelSelector=set%3Dbig"), again.seen["big"])
    assert bare(await _pages(again)) == bare(again.seen["pages"])
    for number in (1, 2):
        same(await reader.read(f"{home}/secrets?labelSelector=a%3D{number}"), again.seen[f"a={number}"])
    watched = {one["metadata"]["name"]: one["data"] for one in (await reader.read(_watched(again)))["items"]}
    assert watched == {one["metadata"]["name"]: one["data"] for one in again.seen["watched"]["items"]}
    assert (await again.named.ask(f"{home}/configmaps/named-1")).status == 503
    assert (await again.named.ask(f"{home}/configmaps/named-2")).status == 200
    assert await reader.refused(f"{home}/services/no-such") == (404, 'services "no-such" not found')


async def test_hub_043_a_watch_goes_on_at_heal_with_the_clouds_next_event(again: Cast, plane: ControlPlane) -> None:
    """Begun in the dark, it hears what happened meanwhile, then what happens next; nobody lists again."""
    reader = again.reader
    version = (await reader.read("/api/v1/services"))["metadata"]["resourceVersion"]
    watch = await Events.begin(reader, f"/api/v1/services?watch=1&allowWatchBookmarks=true&resourceVersion={version}")
    async with admin(plane) as kube:
        await kube.delete(f"{again.path}/services/near")
        made = await kube.create(f"{again.path}/services", {"metadata": {"name": "next"}, "spec": _PORTS})
        await heal(again.site)
        told = [await watch.next(in_=again.home) for _ in range(2)]
        by_name = {one["object"]["metadata"]["name"]: one for one in told}
        assert {name: one["type"] for name, one in by_name.items()} == {"near": "DELETED", "next": "ADDED"}
        assert by_name["next"]["object"]["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
        await kube.patch(f"{again.path}/services/next", {"metadata": {"labels": {"after": "heal"}}})
        found = await watch.next(in_=again.home)
        assert (found["type"], found["object"]["metadata"]["labels"]) == ("MODIFIED", {"after": "heal"})
    await watch.wire.close()
