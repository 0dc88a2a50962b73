"""Our small client against a real API server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from kit.plane import MakePlane
from yurtcore.adapters.kube import KubeClient
from yurtcore.errors import BadInput, Conflict, Gone, Missing, Refused, Retry
from yurtcore.wire.gvr import Gvr, path
from yurtsim.controlplane import ControlPlane

pytestmark = pytest.mark.controlplane

CONFIGMAPS = Gvr("", "v1", "configmaps")
NAMESPACES = Gvr("", "v1", "namespaces")


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def maps(namespace: str, name: str | None = None) -> str:
    return path(CONFIGMAPS, namespace=namespace, name=name)


@pytest.fixture
async def client(plane: ControlPlane) -> AsyncIterator[KubeClient]:
    async with KubeClient.from_kubeconfig(plane.admin_kubeconfig, user_agent="yurt-test") as found:
        yield found


@pytest.fixture
async def namespace(client: KubeClient) -> AsyncIterator[str]:
    made = await client.create(path(NAMESPACES), {"metadata": {"generateName": "client-"}})
    name: str = made["metadata"]["name"]
    yield name
    await client.delete(path(NAMESPACES, name=name))


async def test_an_object_is_created_read_changed_and_deleted(client: KubeClient, namespace: str) -> None:
    here = maps(namespace, "a")
    made = await client.create(maps(namespace), config_map("a", k="1"))
    assert await client.get(here) == made
    made["data"]["k"] = "2"
    replaced = await client.replace(here, made)
    merged = await client.patch(here, {"data": {"l": "3"}})
    tested = await client.patch(
        here,
        [
            {"op": "test", "path": "/metadata/resourceVersion", "value": merged["metadata"]["resourceVersion"]},
            {"op": "add", "path": "/data/m", "value": "4"},
        ],
        "json",
    )
    final = await client.patch(here, {"metadata": {"labels": {"x": "y"}}}, "strategic")
    assert [obj["data"] for obj in (replaced, merged, tested, final)] == [
        {"k": "2"},
        {"k": "2", "l": "3"},
        {"k": "2", "l": "3", "m": "4"},
        {"k": "2", "l": "3", "m": "4"},
    ]
    assert (await client.delete(here))["status"] == "Success"
    with pytest.raises(Missing) as caught:
        await client.get(here)
    assert (caught.value.code, caught.value.reason) == (404, "NotFound")
    assert caught.value.why == f'GET {here}: 404: configmaps "a" not found'


async def test_who_comes_second_gets_a_conflict(client: KubeClient, namespace: str) -> None:
    made = await client.create(maps(namespace), config_map("a"))
    with pytest.raises(Conflict) as taken:
        await client.create(maps(namespace), config_map("a"))
    assert taken.value.reason == "AlreadyExists"
    await client.replace(maps(namespace, "a"), {**made, "data": {"k": "1"}})
    with pytest.raises(Conflict) as stale:
        await client.replace(maps(namespace, "a"), {**made, "data": {"k": "2"}})
    assert stale.value.reason == "Conflict"
    with pytest.raises(Conflict):
        await client.delete(maps(namespace, "a"), options={"preconditions": {"uid": "other"}})


async def test_apply_owns_its_fields_and_takes_others_only_by_force(client: KubeClient, namespace: str) -> None:
    here = maps(namespace, "a")
    first = await client.apply(here, config_map("a", k="1"), "one")
    again = await client.apply(here, config_map("a", k="1"), "one")
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    with pytest.raises(Conflict, match="conflict with"):
        await client.apply(here, config_map("a", k="2"), "two")
    assert (await client.apply(here, config_map("a", k="2"), "two", force=True))["data"] == {"k": "2"}


async def test_a_list_is_read_in_pages_to_its_end(client: KubeClient, namespace: str) -> None:
    for number in range(7):
        await client.create(
            maps(namespace), config_map(f"m{number}") | {"metadata": {"name": f"m{number}", "labels": {"t": "p"}}}
        )
    found = await client.list(maps(namespace), query={"labelSelector": "t=p"}, page=2)
    assert [item["metadata"]["name"] for item in found["items"]] == [f"m{number}" for number in range(7)]
    assert "continue" not in found["metadata"]
    assert int(found["metadata"]["resourceVersion"]) > 0
    assert (await client.list(maps(namespace), query={"labelSelector": "t=none"}))["items"] == []


async def test_a_watch_brings_what_happens_after_the_list(client: KubeClient, namespace: str) -> None:
    since = (await client.list(maps(namespace)))["metadata"]["resourceVersion"]
    await client.create(maps(namespace), config_map("a"))
    await client.delete(maps(namespace, "a"))
    seen = []
    async with asyncio.timeout(60), aclosing(client.lines(maps(namespace), since, silence=30)) as lines:
        async for line in lines:
            event = json.loads(line)
            if event["object"]["metadata"].get("name") == "a":
                seen.append(event["type"])
            if seen == ["ADDED", "DELETED"]:
                break


async def test_a_large_event_comes_whole(client: KubeClient, namespace: str) -> None:
    since = (await client.list(maps(namespace)))["metadata"]["resourceVersion"]
    text = "x" * 900_000
    await client.create(maps(namespace), config_map("big", text=text))
    async with asyncio.timeout(60), aclosing(client.lines(maps(namespace), since, silence=30)) as lines:
        event = json.loads(await anext(lines))
    assert event["object"]["data"]["text"] == text


async def test_a_watch_ends_when_the_server_says_so(client: KubeClient, namespace: str) -> None:
    since = (await client.list(maps(namespace)))["metadata"]["resourceVersion"]
    async with asyncio.timeout(60):
        lines = [line async for line in client.lines(maps(namespace), since, silence=30, query={"timeoutSeconds": 1})]
    assert all(json.loads(line)["type"] in ("BOOKMARK", "ADDED") for line in lines)


async def test_a_quiet_watch_is_given_up_after_its_silence(client: KubeClient, namespace: str) -> None:
    since = (await client.list(maps(namespace)))["metadata"]["resourceVersion"]
    with pytest.raises(Retry, match="no answer in time"):
        async for _ in client.lines(maps(namespace), since, silence=0.5, query={"labelSelector": "none=none"}):
            pass


async def test_a_version_that_is_no_longer_kept_is_gone(private_plane: MakePlane) -> None:
    """A restarted API server knows no event from before its first list; it says so inside a watch it has accepted."""
    cloud = await private_plane(seeded=False)
    await cloud.stop_api_server()
    await cloud.start_api_server()
    async with KubeClient.from_kubeconfig(cloud.admin_kubeconfig) as client:
        with pytest.raises(Gone, match="too old resource version"):
            async for _ in client.lines(path(NAMESPACES), "1", silence=30):
                pass


async def test_a_selector_that_does_not_parse_is_refused(client: KubeClient) -> None:
    with pytest.raises(Refused) as caught:
        await client.list(path(CONFIGMAPS), query={"labelSelector": "a b"})
    assert caught.value.code == 400
    with pytest.raises(Refused):
        async for _ in client.lines(path(CONFIGMAPS), "0", silence=30, query={"labelSelector": "a b"}):
            pass


async def test_raw_gives_the_answer_as_it_is(client: KubeClient) -> None:
    code, headers, body = await client.raw("GET", "/version")
    assert (code, headers["content-type"], json.loads(body)["major"]) == (200, "application/json", "1")
    code, _, body = await client.raw("GET", "/api/v1/namespaces/x/pods/y")
    assert (code, json.loads(body)["reason"]) == (404, "NotFound")
    code, headers, body = await client.raw(
        "GET", "/api/v1/namespaces", headers={"Accept": "application/vnd.kubernetes.protobuf"}
    )
    assert (headers["content-type"], body[:4]) == ("application/vnd.kubernetes.protobuf", b"k8s\x00")


async def test_a_token_says_who_we_are_and_a_new_one_is_read_from_its_file(
    client: KubeClient, plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    accounts = path(Gvr("", "v1", "serviceaccounts"), namespace=namespace, name="default")
    async with asyncio.timeout(60):
        while True:
            try:
                asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
                token = (await client.create(accounts + "/token", asked))["status"]["token"]
                break
            except Missing:  # the controller manager makes the account a moment after the namespace
                await asyncio.sleep(0.1)
    (tmp_path / "token").write_text(token + "\n")
    tree = json.loads(plane.kubeconfig("by-token", plane.server, token="not this one").read_text())
    tree["users"][0]["user"] = {"tokenFile": "token"}
    (tmp_path / "kubeconfig").write_text(json.dumps(tree))
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    async with KubeClient.from_kubeconfig(tmp_path / "kubeconfig") as other:
        said = await other.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", review)
    assert said["status"]["userInfo"]["username"] == f"system:serviceaccount:{namespace}:default"


async def test_no_credential_and_a_bad_one_are_refused(plane: ControlPlane) -> None:
    async with KubeClient(plane.server, ca_file=plane.ca_file, token="nonsense") as client:
        with pytest.raises(Refused) as caught:
            await client.list(path(CONFIGMAPS))
    assert (caught.value.code, caught.value.reason) == (401, "Unauthorized")


async def test_a_server_that_another_authority_signed_is_not_trusted(plane: ControlPlane) -> None:
    async with KubeClient(plane.server, ca_file=plane.pki.authority("etcd-ca").cert) as client:
        with pytest.raises(Refused, match="certificate is not trusted"):
            await client.get("/version")


async def test_a_credential_file_that_is_not_there_is_named(plane: ControlPlane) -> None:
    with pytest.raises(BadInput, match="cannot read CA file /nowhere"):
        await KubeClient(plane.server, ca_file="/nowhere").__aenter__()
