"""The control API over a socket: health in two dialects, state, metrics, and a page that opens without the internet."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families
from yurt_hub.api.admin import control_api
from yurt_hub.domain.callers import Identity
from yurt_hub.domain.facts import About, Facts
from yurt_hub.domain.links import LinkPolicy, LinkTable
from yurt_hub.domain.traffic import Traffic, UpstreamSeen
from yurtcore.serve import server

A = "https://10.0.0.1:6443"
SEEN = [
    UpstreamSeen(A, Identity.NODE, 2, 1, 1, 40, 0, 12.5),
    UpstreamSeen(A, Identity.CALLER, 1, 0, 0, 0, 3, 1.0),
]
NAMES = {
    "node_yurthub_closable_conns_collector",
    "node_yurthub_in_flight_requests_total",
    "node_yurthub_proxy_traffic_collector",
    "node_yurthub_server_healthy_status",
    "yurt_hub_bytes_total",
    "yurt_hub_clients",
    "yurt_hub_clients_accepted_total",
    "yurt_hub_in_flight_requests",
    "yurt_hub_info",
    "yurt_hub_link_state",
    "yurt_hub_link_up",
    "yurt_hub_refused_total",
    "yurt_hub_request_duration_seconds",
    "yurt_hub_requests_total",
    "yurt_hub_retried_total",
    "yurt_hub_streams",
    "yurt_hub_upstream_busy",
    "yurt_hub_upstream_connections",
    "yurt_hub_upstream_dials_total",
    "yurt_hub_upstream_goaways_total",
    "yurt_hub_upstream_handshakes_total",
    "yurt_hub_upstream_lost_total",
    "yurt_hub_upstream_streams",
    "yurt_hub_upstream_waiting",
}
"""Dashboards and alerts are written against these."""


@dataclass
class Page:
    """A control API to ask."""

    facts: Facts
    session: aiohttp.ClientSession

    async def get(self, path: str) -> tuple[int, str]:
        async with self.session.get(path) as answer:
            return answer.status, await answer.text(errors="replace")

    async def json(self, path: str) -> dict[str, object]:
        async with self.session.get(path) as answer:
            assert answer.status == 200
            return await answer.json()


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    about = About("1.2.3", "n1", "hangzhou", "edge", 7, "/var/lib/yurthub", (A,))
    now = asyncio.get_running_loop().time
    facts = Facts(about, LinkTable((A,), LinkPolicy(), now=now()), Traffic(), lambda: SEEN, now, unready=None)
    stop = asyncio.Event()
    sock = server.bind("127.0.0.1", 0)
    host, port = sock.getsockname()
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(control_api(facts), sock=sock, stop=stop))
        async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
            yield Page(facts, session)
        stop.set()


async def test_a_hub_that_reached_the_cloud_is_ready(page: Page) -> None:
    page.facts.links.heard(A, page.facts.clock())
    assert await page.get("/livez") == (200, "ok")
    assert await page.get("/readyz") == (200, "ok")
    assert await page.get("/v1/readyz") == (200, "OK")
    status, lines = await page.get("/readyz?verbose")
    assert status == 200
    assert "[+]cloud ok" in lines


async def test_hub_007_a_hub_without_the_cloud_lives_but_is_not_ready_and_says_why(page: Page) -> None:
    page.facts.links.missed(A, page.facts.clock(), "connection refused")
    assert await page.get("/v1/healthz") == (200, "OK")
    assert (await page.get("/livez"))[0] == 200
    assert await page.get("/v1/readyz") == (500, f"no API server can be reached ({A}: connection refused)")
    status, lines = await page.get("/readyz")
    assert status == 500
    assert "[-]cloud failed" in lines


async def test_a_hub_that_cannot_tell_callers_apart_is_not_ready(page: Page) -> None:
    page.facts.links.heard(A, page.facts.clock())
    page.facts.unready = "the kernel does not say who owns a socket"
    assert await page.get("/v1/readyz") == (500, "the kernel does not say who owns a socket")
    assert (await page.get("/readyz/callers"))[0] == 500


async def test_links_are_shown_with_their_state_and_ages(page: Page) -> None:
    page.facts.links.heard(A, page.facts.clock())
    page.facts.links.missed(A, page.facts.clock(), "reset")
    seen = await page.json("/v1/links")
    (link,) = seen["links"]  # type: ignore[misc]
    assert seen["cloud"] is True
    assert (link["server"], link["state"], link["misses"], link["last_error"]) == (A, "shaky", 1, "reset")
    assert 0 <= link["heard"] < 60
    assert 0 <= link["since"] < 60


async def test_connections_and_streams_are_added_up(page: Page) -> None:
    seen = await page.json("/v1/upstreams")
    assert (seen["connections"], seen["streams"]) == (4, 40)
    assert [one["identity"] for one in seen["upstreams"]] == ["node", "caller"]  # type: ignore[index]


async def test_the_hub_says_who_it_is(page: Page) -> None:
    page.facts.listeners["local"] = "127.0.0.1:10261"
    seen = await page.json("/v1/info")
    assert seen == {
        "version": "1.2.3",
        "node": "n1",
        "pool": "hangzhou",
        "working_mode": "edge",
        "pid": 7,
        "root_dir": "/var/lib/yurthub",
        "servers": [A],
        "listeners": {"local": "127.0.0.1:10261"},
    }


async def test_hub_079_metrics_show_what_was_counted(page: Page) -> None:
    """In-flight requests are back at zero after a request, and bytes are those of bodies."""
    traffic = page.facts.traffic
    traffic.count("get", "pods", 200)
    traffic.observe("get", 0.004)
    traffic.bytes_to_client += 2048
    traffic.refused["no_credential"] += 1
    _, text = await page.get("/metrics")
    assert 'yurt_hub_requests_total{code="200",resource="pods",verb="get"} 1.0' in text
    assert 'yurt_hub_request_duration_seconds_bucket{le="0.005",verb="get"} 1.0' in text
    assert 'yurt_hub_request_duration_seconds_bucket{le="0.0025",verb="get"} 0.0' in text
    assert 'yurt_hub_bytes_total{direction="to_client"} 2048.0' in text
    assert 'yurt_hub_refused_total{reason="no_credential"} 1.0' in text
    assert "node_yurthub_in_flight_requests_total 0.0" in text
    assert "node_yurthub_proxy_traffic_collector 2048.0" in text
    assert f'node_yurthub_closable_conns_collector{{server="{A}"}} 4.0' in text


async def test_openyurts_health_gauge_is_there_from_the_start(page: Page) -> None:
    _, text = await page.get("/metrics")
    assert f'node_yurthub_server_healthy_status{{server="{A}"}} 0.0' in text
    page.facts.links.heard(A, page.facts.clock())
    _, text = await page.get("/metrics")
    assert f'node_yurthub_server_healthy_status{{server="{A}"}} 1.0' in text


async def test_the_names_of_metrics_are_kept(page: Page) -> None:
    _, text = await page.get("/metrics")
    ours = set(re.findall(r"^# TYPE ((?:node_yurthub|yurt_hub)_\S+) ", text, re.MULTILINE))
    assert ours == NAMES
    assert list(text_string_to_metric_families(text))


async def test_unknown_paths_and_wrong_methods_are_answered_in_json(page: Page) -> None:
    async with page.session.get("/nowhere") as answer:
        assert (answer.status, answer.content_type) == (404, "application/json")
        assert (await answer.json())["kind"] == "Status"
    async with page.session.post("/v1/links") as answer:
        assert (answer.status, answer.content_type) == (405, "application/json")


async def test_the_page_brings_its_scripts_along(page: Page) -> None:
    """Nothing under /docs is loaded from another host."""
    _, text = await page.get("/docs")
    links = re.findall(r"""(?:src|href)=["']([^"']+)""", text)
    assert links
    for link in links:
        assert not link.startswith(("http:", "https:", "//"))
        assert (await page.get("/" + link.lstrip("/")))[0] == 200
    assert (await page.get("/openapi.json"))[0] == 200
