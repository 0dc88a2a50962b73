"""A feed: one set, kept up to date by the hub's own watch of it, and a log of what changed for those who follow it.

Readers (`readers.Reader`) follow the log; they outlive the watch. What a list finds after the watch could not go on is
logged as differences, so that nobody who follows has to list again: first what was deleted (so that what frees a place
comes before what takes it), then what came or changed, by version. Such differences hold for those who knew the set as
the hub knew it before. Between the two versions lies a gap: whoever comes with a version from within it (from a list
that the cloud answered, say) may know of objects that the hub never heard of, and has to list.
"""

from collections import deque
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from yurt_hub.domain.kept import partial
from yurt_hub.domain.kept.coverage import Coverage
from yurt_hub.domain.kept.facts import Change, Listed, Permit
from yurt_hub.domain.kept.matching import Selection
from yurt_hub.domain.kept.objects import Event, ListRead, Obj
from yurt_hub.domain.kept.sets import SetKey
from yurt_hub.domain.kept.store import Store

if TYPE_CHECKING:
    from yurt_hub.domain.kept.readers import Reader


_GAPS: Final = 16


class LogLimits(Struct, frozen=True):
    """Bounds of a feed's log: for those who come back, and for readers that are there and slow."""

    entries: int = 1000
    bytes: int = 1024 * 1024
    held_entries: int = 50_000
    """While a reader still has to read them."""
    held_bytes: int = 32 * 1024 * 1024


class Logged(Struct, frozen=True):
    """One change of the set, as its readers are told."""

    type: str
    obj: Obj
    prev: Obj | None
    seen_at: int
    """Whoever comes back with this version or a higher one has been told."""
    verdicts: dict[Selection, tuple[bool, bool]]
    """Per selection of readers: whether the object before and after is meant. Filled as they ask."""

    def verdict(self, selection: Selection) -> tuple[bool, bool]:
        """Whether the selection means the object before this change, and after it."""
        found = self.verdicts.get(selection)
        if found is None:
            old = self.obj if self.prev is None and self.type == "DELETED" else self.prev
            before = old is not None and selection.matches(old)
            after = self.type != "DELETED" and selection.matches(self.obj)
            found = self.verdicts[selection] = (before, after)
        return found


