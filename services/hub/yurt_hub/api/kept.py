"""What is kept, by whom and how old, and why a request is answered as it is; read-only.

Anybody on the machine may read it: it tells names of sets and of callers, and whether an object of a given name is
kept. What objects hold is told to nobody here, and so is nothing that a token could be found by.
"""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from yurt_hub.domain import roads
from yurt_hub.domain.kept import sets
from yurt_hub.domain.kept.coverage import Coverage
from yurt_hub.domain.kept.explain import Asked
from yurt_hub.domain.kept_facts import FeedSeen, Kept, age, shown

PAGE = 100
MOST = 500
"""Sets of one page."""
READERS = 16
"""Identities that are told of one set; the ones that read last."""
LONGEST = 8192
"""Characters of a target; a URL of the API server is shorter."""

Age = Annotated[float, Field(ge=0)]


class Answer(BaseModel):
    """Base of all answers: their fields are documented where they stand."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class ReaderModel(Answer):
    """Who may read a set here."""

    identity: str
    """As the API server knows it; a token that names nobody is `token:` and the first digits of its hash."""
    age: Age
    """Seconds since the cloud last let it."""


class SetModel(Answer):
    """A set of objects that is kept whole."""

    id: int
    """Place in the order of coming; a page goes on after it."""
    what: str
    """The set in words."""
    kind: str
    """Kind of its objects; empty while none was seen."""
    members: int
    version: int
    """resourceVersion up to which it is known."""
    age: Age
    """Seconds since the cloud last said something about it; a set with a live watch is confirmed once a minute."""
    idle: Age
    """Seconds since somebody last was allowed to read it at the cloud."""
    needed: bool
    """The kubelet or kube-proxy asked for it: never evicted."""
    fed: bool
    """The hub watches it at the cloud, or will when that is back."""
    live: bool
    """That watch runs now."""
    watches: int
    """Watches of callers that are told from it."""
    table: bool
    """Answers as Tables (kubectl get) are possible."""
    damaged: bool
    """A member may be missing: single objects are answered, lists are not, until it is listed anew."""
    readers: int
    """How many identities may read it."""
    identities: list[ReaderModel]
    """Those of them that read last, at most 16."""


class DiskModel(Answer):
    """The store on disk; sizes in bytes, counts since the start."""

    live: int
    dead: int
    """Bytes of former states; compaction removes them."""
    file: int
    quota: int
    queue: int
    """Records that wait for the disk."""
    queue_bytes: int
    sync_age: Age | None
    """Seconds since the last sync; null before the first."""
    written: int
    batches: int
    compactions: int
    rewrites: int
    errors: int
    refused: int
    """Records that were too big."""
    full: bool
    stopped: str
    """Why nothing is written now; empty while all is well."""
    torn: int
    """Bytes of an unfinished batch that were cut off at the start."""
    damaged: int
    """Bad places that were found at the start."""
    lost: int
    """Records that were given up for them."""


class KeptModel(Answer):
    """What is kept."""

    lit: bool
    """Whether the cloud can be asked."""
    objects: int
    bytes: int
    """Memory that they take, about."""
    limit: int
    """Bytes above which sets are evicted that the node does not need."""
    documents: int
    """Documents of discovery, version, token keys and OpenAPI."""
    feeds: int
    """Watches of the hub's own."""
    live: int
    """Those of them that run now."""
    watches: int
    """Watches of callers that are told from them."""
    oldest: Age | None
    """Seconds since the cloud last confirmed the followed set that it confirmed longest ago; null without any."""
    disk: DiskModel
    total: int
    """Sets that are kept, or that are meant by `what`."""
    sets: list[SetModel]
    next: int | None
    """Give it as `after` for the next page; null on the last."""


class AgentsModel(Answer):
    """Components whose answers are kept, by the first word of their User-Agent in lower case."""

    everyone: bool
    names: list[str]


