"""Bringing renewals to the cloud, in virtual time."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from kit.local import Asked, Cloud, Records, Told
from structlog.testing import capture_logs
from yurt_hub.adapters.beats import Renewals
from yurt_hub.domain.local.beats import LEASES, Beats

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

EPOCH = 1_700_000_000


def made(version: int, **spec: Any) -> bytes:
    metadata = {"name": "n1", "namespace": "kube-node-lease", "resourceVersion": str(version), "uid": "u"}
    return json.dumps({"kind": "Lease", "metadata": metadata, "spec": {"holderIdentity": "n1", **spec}}).encode()


class LeaseServer:
    """A cloud that holds one Lease."""

    def __init__(self) -> None:
        self.version = 100
        self.exists = True
        self.broken: list[Told | Exception | None] = []
        """What the next requests get instead of an answer."""
        self.cloud = Cloud(self.reply)

    def reply(self, asked: Asked) -> Told | Exception | None:
        if self.broken:
            return self.broken.pop(0)
        if asked.method == "POST" and asked.target == LEASES:
            code, self.exists = (409 if self.exists else 201), True
        else:
            assert asked.target == f"{LEASES}/n1"
            code = 200 if self.exists else 404
        self.version += asked.method != "GET" and code in (200, 201)
        return Told(code, made(self.version) if code < 300 else b"{}")

    @property
    def methods(self) -> list[str]:
        return [asked.method for asked in self.cloud.asked]

    def times(self) -> list[str]:
        """The renewTimes that were sent, seconds of the minute."""
        return [json.loads(asked.body)["spec"]["renewTime"][17:19] for asked in self.cloud.asked if asked.body]


class Kubelet:
    """Renews through a hub."""

    def __init__(self, beats: Beats, renewals: Renewals) -> None:
        self.beats, self.renewals = beats, renewals

    def renew(self) -> dict[str, Any]:
        answer = self.beats.renewed(made(1), EPOCH + asyncio.get_running_loop().time())
        assert answer is not None
        self.renewals.due()
        return json.loads(answer.body)


@asynccontextmanager
async def renewing(server: LeaseServer) -> AsyncIterator[Kubelet]:
    loop = asyncio.get_running_loop()

    def wall() -> float:
        return EPOCH + loop.time()

    beats = Beats("n1", Records())
    beats.learn(made(100), wall())
    renewals = Renewals(beats, fetch=server.cloud.fetch, wall=wall, draw=lambda: 0.0)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(renewals.run())
        yield Kubelet(beats, renewals)
        task.cancel()


async def test_each_renewal_reaches_the_cloud_once_and_silence_never() -> None:
    """Scenarios 49 and 50: renewals follow the kubelet's, as merge patches by the node, and end with them."""
    server = LeaseServer()
    async with renewing(server) as kubelet:
        for _ in range(6):
            kubelet.renew()
            await asyncio.sleep(10)
        assert server.methods == ["PATCH"] * 6
        assert server.times() == ["20", "30", "40", "50", "00", "10"]
        assert {asked.headers["Content-Type"] for asked in server.cloud.asked} == {"application/merge-patch+json"}
        assert {asked.within for asked in server.cloud.asked} == {5.0}
        await asyncio.sleep(600)
        assert len(server.methods) == 6
        assert kubelet.renew()["metadata"]["resourceVersion"] == "106"
        assert (kubelet.renewals.facts.sent, kubelet.renewals.facts.at) == (6, EPOCH + 50)


async def test_renewals_during_one_that_is_under_way_become_one_more() -> None:
    server = LeaseServer()
    server.cloud.takes = 3
    async with renewing(server) as kubelet:
        for _ in range(5):
            kubelet.renew()
            await asyncio.sleep(0.4)
        await asyncio.sleep(20)
    assert server.methods == ["PATCH", "PATCH"]


async def test_a_lease_that_is_gone_is_made_again() -> None:
    server = LeaseServer()
    server.exists = False
    async with renewing(server) as kubelet:
        kubelet.renew()
        await asyncio.sleep(1)
        assert server.methods == ["PATCH", "POST"]
        assert "resourceVersion" not in json.loads(server.cloud.asked[1].body)["metadata"]
        assert kubelet.renew()["metadata"]["resourceVersion"] == "101"


@pytest.mark.parametrize("status", [409, 422, 429, 500])
async def test_a_refused_renewal_looks_again_and_succeeds_in_the_same_beat(status: int) -> None:
    """Scenario 53."""
    server = LeaseServer()
    server.broken = [Told(status, b"{}")]
    async with renewing(server) as kubelet:
        kubelet.renew()
        await asyncio.sleep(2)
        assert server.methods == ["PATCH", "GET", "PATCH"]
        assert (kubelet.renewals.facts.sent, kubelet.renewals.facts.failed) == (1, 0)


async def test_somebody_who_made_the_lease_first_does_not_stop_the_beat() -> None:
    server = LeaseServer()
    server.broken = [Told(404, b"{}"), Told(409, b"{}")]
    async with renewing(server) as kubelet:
        kubelet.renew()
        await asyncio.sleep(2)
        assert server.methods == ["PATCH", "POST", "PATCH"]
        assert kubelet.renewals.facts.sent == 1


async def test_a_connection_that_died_costs_a_moment_and_no_beat() -> None:
    server = LeaseServer()
    server.broken = [ConnectionResetError("reset"), ConnectionResetError("reset")]
    async with renewing(server) as kubelet:
        kubelet.renew()
        await asyncio.sleep(2)
        assert server.methods == ["PATCH"] * 3
        assert kubelet.renewals.facts.sent == 1


async def test_missing_rights_are_told_and_not_hammered() -> None:
    server = LeaseServer()
    async with renewing(server) as kubelet:
        for _ in range(3):
            server.broken = [Told(403, b"{}")]
            kubelet.renew()
            await asyncio.sleep(10)
        assert server.methods == ["PATCH"] * 3
        assert kubelet.renewals.facts.why == "the API server answered 403"


async def test_a_black_hole_costs_five_seconds_and_old_beats_are_never_sent() -> None:
    """While dark the kubelet gets its answers; at heal the next renewal goes out, with its own time, and only that."""
    server = LeaseServer()
    with capture_logs() as lines:
        async with renewing(server) as kubelet:
            for _ in range(4):
                server.broken = [None]
                kubelet.renew()
                await asyncio.sleep(5.01)
                assert server.methods == ["PATCH"]
                server.cloud.asked.clear()
                await asyncio.sleep(4.99)
            assert kubelet.renewals.facts.failed == 4
            server.broken = []
            await asyncio.sleep(30)
            assert server.methods == []
            kubelet.renew()
            await asyncio.sleep(0.1)
            assert server.times() == ["30"]
            assert (kubelet.renewals.facts.failing, kubelet.renewals.facts.why) == (0, "")
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("lease.not_renewed", "warning"),
        ("lease.not_renewed", "debug"),
        ("lease.not_renewed", "debug"),
        ("lease.not_renewed", "debug"),
        ("lease.renewed_again", "info"),
    ]
    assert lines[-1]["failures"] == 4
