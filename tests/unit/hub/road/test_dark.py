"""Without the cloud: what was read is answered, what cannot be known is said to be unknown, and nothing is made up."""

import asyncio
import json
import re
from typing import Any

import pytest
from kit.cluster import NODE, dump
from kit.keeping import TABLE, World, until
from yurt_hub.domain.links import LinkPolicy

LEASE = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1"


def names(listed: Any) -> list[str]:
    return [obj["metadata"]["name"] for obj in listed["items"]]


async def cut(sky: World, how: str) -> None:
    if how == "silent":
        sky.link.hush()
    else:
        await sky.link.refuse()


@pytest.mark.parametrize("how", ["silent", "refused"])
async def test_reads_in_flight_at_the_cut_are_answered_within_6_s(sky: World, how: str) -> None:
    """By the hub's own timing, also when other traffic was heard after they began; 404 and unknown sets too."""
    async with sky.hub(policy=LinkPolicy(mode="priority"), upstream={}) as hub:
        await hub.get("/api/v1/pods")
        await hub.lit()
        sky.cluster.hold = True
        clock = asyncio.get_running_loop().time
        paths = ["/api/v1/pods", "/api/v1/namespaces/default/pods/a", "/api/v1/namespaces/default/pods/none"]
        async with asyncio.TaskGroup() as group:
            began = clock()
            reads = [group.create_task(hub.ask(path)) for path in paths]
            unknown = group.create_task(hub.ask("/api/v1/secrets"))
            await until(lambda: sky.cluster.count("list", "secrets"), "the requests")
            await until(lambda: sky.cluster.count("get", "pods") == 2, "the requests")
            await asyncio.sleep(0.5)
            assert (await hub.ask("/readyz", agent="x")).status == 200
            await cut(sky, how)
            for read, status in zip(reads, (200, 200, 404), strict=True):
                assert (await read).status == status
            assert clock() - began < (6.0 if how == "silent" else 3.0)
        assert unknown.result().status == 503
        await sky.link.mend()


async def test_a_slow_cloud_that_lives_is_waited_for(sky: World) -> None:
    async with sky.hub() as hub:
        await hub.get("/api/v1/pods")
        sky.cluster.hold = True
        async with asyncio.TaskGroup() as group:
            read = group.create_task(hub.ask("/api/v1/pods"))
            await asyncio.sleep(6.0)
            sky.cluster.put("pods", "new")
            assert not read.done()
            sky.cluster.release()
        assert names(json.loads(read.result().body)) == ["a", "b", "c", "new"]


@pytest.mark.parametrize("how", ["silent", "refused"])
async def test_what_was_read_is_answered_with_its_age(sky: World, how: str) -> None:
    async with sky.hub() as hub:
        lit = await hub.get("/api/v1/pods")
        await cut(sky, how)
        await hub.dark()
        got = await hub.ask("/api/v1/pods")
        dark = json.loads(got.body)
        assert [{k: v for k, v in o.items() if k not in ("kind", "apiVersion")} for o in dark["items"]] == lit["items"]
        assert dark["metadata"]["resourceVersion"] == lit["metadata"]["resourceVersion"]
        assert (dark["kind"], dark["apiVersion"]) == ("PodList", "v1")
        assert re.fullmatch(
            r'299 yurt-hub "the cloud cannot be reached; this was so \d+ s ago"', got.headers["warning"]
        )
        got = await hub.ask("/api/v1/namespaces/default/pods/b")
        assert json.loads(got.body)["metadata"] == lit["items"][1]["metadata"]
        assert "warning" in got.headers
        await sky.link.mend()


async def test_absence_is_told_only_by_a_set_that_would_hold_the_object(sky: World) -> None:
    async with sky.hub() as hub:
        await hub.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1")
        await hub.get("/api/v1/namespaces/kube-system/configmaps")
        await sky.link.refuse()
        await hub.dark()
        assert (await hub.ask("/api/v1/namespaces/default/pods/a")).status == 200
        for path in (
            "/api/v1/namespaces/default/pods/c", "/api/v1/namespaces/default/pods/none", "/api/v1/pods",
            "/api/v1/namespaces/default/configmaps/x", "/api/v1/configmaps", "/api/v1/services",
            "/api/v1/namespaces/default/pods/a/log",
            "/apis/example.com/v1/widgets", "/metrics",
        ):  # fmt: skip
            got = await hub.ask(path)
            told = json.loads(got.body)
            assert (path, got.status, told["kind"], told["code"]) == (path, 503, "Status", 503)
            assert int(got.headers["retry-after"]) >= 1
            assert len(told["message"]) > 40
        got = await hub.ask("/api/v1/namespaces/kube-system/configmaps/none")
        told = json.loads(got.body)
        assert (got.status, told["reason"], told["details"]) == (
            404,
            "NotFound",
            {"name": "none", "kind": "configmaps"},
        )


