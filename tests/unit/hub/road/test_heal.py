"""When the cloud is back, followers hear exactly what changed meanwhile; and a hub that died in the dark goes on."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from kit.keeping import TABLE, Hub, Told, World, until


async def changes(sky: World) -> None:
    """What happens in the cloud meanwhile."""
    sky.cluster.put("pods", "a", labels={"app": "changed"})
    sky.cluster.remove("pods", "b")
    sky.cluster.put("pods", "d", labels={"app": "web"})
    sky.cluster.remove("pods", "c")
    sky.cluster.put("pods", "c", labels={"app": "again"})


def model(listed: Any) -> dict[str, int]:
    return {obj["metadata"]["name"]: int(obj["metadata"]["resourceVersion"]) for obj in listed["items"]}


async def follow(watch: Told, known: dict[str, int], wanted: dict[str, int]) -> list[tuple[str, str]]:
    """Apply events until the model is as wanted; gives them."""
    seen = []
    while known != wanted:
        what, name, version = await watch.told()
        assert what in ("ADDED", "MODIFIED", "DELETED"), (what, name, version)
        assert (name in known) == (what != "ADDED")
        seen.append((what, name))
        if what == "DELETED":
            del known[name]
        else:
            assert version > known.get(name, 0)
            known[name] = version
    return seen


def truth(sky: World) -> dict[str, int]:
    return {name: int(o["metadata"]["resourceVersion"]) for (_, name), o in sky.cluster.objects["pods"].items()}


@pytest.mark.parametrize("way", ["history", "compacted", "refused by status"])
async def test_followers_hear_the_differences_in_order_and_list_nothing(sky: World, way: str) -> None:
    """With the cloud's history each event; without it first what is gone, then the rest by version."""
    sky.cluster.gone_by_status = way == "refused by status"
    async with sky.hub() as hub:
        listed = await hub.get("/api/v1/pods")
        path = f"/api/v1/pods?resourceVersion={listed['metadata']['resourceVersion']}"
        async with hub.watch(path) as one, hub.watch(path, agent="kube-proxy") as two:
            await until(lambda: len(sky.cluster.watches) == 2, "the hub's watches")
            await sky.link.refuse()
            await hub.dark()
            await changes(sky)
            if way != "history":
                sky.cluster.compact()
            assert await one.quiet()
            await sky.link.mend()
            seen = [await follow(watch, model(listed), truth(sky)) for watch in (one, two)]
            if way == "history":
                assert seen[0] == [
                    ("MODIFIED", "a"), ("DELETED", "b"), ("ADDED", "d"), ("DELETED", "c"), ("ADDED", "c"),
                ]  # fmt: skip
            else:
                assert seen[0] == [
                    ("DELETED", "b"), ("DELETED", "c"), ("MODIFIED", "a"), ("ADDED", "d"), ("ADDED", "c"),
                ]  # fmt: skip
            assert seen[0] == seen[1]
            sky.cluster.put("pods", "e")
            assert (await one.told())[:2] == (await two.told())[:2] == ("ADDED", "e")
            assert await one.quiet()
        assert sky.cluster.count("list", "pods") == (1 if way == "history" else 2)
        assert (await hub.get("/api/v1/pods?limit=500"))["items"]
    assert not sky.cluster.made_up()


async def test_tables_hear_the_differences_too(sky: World) -> None:
    async with sky.hub() as hub:
        listed = await hub.get("/api/v1/pods", accept=TABLE)
        version = listed["metadata"]["resourceVersion"]
        async with hub.watch(f"/api/v1/pods?resourceVersion={version}", accept=TABLE) as watch:
            await until(lambda: len(sky.cluster.watches) == 2, "the hub's watches")
            await sky.link.refuse()
            await hub.dark()
            await changes(sky)
            sky.cluster.compact()
            await sky.link.mend()
            known = {row["cells"][0]: int(row["object"]["metadata"]["resourceVersion"]) for row in listed["rows"]}
            await follow(watch, known, truth(sky))


async def test_a_selection_hears_what_enters_and_leaves_it(sky: World) -> None:
    async with sky.hub() as hub:
        listed = await hub.get("/api/v1/pods")
        version = listed["metadata"]["resourceVersion"]
        async with (
            hub.watch(f"/api/v1/pods?resourceVersion={version}"),
            hub.watch(f"/api/v1/pods?resourceVersion={version}&labelSelector=app%3Dweb") as web,
        ):
            await until(lambda: len(sky.cluster.watches) >= 2, "the hub's watches")
            await sky.link.refuse()
            await hub.dark()
            await changes(sky)
            sky.cluster.compact()
            await sky.link.mend()
            told = [(await web.told())[:2] for _ in range(3)]
            assert sorted(told) == [("ADDED", "d"), ("DELETED", "a"), ("DELETED", "c")]


