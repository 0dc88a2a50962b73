"""Watches of kept callers are told by the hub's own feeds."""

import asyncio
import json

import pytest
from kit.keeping import TABLE, Told, World, request, until
from yurt_hub.domain.kept.sets import SetKey
from yurtcore.wire.gvr import Gvr

ALL = SetKey(Gvr("", "v1", "pods"), "")


async def test_watchers_of_one_set_share_one_watch_at_the_cloud(sky: World) -> None:
    async with sky.hub() as hub:
        version = (await hub.get("/api/v1/pods"))["metadata"]["resourceVersion"]
        path = f"/api/v1/pods?resourceVersion={version}&allowWatchBookmarks=true"
        async with hub.watch(path) as one, hub.watch(path) as two, hub.watch(path, agent="kube-proxy") as three:
            watchers = (one, two, three)
            assert all(w.headers["content-type"] == "application/json" for w in watchers)
            await until(lambda: sky.cluster.watches, "the hub's watch")
            sky.cluster.put("pods", "d")
            sky.cluster.put("pods", "a", labels={"app": "new"})
            sky.cluster.remove("pods", "b")
            for watcher in watchers:
                assert [await watcher.told() for _ in range(3)] == [
                    ("ADDED", "d", 106), ("MODIFIED", "a", 107), ("DELETED", "b", 108),
                ]  # fmt: skip
            assert hub.feeds() == [("pods", True, 3)]
            sky.cluster.put("services", "other")
            sky.cluster.bookmark()
            for watcher in watchers:
                assert await watcher.told() == ("BOOKMARK", "", 109)
        assert (sky.cluster.count("watch", "pods"), sky.cluster.count("list", "pods")) == (1, 1)
        await until(lambda: hub.feeds() == [("pods", True, 0)], "the end of the watches")
    assert not sky.cluster.made_up()


async def test_a_watch_without_a_list_is_listed_once_by_the_hub(sky: World) -> None:
    async with sky.hub() as hub, hub.watch("/api/v1/pods") as one, hub.watch("/api/v1/pods") as two:
        for watcher in (one, two):
            assert [(await watcher.told())[:2] for _ in range(3)] == [("ADDED", name) for name in "abc"]
        sky.cluster.put("pods", "d")
        assert await one.told() == await two.told() == ("ADDED", "d", 106)
        assert (sky.cluster.count("watch", "pods"), sky.cluster.count("list", "pods")) == (1, 1)