async def test_selectors_that_nobody_used_are_evaluated_here(sky: World) -> None:
    async with sky.hub() as hub:
        await hub.get("/api/v1/pods")
        await sky.link.refuse()
        await hub.dark()
        for query, found in {
            "labelSelector=app%3Dweb": ["a", "c"],
            "labelSelector=app%20notin%20%28web%29": ["b"],
            "labelSelector=%21app": [],
            "fieldSelector=spec.nodeName%3Dn1": ["a", "b"],
            "fieldSelector=metadata.name%21%3Da,spec.nodeName%3Dn1": ["b"],
            "labelSelector=app%3Dweb&fieldSelector=spec.nodeName%3Dn2": ["c"],
        }.items():
            assert names(await hub.get(f"/api/v1/pods?{query}")) == found, query
        assert names(await hub.get("/api/v1/namespaces/default/pods")) == ["a", "b", "c"]
        assert names(await hub.get("/api/v1/namespaces/other/pods")) == []
        assert (await hub.ask("/api/v1/pods?fieldSelector=spec.unheardOf%3Dx")).status in (400, 503)


async def test_pages_in_the_dark_go_on_where_the_cloud_began(sky: World) -> None:
    async with sky.hub() as hub:
        await hub.get("/api/v1/pods")
        lit = await hub.get("/api/v1/pods?limit=2")
        await sky.link.refuse()
        await hub.dark()
        rest = await hub.get(f"/api/v1/pods?limit=2&continue={lit['metadata']['continue']}")
        assert names(lit) + names(rest) == ["a", "b", "c"]
        seen: list[str] = []
        token = ""
        for _ in range(3):
            page = await hub.get("/api/v1/pods?limit=1" + (f"&continue={token}" if token else ""))
            seen += names(page)
            token = page["metadata"].get("continue", "")
        assert (seen, token) == (["a", "b", "c"], "")
        await sky.link.mend()
        await hub.lit()


async def test_a_page_of_the_dark_is_gone_on_with_by_the_cloud(sky: World) -> None:
    """Versions in the hub's tokens are the cloud's, so it goes on or says honestly that they are too old."""
    async with sky.hub() as hub:
        await hub.get("/api/v1/pods")
        await sky.link.refuse()
        await hub.dark()
        page = await hub.get("/api/v1/pods?limit=2")
        await sky.link.mend()
        await hub.lit()
        got = await hub.ask(f"/api/v1/pods?limit=2&continue={page['metadata']['continue']}")
        assert got.status in (200, 410)


async def test_tables_in_the_dark_look_as_they_did(sky: World) -> None:
    async with sky.hub() as hub:
        lit = await hub.get("/api/v1/pods", accept=TABLE)
        await sky.link.refuse()
        await hub.dark()
        dark = await hub.get("/api/v1/pods", accept=TABLE)
        assert dark["columnDefinitions"] == lit["columnDefinitions"]
        assert [row["cells"][:2] for row in dark["rows"]] == [row["cells"][:2] for row in lit["rows"]]
        assert all(re.fullmatch(r"\d+[dy]\d*[hd]?", row["cells"][2]) for row in dark["rows"])
        assert {row["object"]["kind"] for row in dark["rows"]} == {"PartialObjectMetadata"}
        one = await hub.get("/api/v1/namespaces/default/pods/a", accept=TABLE)
        assert one["rows"][0]["cells"][0] == "a"
        assert names(await hub.get("/api/v1/pods")) == ["a", "b", "c"]


async def test_a_watch_in_the_dark_begins_from_what_is_kept(sky: World) -> None:
    async with sky.hub() as hub:
        await hub.get("/api/v1/pods")
        await sky.link.refuse()
        await hub.dark()
        listed = await hub.get("/api/v1/pods?labelSelector=app%3Dweb")
        version = listed["metadata"]["resourceVersion"]
        async with (
            hub.watch("/api/v1/pods") as whole,
            hub.watch(f"/api/v1/pods?labelSelector=app%3Dweb&resourceVersion={version}") as web,
        ):
            assert [(await whole.told())[1] for _ in range(3)] == ["a", "b", "c"]
            assert await web.quiet()
            sky.cluster.put("pods", "b", labels={"app": "web"})
            sky.cluster.remove("pods", "a")
            await sky.link.mend()
            assert await web.told() == ("ADDED", "b", 106)
            assert await web.told() == ("DELETED", "a", 107)
            assert [(await whole.told())[:2] for _ in range(2)] == [("MODIFIED", "b"), ("DELETED", "a")]
        assert sky.cluster.count("list", "pods") == 1
        assert not sky.cluster.made_up()


