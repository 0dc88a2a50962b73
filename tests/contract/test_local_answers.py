"""The hub's own answers beside the real API server's: documents, the Lease, and what a node hears that is there."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from kit.accounts import admin, there
from kit.local import Records, Straight, as_node
from kit.protobuf import lease
from yurt_hub.adapters.beats import Renewals
from yurt_hub.adapters.documents import Prefetch
from yurt_hub.domain.local import accepts
from yurt_hub.domain.local.answers import Local
from yurt_hub.domain.local.beats import LEASES, Beats
from yurt_hub.domain.local.documents import Documents
from yurt_hub.domain.local.writes import dark_write
from yurtcore.adapters.kube import KubeClient
from yurtcore.wire.gvr import parse_target
from yurtsim.controlplane import ControlPlane

pytestmark = pytest.mark.controlplane

JSON = {"Content-Type": "application/json", "Accept": "application/json"}
WITHIN = 30


@pytest.fixture
async def node(plane: ControlPlane) -> AsyncIterator[KubeClient]:
    async with as_node(plane, "local-1") as kube:
        yield kube


class TestDocuments:
    """Fetched once, answered as the server does."""

    @pytest.fixture
    async def cloud(self, node: KubeClient) -> Straight:
        return Straight(node)

    @pytest.fixture
    async def documents(self, cloud: Straight) -> Documents:
        found = Documents(Records())
        await self.fetched(found, cloud)
        return found

    async def fetched(self, documents: Documents, cloud: Straight) -> None:
        """One round, to its end."""
        done = asyncio.Event()
        prefetch = Prefetch(documents, fetch=cloud.fetch, lit=lambda: True, wall=time.time, told=done.set)
        async with asyncio.timeout(WITHIN), asyncio.TaskGroup() as group:
            task = group.create_task(prefetch.run())
            await done.wait()
            task.cancel()
        assert prefetch.rounds == 1

    async def test_the_dark_answer_is_the_servers(self, cloud: Straight, documents: Documents) -> None:
        """Status, bytes, type, ETag and Vary, for every document and form that a client of 1.34 may ask for."""
        asked = [(path, "application/json, */*") for path in sorted({ask.split()[1] for ask in cloud.asked})]
        assert len(asked) == 27
        asked += [
            ("/api", accepts.ASK_DISCOVERY),
            ("/apis", accepts.ASK_DISCOVERY),
            ("/apis", "*/*"),
            ("/apis/apps", ""),
        ]
        for path, accept in asked:
            lit = await cloud.fetch("GET", path, headers=(("Accept", accept),))
            dark = documents.answer(path, {}, accept, "", now=time.time(), why="dark")
            assert dark is not None
            heads = [(name, lit.headers.get(name.lower())) for name in (b"Content-Type", b"ETag", b"Vary")]
            assert (path, lit.status, heads) == (path, dark.status, [(name, dark.header(name)) for name, _ in heads])
            assert json.loads(dark.body) == json.loads(lit.body), path
            if path != "/apis/apps":
                assert dark.body == lit.body, path

    async def test_a_round_without_news_costs_next_to_nothing(self, cloud: Straight, documents: Documents) -> None:
        """All documents are some 53 KB, 26 KB as kept; a second round is five requests and under 1 KB of bodies."""
        assert cloud.bytes < 100_000
        assert documents.size < 40_000
        cloud.asked.clear()
        cloud.bytes = 0
        await self.fetched(documents, cloud)
        assert len(cloud.asked) == 5
        assert cloud.bytes < 1500

    async def test_openapi_that_passed_is_found_by_its_hash(self, cloud: Straight) -> None:
        """As kubectl explain asks: the index, then a document by the hash in it; another hash leads to it."""
        documents = Documents(Records())
        index = await cloud.fetch("GET", "/openapi/v3")
        assert documents.learn("/openapi/v3", index, 1)
        target = json.loads(index.body)["paths"]["apis/apps/v1"]["serverRelativeURL"]
        path, _, query = target.partition("?hash=")
        lit = await cloud.fetch("GET", target)
        assert documents.learn(path, lit, 1)
        dark = documents.answer(path, {"hash": (query,)}, "application/json", "", now=2, why="dark")
        assert dark is not None
        assert (dark.status, dark.body) == (200, lit.body)
        moved = documents.answer(path, {"hash": ("0",)}, "application/json", "", now=2, why="dark")
        lit_moved = await cloud.fetch("GET", f"{path}?hash=0")
        assert moved is not None
        assert (moved.status, moved.header(b"Location")) == (lit_moved.status, lit_moved.headers[b"location"])
        assert documents.size < 200_000


async def registered(kube: KubeClient, name: str) -> dict[str, Any]:
    """Register a node as its kubelet does; says what was made, also the second time."""
    body = json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}).encode()
    await kube.raw("POST", "/api/v1/nodes", headers=JSON, body=body)
    return await kube.get(f"/api/v1/nodes/{name}")


class TestLease:
    """Renewed at a real API server by the node's own rights."""

    async def test_renewals_arrive_and_a_lost_lease_comes_back(self, plane: ControlPlane) -> None:
        """A kubelet's protobuf PUT moves the Lease in the cloud; deleted there, it is made again with its owner."""
        async with as_node(plane, "local-2") as kube, admin(plane) as boss:
            node = await registered(kube, "local-2")
            owner = {"apiVersion": "v1", "kind": "Node", "name": "local-2", "uid": node["metadata"]["uid"]}
            beats, cloud = Beats("local-2", Records()), Straight(kube)
            renewals = Renewals(beats, fetch=cloud.fetch, wall=time.time)
            async with asyncio.timeout(WITHIN), asyncio.TaskGroup() as group:
                task = group.create_task(renewals.run())
                for beat in range(3):
                    if beat == 2:
                        await boss.delete(beats.path)
                    now = time.time()
                    put = lease("local-2", holder="local-2", renewed=now, owners=[owner])
                    answer = beats.renewed(put, now)
                    renewals.due()
                    assert answer is not None
                    while renewals.facts.sent <= beat:
                        await asyncio.sleep(0.02)
                    kept = await there(boss, beats.path)
                    assert kept["spec"]["renewTime"] == json.loads(answer.body)["spec"]["renewTime"]
                    assert kept["spec"]["leaseDurationSeconds"] == 40
                    assert kept["metadata"]["ownerReferences"] == [owner]
                    told = beats.renewed(put, now)
                    assert told is not None
                    assert json.loads(told.body)["metadata"]["resourceVersion"] == kept["metadata"]["resourceVersion"]
                task.cancel()
            assert [asked.split()[0] for asked in cloud.asked] == ["PATCH", "POST", "PATCH", "PATCH", "POST"]


class TestTwice:
    """Creating what is there: the same words, lit and dark."""

    @pytest.mark.parametrize(
        ("target", "made"),
        [
            ("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node"}),
            (
                "/apis/storage.k8s.io/v1/csinodes",
                {"apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "spec": {"drivers": []}},
            ),
            (LEASES, {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}),
        ],
    )
    async def test_a_node_hears_the_same_words(self, node: KubeClient, target: str, made: dict[str, Any]) -> None:
        await registered(node, "local-1")
        namespace = {"namespace": "kube-node-lease"} if target == LEASES else {}
        body = json.dumps({**made, "metadata": {"name": "local-1", **namespace}}).encode()
        for _ in range(2):
            status, head, lit = await node.raw("POST", target, headers=JSON, body=body)
        dark = self.dark(target)
        assert (status, json.loads(lit)) == (dark.status, json.loads(dark.body))
        assert head["Content-Type"].encode() == dark.header(b"Content-Type")

    def dark(self, target: str) -> Local:
        if target != LEASES:
            return dark_write("create", parse_target(target), "system:node:local-1", lambda *_: True)
        beats = Beats("local-1", Records())
        beats.renewed(lease("local-1", holder="local-1", renewed=1.0), 1.0)
        return beats.created()