class Feed:
    """What the shell does: list when `resume_version` is None (`listed`), else watch from it; hand over each line's
    event (`event`), say when the watch ends (`lost`); then let the readers `take`.
    """

    def __init__(self, store: Store, key: SetKey, limits: LogLimits | None = None) -> None:
        self.key = key
        self.limits = limits or LogLimits()
        self.live = False
        """The upstream watch runs."""
        self.era = 0
        """Counts the times that the cloud was set back; readers of an earlier era cannot go on."""
        self.marked = 0
        """The highest version up to which the cloud said that nothing else happened."""
        self.first = 0
        """Place of the log's first entry; places count up from the feed's beginning."""
        self._store = store
        self._log: deque[Logged] = deque()
        self._bytes = 0
        self._readers: set[Reader] = set()
        self._relist = False
        self.floor = 0
        """The log holds all that happened after this version."""
        self.gaps: list[tuple[int, int]] = []
        """Versions between which the log tells differences that a list found, not every event."""
        self.refused = ""
        """Why the set is not kept, though it was listed; "" when it is. The watch then runs for nobody: end it."""
        self._refused_at = 0
        self._own: Coverage | None = None

    @property
    def coverage(self) -> Coverage | None:
        """What the feed keeps up to date; None before its first list.

        A coverage that was there before, or that came from a list that somebody else asked for, becomes the feed's when
        it first looks; from then on nobody else changes it.
        """
        coverage = self._store.coverage(self.key)
        if coverage is not self._own:
            self._begin_anew(coverage, broken=self._own is not None)
        return coverage

    @property
    def kind(self) -> str:
        """Kind of the members; "" while nothing told it."""
        return self._store.kinds(self.key.gvr)[0]

    @property
    def version(self) -> int:
        """Up to where the set is known."""
        coverage = self.coverage
        return coverage.version if coverage else 0

    @property
    def resume_version(self) -> int | None:
        """The version from which the upstream watch goes on; None when the set has to be listed first."""
        coverage = self.coverage
        if self._relist:
            return None
        if coverage is None and self.refused:
            return self._refused_at  # listing it again and again would not help
        if coverage is None or coverage.torn or coverage.version == 0:
            return None
        return coverage.version

    @property
    def end(self) -> int:
        """The place after the log's last entry."""
        return self.first + len(self._log)

    @property
    def readers(self) -> int:
        """How many follow."""
        return len(self._readers)

    def listed(self, read: ListRead, permit: Permit, *, since: float | None) -> list[Logged]:
        """The whole set was listed; `since` as in `Store.put_list`. Gives what readers will be told."""
        own = self.coverage
        result = self._store.put_list(self.key, read, permit, since=since, fed=True)
        self.refused = result.why
        if result.coverage is None:
            self._relist, self._refused_at = False, read.version
            return []
        self._relist = self._relist and result.coverage.version > read.version
        if result.anew:
            self._begin_anew(own, broken=True)
        if result.anew or own is not self.coverage:
            return []
        self.marked = max(self.marked, self.version)
        logged = [self._difference(change, result) for change in result.changes]
        if result.before < self.version:
            self.gaps.append((result.before, self.version))
        self._append(logged)
        return logged

    def event(self, event: Event, now: float) -> list[Logged]:
        """One event of the upstream watch at the wall time `now`; gives what readers will be told."""
        if event.type == "ERROR":
            if event.code == 410:
                self.expired()
            self.lost()
            return []
        self.live = True
        if event.type == "BOOKMARK":
            self._store.apply(self.key, event, now)
            self.marked = max(self.marked, event.version)
            return []
        change = self._store.apply(self.key, event, now)
        if change is None:
            return []
        logged = [Logged(change.type, change.obj, change.prev, change.version, {})]
        self._append(logged)
        return logged

    def lost(self) -> None:
        """The upstream watch ended, for whatever reason; readers stay."""
        self.live = False

    def expired(self) -> None:
        """The cloud no longer has the version to go on from (410): list, and tell the differences."""
        self._relist = True

    def close(self) -> None:
        """The feed ends; what it kept stays, as a set that no feed keeps up to date."""
        self.live = False
        coverage = self.coverage
        if coverage is not None:
            coverage.fed = False

    def attach(self, reader: "Reader") -> None:
        """Keep the log for this reader as far as it has not read it."""
        self._readers.add(reader)

    def detach(self, reader: "Reader") -> None:
        """The reader has gone."""
        self._readers.discard(reader)
        self._trim()

    def entry(self, place: int) -> Logged:
        """The entry at a place from `first` to before `end`."""
        return self._log[place - self.first]

    def place_after(self, version: int) -> int | None:
        """Where one who was told all up to `version` reads on; None when the log no longer tells."""
        if self.within_gap(version):
            return None
        if version >= self.version:
            return self.end
        return self.first if version >= self.floor else None

    def within_gap(self, version: int) -> bool:
        """The hub never knew the set as it was at this version, and does not know what changed since."""
        return any(before < version < after for before, after in self.gaps)

    def _difference(self, change: Change, result: Listed) -> Logged:
        version = self.version
        if change.type == "DELETED":
            # The object bears the version before: whoever breaks off here comes back with it, and is told the rest.
            gone = Obj(
                change.obj.key, result.before, partial.with_version(change.obj.raw, result.before), change.obj.cells
            )
            return Logged("DELETED", gone, change.prev, version, {})
        return Logged(change.type, change.obj, change.prev, version, {})

    def _begin_anew(self, coverage: Coverage | None, *, broken: bool) -> None:
        """Log from what the coverage is now; `broken` when readers of what was logged cannot go on from it."""
        self._own = coverage
        if coverage is not None:
            coverage.fed = True
        self.era += broken
        self.first = self.end
        self._log.clear()
        self._bytes = 0
        self.floor = self.marked = coverage.version if coverage else 0
        self.gaps.clear()

    def _append(self, entries: list[Logged]) -> None:
        self._log.extend(entries)
        self._bytes += sum(len(entry.obj.raw) for entry in entries)
        self._trim()

    def _trim(self) -> None:
        limits, log = self.limits, self._log
        if len(log) <= limits.entries and self._bytes <= limits.bytes:
            return
        needed_from = min((reader.place for reader in self._readers), default=self.end)
        while log and (len(log) > limits.entries or self._bytes > limits.bytes):
            held = len(log) <= limits.held_entries and self._bytes <= limits.held_bytes
            if held and self.first >= needed_from:
                return
            entry = log.popleft()
            self.first += 1
            self._bytes -= len(entry.obj.raw)
            self.floor = max(self.floor, entry.seen_at)
        self._forget_gaps()

    def _forget_gaps(self) -> None:
        """Keep few gaps: what lies before the log needs none."""
        if len(self.gaps) > _GAPS:
            self.floor = max(self.floor, self.gaps[-_GAPS - 1][1])
        self.gaps = [gap for gap in self.gaps if gap[1] > self.floor]
