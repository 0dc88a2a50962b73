"""The hub's metrics: what traffic, links, upstream connections and the store come to, in Prometheus' words.

Ours begin with ``yurt_hub_``. Four of OpenYurt's names are kept, with the meaning that its documentation gives them;
its labels by client are not, because a User-Agent is whatever a caller writes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    UnknownMetricFamily,
)
from prometheus_client.registry import Collector

from yurt_hub.api.kept_metrics import kept_metrics
from yurt_hub.domain.facts import Facts
from yurt_hub.domain.links import Link, LinkSeen
from yurt_hub.domain.traffic import Traffic, UpstreamSeen

_UP: Final = (Link.UP, Link.SHAKY)


class HubCollector(Collector):
    """Reads one hub's counters on the loop that owns them."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def collect(self) -> Iterable[Metric]:
        """All families, also those without a sample yet, so that a dashboard sees their names."""
        facts = self._facts
        yield InfoMetricFamily("yurt_hub", "Which hub this is", dict(facts.labels()))
        yield from _answers(facts.traffic)
        yield from _clients(facts.traffic)
        yield from _links(facts.links.view())
        yield from _upstreams(facts.upstreams())
        yield from _upstream_events(facts.traffic)
        if facts.kept is not None:
            yield from kept_metrics(facts.kept)


def _answers(traffic: Traffic) -> Iterator[Metric]:
    requests = CounterMetricFamily("yurt_hub_requests", "Answers given to callers", labels=("verb", "resource", "code"))
    for (verb, resource, code), count in traffic.requests.items():
        requests.add_metric((verb, resource, str(code)), count)
    yield requests
    durations = HistogramMetricFamily(
        "yurt_hub_request_duration_seconds", "From a request to the end of its answer", labels=("verb",)
    )
    for verb, histogram in traffic.durations.items():
        durations.add_metric((verb,), histogram.cumulated(), histogram.total)
    yield durations
    yield _by("yurt_hub_refused", "Requests that the hub itself refused", "reason", traffic.refused)
    yield _by("yurt_hub_retried", "Requests sent again on another connection", "reason", traffic.retried)
    passed = CounterMetricFamily("yurt_hub_bytes", "Bytes passed on", labels=("direction",))
    passed.add_metric(("to_client",), traffic.bytes_to_client)
    passed.add_metric(("to_cloud",), traffic.bytes_to_cloud)
    yield passed
    yield UnknownMetricFamily(
        "node_yurthub_proxy_traffic_collector", "OpenYurt's name: bytes passed to clients", traffic.bytes_to_client
    )


def _clients(traffic: Traffic) -> Iterator[Metric]:
    yield GaugeMetricFamily("yurt_hub_in_flight_requests", "Requests without a complete answer", traffic.in_flight)
    yield GaugeMetricFamily(
        "node_yurthub_in_flight_requests_total", "OpenYurt's name: requests in flight", traffic.in_flight
    )
    yield GaugeMetricFamily("yurt_hub_streams", "Watches and tunnels that are open", traffic.streams)
    yield GaugeMetricFamily("yurt_hub_clients", "Connections of callers", traffic.clients_open)
    yield CounterMetricFamily("yurt_hub_clients_accepted", "Connections of callers", traffic.clients_total)


def _links(links: Iterable[LinkSeen]) -> Iterator[Metric]:
    up = GaugeMetricFamily("yurt_hub_link_up", "1 if the API server is in use", labels=("server",))
    theirs = GaugeMetricFamily(
        "node_yurthub_server_healthy_status", "OpenYurt's name: 1 if the API server is in use", labels=("server",)
    )
    state = GaugeMetricFamily("yurt_hub_link_state", "1 for the state that a link is in", labels=("server", "state"))
    for seen in links:
        for family in (up, theirs):
            family.add_metric((seen.server,), float(seen.state in _UP))
        for link in Link:
            state.add_metric((seen.server, link.value), float(seen.state is link))
    yield from (up, theirs, state)


def _upstreams(seen: Sequence[UpstreamSeen]) -> Iterator[Metric]:
    where = ("server", "identity")
    connections = GaugeMetricFamily(
        "yurt_hub_upstream_connections", "Open connections to API servers", labels=(*where, "protocol")
    )
    busy = GaugeMetricFamily("yurt_hub_upstream_busy", "HTTP/1.1 connections that carry a request", labels=where)
    streams = GaugeMetricFamily("yurt_hub_upstream_streams", "Open HTTP/2 streams", labels=where)
    waiting = GaugeMetricFamily("yurt_hub_upstream_waiting", "Requests that wait for a connection", labels=where)
    per_server: dict[str, int] = {}
    for one in seen:
        place = (one.server, one.identity.value)
        connections.add_metric((*place, "http1"), one.http1_open)
        connections.add_metric((*place, "http2"), one.http2_open)
        busy.add_metric(place, one.http1_busy)
        streams.add_metric(place, one.streams)
        waiting.add_metric(place, one.waiting)
        per_server[one.server] = per_server.get(one.server, 0) + one.http1_open + one.http2_open
    theirs = GaugeMetricFamily(
        "node_yurthub_closable_conns_collector", "OpenYurt's name: open connections to API servers", labels=("server",)
    )
    for server, count in per_server.items():
        theirs.add_metric((server,), count)
    yield from (connections, busy, streams, waiting, theirs)


def _upstream_events(traffic: Traffic) -> Iterator[Metric]:
    yield _by("yurt_hub_upstream_dials", "Connections begun", "server", traffic.dials)
    yield _by("yurt_hub_upstream_handshakes", "TLS handshakes completed", "server", traffic.handshakes)
    yield _by("yurt_hub_upstream_goaways", "HTTP/2 connections that a server ended kindly", "server", traffic.goaways)
    yield _by("yurt_hub_upstream_lost", "Connections that broke or never came up", "server", traffic.lost)


def _by(name: str, about: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, about, labels=(label,))
    for value, count in counts.items():
        family.add_metric((value,), count)
    return family
