"""150 watches through one hub while its connections come to harm: what that costs clients, counted at both sides.

The watchers resume as client-go's reflectors do. Whatever happens to a connection, an answer that had begun ends
with its own end, and the next watch goes on at the last version: every change is seen once, in order.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from kit.accounts import Account, Audit, account, admin
from kit.hub import OWN_WATCHES, WITHIN, Site, request, until
from kit.plane import MakePlane
from kit.watchers import Asker, Flock, Refused, flock, living
from yurtcore.adapters.kube import KubeClient
from yurtsim.controlplane import ControlPlane, Wishes

pytestmark = pytest.mark.controlplane

SIZE = 150
OF_NODE = 20
MOST_CONNECTIONS = 8
WELL_WITHIN = 15.0
"""Seconds after the end of any trouble until every watcher is served and has seen all."""
GOAWAYS = 8
SEVERAL_CHANGES = 25

Tell = Callable[[str], None]


class World:
    """One hub, its account, and the API server behind it."""

    def __init__(self, site: Site, caller: Account) -> None:
        self.site, self.caller = site, caller
        self.cloud = site.cloud


@pytest.fixture(scope="module")
def calm(site: Site, caller: Account) -> World:
    """Return a hub before the run's control plane."""
    return World(site, caller)


@contextlib.asynccontextmanager
async def world_of(cloud: ControlPlane, folder: Path) -> AsyncIterator[World]:
    """Run a hub before a control plane of the test's own."""
    async with admin(cloud) as kube:
        caller = await account(kube, "harm", "caller")
    async with Site(cloud, folder, node="harm") as site:
        yield World(site, caller)


@contextlib.asynccontextmanager
async def watched(
    world: World, kube: KubeClient, *askers: Asker, lasts: int = 600
) -> AsyncIterator[tuple[Flock, Audit]]:
    """Run a flock that has seen its first changes, and is known at both sides."""
    audit = Audit(world.cloud)
    kubelet = world.cloud.node_files(world.site.node)
    birds = await flock(world.site.hub, kube, world.caller, kubelet, size=SIZE, of_node=OF_NODE, lasts=lasts)
    async with living(*birds.watchers, *askers):
        await changed(birds, updates=True)
        await birds.settled()
        yield birds, audit


async def few(world: World) -> int:
    """Wait until the hub holds no more connections than a node may; what a burst has opened rests for seconds only."""
    async with asyncio.timeout(WITHIN):
        while (count := (await world.site.linked())["open"]) > MOST_CONNECTIONS:
            await asyncio.sleep(0.2)
    return int(count)


async def changed(birds: Flock, *, updates: bool) -> None:
    """Make several changes."""
    for _ in range(SEVERAL_CHANGES):
        await birds.changes.create()
        if updates:
            await birds.changes.update()


async def agreed(world: World, audit: Audit, birds: Flock, within: float = WITHIN) -> str:
    """Wait until hub, link and API server count the same watches and connections; return the numbers."""
    told: dict[str, Any] = {}
    link: dict[str, Any] = {}
    there: Counter[str] = Counter()
    try:
        async with asyncio.timeout(within):
            while True:
                told, link = await world.site.hub.upstreams(), await world.site.linked()
                there = Counter(agent for agent, _ in audit.watches("watcher-").values())
                same = told["connections"] == link["open"] and told["streams"] - OWN_WATCHES == there.total() == SIZE
                if same and set(there) == birds.agents:
                    break
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(
            f"hub {told}, link {link}, missing at the API server {birds.agents - set(there)}, "
            f"there twice {[agent for agent, count in there.items() if count > 1]}"
        ) from None
    return f"{there.total()} watches at the API server, {told['streams']} at the hub on {link['open']} connections"


def asker(world: World, *, direct: bool = False) -> Asker:
    """Return a client of short requests, through the hub or straight to the API server."""
    path = f"/api/v1/namespaces/{world.caller.namespace}/configmaps/kube-root-ca.crt"
    connect = world.site.direct if direct else world.site.hub.secure
    return Asker(connect, request(path, token=world.caller.token))


