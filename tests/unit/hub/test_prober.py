"""Probing in virtual time: when servers are asked, and what their silence costs."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs
from yurt_hub.adapters.prober import keep_probing, tell
from yurt_hub.domain.links import Changed, Link, LinkPolicy, LinkTable

A, B = "https://a:6443", "https://b:6443"


@asynccontextmanager
async def probing(links: LinkTable, probe: Callable[[str], object]) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        clock = asyncio.get_running_loop().time
        work = keep_probing(
            links, probe=probe, spawn=lambda name, job: group.create_task(job, name=name), clock=clock, timeout=2.0
        )
        loop = group.create_task(work)
        yield
        loop.cancel()


def shown(links: LinkTable) -> dict[str, Link]:
    return {seen.server: seen.state for seen in links.view()}


@pytest.mark.asyncio
@pytest.mark.looptime
async def test_servers_are_probed_at_once_and_then_only_after_silence() -> None:
    asked: list[tuple[str, float]] = []

    async def probe(server: str) -> None:
        asked.append((server, asyncio.get_running_loop().time()))

    links = LinkTable((A, B), LinkPolicy())
    async with probing(links, probe):
        await asyncio.sleep(1)
        assert [server for server, _ in asked] == [A, B]
        assert shown(links) == {A: Link.UP, B: Link.UP}
        await asyncio.sleep(60)
    gaps = [later - earlier for (_, earlier), (_, later) in zip(asked[::2], asked[2::2], strict=False)]
    assert 5 <= len(gaps) <= 7
    assert all(9 <= gap <= 10.3 for gap in gaps)


@pytest.mark.asyncio
@pytest.mark.looptime
async def test_a_server_that_falls_silent_is_down_within_five_seconds_of_the_first_probe() -> None:
    """A dead server neither holds up the other's probes nor stays in use."""
    silent = asyncio.Event()

    async def probe(server: str) -> None:
        if server == A and silent.is_set():
            await asyncio.Event().wait()

    links = LinkTable((A, B), LinkPolicy())
    async with probing(links, probe):
        await asyncio.sleep(3)
        silent.set()
        links.suspect(A, asyncio.get_running_loop().time())
        await asyncio.sleep(6)
        assert shown(links) == {A: Link.DOWN, B: Link.UP}
        silent.clear()
        await asyncio.sleep(8)
        assert shown(links) == {A: Link.UP, B: Link.UP}


async def test_a_refused_probe_keeps_its_reason() -> None:
    failed = asyncio.Event()

    async def probe(server: str) -> None:
        failed.set()
        raise ConnectionRefusedError(111, "Connection refused")

    links = LinkTable((A,), LinkPolicy())
    async with probing(links, probe):
        await failed.wait()
        await asyncio.sleep(0)
    assert shown(links) == {A: Link.DOWN}
    assert "refused" in links.view()[0].last_error


def test_a_change_is_one_line_that_says_when_it_is_tried_again() -> None:
    with capture_logs() as lines:
        tell(Changed(A, Link.UP, Link.SHAKY, "reset", 3.0), retry_in=1)
        tell(Changed(A, Link.SHAKY, Link.DOWN, "refused", 0.3), retry_in=2)
    assert [(line["log_level"], line["now"], line.get("retry_in")) for line in lines] == [
        ("info", "shaky", None),
        ("warning", "down", 2),
    ]
