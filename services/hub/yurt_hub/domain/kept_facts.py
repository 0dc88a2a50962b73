"""What a hub tells about what it keeps: which sets, who may read them, sizes and ages; never objects or tokens."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from yurt_hub.domain.kept.coverage import Coverage
from yurt_hub.domain.kept.policy import Agents
from yurt_hub.domain.kept.sets import SetKey
from yurt_hub.domain.kept.store import Store
from yurt_hub.domain.local.beats import Beats
from yurt_hub.domain.local.documents import Documents

_OPAQUE = "token:"
_SHOWN = 4


@dataclass(frozen=True, slots=True)
class FeedSeen:
    """One watch of the hub's own."""

    key: SetKey
    live: bool
    """It runs at the cloud now."""
    watches: int
    """Watches of callers that are told from it."""


@dataclass(frozen=True, slots=True)
class DiskSeen:
    """The store on disk; sizes in bytes, ages in seconds, counts since the start."""

    live: int
    dead: int
    file: int
    quota: int
    batches: int
    written: int
    compactions: int
    rewrites: int
    queue: int
    queue_bytes: int
    sync_age: float | None
    errors: int
    refused: int
    full: bool
    stopped: str
    torn: int
    """Bytes of an unfinished batch that were cut off at the start."""
    damaged: int
    """Bad places that were found at the start."""
    lost: int
    """Records that were given up for them."""


@dataclass(frozen=True, slots=True)
class LeaseSeen:
    """Renewals of the node's Lease that the hub brought to the cloud."""

    sent: int
    failed: int
    why: str
    """What is wrong with them; "" while nothing is."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept, and where the rest is read."""

    node: str
    store: Store
    documents: Documents
    beats: Beats
    agents: Callable[[], Agents]
    feeds: Callable[[], Sequence[FeedSeen]]
    disk: Callable[[], DiskSeen]
    lease: Callable[[], LeaseSeen]
    lit_reads: Mapping[tuple[str, str], int]
    """Reads of kept callers while lit, by verb and road (cloud, feed)."""
    dark_answers: Mapping[tuple[str, int], int]
    """Answers to reads of resources that the cloud did not give, by verb and code."""
    own: frozenset[SetKey]
    """Sets that the hub keeps for itself."""
    lit: Callable[[], bool]
    wall: Callable[[], float]

    def nothing(self) -> str | None:
        """Say that the hub could not answer its node by itself; None when it has something to answer with."""
        if any(coverage.key not in self.own and not coverage.torn for coverage in self.store.coverages()):
            return None
        return "nothing is kept yet that could be answered without it"

    def disk_trouble(self) -> str | None:
        """Why nothing is written to disk now; None while all is well."""
        return self.disk().stopped or None

    def fed(self) -> list[Coverage]:
        """The sets that feeds keep up to date."""
        found = (self.store.coverage(feed.key) for feed in self.feeds())
        return [coverage for coverage in found if coverage is not None]

    def oldest(self) -> float | None:
        """Seconds since the cloud last confirmed the fed set that it confirmed longest ago; None without any."""
        now = self.wall()
        return max((age(coverage.confirmed, now) for coverage in self.fed()), default=None)


def age(then: float, now: float) -> float:
    """Seconds between two wall times; 0 for a clock that was set back."""
    return max(0.0, now - then)


def shown(identity: str) -> str:
    """An identity as anybody may read it: of a token without a name, too little of its hash to find it by."""
    if identity.startswith(_OPAQUE) and len(identity) > len(_OPAQUE) + _SHOWN:
        return identity[: len(_OPAQUE) + _SHOWN] + "…"
    return identity