async def test_a_watch_of_what_is_not_kept_is_refused_in_the_dark(sky: World) -> None:
    async with sky.hub() as hub:
        await sky.link.refuse()
        await hub.dark()
        got = await hub.ask("/api/v1/secrets?watch=true&resourceVersion=5")
        assert (got.status, json.loads(got.body)["kind"], "retry-after" in got.headers) == (503, "Status", True)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_writes_wait_for_the_cloud(sky: World, method: str) -> None:
    async with sky.hub() as hub:
        await hub.get("/api/v1/pods")
        await sky.link.refuse()
        await hub.dark()
        path = "/api/v1/namespaces/default/pods" + ("" if method == "POST" else "/a")
        got = await hub.ask(path, method, body=b"{}")
        told = json.loads(got.body)
        assert (got.status, told["code"], "retry-after" in got.headers) == (503, 503, True)
        assert "cannot be reached" in told["message"]


async def test_a_kubelet_that_starts_anew_is_told_that_its_node_is_there(sky: World) -> None:
    async with sky.hub() as hub:
        await hub.get("/api/v1/nodes/n1")
        await sky.link.refuse()
        await hub.dark()
        got = await hub.ask("/api/v1/nodes", "POST", body=dump({"kind": "Node", "metadata": {"name": "n1"}}))
        assert (got.status, json.loads(got.body)["reason"]) == (409, "AlreadyExists")
        assert (await hub.ask("/api/v1/nodes/n1")).status == 200


async def test_the_lease_is_renewed_here_and_once_at_the_cloud(sky: World) -> None:
    lease = sky.cluster.put(
        "leases", "n1", "kube-node-lease", spec={"holderIdentity": "n1", "leaseDurationSeconds": 40}
    )
    body = dump({"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", **lease})
    patched = sky.cluster.count
    async with sky.hub() as hub:
        assert (await hub.ask(LEASE)).status == 200
        for number in range(1, 4):
            assert (await hub.ask(LEASE, "PUT", body=body)).status == 200
            await until(lambda number=number: patched("patch", "leases") == number, "the renewal")  # type: ignore[misc]
        assert sky.cluster.count("update", "leases") == 0
        await sky.link.refuse()
        await hub.dark()
        for _ in range(3):
            got = await hub.ask(LEASE, "PUT", body=body)
            assert (got.status, json.loads(got.body)["spec"]["holderIdentity"]) == (200, "n1")
        await sky.link.mend()
        await hub.lit()
        count = sky.cluster.count("patch", "leases")
        assert (await hub.ask(LEASE, "PUT", body=body)).status == 200
        await until(lambda: sky.cluster.count("patch", "leases") > count, "the renewal")
        assert sky.cluster.objects["leases"]["kube-node-lease", "n1"]["spec"]["renewTime"]


async def test_reviews_and_documents_are_answered_as_they_were(sky: World) -> None:
    review = b'{"kind":"SelfSubjectAccessReview","spec":{"resourceAttributes":{"resource":"pods","verb":"list"}}}'
    other = review.replace(b"list", b"delete")
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    async with sky.hub() as hub:
        assert (await hub.ask(path, "POST", body=review)).status == 201
        await until(lambda: hub.keeping.documents.body("/version"), "the documents")
        await sky.link.refuse()
        await hub.dark()
        got = await hub.ask(path, "POST", body=review)
        assert (got.status, json.loads(got.body)["status"]) == (201, {"allowed": True})
        assert (await hub.ask(path, "POST", body=other)).status == 503
        version = await hub.get("/version", agent="kubectl/1")
        assert version == {"major": "1", "minor": "34"}
        assert (await hub.ask("/healthz")).status == (await hub.ask("/readyz")).status == 503


async def test_an_impersonator_gets_nothing_in_the_dark(sky: World) -> None:
    async with sky.hub() as hub:
        await hub.get("/api/v1/pods")
        await sky.link.refuse()
        await hub.dark()
        assert (await hub.ask("/api/v1/pods", Impersonate_User="jane")).status == 503


async def test_a_hub_that_starts_before_a_black_hole_answers_within_a_second(sky: World) -> None:
    sky.cluster.tokens["t1"] = "jane"
    async with sky.hub() as hub:
        await hub.get("/api/v1/pods")
        await hub.get("/api/v1/services")
        await hub.get("/api/v1/services", token="t1")
        await hub.get("/api/v1/pods", token="t1")
    sky.link.hush()
    clock = asyncio.get_running_loop().time
    async with sky.hub(policy=LinkPolicy(mode="priority"), upstream={}) as hub:
        for path in ("/api/v1/pods", "/api/v1/namespaces/default/pods/a", "/api/v1/services"):
            for token in ("", "t1"):
                began = clock()
                got = await hub.ask(path, token=token)
                assert (path, token, got.status) == (path, token, 200)
                assert clock() - began < 1.0, (path, token)
        began = clock()
        async with hub.watch("/api/v1/pods") as watch:
            assert (await watch.told())[:2] == ("ADDED", "a")
            assert clock() - began < 1.0
    await sky.link.mend()
    assert NODE == "system:node:n1"
