"""The hub's own watches: each keeps one set up to date while lit, and starts again at heal from where it was.

One feed per set, whoever follows: the node's identity asks for it, or else the caller with the newest token that
may. What is found when the cloud is back goes to all who follow as differences, so that none of them lists again.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import msgspec
from yurtcore.flow.backoff import backoff

from yurt_hub.domain.callers import Identity
from yurt_hub.domain.kept import forms, sets
from yurt_hub.domain.kept.feed import Feed
from yurt_hub.domain.kept.objects import ListRead, Unreadable, read_event, read_list
from yurt_hub.domain.kept.sets import SetKey
from yurt_hub.domain.kept.store import Permit, Store
from yurt_hub.pump.cloud import Cloud, Log, Spawn
from yurt_hub.pump.fetch import Unanswered
from yurt_hub.pump.kept.upstream import UpstreamWatch
from yurt_hub.pump.kept.watches import LocalWatch

PAGE = 500
"""Objects to a page of the hub's own lists, as client-go asks."""
LINGER = 60.0
"""Seconds that a feed goes on without anybody who follows: a client that watches anew finds it up to date."""
MARK_EVERY = 50.0
"""Seconds between bookmarks to quiet clients; the API server takes about a minute."""
BIG = 256 * 1024
"""Bytes above which a list is read in a thread."""
BEGIN_WITHIN = 65.0
"""Seconds for the first byte of a watch; the API server answers at once."""
LATE = 15.0
"""Seconds that a watch at the cloud may outlive its own end."""


