"""A hub before two API servers (one real one, by two links): turns while both are well, and one of them lost."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from kit.accounts import Account
from kit.hub import OWN_WATCHES, WITHIN, Hub, Site, ask, request, until
from kit.watchers import Asker, Watcher, living
from yurtsim.controlplane import ControlPlane

pytestmark = pytest.mark.controlplane

ROUNDS = 40
WATCHERS = 20


@pytest.fixture
async def pair(site: Site, plane: ControlPlane, tmp_path: Path) -> AsyncIterator[Hub]:
    """Return a hub that knows the API server by two addresses, `one` and `two`."""
    target = f"127.0.0.1:{plane.port}"
    servers = [f"https://127.0.0.1:{await site.link.add(name, target)}" for name in ("one", "two")]
    try:
        async with Hub(plane.pki, ",".join(servers), tmp_path / "hub", node=site.node) as hub:
            for server in servers:
                await hub.said("link.changed", now="up", server=server)
            yield hub
    finally:
        for name in ("one", "two"):
            await site.link.remove(name)


async def sent(site: Site) -> tuple[int, int]:
    """Return the bytes that went up each of the two links."""
    one, two = [line for name in ("one", "two") for line in await site.link.show(name)]
    return one["bytes"]["up"], two["bytes"]["up"]


async def test_hub_011_two_servers_take_turns(site: Site, pair: Hub, caller: Account) -> None:
    """Requests one after the other go to both in equal parts."""
    asked = request("/version", token=caller.token)
    wire = await pair.secure()
    for _ in range(4):
        assert (await wire.ask(asked)).status == 200
    before = await sent(site)
    for _ in range(ROUNDS):
        assert (await wire.ask(asked)).status == 200
    await wire.close()
    one, two = (now - then for now, then in zip(await sent(site), before, strict=True))
    assert min(one, two) > ROUNDS // 2 * len(asked)
    assert max(one, two) < 1.3 * min(one, two)


@pytest.mark.parametrize("how", ["reset", "blackhole"])
async def test_hub_011_while_one_of_two_servers_is_lost_the_other_serves_everybody(
    site: Site, pair: Hub, caller: Account, how: str
) -> None:
    """No request fails, watches go on at the other one, the hub stays ready; the lost one is used again after it."""
    path = f"/api/v1/namespaces/{caller.namespace}/configmaps"
    birds = [Watcher(pair.secure, f"w-{number}", path, "", None, 0, token=caller.token) for number in range(WATCHERS)]
    askers = [Asker(pair.secure, request(f"{path}/none", token=caller.token)) for _ in range(4)]
    two = (await pair.told("/v1/links"))["links"][1]["server"]
    async with living(*birds, *askers):
        await until(lambda: all(bird.answers for bird in birds), "all watches are answered")
        mark = len(pair.lines())
        await site.link.cut("two", how)
        await pair.said("link.changed", now="down", server=two, after=mark)
        async with asyncio.timeout(WITHIN):
            while (await spread(pair))[0] != WATCHERS + OWN_WATCHES:
                await asyncio.sleep(0.1)
        assert (await pair.asks("/readyz"))[0] == 200
        mark = len(pair.lines())
        await site.link.heal("two")
        await pair.said("link.changed", now="up", server=two, after=mark)
        before = await sent(site)
        async with asyncio.timeout(WITHIN):
            while (await sent(site))[1] < before[1] + 10_000:
                await asyncio.sleep(0.1)
    assert {status for one in askers for status in one.statuses} == {404}
    assert not [trouble for one in askers for trouble in one.torn]
    assert not [trouble for bird in birds for trouble in (*bird.torn, *bird.refused)]
    assert (await ask(await pair.secure(), request("/version", token=caller.token))).status == 200


async def spread(hub: Hub) -> tuple[int, int]:
    """Return how many watches each server carries."""
    upstreams = (await hub.upstreams())["upstreams"]
    servers = list(dict.fromkeys(one["server"] for one in upstreams))
    one, two = (sum(part["streams"] for part in upstreams if part["server"] == server) for server in servers)
    return one, two
