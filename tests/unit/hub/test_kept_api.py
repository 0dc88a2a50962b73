"""What the control API tells of what is kept, over a socket: sets, readers, ages, roads, metrics; and what it hides."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families
from yurt_hub.api.admin import control_api
from yurt_hub.domain.facts import About, Facts
from yurt_hub.domain.kept import policy, sets
from yurt_hub.domain.kept.objects import read_list
from yurt_hub.domain.kept.records import Unrecorded
from yurt_hub.domain.kept.sets import SetKey
from yurt_hub.domain.kept.store import Permit, Store
from yurt_hub.domain.kept_facts import DiskSeen, FeedSeen, Kept, LeaseSeen
from yurt_hub.domain.links import LinkPolicy, LinkTable
from yurt_hub.domain.local.beats import Beats
from yurt_hub.domain.local.documents import Documents
from yurt_hub.domain.traffic import Traffic
from yurtcore.serve import server
from yurtcore.wire.gvr import Gvr, parse_target

A = "https://10.0.0.1:6443"
NODE = "system:node:n1"
ACCOUNT = "system:serviceaccount:default:viewer"
OPAQUE = "token:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
NOW = 1_800_000_000.0
CONFIG = SetKey(Gvr("", "v1", "configmaps"), "kube-system", "", "metadata.name=yurt-hub-cfg")
DISK = DiskSeen(
    live=1000, dead=10, file=1500, quota=4096, batches=3, written=1500, compactions=1, rewrites=0, queue=2,
    queue_bytes=70, sync_age=0.5, errors=0, refused=0, full=False, stopped="", torn=0, damaged=0, lost=0,
)  # fmt: skip
NAMES = {
    "yurt_hub_kept_bytes",
    "yurt_hub_kept_dark_answers_total",
    "yurt_hub_kept_disk_batches_total",
    "yurt_hub_kept_disk_bytes",
    "yurt_hub_kept_disk_compactions_total",
    "yurt_hub_kept_disk_damaged",
    "yurt_hub_kept_disk_errors_total",
    "yurt_hub_kept_disk_full",
    "yurt_hub_kept_disk_queue",
    "yurt_hub_kept_disk_queue_bytes",
    "yurt_hub_kept_disk_refused_total",
    "yurt_hub_kept_disk_stopped",
    "yurt_hub_kept_disk_sync_age_seconds",
    "yurt_hub_kept_disk_written_bytes_total",
    "yurt_hub_kept_documents",
    "yurt_hub_kept_feeds",
    "yurt_hub_kept_feeds_live",
    "yurt_hub_kept_lease_renewals_total",
    "yurt_hub_kept_limit_bytes",
    "yurt_hub_kept_lit_reads_total",
    "yurt_hub_kept_objects",
    "yurt_hub_kept_oldest_seconds",
    "yurt_hub_kept_sets",
    "yurt_hub_kept_sets_damaged",
    "yurt_hub_kept_sets_needed",
    "yurt_hub_kept_watches",
}
"""Dashboards and alerts are written against these."""


@dataclass
class Page:
    """A control API to ask, and what it tells of."""

    store: Store
    documents: Documents
    beats: Beats
    feeds: list[FeedSeen] = field(default_factory=list)
    disk: DiskSeen = DISK
    lit_reads: dict[tuple[str, str], int] = field(default_factory=dict)
    dark_answers: dict[tuple[str, int], int] = field(default_factory=dict)
    named: str | None = None
    facts: Facts = field(init=False)
    session: aiohttp.ClientSession = field(init=False)

    def kept(self) -> Kept:
        return Kept(
            node="n1",
            store=self.store,
            documents=self.documents,
            beats=self.beats,
            agents=lambda: policy.agents(self.named),
            feeds=lambda: self.feeds,
            disk=lambda: self.disk,
            lease=lambda: LeaseSeen(7, 1, ""),
            lit_reads=self.lit_reads,
            dark_answers=self.dark_answers,
            own=frozenset({CONFIG}),
            lit=lambda: self.facts.links.any_up(),
            wall=lambda: NOW,
        )

    async def get(self, path: str, **query: str) -> tuple[int, str]:
        async with self.session.get(path, params=query) as answer:
            return answer.status, await answer.text()

    async def json(self, path: str, **query: str) -> dict[str, Any]:
        status, text = await self.get(path, **query)
        assert status == 200, text
        found: dict[str, Any] = json.loads(text)
        return found

    def keeps(self, target: str, *names: str, identity: str = NODE, ago: float = 5.0, needed: bool = False) -> SetKey:
        """Take in a list of objects with these names, permitted `ago` seconds before now."""
        seen = parse_target(target)
        key = sets.set_key(seen)
        items = [
            {
                "metadata": {"name": name, "namespace": key.namespace, "uid": name, "resourceVersion": "7"},
                "data": {"x": "hush"},
            }
            for name in names
        ]
        body = {"kind": "ThingList", "apiVersion": "v1", "metadata": {"resourceVersion": "9"}, "items": items}
        self.store.put_list(key, read_list(json.dumps(body).encode()), Permit(identity, NOW - ago, needed))
        return key

    async def why(self, target: str, **query: str) -> dict[str, Any]:
        return await self.json("/v1/explain", target=target, **query)


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    page = Page(Store(Unrecorded()), Documents(Unrecorded()), Beats("n1", Unrecorded()))
    about = About("1.2.3", "n1", "hangzhou", "edge", 7, "/var/lib/yurthub", (A,))
    now = asyncio.get_running_loop().time
    links = LinkTable((A,), LinkPolicy(), now=now())
    page.facts = Facts(about, links, Traffic(), list, now, unready=None, kept=page.kept())
    stop = asyncio.Event()
    sock = server.bind("127.0.0.1", 0)
    host, port = sock.getsockname()
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(control_api(page.facts), sock=sock, stop=stop))
        async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
            page.session = session
            yield page
        stop.set()


def goes_dark(page: Page) -> None:
    for _ in range(2):
        page.facts.links.missed(A, page.facts.clock(), "connection refused")


# -- what is kept


async def test_a_set_is_shown_with_its_readers_age_and_feed(page: Page) -> None:
    key = page.keeps("/api/v1/namespaces/default/pods", "a", "b", needed=True)
    page.feeds = [FeedSeen(key, True, 3)]
    page.facts.links.heard(A, page.facts.clock())
    seen = await page.json("/v1/kept")
    (one,) = seen["sets"]
    assert one == {
        "id": 1, "what": "pods in default", "kind": "Thing", "members": 2, "version": 9, "age": 5.0, "idle": 5.0,
        "needed": True, "fed": False, "live": True, "watches": 3, "table": False, "damaged": False, "readers": 1,
        "identities": [{"identity": NODE, "age": 5.0}],
    }  # fmt: skip
    assert (seen["lit"], seen["objects"], seen["total"], seen["next"]) == (True, 2, 1, None)
    assert (seen["feeds"], seen["live"], seen["watches"], seen["oldest"]) == (1, 1, 3, 5.0)
    assert seen["disk"]["live"] == 1000
    assert seen["bytes"] <= seen["limit"]


async def test_pages_show_each_set_once(page: Page) -> None:
    for number in range(7):
        page.keeps(f"/api/v1/namespaces/ns{number}/pods", "a")
    found: list[str] = []
    after = "0"
    while True:
        seen = await page.json("/v1/kept", limit="3", after=after)
        assert seen["total"] == 7
        found += [one["what"] for one in seen["sets"]]
        if seen["next"] is None:
            break
        after = str(seen["next"])
    assert found == [f"pods in ns{number}" for number in range(7)]
    only = await page.json("/v1/kept", what="ns3")
    assert ([one["what"] for one in only["sets"]], only["total"]) == (["pods in ns3"], 1)


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "501"}, {"after": "-1"}, {"limit": "x"}])
async def test_a_page_beyond_the_bounds_is_refused_with_a_status(page: Page, query: dict[str, str]) -> None:
    status, text = await page.get("/v1/kept", **query)
    assert (status, json.loads(text)["kind"]) == (400, "Status")


async def test_readers_of_a_set_are_bounded_the_latest_first(page: Page) -> None:
    for number in range(40):
        page.keeps("/api/v1/pods", "a", identity=f"system:serviceaccount:default:sa{number}", ago=100.0 - number)
    (one,) = (await page.json("/v1/kept"))["sets"]
    assert one["readers"] == 40
    assert [it["identity"].rpartition("sa")[2] for it in one["identities"]] == [str(n) for n in range(39, 23, -1)]


async def test_neither_contents_nor_hashes_of_tokens_are_shown(page: Page) -> None:
    page.keeps("/api/v1/namespaces/default/secrets", "password", identity=OPAQUE)
    for path, query in (
        ("/v1/kept", {}),
        ("/v1/explain", {"target": "/api/v1/namespaces/default/secrets/password", "identity": OPAQUE[:10]}),
        ("/metrics", {}),
    ):
        _, text = await page.get(path, **query)
        assert "hush" not in text
        assert "456789" not in text
    (one,) = (await page.json("/v1/kept"))["sets"]
    assert one["identities"][0]["identity"] == "token:0123…"


async def test_the_pods_of_the_node_are_not_told_without_a_credential(page: Page) -> None:
    page.keeps("/api/v1/pods", "a")
    assert (await page.get("/pods"))[0] == 404


async def test_hub_025_the_agents_are_those_that_hold_now(page: Page) -> None:
    assert "kubectl" not in (await page.json("/v1/kept/agents"))["names"]
    page.named = "kubectl, *"
    seen = await page.json("/v1/kept/agents")
    assert "kubectl" in seen["names"]
    assert {"kubelet", "kube-proxy"} <= set(seen["names"])
    assert seen["everyone"] is True


# -- ready in the dark


async def test_hub_008_a_hub_without_the_cloud_is_ready_once_something_is_kept(page: Page) -> None:
    goes_dark(page)
    page.keeps("/api/v1/namespaces/kube-system/configmaps?fieldSelector=metadata.name%3Dyurt-hub-cfg", "yurt-hub-cfg")
    status, why = await page.get("/v1/readyz")
    assert status == 500, "the hub's own ConfigMap is nothing for the node"
    assert "connection refused" in why
    assert "nothing is kept yet" in why
    assert (await page.get("/readyz/cloud-or-store"))[0] == 500
    page.keeps("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1", "a")
    assert await page.get("/v1/readyz") == (200, "OK")
    assert (await page.get("/readyz"))[0] == 200


async def test_a_disk_that_takes_nothing_makes_the_hub_unready_but_not_in_openyurts_words(page: Page) -> None:
    page.facts.links.heard(A, page.facts.clock())
    page.disk = replace(DISK, stopped="no space left on device", full=True)
    status, text = await page.get("/readyz?verbose")
    assert status == 500
    assert "[-]disk failed" in text
    assert (await page.get("/livez"))[0] == 200
    assert await page.get("/v1/readyz") == (200, "OK")


# -- explain


async def test_explain_names_who_which_road_and_why(page: Page) -> None:
    page.keeps("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1", "a")
    page.facts.links.heard(A, page.facts.clock())
    seen = await page.why(
        "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1&labelSelector=x%3Dy", **{"user-agent": "kubelet/v1.34"}
    )
    assert seen == {
        "cloud": True,
        "identity": NODE,
        "component": "kubelet",
        "verb": "list",
        "what": "pods with labels x=y with fields spec.nodeName=n1",
        "kept": True,
        "kept_why": "kubelet is kept",
        "lit": "the cloud; a copy is kept",
        "dark": 200,
        "dark_why": "kept as pods with fields spec.nodeName=n1",
        "version": 9,
    }


@pytest.mark.parametrize(
    ("method", "target", "dark", "words"),
    [
        ("GET", "/api/v1/namespaces/default/pods/a", 200, "kept with pods in default"),
        ("HEAD", "/api/v1/namespaces/default/pods/a", 200, "kept with pods in default"),
        ("GET", "/api/v1/namespaces/default/pods/z", 404, "not in pods in default"),
        ("GET", "/api/v1/namespaces/other/pods/a", 503, "not within any set"),
        ("GET", "/api/v1/namespaces/default/pods?watch=true", 200, "goes on at heal"),
        ("GET", "/api/v1/pods?watch=true", 503, "not within any set"),
        ("GET", "/api/v1/namespaces/default/pods/a/log", 503, "no plain read"),
        ("GET", "/api/v1/namespaces/default/pods/a/exec?command=ls", 503, "no plain read"),
        ("GET", "/api/v1/nodes", 503, "nothing is kept of nodes"),
        ("GET", "/version", 503, "was not kept"),
        ("GET", "/healthz", 503, "the API server's to answer"),
        ("GET", "/nonsense", 503, "its to answer"),
        ("GET", "/api/v1/pods?labelSelector=%21%21", 503, "no plain read"),
        ("POST", "/api/v1/namespaces/default/pods", 503, "was not done"),
        ("DELETE", "/api/v1/namespaces/default/pods/a", 503, "was not done"),
        ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", 0, "same question"),
        ("PUT", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1", 503, "never seen"),
        ("GET", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1", 503, "not seen the Lease"),
        ("POST", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", 503, "created there"),
    ],
)
async def test_explain_tells_the_code_in_the_dark_of_whatever_is_asked(
    page: Page, method: str, target: str, dark: int, words: str
) -> None:
    page.keeps("/api/v1/namespaces/default/pods", "a")
    goes_dark(page)
    seen = await page.why(target, method=method)
    assert (seen["cloud"], seen["dark"]) == (False, dark), seen
    assert words in seen["dark_why"]


async def test_explain_says_that_another_caller_may_not_read_it(page: Page) -> None:
    page.keeps("/api/v1/namespaces/default/pods", "a")
    seen = await page.why("/api/v1/namespaces/default/pods", identity=ACCOUNT, **{"user-agent": "kubectl/v1.34"})
    assert seen["dark"] == 503
    assert "not seen to be allowed" in seen["dark_why"]
    assert seen["kept"] is False
    assert "cache_agents" in seen["kept_why"]


async def test_explain_knows_what_a_node_that_registers_again_is_told(page: Page) -> None:
    page.keeps("/api/v1/nodes?fieldSelector=metadata.name%3Dn1", "n1")
    assert (await page.why("/api/v1/nodes", method="post"))["dark"] == 409
    assert (await page.why("/api/v1/nodes", method="post", identity=ACCOUNT))["dark"] == 503


@pytest.mark.parametrize("target", ["api/v1/pods", "", "/" + "x" * 9000])
async def test_what_is_no_path_is_refused_with_a_status(page: Page, target: str) -> None:
    status, text = await page.get("/v1/explain", target=target)
    assert (status, json.loads(text)["kind"]) == (400, "Status")


async def test_explain_takes_any_target(page: Page) -> None:
    for target in (
        "/",
        "//",
        "/api/v1/ü?%ff=%00",
        "/apis/a/b/watch/c",
        "/api/v1/pods?limit=x&watch=1",
        "/api/v1/\u4e2d",
    ):
        assert (await page.why(target))["dark"] in (0, 400, 503)


# -- metrics


async def test_metrics_show_roads_ages_and_sizes(page: Page) -> None:
    fed = page.keeps("/api/v1/services", "a", ago=61.0)
    page.keeps("/api/v1/pods", "a", "b", needed=True)
    page.feeds = [FeedSeen(fed, False, 2)]
    page.lit_reads[("list", "cloud")] = 3
    page.dark_answers[("get", 404)] = 5
    _, text = await page.get("/metrics")
    for line in (
        'yurt_hub_kept_lit_reads_total{road="cloud",verb="list"} 3.0',
        'yurt_hub_kept_dark_answers_total{code="404",verb="get"} 5.0',
        "yurt_hub_kept_sets 2.0",
        "yurt_hub_kept_sets_needed 1.0",
        "yurt_hub_kept_objects 3.0",
        "yurt_hub_kept_oldest_seconds 61.0",
        "yurt_hub_kept_feeds 1.0",
        "yurt_hub_kept_feeds_live 0.0",
        "yurt_hub_kept_watches 2.0",
        'yurt_hub_kept_disk_bytes{part="dead"} 10.0',
        "yurt_hub_kept_disk_sync_age_seconds 0.5",
        'yurt_hub_kept_lease_renewals_total{result="failed"} 1.0',
    ):
        assert f"\n{line}\n" in text, line


async def test_the_names_of_metrics_are_kept(page: Page) -> None:
    page.disk = replace(DISK, sync_age=None)
    _, text = await page.get("/metrics")
    assert set(re.findall(r"^# TYPE (yurt_hub_kept_\S+) ", text, re.MULTILINE)) == NAMES
    assert list(text_string_to_metric_families(text))


async def test_labels_are_bounded_whatever_is_kept(page: Page) -> None:
    before = (await page.get("/metrics"))[1].count("\nyurt_hub_kept_")
    for number in range(50):
        page.keeps(f"/api/v1/namespaces/ns{number}/pods", "a", identity=f"system:serviceaccount:ns{number}:sa")
    assert (await page.get("/metrics"))[1].count("\nyurt_hub_kept_") == before
