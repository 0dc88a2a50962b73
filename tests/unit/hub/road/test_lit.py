"""While the cloud is there: answers pass byte by byte, and leave a copy."""

import asyncio
import json

import pytest
from kit.keeping import TABLE, Hub, World, request, until
from yurt_hub.domain.kept.sets import SetKey
from yurtcore.wire.gvr import Gvr

PODS = Gvr("", "v1", "pods")
ALL = SetKey(PODS, "")


def kept(hub: Hub) -> list[str]:
    """Resources of the sets in the store."""
    return sorted(c.key.gvr.resource for c in hub.keeping.store.coverages() if c.key.gvr.resource != "configmaps")


async def test_a_list_passes_and_is_kept(sky: World) -> None:
    async with sky.hub() as hub:
        got = await hub.ask("/api/v1/pods")
        assert [o["metadata"]["name"] for o in json.loads(got.body)["items"]] == ["a", "b", "c"]
        assert "warning" not in got.headers
        coverage = hub.keeping.store.coverage(ALL)
        assert coverage is not None
        assert [obj.key[1] for obj in coverage.shown()] == ["a", "b", "c"]
        assert coverage.version == sky.cluster.revision
        assert coverage.readable("system:node:n1")
        assert coverage.needed


@pytest.mark.parametrize("how", ["plain", "gzip", "chunked", "gzip chunked", "pretty"])
async def test_answers_are_read_however_they_are_written(sky: World, how: str) -> None:
    sky.cluster.gzip, sky.cluster.chunked, sky.cluster.pretty = "gzip" in how, "chunked" in how, "pretty" in how
    async with sky.hub() as hub:
        got = await hub.ask("/api/v1/pods", Accept_Encoding="gzip")
        assert ("content-encoding" in got.headers, "transfer-encoding" in got.headers) == (
            "gzip" in how,
            "chunked" in how,
        )
        coverage = hub.keeping.store.coverage(ALL)
        assert coverage is not None
        for obj in coverage.shown():
            told = json.loads(obj.raw)
            assert told.pop("kind") == "Pod"
            assert told.pop("apiVersion") == "v1"
            assert told == sky.cluster.objects["pods"][obj.key]


async def test_kept_components_get_json_and_others_what_they_ask_for(sky: World) -> None:
    protobuf = "application/vnd.kubernetes.protobuf,application/json"
    async with sky.hub() as hub:
        got = await hub.ask("/api/v1/pods", accept=protobuf)
        assert got.headers["content-type"] == "application/json"
        assert sky.cluster.last("pods").headers["accept"] == "application/json"
        got = await hub.ask("/api/v1/services", accept=protobuf, agent="calico/3")
        assert got.headers["content-type"] == "application/vnd.kubernetes.protobuf"
        assert sky.cluster.last("services").headers["accept"] == protobuf
        got = await hub.ask("/api/v1/services", accept="application/vnd.kubernetes.protobuf")
        assert got.headers["content-type"] == "application/vnd.kubernetes.protobuf"
        assert kept(hub) == ["pods"]


async def test_tables_come_with_whole_objects(sky: World) -> None:
    async with sky.hub() as hub:
        table = await hub.get("/api/v1/pods?includeObject=Metadata", accept=TABLE)
        assert [row["cells"][0] for row in table["rows"]] == ["a", "b", "c"]
        assert sky.cluster.last("pods").query("includeObject") == "Object"
        coverage = hub.keeping.store.coverage(ALL)
        assert coverage is not None
        assert coverage.columns is not None
        assert [json.loads(obj.cells or b"")[:2] for obj in coverage.shown()] == [
            ["a", "web"],
            ["b", "db"],
            ["c", "web"],
        ]
        one = await hub.get("/api/v1/namespaces/default/pods/a", accept=TABLE)
        assert one["rows"][0]["cells"][0] == "a"