async def test_a_client_that_reconnects_in_the_dark_goes_on_from_its_version(sky: World) -> None:
    async with sky.hub() as hub:
        listed = await hub.get("/api/v1/pods")
        path = f"/api/v1/pods?resourceVersion={listed['metadata']['resourceVersion']}"
        async with hub.watch(path) as watch:
            sky.cluster.put("pods", "d")
            assert (await watch.told())[1] == "d"
        await sky.link.refuse()
        await hub.dark()
        async with hub.watch(path) as late, hub.watch("/api/v1/pods?resourceVersion=106") as current:
            assert await late.told() == ("ADDED", "d", 106)
            assert await current.quiet()
            sky.cluster.remove("pods", "a")
            await sky.link.mend()
            assert await late.told() == await current.told() == ("DELETED", "a", 107)
    assert not sky.cluster.made_up()


async def answers(hub: Hub) -> list[tuple[str, int, Any]]:
    """What a node asks for in the dark."""
    found: list[tuple[str, int, Any]] = []
    for path in (
        "/api/v1/pods", "/api/v1/namespaces/default/pods/a", "/api/v1/pods?labelSelector=app%3Dweb", "/api/v1/services",
        "/api/v1/nodes/n1", "/api/v1/namespaces/default/pods/none", "/api/v1/secrets", "/version",
    ):  # fmt: skip
        got = await hub.ask(path)
        found.append((path, got.status, json.loads(got.body)))
    table = await hub.ask("/api/v1/pods", accept=TABLE)
    found.append(("table", table.status, json.loads(table.body)))
    return found


async def learn(hub: Hub) -> None:
    await hub.get("/api/v1/pods", accept=TABLE)
    await hub.get("/api/v1/services")
    await hub.get("/api/v1/nodes/n1")
    await until(lambda: hub.keeping.documents.body("/version"), "the documents")


@pytest.mark.parametrize("how", ["stopped", "killed", "killed lit"])
async def test_a_hub_that_starts_in_the_dark_gives_the_same_answers(sky: World, how: str, tmp_path: Path) -> None:
    folder = sky.folder
    async with sky.hub() as hub:
        await learn(hub)
        async with hub.watch("/api/v1/pods?resourceVersion=105") as watch:
            sky.cluster.put("pods", "d", labels={"app": "web"})
            assert (await watch.told())[1] == "d"
        await hub.keeping.disk.flush()
        if how == "killed lit":
            folder = Path(shutil.copytree(sky.folder, tmp_path / "copy"))
        await sky.link.refuse()
        await hub.dark()
        before = await answers(hub)
        if how == "killed":
            folder = Path(shutil.copytree(sky.folder, tmp_path / "copy"))
    for _ in range(2):
        async with sky.hub(folder) as hub:
            await hub.dark()
            assert await answers(hub) == before
            assert [status for _, status, _ in before[:-1]] == [200, 200, 200, 200, 200, 404, 503, 200]


async def test_a_hub_that_started_in_the_dark_heals_by_differences(sky: World, tmp_path: Path) -> None:
    async with sky.hub() as hub:
        await learn(hub)
        await hub.keeping.disk.flush()
        folder = Path(shutil.copytree(sky.folder, tmp_path / "copy"))
    await sky.link.refuse()
    lists = sky.cluster.count("list", "pods")
    async with sky.hub(folder) as hub:
        await hub.dark()
        listed = await hub.get("/api/v1/pods")
        async with hub.watch(f"/api/v1/pods?resourceVersion={listed['metadata']['resourceVersion']}") as watch:
            await changes(sky)
            await sky.link.mend()
            await follow(watch, model(listed), truth(sky))
        assert sky.cluster.count("list", "pods") == lists
        assert model(await hub.get("/api/v1/pods")) == truth(sky)
    assert not sky.cluster.made_up()


async def test_a_flipped_bit_is_never_served(sky: World, tmp_path: Path) -> None:
    """Wherever it is: each answer is as it was or 503, and the damage is gone with the next list."""
    async with sky.hub() as hub:
        await learn(hub)
        await sky.link.refuse()
        await hub.dark()
        before = await answers(hub)
    missing = 0
    for at in range(0, 100, 9):
        folder = Path(shutil.copytree(sky.folder, tmp_path / str(at)))
        (log,) = [path for path in (folder / "cache").rglob("*") if path.is_file() and path.stat().st_size > 2000]
        data = bytearray(log.read_bytes())
        data[len(data) * at // 100] ^= 0x10
        log.write_bytes(data)
        async with sky.hub(folder) as hub:
            await hub.dark()
            found = list(zip(await answers(hub), before, strict=True))
            assert all(now == then or now[1] == 503 for now, then in found), at
            missing += any(now != then for now, then in found)
            if at % 4 == 0:
                await sky.link.mend()
                await hub.lit()
                await learn(hub)
                await sky.link.refuse()
                await hub.dark()
                assert await answers(hub) == before, at
    assert missing > 5
