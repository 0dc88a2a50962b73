"""What the proxy counts: plain numbers that the pump adds to and the control API reads.

Everything runs on one event loop, so there are no locks, and an addition costs what an integer costs. Sets of labels
are bounded: callers choose paths freely, so resource names beyond the first few hundred are counted as ``other``.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from yurt_hub.domain.callers import Identity

BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the duration buckets, seconds; a last bucket holds what took longer."""

MAX_SERIES: Final = 1000
"""Distinct (verb, resource, code) that are counted apart; a node's components use about a hundred."""

MAX_RESOURCES: Final = 300
"""Distinct resource names that are counted apart; a cluster with many custom kinds has about two hundred."""

OTHER: Final = "other"


class Histogram:
    """Durations in fixed buckets; cheap to add to."""

    __slots__ = ("counts", "total")

    def __init__(self, bounds: Sequence[float] = BOUNDS) -> None:
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Add one duration."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def cumulated(self) -> list[tuple[str, float]]:
        """Buckets as Prometheus writes them: (upper bound, durations up to it), the last one ``+Inf``."""
        out, running = [], 0
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), self.counts, strict=True):
            running += count
            out.append((bound, float(running)))
        return out


def _zeros() -> dict[str, int]:
    return defaultdict(int)


@dataclass(slots=True)
class Traffic:
    """Counters of one hub since it started; gauges say so."""

    requests: dict[tuple[str, str, int], int] = field(default_factory=lambda: defaultdict(int))
    """Answers by (verb, resource, status code); :meth:`count` adds to it."""
    durations: dict[str, Histogram] = field(default_factory=dict)
    """Seconds from a request to the end of its answer, by verb; a watch counts its whole life."""
    bytes_to_client: int = 0
    """Bytes of answers' bodies passed down."""
    bytes_to_cloud: int = 0
    """Bytes of requests' bodies passed up."""
    in_flight: int = 0
    """Gauge: requests that have no complete answer yet, watches included."""
    streams: int = 0
    """Gauge: watches and tunnels that are open."""
    clients_open: int = 0
    """Gauge: connections of local callers."""
    clients_total: int = 0
    """Connections of local callers that were accepted."""
    refused: dict[str, int] = field(default_factory=_zeros)
    """Requests that the hub itself refused, by reason."""
    retried: dict[str, int] = field(default_factory=_zeros)
    """Requests sent a second time because the first connection was lost before an answer, by reason."""
    dials: dict[str, int] = field(default_factory=_zeros)
    """TCP connections begun, by server."""
    handshakes: dict[str, int] = field(default_factory=_zeros)
    """TLS handshakes completed, by server."""
    goaways: dict[str, int] = field(default_factory=_zeros)
    """HTTP/2 connections that a server asked us to leave, by server."""
    lost: dict[str, int] = field(default_factory=_zeros)
    """Connections that ended while in use or never came up, by server."""
    _resources: set[str] = field(default_factory=set)

    def count(self, verb: str, resource: str, code: int) -> None:
        """Count one answer; an unknown resource beyond the bound counts as ``other``."""
        key = (verb, resource, code)
        if key in self.requests:
            self.requests[key] += 1
        else:
            self.requests[self._bounded(key)] += 1

    def answered(self, verb: str, resource: str, code: int, seconds: float) -> None:
        """Count one answer and its duration: `count` and `observe` in one call, once per request."""
        key = (verb, resource, code)
        if key in self.requests:
            self.requests[key] += 1
        else:
            self.requests[self._bounded(key)] += 1
        known = self.durations.get(verb)
        if known is None:
            self.observe(verb, seconds)
        else:
            known.counts[bisect_left(BOUNDS, seconds)] += 1
            known.total += seconds

    def observe(self, verb: str, seconds: float) -> None:
        """Add one answer's duration."""
        known = self.durations.get(verb)
        if known is None:
            known = self.durations[verb if len(self.durations) < MAX_RESOURCES else OTHER] = Histogram()
        known.observe(seconds)

    def _bounded(self, key: tuple[str, str, int]) -> tuple[str, str, int]:
        verb, resource, code = key
        if resource not in self._resources:
            if len(self._resources) >= MAX_RESOURCES:
                resource = OTHER
            else:
                self._resources.add(resource)
        if len(self.requests) >= MAX_SERIES:
            return (OTHER, OTHER, code // 100 * 100)
        return (verb, resource, code)


@dataclass(frozen=True, slots=True)
class UpstreamSeen:
    """What the hub holds open towards one API server with one identity, at one moment."""

    server: str
    identity: Identity
    http1_open: int
    http1_busy: int
    http2_open: int
    streams: int
    waiting: int
    """Requests that wait for a connection."""
    oldest_age: float
    """Seconds since the oldest connection was opened; 0 without any."""
