"""Bodies through the hub: any content type, any coding, any size; the bytes of an answer are the API server's."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator

import pytest
from kit.accounts import Account, admin
from kit.hub import Hub, Site, ask, request
from kit.pump import Got
from yurtcore.adapters.kube import KubeClient
from yurtsim.controlplane import ControlPlane

pytestmark = pytest.mark.controlplane

PROTOBUF = "application/vnd.kubernetes.protobuf"
BIG = 10
"""ConfigMaps of half a megabyte each: 5 MB in a list."""


@pytest.fixture
async def kube(plane: ControlPlane) -> AsyncIterator[KubeClient]:
    """Return a client for the cluster's admin that goes round the hub."""
    async with admin(plane) as client:
        yield client


@pytest.fixture
async def many(kube: KubeClient, caller: Account) -> str:
    """Return the target of a list of 5 MB at one version, which stays what it is whatever happens meanwhile."""
    path = f"/api/v1/namespaces/{caller.namespace}/configmaps"
    found = await kube.list(path, query={"labelSelector": "big"})
    if not found["items"]:
        made = [{"metadata": {"name": f"big-{n}", "labels": {"big": ""}}, "data": text(n)} for n in range(BIG)]
        await asyncio.gather(*(kube.create(path, one) for one in made))
        found = await kube.list(path, query={"labelSelector": "big"})
    version = found["metadata"]["resourceVersion"]
    return f"{path}?labelSelector=big&resourceVersion={version}&resourceVersionMatch=Exact"


def text(seed: int) -> dict[str, str]:
    """Return half a megabyte of lines that no compression makes vanish."""
    return {"text": "".join(f"{(n * 2654435761 + seed) % 2**64:016x}\n" for n in range(30_000))}


async def both(site: Site, sent: bytes) -> tuple[Got, Got]:
    """Ask the API server itself, then through the hub."""
    return await ask(await site.direct(), sent), await ask(await site.hub.secure(), sent)


@pytest.mark.parametrize("kind", ["application/json", PROTOBUF, f"{PROTOBUF}, */*"])
@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_a_list_of_five_megabytes_is_the_api_servers_byte_by_byte(
    site: Site, caller: Account, many: str, kind: str, coding: str
) -> None:
    """Plain and gzipped, JSON and protobuf."""
    sent = request(many, f"Accept: {kind}", f"Accept-Encoding: {coding}", token=caller.token)
    direct, through = await both(site, sent)
    assert (through.status, through.headers["content-type"]) == (200, direct.headers["content-type"])
    assert through.headers.get("content-encoding") == ("gzip" if coding == "gzip" else None)
    whole = gzip.decompress(through.body) if coding == "gzip" else through.body
    assert whole == (gzip.decompress(direct.body) if coding == "gzip" else direct.body)
    assert len(whole) > 5_000_000
    assert whole.startswith(b"k8s\0" if PROTOBUF in kind else b'{"kind":"ConfigMapList"')


async def test_a_write_in_protobuf_passes_as_it_is(site: Site, kube: KubeClient, caller: Account) -> None:
    """The bytes that a component writes are those that the API server stores."""
    path = f"/api/v1/namespaces/{caller.namespace}/configmaps"
    await kube.create(path, {"metadata": {"name": "binary"}, "data": {"word": "before"}})
    wire = await site.hub.secure()
    got = await wire.ask(request(f"{path}/binary", f"Accept: {PROTOBUF}", token=caller.token))
    assert got.body.startswith(b"k8s\0")
    changed = got.body.replace(b"before", b"behind")
    kinds = (f"Content-Type: {PROTOBUF}", f"Accept: {PROTOBUF}")
    put = await wire.ask(request(f"{path}/binary", *kinds, method="PUT", token=caller.token, body=changed))
    await wire.close()
    assert (put.status, put.headers["content-type"]) == (200, PROTOBUF)
    assert b"behind" in put.body
    assert (await kube.get(f"{path}/binary"))["data"] == {"word": "behind"}


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_what_the_api_server_refuses_for_its_size_is_refused_in_its_words(
    site: Site, caller: Account, framing: str
) -> None:
    """4 MB are more than the API server takes: its 413 arrives, though the body was still on its way."""
    target = f"/api/v1/namespaces/{caller.namespace}/configmaps"
    body = json.dumps({"metadata": {"name": "huge"}, "data": {"text": "x" * 4_000_000}}).encode()
    kind = ("Content-Type: application/json", "Accept: application/json")
    if framing == "length":
        sent = request(target, *kind, method="POST", token=caller.token, body=body)
    else:
        sent = request(target, *kind, "Transfer-Encoding: chunked", method="POST", token=caller.token)
        sent += b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces(body, 32_000)) + b"0\r\n\r\n"
    through = await ask(await site.hub.secure(), sent)
    said = json.loads(through.body)
    assert (through.status, said["kind"], said["code"]) == (413, "Status", 413)
    assert said["reason"] == "RequestEntityTooLarge"