class ExplainedModel(Answer):
    """Why a request is answered as it is."""

    cloud: bool
    """Whether the cloud can be asked now."""
    identity: str
    component: str
    """Who the User-Agent says to be asking."""
    verb: str
    what: str
    """The set that is asked for, in words; empty when it is none."""
    kept: bool
    """Whether a copy of the answer is kept while lit."""
    kept_why: str
    lit: str
    """Who answers while the cloud is there."""
    dark: int
    """Code of the answer without the cloud; 0 when it depends on the request's body."""
    dark_why: str
    version: int
    """resourceVersion of the set that would answer, 0 for none."""


def routes(kept: Kept) -> APIRouter:
    """The routes about what is kept."""
    router = APIRouter(prefix="/v1", tags=["kept"])

    @router.get("/kept", summary="What is kept, by whom and how old")
    async def kept_sets(
        what: Annotated[str, Query(max_length=256, description="part of a set's name")] = "",
        limit: Annotated[int, Query(ge=1, le=MOST)] = PAGE,
        after: Annotated[int, Query(ge=0)] = 0,
    ) -> KeptModel:
        return _kept(kept, what, limit, after)

    @router.get("/kept/agents", summary="Components whose answers are kept")
    async def agents() -> AgentsModel:
        known = kept.agents()
        return AgentsModel(everyone=known.everyone, names=sorted(known.names))

    @router.get("/explain", summary="Why a request is answered as it is")
    async def explain(
        target: Annotated[str, Query(pattern="^/", max_length=LONGEST, description="path and query")],
        method: Annotated[str, Query(pattern="^[A-Za-z]+$", max_length=16)] = "GET",
        user_agent: Annotated[str, Query(alias="user-agent", max_length=1024)] = "kubelet",
        identity: Annotated[str, Query(max_length=1024, description="who asks; the node itself without it")] = "",
    ) -> ExplainedModel:
        who = identity or f"system:node:{kept.node}"
        found = roads.explain(kept, Asked(method.upper(), target, who, user_agent))
        return ExplainedModel(
            cloud=kept.lit(),
            identity=found.identity,
            component=found.component,
            verb=found.verb,
            what=found.what,
            kept=found.kept,
            kept_why=found.kept_why,
            lit=found.lit,
            dark=found.dark,
            dark_why=found.dark_why,
            version=found.version,
        )

    return router


def _kept(kept: Kept, what: str, limit: int, after: int) -> KeptModel:
    now = kept.wall()
    feeds = {feed.key: feed for feed in kept.feeds()}
    meant = [one for one in kept.store.coverages() if what in sets.describe(one.key)]
    page = sorted((one for one in meant if one.id > after), key=lambda one: one.id)
    disk = kept.disk()
    return KeptModel(
        lit=kept.lit(),
        objects=kept.store.objects,
        bytes=kept.store.size,
        limit=kept.store.limits.bytes,
        documents=len(kept.documents),
        feeds=len(feeds),
        live=sum(feed.live for feed in feeds.values()),
        watches=sum(feed.watches for feed in feeds.values()),
        oldest=kept.oldest(),
        disk=DiskModel(**{name: getattr(disk, name) for name in DiskModel.model_fields}),
        total=len(meant),
        sets=[_set(one, feeds.get(one.key), now) for one in page[:limit]],
        next=page[limit - 1].id if len(page) > limit else None,
    )


def _set(coverage: Coverage, feed: FeedSeen | None, now: float) -> SetModel:
    latest = sorted(coverage.callers.items(), key=lambda pair: (-pair[1], pair[0]))[:READERS]
    return SetModel(
        id=coverage.id,
        what=sets.describe(coverage.key),
        kind=coverage.kind,
        members=len(coverage.members) - len(coverage.gone),
        version=coverage.version,
        age=age(coverage.confirmed, now),
        idle=age(coverage.used, now),
        needed=coverage.needed,
        fed=coverage.fed,
        live=feed is not None and feed.live,
        watches=0 if feed is None else feed.watches,
        table=coverage.columns is not None,
        damaged=coverage.torn,
        readers=len(coverage.callers),
        identities=[ReaderModel(identity=shown(name), age=age(at, now)) for name, at in latest],
    )