Together = Callable[[], AbstractContextManager[object]]
"""A context in which all that is written down survives a crash as a whole or not at all: half a list is a wrong one."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """With whose rights a feed asks."""

    name: str
    identity: Identity
    headers: tuple[tuple[str, str], ...] = ()
    needed: bool = False
    """The kubelet or kube-proxy follows."""


class Following:
    """One feed, its watch at the cloud, and those who follow it."""

    def __init__(self, feeds: "Feeds", key: SetKey, credentials: Credentials) -> None:
        self._feeds = feeds
        self.feed = Feed(feeds.store, key)
        self.credentials = credentials
        self.table = False
        self.permanent = False
        self.denied = False
        """The cloud refused the last list."""
        self.idle_since = feeds.clock()
        self._watches: set[LocalWatch] = set()
        self._upstream: UpstreamWatch | None = None
        self._listing = False
        self._attempt = 0
        self._not_before = 0.0
        self._opened_at = 0.0
        self._ends_at = 0.0
        self._closed = False
        self._telling = False
        self.ready: asyncio.Event = asyncio.Event()
        coverage = self.feed.coverage
        if coverage is not None:
            self.table = coverage.columns is not None
            self.ready.set()

    @property
    def live(self) -> bool:
        """Tell whether the watch at the cloud runs: it was answered, though perhaps nothing has happened since."""
        return self._upstream is not None and self._upstream.exchange.begun

    @property
    def watches(self) -> int:
        """How many follow."""
        return len(self._watches)

    async def wait_ready(self, within: float) -> bool:
        """Wait until the set was listed; False if that takes too long."""
        try:
            async with asyncio.timeout(within):
                await self.ready.wait()
        except TimeoutError:
            return False
        return not self.denied

    def follow(self, watch: LocalWatch) -> None:
        """One more."""
        self._watches.add(watch)
        self.ensure()

    def leave(self, watch: LocalWatch) -> None:
        """One less."""
        self._watches.discard(watch)
        if not self._watches:
            self.idle_since = self._feeds.clock()

    def want_table(self) -> None:
        """Somebody follows in Tables: from here on ask for them, with whole objects inside."""
        if not self.table:
            self.table = True
            if self._upstream is not None:
                self._upstream.leave()
                self._upstream = None
                self.feed.lost()
            self.ensure()

    # -- the cloud's end

    def ensure(self) -> None:
        """Have the watch at the cloud run, if it can."""
        feeds = self._feeds
        if (
            self._closed
            or self._upstream is not None
            or self._listing
            or feeds.clock() < self._not_before
            or not feeds.lit()
        ):
            return
        self.credentials = feeds.newest(self.credentials)
        version = self.feed.resume_version
        if version is None:
            self._listing = True
            feeds.spawn("list", self._list())
        else:
            self._watch(version)

    def _accept(self) -> tuple[tuple[str, str], ...]:
        accept = forms.ACCEPT_TABLE if self.table else forms.ACCEPT_JSON
        return (("Accept", accept), *self.credentials.headers)

    def _target(self, *query: str) -> str:
        path = sets.upstream_path(self.feed.key)
        more = [*query, *(["includeObject=Object"] if self.table else [])]
        return path + ("&" if "?" in path else "?") + "&".join(more)

    def _watch(self, version: int) -> None:
        seconds = 300 + int(300 * random.random())  # noqa: S311 - spreads load
        target = self._target(
            "watch=true", "allowWatchBookmarks=true", f"resourceVersion={version}", f"timeoutSeconds={seconds}"
        )
        feeds = self._feeds
        watch = UpstreamWatch(
            target,
            self._accept(),
            self.credentials.identity,
            now=feeds.clock(),
            line=self._line,
            ended=lambda status, reason: self._ended(watch, status, reason),
        )
        self._upstream = watch
        self._opened_at = feeds.clock()
        self._ends_at = self._opened_at + seconds + LATE
        feeds.cloud.open(watch.exchange)

    def _line(self, line: bytes) -> None:
        coverage = self.feed.coverage
        try:
            event = read_event(line, kind=coverage.kind if coverage else "")
        except Unreadable as err:
            self._feeds.log.warning("feed.unreadable", set=sets.describe(self.feed.key), why=str(err))
            self.feed.expired()
            self._stop()
            return
        self.feed.event(event, self._feeds.wall())
        if event.type == "ERROR":
            self._stop()
            if event.code != 410:
                self._wait("an error event")
        self.tell_soon()

    def _stop(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.leave()
        self.feed.lost()

    def _ended(self, watch: UpstreamWatch, status: int, reason: bytes) -> None:
        if self._upstream is not watch:
            return
        self._upstream = None
        self.feed.lost()
        feeds = self._feeds
        if status == 200:
            if feeds.clock() - self._opened_at > 1.0:
                self._attempt = 0
                self._not_before = feeds.clock() + 0.2 * random.random()  # noqa: S311 - spreads load
            else:
                self._wait("ended at once")
        elif status == 410:
            self.feed.expired()
        elif status in (401, 403):
            self._refused(status)
        else:
            self._wait(reason[:200].decode("utf-8", "replace"))

    def _wait(self, why: str) -> None:
        delay = backoff(self._attempt, base=0.2, cap=10.0, jitter=random.random())  # noqa: S311 - spreads load
        self._attempt += 1
        self._not_before = self._feeds.clock() + delay
        self._feeds.log.debug("feed.waits", set=sets.describe(self.feed.key), why=why, seconds=round(delay, 2))

    def _refused(self, status: int) -> None:
        """The cloud refuses these credentials: what they follow ends, and asks for itself again."""
        feeds = self._feeds
        newest = feeds.newest(self.credentials)
        if newest != self.credentials:  # a token that was renewed meanwhile
            self.credentials = newest
            self._wait("refused, but there is a newer token")
            return
        feeds.log.info("feed.refused", set=sets.describe(self.feed.key), by=self.credentials.name, status=status)
        if status == 403:
            feeds.store.refuse(self.feed.key, self.credentials.name)
        else:
            feeds.forget(self.credentials)
        self.denied = True
        self.ready.set()
        self._wait("refused")
        for watch in [w for w in self._watches if w.identity == self.credentials.name]:
            watch.end()
        if self._watches:
            self._feeds.take_over(self, next(iter(self._watches)).identity)
        else:
            self.idle_since = float("-inf")

    async def _list(self) -> None:
        feeds = self._feeds
        try:
            since = feeds.wall()
            read = await self._pages()
            if read is not None and not self._closed:
                permit = Permit(self.credentials.name, feeds.wall(), self.credentials.needed)
                with feeds.together():
                    self.feed.listed(read, permit, since=since)
                self._attempt = 0
                self.denied = False
                self.ready.set()
        except (Unanswered, Unreadable) as err:
            self._wait(str(err))
        finally:
            self._listing = False
        self.tell_soon()
        self.ensure()

    async def _pages(self) -> ListRead | None:
        whole: ListRead | None = None
        token = ""
        while True:
            target = self._target(f"limit={PAGE}", *([f"continue={token}"] if token else []))
            answer = await self._feeds.cloud.fetch(
                "GET",
                target,
                identity=self.credentials.identity,
                headers=(*self._accept(), ("Accept-Encoding", "gzip")),
                within=120.0,
            )
            if answer.status == 410 and token:
                whole, token = None, ""
                continue
            if answer.status in (401, 403):
                self._refused(answer.status)
                return None
            if answer.status != 200:
                raise Unanswered(f"a list was answered with {answer.status}")
            page = await read_whole(answer.body)
            whole = page if whole is None else msgspec.structs.replace(page, items=[*whole.items, *page.items])
            token = page.continue_
            if not token:
                return whole

    # -- the clients' end

    def tell_soon(self) -> None:
        """Let all who follow read on, once this turn of the loop is over."""
        if not self._telling:
            self._telling = True
            self._feeds.cloud.soon(self._tell)

    def _tell(self) -> None:
        self._telling = False
        now = self._feeds.wall()
        for watch in list(self._watches):
            watch.tell(now)

    def tick(self, now: float, *, mark: bool) -> None:
        """Look at time: ends of watches, bookmarks, another attempt."""
        for watch in [w for w in self._watches if w.ends_at <= now]:
            watch.end()
        if mark:
            for watch in list(self._watches):
                watch.mark()
        self._tell()
        upstream = self._upstream
        if upstream is not None:
            ends_at = self._ends_at if upstream.exchange.begun else self._opened_at + BEGIN_WITHIN
            if now > ends_at:
                self._stop()
                self._wait("the watch did not answer, or did not end")
        self.ensure()

    def close(self) -> None:
        """Nobody follows any more, or the hub ends."""
        self._closed = True
        self._stop()
        self.feed.close()
        for watch in list(self._watches):
            watch.end()


async def read_whole(body: bytes) -> ListRead:
    """Read a list, a big one in a thread; raises Unreadable."""
    return await asyncio.to_thread(read_list, body) if len(body) > BIG else read_list(body)


class Feeds:
    """All feeds of a hub."""

    def __init__(  # noqa: PLR0913 - wiring
        self,
        store: Store,
        cloud: Cloud,
        *,
        lit: Callable[[], bool],
        spawn: Spawn,
        log: Log,
        clock: Callable[[], float],
        wall: Callable[[], float],
        refused: Callable[[str], None],
        together: Together,
    ) -> None:
        self._refused = refused
        self.together = together
        self.store = store
        self.cloud = cloud
        self.lit = lit
        self.spawn = spawn
        self.log = log
        self.clock = clock
        self.wall = wall
        self._following: dict[SetKey, Following] = {}
        self._known: dict[str, Credentials] = {}
        self._marked = clock()

    def know(self, credentials: Credentials) -> None:
        """Remember the newest credentials of an identity: a feed that asks for it goes on with these.

        Only such as the cloud has taken, or that were proven: anybody can write somebody's name into a token.
        """
        self._known.pop(credentials.name, None)
        self._known[credentials.name] = credentials
        if len(self._known) > 1000:
            self._known.pop(next(iter(self._known)))

    def newest(self, credentials: Credentials) -> Credentials:
        """The newest credentials of the same caller."""
        found = self._known.get(credentials.name)
        return credentials if found is None or credentials.identity is Identity.NODE else found

    def forget(self, credentials: Credentials) -> None:
        """The cloud takes them no longer."""
        self._known.pop(credentials.name, None)
        for name, value in credentials.headers:
            if name == "Authorization":
                self._refused(value.removeprefix("Bearer "))

    def take_over(self, following: Following, name: str) -> None:
        """Let a feed ask with another identity's rights."""
        if name in self._known:
            following.credentials = self._known[name]

    def existing(self, key: SetKey) -> Following | None:
        """The feed of exactly this set."""
        return self._following.get(key)

    def want_table(self, key: SetKey) -> None:
        """Somebody read this set as a Table: its feed, if it has one, keeps cells from here on."""
        following = self._following.get(key)
        if following is not None:
            following.want_table()

    def containing(self, asked: SetKey) -> Following | None:
        """A feed whose set contains what is asked for."""
        exact = self._following.get(asked)
        if exact is not None:
            return exact
        return next((f for key, f in self._following.items() if f.ready.is_set() and sets.contains(key, asked)), None)

    def feed(self, key: SetKey, credentials: Credentials) -> Following:
        """The feed of this set, begun if there is none; newer credentials of an identity take the older's place."""
        following = self._following.get(key)
        if following is None:
            following = self._following[key] = Following(self, key, credentials)
            following.ensure()
        elif following.credentials.name == credentials.name or credentials.identity is Identity.NODE:
            following.credentials = credentials
        return following

    def tick(self) -> None:
        """Called a few times a second."""
        now = self.clock()
        mark = now - self._marked >= MARK_EVERY
        if mark:
            self._marked = now
        for key, following in list(self._following.items()):
            following.tick(now, mark=mark)
            if not following.watches and not following.permanent and now - following.idle_since > LINGER:
                del self._following[key]
                following.close()

    def seen(self) -> list[tuple[SetKey, bool, int]]:
        """Sets with a feed, whether its watch runs, and how many follow."""
        return [(key, f.live, f.watches) for key, f in self._following.items()]

    def close(self) -> None:
        """End all."""
        for following in self._following.values():
            following.close()
        self._following.clear()