async def test_150_watches_are_few_connections(calm: World, tell: Tell) -> None:
    """As many streams at the API server as watchers, each once; the API server's own gauge says so too."""
    async with admin(calm.cloud) as kube:
        async with watched(calm, kube) as (birds, audit):
            tell(await agreed(calm, audit, birds))
            assert await few(calm) >= 3
            async with asyncio.timeout(WITHIN):
                while await ours(calm, kube) != {"configmaps": SIZE - OF_NODE, "services": OF_NODE}:
                    await asyncio.sleep(0.2)
            assert not birds.refused
            assert not birds.torn
            upstreams = (await calm.site.hub.upstreams())["upstreams"]
            streams = {one["identity"]: one["streams"] for one in upstreams}
            assert streams == {"node": OF_NODE + OWN_WATCHES, "caller": SIZE - OF_NODE}
        async with asyncio.timeout(WITHIN):
            while audit.watches("watcher-") or (await calm.site.hub.upstreams())["streams"] > OWN_WATCHES:
                await asyncio.sleep(0.1)


async def ours(world: World, kube: KubeClient) -> Counter[str]:
    """Return how many watches the API server's gauge counts, without those of the cluster's own components."""
    _, _, text = await kube.raw("GET", "/metrics")
    found: Counter[str] = Counter()
    for line in text.decode().splitlines():
        if line.startswith("apiserver_longrunning_requests{") and 'verb="WATCH"' in line:
            for resource in ("configmaps", "services"):
                if f'resource="{resource}"' in line:
                    found[resource] += int(float(line.rsplit(" ", 1)[1]))
    whole = Audit(world.cloud, whole=True)
    return found - Counter(
        target.partition("?")[0].rpartition("/")[2]
        for agent, target in whole.watches("").values()
        if not agent.startswith("watcher-")
    )


async def test_a_server_that_says_goaway_costs_no_client_anything(
    private_plane: MakePlane, tmp_path: Path, tell: Tell
) -> None:
    """Streams under way go on, new ones take another connection: no error, no lost or repeated event."""
    cloud = await private_plane(Wishes(goaway_chance=0.02, audit=True))
    async with world_of(cloud, tmp_path / "site") as stormy:
        asking = asker(stormy)
        async with admin(cloud) as kube, watched(stormy, kube, asking, lasts=2) as (birds, audit):
            await goaways(stormy, birds)
            await birds.settled()
        assert not birds.torn
        assert not birds.refused
        assert not birds.relists
        assert (set(asking.statuses), asking.torn) == ({200}, [])
        begun, answered = audit.begun("watcher-"), birds.answers
        assert {begun[agent] - answered[agent] for agent in birds.agents} <= {0, 1}, "one may be on its way at the end"
        tell(
            f"GOAWAY: {begun.total()} watches begun at the API server, {answered.total()} answers at clients; "
            f"{asking.statuses.total()} short requests, the slowest {asking.slowest:.2f} s"
        )


async def goaways(world: World, birds: Flock) -> None:
    """Go on making changes until the API server has sent away several connections."""
    async with asyncio.timeout(2 * WITHIN):
        while sum(v for k, v in (await world.site.hub.metrics()).items() if "upstream_goaways_total" in k) < GOAWAYS:
            await birds.changes.create()
            await birds.changes.update()


async def test_an_api_server_that_is_restarted_costs_no_client_more_than_an_invitation_to_retry(
    private_plane: MakePlane, tmp_path: Path, tell: Tell
) -> None:
    """While it is away clients get 503 and when to come back; then all of them are served and nothing is missing.

    First it is killed, then it is stopped, as by an upgrade.
    """
    cloud = await private_plane(Wishes(audit=True))
    async with world_of(cloud, tmp_path / "site") as world, admin(cloud) as kube:
        asking, straight = asker(world), asker(world, direct=True)
        async with watched(world, kube, asking, straight) as (birds, _):
            for how in ("killed", "stopped"):
                well, numbers = await restarted(world, birds, asking, kill=how == "killed")
                tell(f"{how}: well {well:.1f} s after the API server was back; {numbers}")
                asking.statuses.clear()
                await asking_goes_on(asking)
                assert set(asking.statuses) == {200}
        assert birds.refused
        own = {one.status for one in straight.refused}
        assert not [one for one in birds.refused + asking.refused if not one.invites and one.status not in own]
        assert not birds.torn
        assert not asking.torn
        tell(
            f"in all watchers got {told(birds.refused)} and {birds.relists} times 410, short requests "
            f"{told(asking.refused)}, direct ones {told(straight.refused)} and {len(straight.torn)} broken connections"
        )