async def test_a_large_object_is_written_and_read_back_whole(site: Site, kube: KubeClient, caller: Account) -> None:
    """A write of nearly a megabyte, in one piece or in chunks, keep-alive."""
    path = f"/api/v1/namespaces/{caller.namespace}/configmaps"
    wire = await site.hub.secure()
    for framing in ("length", "chunked"):
        value = framing[0] * 900_000
        body = json.dumps({"metadata": {"name": f"large-{framing}"}, "data": {"text": value}}).encode()
        kind = ("Content-Type: application/json",)
        if framing == "length":
            sent = request(path, *kind, method="POST", token=caller.token, body=body)
        else:
            sent = request(path, *kind, "Transfer-Encoding: chunked", method="POST", token=caller.token)
            sent += b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces(body, 7_777)) + b"0\r\n\r\n"
        assert (await wire.ask(sent)).status == 201
        assert (await kube.get(f"{path}/large-{framing}"))["data"]["text"] == value
    await wire.close()


async def test_answers_of_every_shape_match_the_api_servers(site: Site, caller: Account) -> None:
    """HEAD, OPTIONS, unknown paths, refused rights, Tables, 304 and tiny answers: status, kind and body agree."""
    path = f"/api/v1/namespaces/{caller.namespace}/configmaps"
    table = "Accept: application/json;as=Table;v=v1;g=meta.k8s.io"
    shapes = [
        request("/version", token=caller.token),
        request("/api", "Accept: application/json", token=caller.token),
        request("/nothing/here", token=caller.token),
        request("/api/v1/secrets", token=caller.token),
        request(f"{path}/none", token=caller.token),
        request(f"{path}?labelSelector=none", table, token=caller.token),
        request(path, method="OPTIONS", token=caller.token),
        request(f"{path}?labelSelector=a%20in%20(", token=caller.token),
        request("/openapi/v3", "Accept-Encoding: gzip", token=caller.token),
        request(path, "Content-Type: text/plain", method="POST", token=caller.token, body=b"{"),
        request("/version", method="HEAD", token=caller.token),
    ]
    for sent in shapes:
        direct, through = await both(site, sent)
        assert (through.status, stripped(through)) == (direct.status, stripped(direct)), sent
        assert through.headers.get("content-type") == direct.headers.get("content-type")
    aggregated = "Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    first = await ask(await site.hub.secure(), request("/apis", aggregated, token=caller.token))
    known = request("/apis", aggregated, f"If-None-Match: {first.headers['etag']}", token=caller.token)
    assert [got.status for got in await both(site, known)] == [304, 304]


async def test_hub_079_after_all_requests_none_is_in_flight(site: Site, caller: Account, many: str) -> None:
    """In-flight is 0 again, and what was passed to clients has grown by at least the bodies."""
    before = (await site.hub.metrics())["node_yurthub_proxy_traffic_collector"]
    sent = request(many, "Accept: application/json", token=caller.token)
    bodies = [len((await ask(await site.hub.secure(), sent)).body) for _ in range(2)]
    after = await site.hub.metrics()
    assert after["yurt_hub_in_flight_requests"] == 0
    assert sum(bodies) <= after["node_yurthub_proxy_traffic_collector"] - before < sum(bodies) * 1.02


def pieces(data: bytes, size: int) -> list[bytes]:
    """Cut bytes into pieces."""
    return [data[at : at + size] for at in range(0, len(data), size)]


def stripped(got: Got) -> bytes:
    """Return a body; gzip says when it was made, so it is opened."""
    return gzip.decompress(got.body) if got.headers.get("content-encoding") == "gzip" else got.body


async def test_a_slow_reader_gets_all_of_it(site: Site, caller: Account, many: str) -> None:
    """Whoever reads a large answer slowly holds up nobody but itself."""
    slow = await site.hub.secure()
    slow.writer.write(request(many, "Accept: application/json", token=caller.token))
    await slow.head()
    await quick(site.hub, caller)
    size = 0
    async for piece in slow.chunks():
        size += len(piece)
        if size < 200_000:
            await quick(site.hub, caller)
    await slow.close()
    assert size > 5_000_000


async def quick(hub: Hub, caller: Account) -> None:
    """Ask something small."""
    got = await ask(await hub.secure(), request("/version", token=caller.token))
    assert got.status == 200
