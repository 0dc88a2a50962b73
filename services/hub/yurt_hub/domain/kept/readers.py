"""Readers: local watches, each following a feed's log in its own form, with its own selectors, from its own version.

A reader tells what the API server would tell: an object that leaves the selection is DELETED, one that enters is
ADDED; versions are always the cloud's. From a version that the log no longer covers it still goes on when nothing was
deleted since; otherwise the watch ends with 410, as the API server's does.
"""

from collections.abc import Iterator

import msgspec
from msgspec import Struct
from yurtcore.errors import BadInput, Gone
from yurtcore.wire import status
from yurtcore.wire.gvr import Target
from yurtcore.wire.integers import int64

from yurt_hub.domain.kept import matching, partial, sets, tables
from yurt_hub.domain.kept.feed import Feed, Logged
from yurt_hub.domain.kept.forms import OBJECTS, Form, Shape
from yurt_hub.domain.kept.objects import INITIAL_END, Obj
from yurt_hub.domain.kept.sets import SetKey

_FALSE = ("false", "0", "False", "FALSE", "f", "F", "")


class Options(Struct, frozen=True):
    """What a watch request asks for beside its set."""

    version: int = 0
    """0: from now, after events for all that is there."""
    bookmarks: bool = False
    initial: bool | None = None
    """`sendInitialEvents`; None when it is not given."""
    timeout: float | None = None
    """`timeoutSeconds`."""


def options(target: Target) -> Options:
    """Read them from a request; raises BadInput."""
    first = {name: values[0] for name, values in target.query.items() if values}
    text = first.get("resourceVersion", "") or "0"
    version = int64(text)
    if version is None or version < 0:
        raise BadInput(f"Invalid value: {text!r}: a resourceVersion is a whole number")
    initial = first.get("sendInitialEvents")
    seconds = int64(first.get("timeoutSeconds", ""))
    return Options(
        version,
        first.get("allowWatchBookmarks", "") not in _FALSE,
        None if initial is None else initial not in _FALSE,
        float(seconds) if seconds else None,
    )