async def test_pages_add_up_to_a_set(sky: World) -> None:
    async with sky.hub() as hub:
        first = await hub.get("/api/v1/pods?limit=2")
        assert hub.keeping.store.coverage(ALL) is None
        await hub.get(f"/api/v1/pods?limit=2&continue={first['metadata']['continue']}")
        coverage = hub.keeping.store.coverage(ALL)
        assert coverage is not None
        assert len(coverage.members) == 3


async def test_big_pages_add_up_in_the_order_in_which_they_came(sky: World) -> None:
    """The first page is read in a thread; the last one is small and must not overtake it."""
    for number in range(300):
        sky.cluster.put("widgets", f"w{number:03}", notes=["x"] * 8000)
    key = SetKey(Gvr("example.com", "v1", "widgets"), "")
    async with sky.hub() as hub:
        wire = await hub.connect()
        token = ""
        for limit in (290, 5, 5):
            got = await wire.ask(
                request(f"/apis/example.com/v1/widgets?limit={limit}" + (f"&continue={token}" if token else ""))
            )
            token = json.loads(got.body)["metadata"].get("continue", "")
        assert not token
        await wire.close()
        await until(lambda: hub.keeping.store.coverage(key), "the set")
        coverage = hub.keeping.store.coverage(key)
        assert coverage is not None
        assert len(coverage.members) == 300


async def test_impersonated_answers_are_not_kept(sky: World) -> None:
    async with sky.hub() as hub:
        await hub.get("/api/v1/pods", Impersonate_User="jane")
        assert kept(hub) == []
        review = b'{"kind":"SelfSubjectAccessReview","spec":{"resourceAttributes":{"resource":"pods"}}}'
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        got = await hub.ask(path, "POST", body=review, Impersonate_User="jane")
        assert got.status == 201
        await sky.link.refuse()
        await hub.dark()
        assert (await hub.ask(path, "POST", body=review)).status == 503


async def test_a_refusal_takes_the_right_away(sky: World) -> None:
    sky.cluster.tokens["t1"] = "jane"
    async with sky.hub() as hub:
        await hub.get("/api/v1/pods", token="t1")
        await hub.get("/api/v1/pods")
        sky.cluster.denied.add(("jane", "pods"))
        assert (await hub.ask("/api/v1/pods", token="t1")).status == 403
        await sky.link.refuse()
        await hub.dark()
        assert (await hub.ask("/api/v1/pods", token="t1")).status == 503
        assert (await hub.ask("/api/v1/pods")).status == 200


async def test_the_absence_of_an_object_is_kept(sky: World) -> None:
    async with sky.hub() as hub:
        assert (await hub.ask("/api/v1/namespaces/default/secrets/none")).status == 404
        await sky.link.refuse()
        await hub.dark()
        got = await hub.ask("/api/v1/namespaces/default/secrets/none")
        assert (got.status, json.loads(got.body)["reason"]) == (404, "NotFound")
        assert (await hub.ask("/api/v1/namespaces/default/secrets/other")).status == 503


async def test_head_passes_and_is_answered_without_a_body_in_the_dark(sky: World) -> None:
    async with sky.hub() as hub:
        assert (await hub.ask("/api/v1/pods", "HEAD")).status == 200
        assert kept(hub) == []
        length = len((await hub.ask("/api/v1/pods")).body)
        await sky.link.refuse()
        await hub.dark()
        wire = await hub.connect()
        got = await wire.ask(request("/api/v1/pods", "HEAD"))
        assert (got.status, got.body) == (200, b"")
        assert int(got.headers["content-length"]) > length  # each item says its kind
        assert (await wire.ask(request("/api/v1/pods"))).status == 200  # the connection goes on
        await wire.close()


async def test_an_answer_that_breaks_off_is_not_kept(sky: World) -> None:
    for number in range(40):
        sky.cluster.put("widgets", f"w{number:02}", note="x" * 20_000)
    async with sky.hub() as hub:
        wire = await hub.connect()
        wire.writer.write(request("/apis/example.com/v1/widgets"))
        status, headers = await wire.head()
        await sky.link.refuse()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await wire.reader.readexactly(int(headers["content-length"]))
        assert (status, kept(hub)) == (200, [])
        await wire.close()
