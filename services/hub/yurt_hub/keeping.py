"""Wiring of what is kept: disk, store, feeds and the desk that answers from them; for `main` alone.

Opened before the proxy ports, so that the first request in the dark finds what the last run knew.
"""

import asyncio
import time
from pathlib import Path

import msgspec
import structlog
from yurtcore.flow.tasks import Tasks
from yurtcore.wire.gvr import Gvr
from yurtcore.wire.names import HUB_CONFIGMAP, SYSTEM_NAMESPACE

from yurt_hub.adapters.beats import Renewals
from yurt_hub.adapters.disk import DiskLog, Sealer, own_key
from yurt_hub.adapters.documents import Prefetch
from yurt_hub.adapters.keys import proves
from yurt_hub.domain.callers import Identity
from yurt_hub.domain.kept import policy, quota, records
from yurt_hub.domain.kept.policy import Agents
from yurt_hub.domain.kept.sets import SetKey, canonical_fields
from yurt_hub.domain.kept.store import Store
from yurt_hub.domain.links import LinkTable
from yurt_hub.domain.local.beats import Beats
from yurt_hub.domain.local.documents import Documents
from yurt_hub.domain.local.reviews import Reviews
from yurt_hub.domain.local.tokens import Verifier
from yurt_hub.pump.cloud import Cloud
from yurt_hub.pump.kept.copies import Takes
from yurt_hub.pump.kept.desk import Desk
from yurt_hub.pump.kept.feeds import Credentials, Feeds
from yurt_hub.pump.kept.shared import Shared

CONFIG = SetKey(Gvr("", "v1", "configmaps"), SYSTEM_NAMESPACE, "", canonical_fields(f"metadata.name={HUB_CONFIGMAP}"))
"""The ConfigMap that names the agents; the hub follows it with the node's rights."""
STORE_RECORDS = (records.OBJECT, records.COVERAGE, records.VERSION)
TICK = 0.25
CHECKPOINT_EVERY = 30.0
SWEEP_IDLE = 7 * 24 * 3600.0
"""Seconds after which a set that nobody read, and no feed keeps, is forgotten while lit."""

_log = structlog.get_logger("kept")


class _ConfigMap(msgspec.Struct):
    data: dict[str, str] | None = None


_CONFIG = msgspec.json.Decoder(_ConfigMap)


class Keeping:
    """Everything that is kept, and the tasks that keep it."""

    def __init__(
        self, *, node: str, disk: DiskLog, quota_bytes: int, cloud: Cloud, links: LinkTable, tasks: Tasks
    ) -> None:
        clock = asyncio.get_running_loop().time
        self._clock = clock
        self.disk = disk
        self.store = Store(disk, quota.Limits(bytes=quota_bytes))
        self.documents = Documents(disk)
        self.beats = Beats(node, disk)
        self.reviews = Reviews(disk)
        self.verifier = Verifier(proves, disk)
        self._mine = Credentials(f"system:node:{node}", Identity.NODE, needed=True)
        self._agents: Agents = policy.agents(None)
        self._agents_of: bytes | None = None
        self._load()
        self.feeds = Feeds(
            self.store,
            cloud,
            lit=self.lit,
            spawn=tasks.spawn,
            log=structlog.get_logger("feeds"),
            clock=clock,
            wall=time.time,
            refused=lambda token: takes.token(token, 401, ""),
            together=disk.together,
        )
        self.renewals = Renewals(self.beats, fetch=cloud.fetch, wall=time.time)
        self.prefetch = Prefetch(
            self.documents, fetch=cloud.fetch, lit=self.lit, wall=time.time, told=self._documents_told
        )
        takes = Takes(
            store=self.store,
            documents=self.documents,
            beats=self.beats,
            reviews=self.reviews,
            verifier=self.verifier,
            tables=self.feeds.want_table,
            know=self.feeds.know,
            together=disk.together,
            spawn=tasks.spawn,
            log=_log,
            wall=time.time,
        )
        self._links = links
        self.desk = Desk(
            node=node,
            cloud=cloud,
            links=links,
            store=self.store,
            feeds=self.feeds,
            documents=self.documents,
            beats=self.beats,
            renewed=self.renewals.due,
            reviews=self.reviews,
            verifier=self.verifier,
            agents=lambda: self._agents,
            takes=takes,
            shared=Shared(self.feeds, self._mine, time.time),
            clock=clock,
            wall=time.time,
        )

    def _load(self) -> None:
        found = list(self.disk.load())
        lost = self.disk.report.lost
        mine = [record for record in found if record[0].startswith(STORE_RECORDS)]
        damaged = [key for key in lost if key.startswith(STORE_RECORDS)] + [""] * self.disk.report.nameless
        for trouble in self.store.load(mine, damaged=damaged):
            _log.warning("store.damaged", what=trouble)
        for kept in (self.documents, self.beats, self.reviews, self.verifier):
            kept.load(found)
        self.disk.noted()
        self._documents_told()
        _log.info("store.loaded", sets=len(self.store.coverages()), objects=self.store.objects)

    def _documents_told(self) -> None:
        self.verifier.renew(self.documents.keys())

    @property
    def agents(self) -> Agents:
        """The components whose answers are kept."""
        return self._agents

    def lit(self) -> bool:
        """Tell whether the cloud may be asked."""
        return self._links.may_ask()

    def link_up(self) -> None:
        """The cloud is back."""
        self.prefetch.link_up()
        self.feeds.tick()

    def start(self, tasks: Tasks) -> None:
        """Start what runs in the background."""
        config = self.feeds.feed(CONFIG, self._mine)
        config.permanent = True
        self._read_config()
        tasks.start("feeds", self._turn())
        tasks.start("documents", self.prefetch.run())
        tasks.start("beats", self.renewals.run())

    async def _turn(self) -> None:
        written = self._clock()
        while True:
            await asyncio.sleep(TICK)
            self.feeds.tick()
            self._read_config()
            now = self._clock()
            if now - written >= CHECKPOINT_EVERY:
                written = now
                self.store.checkpoint()
                if self.lit():
                    self.store.sweep(time.time(), idle=SWEEP_IDLE)

    def _read_config(self) -> None:
        coverage = self.store.coverage(CONFIG)
        if coverage is None:
            return
        found = next(iter(coverage.shown()), None)
        raw = found.raw if found is not None else b"{}"
        if raw == self._agents_of:
            return
        self._agents_of = raw
        data = _CONFIG.decode(raw).data or {}
        self._agents = policy.agents(data.get("cache_agents"))
        _log.info("agents.changed", names=sorted(self._agents.names), everyone=self._agents.everyone)

    def close(self) -> None:
        """Write down what is known and close the disk; the feeds have ended."""
        self.feeds.close()
        self.store.checkpoint()
        self.disk.close()


def open_disk(folder: Path, root: Path, quota_bytes: int) -> DiskLog:
    """Open the log and its key; blocks for the disk, raises BadInput if the folder cannot be used."""
    return DiskLog.open(folder, sealer=Sealer(own_key(root / "seal.key")), quota_bytes=quota_bytes)
