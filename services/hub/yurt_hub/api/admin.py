"""The hub's control API on loopback: health, metrics, links and connections, and what is kept.

Anybody on the machine may read it, so nothing here shows a token or what is in an object; OpenYurt's `/pods`, which
does, is not offered. Its two health routes answer in its words.
"""

import dataclasses
from typing import Annotated, Literal

from fastapi import APIRouter, FastAPI
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field
from yurtcore.serve.health import Checks
from yurtcore.serve.metrics import Metrics
from yurtcore.serve.server import app

from yurt_hub.api import kept
from yurt_hub.api.metrics import HubCollector
from yurt_hub.domain.facts import Facts
from yurt_hub.domain.links import LinkSeen
from yurt_hub.domain.traffic import UpstreamSeen


class Answer(BaseModel):
    """Base of all answers: their fields are documented where they stand."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


Age = Annotated[float, Field(ge=0)]


class LinkModel(Answer):
    """One API server, as the hub sees it."""

    server: str
    state: Literal["trying", "up", "shaky", "down"]
    """up and shaky servers are in use, a trying one if there is no better one."""
    since: Age
    """Seconds that it has been in this state."""
    misses: int
    """Failures since the last answer."""
    heard: Age | None
    """Seconds since it last answered; null if it never did."""
    last_error: str
    """What went wrong last, also if all is well by now."""


class LinksModel(Answer):
    """All API servers."""

    cloud: bool
    """Whether any of them is in use."""
    links: list[LinkModel]


class UpstreamModel(Answer):
    """Connections to one API server with one identity."""

    server: str
    identity: Literal["node", "caller"]
    """node: with the node's certificate; caller: without any, for requests that carry a token."""
    http1_open: int
    """Connections for short requests and tunnels."""
    http1_busy: int
    """Those of them that carry a request now."""
    http2_open: int
    """Connections that watches share."""
    streams: int
    """Watches on them."""
    waiting: int
    """Requests that wait for a connection."""
    oldest_age: Age
    """Seconds since the oldest connection was opened."""


class UpstreamsModel(Answer):
    """What the hub holds open towards the cloud."""

    connections: int
    streams: int
    upstreams: list[UpstreamModel]


class InfoModel(Answer):
    """Which hub this is."""

    version: str
    node: str
    pool: str
    working_mode: str
    pid: int
    root_dir: str
    listeners: dict[str, str]
    """Addresses by door: local (plain), secure (TLS), admin (this API)."""
    servers: list[str]


def control_api(facts: Facts) -> FastAPI:
    """Build the application with all routes."""
    checks = Checks()
    checks.ready("callers", lambda: facts.unready)
    if facts.kept is None:
        checks.ready("cloud", facts.no_cloud)
    else:
        checks.ready("cloud-or-store", facts.no_answers)
        checks.ready("disk", facts.kept.disk_trouble)
    metrics = Metrics()
    metrics.show(HubCollector(facts))
    api = app(
        "Yurt hub", facts.about.version, description="Health, metrics and state of the hub of one node; read-only."
    )
    for router in (checks.routes(), metrics.routes(), _openyurt(facts), _state(facts)):
        api.include_router(router)
    if facts.kept is not None:
        api.include_router(kept.routes(facts.kept))
    return api


def _openyurt(facts: Facts) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["health"], default_response_class=PlainTextResponse)

    @router.get("/healthz", summary="OK as long as the process answers")
    async def healthz() -> str:
        return "OK"

    @router.get("/readyz", summary="OK, or 500 with the first reason")
    async def readyz() -> PlainTextResponse:
        why = facts.unready or facts.no_answers()
        return PlainTextResponse("OK" if why is None else why, 200 if why is None else 500)

    return router


def _state(facts: Facts) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["state"])

    @router.get("/links", summary="State of the link to each API server")
    async def links() -> LinksModel:
        now = facts.clock()
        return LinksModel(cloud=facts.links.any_up(), links=[_link(seen, now) for seen in facts.links.view()])

    @router.get("/upstreams", summary="Connections and streams to the API servers")
    async def upstreams() -> UpstreamsModel:
        seen = facts.upstreams()
        return UpstreamsModel(
            connections=sum(one.http1_open + one.http2_open for one in seen),
            streams=sum(one.streams for one in seen),
            upstreams=[_upstream(one) for one in seen],
        )

    @router.get("/info", summary="Which hub this is and where it listens")
    async def info() -> InfoModel:
        return InfoModel(**dataclasses.asdict(facts.about), listeners=facts.listeners)

    return router


def _link(seen: LinkSeen, now: float) -> LinkModel:
    return LinkModel(
        server=seen.server,
        state=seen.state.value,
        since=max(0.0, now - seen.since),
        misses=seen.misses,
        heard=None if seen.last_heard is None else max(0.0, now - seen.last_heard),
        last_error=seen.last_error,
    )


def _upstream(seen: UpstreamSeen) -> UpstreamModel:
    return UpstreamModel(
        server=seen.server,
        identity=seen.identity.value,
        http1_open=seen.http1_open,
        http1_busy=seen.http1_busy,
        http2_open=seen.http2_open,
        streams=seen.streams,
        waiting=seen.waiting,
        oldest_age=seen.oldest_age,
    )