async def restarted(world: World, birds: Flock, asking: Asker, *, kill: bool) -> tuple[float, str]:
    """End the API server and start it again; return how soon all was well, and what both sides count then.

    A killed one stays away until the hub holds requests no longer and says so.
    """
    loop = asyncio.get_running_loop()
    mark = len(world.site.hub.lines())
    await world.cloud.stop_api_server(kill=kill)
    await world.site.hub.said("link.changed", now="down", after=mark)
    if kill:
        await until(lambda: bool(birds.refused and asking.refused), "watches and short requests are refused")
    audit = Audit(world.cloud)
    async with asyncio.TaskGroup() as group:
        group.create_task(changed(birds, updates=False))
        await world.cloud.start_api_server()
    back = loop.time()
    numbers = await agreed(world, audit, birds, within=WELL_WITHIN)
    await birds.settled(within=WELL_WITHIN)
    return loop.time() - back, numbers


def told(refused: list[Refused]) -> str:
    """Count refusals by status."""
    return ", ".join(f"{count} times {status}" for status, count in Counter(one.status for one in refused).items())


async def asking_goes_on(asking: Asker) -> None:
    """Wait for several answers more."""
    async with asyncio.timeout(WITHIN):
        enough = asking.statuses.total() + 10
        while asking.statuses.total() < enough:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("how", ["reset", "blackhole"])
async def test_connections_that_are_lost_cost_no_client_anything(calm: World, tell: Tell, how: str) -> None:
    """All connections of the hub are reset, or fall silent for good, while new ones pass: nobody gets an error."""
    asking = [asker(calm) for _ in range(4)]
    loop = asyncio.get_running_loop()
    async with admin(calm.cloud) as kube, watched(calm, kube, *asking) as (birds, audit):
        lost = await calm.site.link.drop(how=how)
        begun = loop.time()
        await changed(birds, updates=True)
        await birds.settled()
        well = loop.time() - begun
        await calm.site.link.heal()
        numbers = await agreed(calm, audit, birds)
        for one in asking:
            await asking_goes_on(one)
    assert lost >= 3
    assert await few(calm)
    assert not birds.refused
    assert not birds.torn
    assert not birds.relists
    assert [(set(one.statuses), one.torn) for one in asking] == [({200}, [])] * len(asking)
    tell(
        f"{lost} connections lost by {how}: well after {well:.1f} s, the slowest short request "
        f"{max(one.slowest for one in asking):.1f} s; {numbers}"
    )


async def test_a_link_that_is_dark_for_a_while_costs_no_client_more_than_an_invitation_to_retry(
    calm: World, tell: Tell
) -> None:
    """While nothing passes clients wait or get 503 and when to come back; after the heal all is well at once."""
    asking = [asker(calm) for _ in range(4)]
    loop = asyncio.get_running_loop()
    hub = calm.site.hub
    async with admin(calm.cloud) as kube, watched(calm, kube, *asking) as (birds, audit):
        mark = len(hub.lines())
        begun = loop.time()
        await calm.site.link.cut(how="blackhole")
        await changed(birds, updates=True)
        down = await hub.said("link.changed", now="down", after=mark)
        await asyncio.sleep(max(0.0, begun + 6 - loop.time()))
        dark = loop.time() - begun
        await changed(birds, updates=True)
        await calm.site.link.heal()
        healed = loop.time()
        numbers = await agreed(calm, audit, birds, within=WELL_WITHIN)
        await birds.settled(within=WELL_WITHIN)
        well = loop.time() - healed
        for one in asking:
            async with asyncio.timeout(WELL_WITHIN):
                while set(one.statuses) != {200}:
                    one.statuses.clear()
                    await asking_goes_on(one)
    assert not birds.torn
    assert not birds.relists
    assert [one.torn for one in asking] == [[]] * len(asking)
    refused = birds.refused + [one for each in asking for one in each.refused]
    assert not [one for one in refused if not (one.status == 503 and one.invites)]
    tell(
        f"dark for {dark:.1f} s (noticed: {down['why']}): well {well:.1f} s after the heal, {len(refused)} times 503, "
        f"the slowest short request {max(one.slowest for one in asking):.1f} s; {numbers}"
    )
