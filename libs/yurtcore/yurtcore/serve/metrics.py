"""Metrics of one process object, in Prometheus' text format under /metrics.

Each `Metrics` has a registry of its own, so that two hubs can live in one test. Counters that the data path keeps as
plain Python values are shown through a Collector: it is read on the event loop, which owns those values; turning
samples into text, the slow part, happens in a thread.
"""

import asyncio
from collections.abc import Iterable

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CollectorRegistry, Metric, ProcessCollector, generate_latest
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """`registry` takes the library's own counters, gauges and histograms (`Counter(…, registry=metrics.registry)`)."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._on_loop: list[Collector] = []
        ProcessCollector(registry=self.registry)

    def show(self, collector: Collector) -> None:
        """Add a collector that reads values owned by the event loop; its `collect` must be quick."""
        self._on_loop.append(collector)

    async def render(self) -> bytes:
        """All metrics as text; call on the loop that owns the shown values."""
        read = [metric for collector in self._on_loop for metric in collector.collect()]
        return await asyncio.to_thread(_render, self.registry, read)

    def routes(self) -> APIRouter:
        """The route of the control API."""
        router = APIRouter(tags=["health"])

        @router.get("/metrics", summary="Prometheus metrics", response_class=Response)
        async def metrics() -> Response:
            return Response(await self.render(), media_type=CONTENT_TYPE)

        return router


class _Read(Collector):
    """Samples that were read before."""

    def __init__(self, read: Iterable[Metric]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        return self._read


def _render(registry: CollectorRegistry, read: list[Metric]) -> bytes:
    shown = CollectorRegistry(auto_describe=False)
    shown.register(_Read(read))
    return generate_latest(registry) + generate_latest(shown)