async def test_a_watch_list_gets_its_initial_events_and_their_end(sky: World) -> None:
    async with sky.hub() as hub:
        await hub.get("/api/v1/pods")
        path = "/api/v1/pods?sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
        async with hub.watch(path) as watch:
            for name in "abc":
                assert (await watch.told())[:2] == ("ADDED", name)
            end = await watch.event()
            assert end is not None
            assert end["type"] == "BOOKMARK"
            assert end["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
            assert end["object"]["kind"] == "Pod"
            sky.cluster.put("pods", "d")
            assert (await watch.told())[:2] == ("ADDED", "d")


async def test_a_watch_ends_at_its_time_and_the_connection_goes_on(sky: World) -> None:
    async with sky.hub() as hub:
        version = (await hub.get("/api/v1/pods"))["metadata"]["resourceVersion"]
        began = asyncio.get_running_loop().time()
        async with hub.watch(f"/api/v1/pods?resourceVersion={version}&timeoutSeconds=1") as watch:
            assert await watch.event() is None
            assert 0.9 < asyncio.get_running_loop().time() - began < 1.8
            assert (await watch.wire.ask(request("/api/v1/pods"))).status == 200


async def test_tables_and_partial_objects_are_told_beside_plain_ones(sky: World) -> None:
    partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json"
    async with sky.hub() as hub:
        table = await hub.get("/api/v1/pods", accept=TABLE)
        path = f"/api/v1/pods?resourceVersion={table['metadata']['resourceVersion']}"
        async with (
            hub.watch(path, accept=TABLE) as rows,
            hub.watch(path, accept=partial) as metas,
            hub.watch(path) as plain,
        ):
            await until(lambda: sky.cluster.watches, "the hub's watch")
            sky.cluster.put("pods", "d", labels={"app": "web"}, spec={"nodeName": "n1"})
            row, meta, pod = await rows.event(), await metas.event(), await plain.event()
            assert row is not None
            assert row["object"]["rows"][0]["cells"][:2] == ["d", "web"]
            assert row["object"]["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
            assert row["object"]["columnDefinitions"]
            assert meta is not None
            assert (meta["object"]["kind"], "spec" in meta["object"]) == ("PartialObjectMetadata", False)
            assert pod is not None
            assert (pod["object"]["kind"], pod["object"]["spec"]) == ("Pod", {"nodeName": "n1"})
            assert sky.cluster.count("watch", "pods") == 1


async def test_tables_are_told_though_the_feed_began_with_plain_objects(sky: World) -> None:
    """Whoever comes with a Table later makes the feed ask for Tables, and sees all of the set as one."""
    async with sky.hub() as hub:
        version = (await hub.get("/api/v1/pods"))["metadata"]["resourceVersion"]
        async with hub.watch(f"/api/v1/pods?resourceVersion={version}") as plain:
            await until(lambda: sky.cluster.watches, "the hub's watch")
            sky.cluster.put("pods", "d")
            assert (await plain.told())[1] == "d"
            table = await hub.get("/api/v1/pods", accept=TABLE)
            path = f"/api/v1/pods?resourceVersion={table['metadata']['resourceVersion']}"
            async with hub.watch(path, accept=TABLE) as rows:
                sky.cluster.put("pods", "e")
                assert (await rows.told())[:2] == ("ADDED", "e")
                assert (await plain.told())[:2] == ("ADDED", "e")
                await until(lambda: not hub.keeping.feeds.existing(ALL)._listing, "the list")  # type: ignore[union-attr]
                await sky.link.refuse()
                await hub.dark()
                dark = await hub.get("/api/v1/pods", accept=TABLE)
                assert [row["cells"][0] for row in dark["rows"]] == ["a", "b", "c", "d", "e"]


async def test_a_narrower_watch_is_told_by_the_wider_feed(sky: World) -> None:
    async with sky.hub() as hub, hub.watch("/api/v1/pods") as wide:
        for _ in range(3):
            await wide.told()
        narrow = await hub.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1")
        version = narrow["metadata"]["resourceVersion"]
        async with hub.watch(f"/api/v1/pods?fieldSelector=spec.nodeName%3Dn1&resourceVersion={version}") as watch:
            sky.cluster.put("pods", "c", spec={"nodeName": "n1"})
            sky.cluster.put("pods", "x", spec={"nodeName": "n2"})
            sky.cluster.put("pods", "a", spec={"nodeName": "n2"})
            assert [await watch.told() for _ in range(2)] == [("ADDED", "c", 106), ("DELETED", "a", 108)]
            assert sky.cluster.count("watch", "pods") == 1


async def test_a_slow_reader_catches_up(sky: World) -> None:
    async with sky.hub() as hub:
        version = (await hub.get("/apis/example.com/v1/widgets"))["metadata"]["resourceVersion"]
        path = f"/apis/example.com/v1/widgets?resourceVersion={version}"
        async with hub.watch(path) as slow, hub.watch(path) as quick:
            await until(lambda: len(sky.cluster.watches) == 2, "the hub's watches")  # and that of the configuration
            slow.wire.reader._transport.pause_reading()  # type: ignore[attr-defined]
            for number in range(120):
                sky.cluster.put("widgets", f"w{number}", note="x" * 100_000)
                assert (await quick.told())[1] == f"w{number}"
            (client,) = [c for c in hub.front._clients if c._paused_writing]
            assert client.transport.get_write_buffer_size() < 2_000_000
            slow.wire.reader._transport.resume_reading()  # type: ignore[attr-defined]
            assert [(await slow.told())[1] for _ in range(120)] == [f"w{number}" for number in range(120)]


async def test_a_reader_that_is_too_slow_is_told_to_list_again(sky: World) -> None:
    """What waits for it is bounded by 32 MB of its feed's log."""
    async with sky.hub() as hub:
        version = (await hub.get("/apis/example.com/v1/widgets"))["metadata"]["resourceVersion"]
        path = f"/apis/example.com/v1/widgets?resourceVersion={version}"
        async with hub.watch(path) as slow:
            await until(lambda: len(sky.cluster.watches) == 2, "the hub's watches")
            slow.wire.reader._transport.pause_reading()  # type: ignore[attr-defined]
            following = hub.keeping.feeds.existing(SetKey(Gvr("example.com", "v1", "widgets"), ""))
            assert following is not None
            for number in range(50):
                sky.cluster.put("widgets", "w", note="x" * 1_000_000, number=number)
                await until(lambda: following.feed.version == sky.cluster.revision, "the event")
            assert following.feed._bytes < 34_000_000
            slow.wire.reader._transport.resume_reading()  # type: ignore[attr-defined]
            told = ("", "", 0)
            while told[0] not in ("ERROR", "END"):
                told = await slow.told()
            assert told == ("ERROR", "Expired", 410)
            assert await slow.told() == ("END", "", 0)


async def test_a_watch_waits_for_the_list_that_is_still_being_read(sky: World) -> None:
    for number in range(300):
        sky.cluster.put("widgets", f"w{number:03}", notes=["x"] * 8000)
    async with sky.hub() as hub:
        wire = await hub.connect()
        got = await wire.ask(request("/apis/example.com/v1/widgets"))
        version = json.loads(got.body)["metadata"]["resourceVersion"]
        wire.writer.write(request(f"/apis/example.com/v1/widgets?watch=true&resourceVersion={version}"))
        status, headers = await wire.head()
        watch = Told(wire, status, headers)
        sky.cluster.put("widgets", "new")
        assert (await watch.told())[:2] == ("ADDED", "new")
        assert hub.feeds() == [("widgets", True, 1)]
        assert sky.cluster.count("list", "widgets") == 1
        await wire.close()


async def test_watches_outlive_every_end_of_the_watch_at_the_cloud(sky: World) -> None:
    async with sky.hub() as hub:
        version = (await hub.get("/api/v1/pods"))["metadata"]["resourceVersion"]
        async with hub.watch(f"/api/v1/pods?resourceVersion={version}") as watch:
            for round_ in range(3):
                count = sky.cluster.count("watch", "pods")
                await until(lambda: [w for w in sky.cluster.watches if w.kind.plural == "pods"], "the hub's watch")
                if round_ == 0:
                    sky.cluster.end_watches()
                elif round_ == 1:
                    for connection in list(sky.server.connections):
                        connection.transport.abort()
                else:
                    sky.cluster.compact()
                    sky.cluster.put("pods", "hidden")
                    sky.cluster.compact()
                    sky.cluster.end_watches()
                    assert (await watch.told())[:2] == ("ADDED", "hidden")
                sky.cluster.put("pods", f"new{round_}")
                assert (await watch.told())[:2] == ("ADDED", f"new{round_}")
                assert sky.cluster.count("watch", "pods") > count
        assert not sky.cluster.made_up()


async def test_a_goaway_moves_the_feed_when_its_watch_ends(sky: World) -> None:
    async with sky.hub() as hub, hub.watch("/api/v1/pods") as watch:
        for _ in range(3):
            await watch.told()
        for connection in list(sky.server.connections):
            if connection.h2 is not None:
                connection.goaway()
        sky.cluster.put("pods", "d")
        assert (await watch.told())[:2] == ("ADDED", "d")
        sky.cluster.end_watches()
        sky.cluster.put("pods", "e")
        assert (await watch.told())[:2] == ("ADDED", "e")


async def test_a_watch_of_a_component_that_is_not_kept_passes(sky: World) -> None:
    async with sky.hub() as hub, hub.watch("/api/v1/pods", agent="calico/3") as watch:
        for name in "abc":
            assert (await watch.told())[:2] == ("ADDED", name)
        assert hub.feeds() == []


async def test_a_watch_from_a_list_that_passed_the_hub_passes_too(sky: World) -> None:
    async with sky.hub() as hub, hub.watch("/api/v1/pods?resourceVersion=104") as watch:
        sky.cluster.put("pods", "d")
        assert (await watch.told())[:2] == ("ADDED", "d")
        assert hub.feeds() == []


@pytest.mark.parametrize("status", [False, True])
async def test_a_watch_from_the_distant_past_is_refused_as_the_cloud_would(sky: World, status: bool) -> None:  # noqa: FBT001
    sky.cluster.gone_by_status = status
    async with sky.hub() as hub:
        await hub.get("/api/v1/pods")
        sky.cluster.remove("pods", "a")
        sky.cluster.compact()
        await hub.get("/api/v1/pods")
        got = await hub.ask("/api/v1/pods?watch=true&resourceVersion=50&timeoutSeconds=1")
        assert b"Expired" in got.body


async def test_a_set_that_may_not_be_read_is_refused_at_once(sky: World) -> None:
    sky.cluster.denied.add(("system:node:n1", "secrets"))
    async with sky.hub() as hub:
        began = asyncio.get_running_loop().time()
        got = await hub.ask("/api/v1/secrets?watch=true")
        assert got.status == 403
        assert asyncio.get_running_loop().time() - began < 2