class Reader:
    """One local watch. `take` until it gives nothing, then again after the feed moved; stop when it `ended`.

    Raises Gone when the caller has to list first, and BadInput for fields that no one here can evaluate.
    """

    def __init__(self, feed: Feed, asked: SetKey, chosen: Options, form: Form = OBJECTS) -> None:
        coverage = feed.coverage
        if coverage is None:
            raise Gone("the set to watch is not kept", code=410)
        self.form = form
        self.ended = False
        self.place = feed.end
        """Where it reads on in the feed's log."""
        self._feed = feed
        self._bookmarks = chosen.bookmarks
        self._selection = matching.residual(feed.key, asked)
        if unknown := self._selection.unknown():
            raise BadInput(f"field label not supported: {unknown}")
        self._era = feed.era
        self._pending: Iterator[tuple[str, Obj]] = iter(())
        self._end_mark = False
        self._columns_told = False
        self._since = self._told = chosen.version
        self._blind = -1
        """The client knew more than the hub when it came: what it knew of states up to this version is not known."""
        self._start(chosen)
        feed.attach(self)

    def close(self) -> None:
        """The client has gone."""
        self.ended = True
        self._feed.detach(self)

    def take(self, now: float, limit: int = 256 * 1024) -> bytes:
        """Watch lines that are due, about `limit` bytes at most; nothing when all was told."""
        out: list[bytes] = []
        size = 0
        for line in self._lines(now):
            out.append(line)
            size += len(line)
            if size >= limit or self.ended:
                break
        return b"".join(out)

    def mark(self) -> bytes:
        """A bookmark at the version up to which all was told, for a quiet watch; nothing if none is wanted or due."""
        if not self._bookmarks or not self._feed.kind or self.ended or self.place != self._feed.end or self._end_mark:
            return b""
        return self._bookmark(max(self._told, self._feed.version))

    # ---- start ----

    def _start(self, chosen: Options) -> None:
        feed, coverage = self._feed, self._feed.coverage
        assert coverage is not None  # noqa: S101 - looked at before
        if chosen.initial or (chosen.version == 0 and chosen.initial is None):
            if chosen.version > coverage.version:
                raise Gone("what is kept is older than the version asked for", code=410)
            shown = [obj for obj in coverage.shown() if self._selection.everything or self._selection.matches(obj)]
            self._pending = iter([("ADDED", obj) for obj in shown])
            self._since = self._told = coverage.version
            self._end_mark = bool(chosen.initial) and chosen.bookmarks
            return
        if chosen.version == 0:
            self._since = self._told = coverage.version
            return
        if chosen.version > coverage.version:
            self._blind = coverage.version
        place = feed.place_after(chosen.version)
        if place is not None:
            self.place = place
            return
        self._since = self._told = coverage.version
        self._pending = iter(self._changed_since(chosen.version))

    def _changed_since(self, version: int) -> list[tuple[str, Obj]]:
        """Without the log: what was changed since, as the members themselves tell; Gone unless that is all."""
        coverage = self._feed.coverage
        assert coverage is not None  # noqa: S101 - looked at before
        changed = sorted((obj for obj in coverage.shown() if obj.version > version), key=lambda obj: obj.version)
        if version < coverage.deleted or coverage.torn:
            raise Gone(f"too old resource version: {version} ({self._feed.floor})", code=410, reason="Expired")
        if not self._selection.everything and not all(self._selection.matches(obj) for obj in changed):
            raise Gone(f"too old resource version: {version} ({self._feed.floor})", code=410, reason="Expired")
        return [("MODIFIED", obj) for obj in changed]

    # ---- lines ----

    def _lines(self, now: float) -> Iterator[bytes]:
        if self.ended:
            return
        for kind, obj in self._pending:
            yield self._line(kind, obj, now)
        feed = self._feed
        if self._end_mark:
            self._end_mark = False
            yield self._bookmark(self._told, initial_end=True)
        while not self.ended:
            if self._era != feed.era or self.place < feed.first or (self._blind >= 0 and feed.within_gap(self._since)):
                yield self._expired()
                return
            if self.place >= feed.end:
                break
            entry = feed.entry(self.place)
            self.place += 1
            line = self._entry(entry, now)
            if line:
                yield line
        if self._bookmarks and feed.kind and feed.marked > self._told and not self.ended:
            self._told = feed.marked
            yield self._bookmark(feed.marked)

    def _entry(self, entry: Logged, now: float) -> bytes:
        """What this reader is told of an entry, if anything."""
        if entry.seen_at <= self._since:
            return b""
        self._told = max(self._told, entry.obj.version)
        if self._selection.everything:
            return self._line(entry.type, entry.obj, now)
        before, after = entry.verdict(self._selection)
        before = before or (entry.prev is not None and entry.prev.version <= self._blind)
        if not before and not after:
            return b""
        if before and after:
            return self._line("MODIFIED", entry.obj, now)
        if after:
            return self._line("ADDED", entry.obj, now)
        if entry.type == "DELETED" or entry.prev is None:
            return self._line("DELETED", entry.obj, now)
        left, version = entry.prev, entry.obj.version
        return self._line("DELETED", Obj(left.key, version, partial.with_version(left.raw, version), left.cells), now)

    def _line(self, kind: str, obj: Obj, now: float) -> bytes:
        match self.form.shape:
            case Shape.TABLE:
                coverage = self._feed.coverage
                columns = coverage.columns if coverage else None
                if columns is None:
                    return self._error(410, "the columns of these objects are not kept; list again", "Expired")
                row = tables.row(obj, columns, self.form, now)
                shown = None if self._columns_told else columns
                self._columns_told = True
                held = tables.table((row,), shown, self.form, b'{"resourceVersion":"%d"}' % obj.version)
            case Shape.PARTIAL:
                held = partial.of_object(obj.raw, self.form.meta)
            case _:
                held = obj.raw
        return b'{"type":"%b","object":%b}\n' % (kind.encode(), held)

    def _bookmark(self, version: int, *, initial_end: bool = False) -> bytes:
        self._told = max(self._told, version)
        gvr = self._feed.key.gvr
        meta: dict[str, object] = {"resourceVersion": str(version)}
        if initial_end:
            meta["annotations"] = {INITIAL_END: "true"}
        kind, api = self._feed.kind, sets.api_version(gvr)
        if self.form.shape is not Shape.OBJECTS:
            kind, api = "PartialObjectMetadata", f"meta.k8s.io/{self.form.meta}"
        held = msgspec.json.encode({"kind": kind, "apiVersion": api, "metadata": meta})
        if self.form.shape is Shape.TABLE:
            row = b'{"cells":[],"object":' + held + b"}"
            held = tables.table((row,), None, self.form, b'{"resourceVersion":"%d"}' % version)
        return b'{"type":"BOOKMARK","object":' + held + b"}\n"

    def _expired(self) -> bytes:
        return self._error(410, f"too old resource version: {self._told} ({self._feed.floor})", "Expired")

    def _error(self, code: int, message: str, reason: str) -> bytes:
        self.ended = True
        self._feed.detach(self)
        body = status.encode(status.status(code, message, reason=reason))
        return b'{"type":"ERROR","object":' + body + b"}\n"
