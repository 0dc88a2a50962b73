"""Which road a request takes: to the cloud with a copy for the store, to a feed, to the store, or past all this.

Lit, reads of kept callers pass to the cloud and leave a copy; their watches are told by the hub's own feeds. Dark, all
that can be answered here is. Rights: what a caller may read here is what the cloud let the same identity read.
"""

import asyncio
import functools
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from yurtcore.errors import BadInput, Gone
from yurtcore.wire.gvr import Gvr, Target, parse_target

from yurt_hub.domain.asked import Asked, asked
from yurt_hub.domain.callers import Identity
from yurt_hub.domain.kept import answers, forms, policy
from yurt_hub.domain.kept.forms import Form, Shape
from yurt_hub.domain.kept.policy import Agents
from yurt_hub.domain.kept.readers import Options, Reader
from yurt_hub.domain.kept.sets import SetKey
from yurt_hub.domain.kept.store import Found, Permit, Store
from yurt_hub.domain.links import Link, LinkTable
from yurt_hub.domain.local.answers import NOT_CACHED, RETRY_SECONDS, UNAUTHORIZED, Local, missing, said
from yurt_hub.domain.local.beats import Act, Beats
from yurt_hub.domain.local.documents import Documents, is_document
from yurt_hub.domain.local.reviews import Reviews, is_review
from yurt_hub.domain.local.tokens import Rejected, Unknowable, Verifier
from yurt_hub.domain.local.writes import dark_write
from yurt_hub.pump.cloud import Cloud
from yurt_hub.pump.exchange import Caller, Exchange
from yurt_hub.pump.kept.copies import DocumentCopy, LeaseCopy, ReadCopy, ReviewCopy, Takes, Without
from yurt_hub.pump.kept.feeds import Credentials, Feeds, Following
from yurt_hub.pump.kept.local import Collector, send
from yurt_hub.pump.kept.shared import READY_WITHIN, Shared
from yurt_hub.pump.kept.tee import Tee
from yurt_hub.pump.kept.watches import LocalWatch
from yurt_hub.pump.rewrite import asking, with_query

Counted = TypeVar("Counted")

PATIENCE = {Link.UP: 4.5, Link.SHAKY: 2.0, Link.TRYING: 0.4, Link.DOWN: 0.0}
"""Seconds that a read waits for the cloud before it is answered from here, by what is known of the link."""

LOOK = 0.25
"""Seconds between looks at whether a read still has to wait: what is known of the link may have changed."""
RECENT = 3.0
"""Seconds since the cloud's last byte for which a slow answer is waited for; probes ask for one every second."""
AGENTS = 1000
"""User-Agents that are remembered."""


@functools.lru_cache(maxsize=8192)
def _target(target: bytes) -> Target:
    return parse_target(target.decode("latin-1"))


@dataclass(frozen=True, slots=True)
class Counters:
    """What the desk counts."""

    lit: dict[tuple[str, str], int]
    """Reads of kept callers while lit, by verb and road: `cloud` (passed, a copy is kept) or `feed`."""
    dark: dict[tuple[str, int], int]
    """Answers to reads of resources that the cloud did not give, by verb and code."""


class Desk:
    """Decides on each request; everything it needs comes in."""

    def __init__(  # noqa: PLR0913 - wiring
        self,
        *,
        node: str,
        cloud: Cloud,
        links: LinkTable,
        store: Store,
        feeds: Feeds,
        documents: Documents,
        beats: Beats,
        renewed: Callable[[], None],
        reviews: Reviews,
        verifier: Verifier,
        agents: Callable[[], Agents],
        takes: Takes,
        shared: Shared,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._node = f"system:node:{node}"
        self._cloud = cloud
        self._links = links
        self._store = store
        self._feeds = feeds
        self._documents = documents
        self._beats = beats
        self._renewed = renewed
        self._reviews = reviews
        self._verifier = verifier
        self._agents = agents
        self._takes = takes
        self._shared = shared
        self._clock = clock
        self._wall = wall
        self.counters = Counters({}, {})
        self._agents_then: Agents | None = None
        self._agent_then: dict[bytes, bool] = {}

    # -- the decision

    def lit(self) -> bool:
        """Tell whether the cloud may be asked."""
        return self._links.may_ask()

    def take(self, exchange: Exchange) -> bool:
        """Take care of a request, or return False: it goes to the cloud and leaves nothing here.

        Most of what is not kept leaves within a microsecond; targets are parsed only for what stays.
        """
        request = exchange.request
        if request.upgrade is not None:
            return False
        if exchange.identity is Identity.NODE and b"/leases" in request.target:
            act = self._beats.act(request.method.decode("latin-1"), _target(request.target))
            if act is not None:
                return self._lease(exchange, act)
        if self.lit():
            return self._lit(exchange)
        self._dark(exchange, _target(request.target))
        return True

    def _lit(self, exchange: Exchange) -> bool:
        request, route = exchange.request, exchange.route
        if request.method == b"GET":
            if route.resource == "-":
                return self._lit_document(exchange, _target(request.target))
            return self._agent(request.user_agent) and self._lit_kept(exchange, _target(request.target))
        if b"reviews" in request.target or b"/token" in request.target:
            target = _target(request.target)
            mine = not _impersonating(exchange)  # else the answer is about another than who asks
            if mine and is_review(route.verb, target) and (name := self._name(exchange)) is not None:
                Collector.collect(exchange, lambda e, body: self._ask_review(e, target, name, body))
                return True
        return False

    def _lit_kept(self, exchange: Exchange, target: Target) -> bool:
        what = asked(exchange.request.target, exchange.route.verb)
        if what is None or not self._keeps(exchange, target):
            return False
        name = self._name(exchange)
        if name is None:
            return False
        if what.verb == "watch":
            return self._lit_watch(exchange, what, name)
        return self._lit_read(exchange, target, what, name)

    def _lit_document(self, exchange: Exchange, target: Target) -> bool:
        if target.is_resource or not is_document(target.path):
            return False
        instead = self._instead(lambda e, client, _: self._from_documents(e, client, target))
        self._copy(exchange, DocumentCopy(self._takes, target, instead))
        return True

    def _agent(self, user_agent: bytes) -> bool:
        """Tell whether a component's answers may be kept, by its User-Agent; remembered until the agents change."""
        agents = self._agents()
        if agents is not self._agents_then or len(self._agent_then) > AGENTS:
            self._agents_then = agents
            self._agent_then = {}
        known = self._agent_then.get(user_agent)
        if known is None:
            who = policy.component(user_agent.decode("latin-1"))
            known = self._agent_then[user_agent] = bool(who) and (agents.everyone or who in agents.names)
        return known

    def _keeps(self, exchange: Exchange, target: Target) -> bool:
        request = exchange.request
        names = {name.decode("latin-1"): "" for name, _ in request.headers}
        who = policy.component(request.user_agent.decode("latin-1"))
        return policy.decide(self._agents(), who, exchange.route.verb, target, names).kept

    def _name(self, exchange: Exchange) -> str | None:
        """The identity behind a request that the cloud will judge itself; None for a token that names nobody."""
        if exchange.identity is Identity.NODE:
            return self._node
        token = _token(exchange)
        return self._verifier.identity_of(token) if token else None

    def _credentials(self, exchange: Exchange, name: str) -> Credentials:
        if exchange.identity is Identity.NODE:
            found = Credentials(name, Identity.NODE, needed=self._needed(exchange))
        else:
            found = Credentials(name, Identity.CALLER, (("Authorization", f"Bearer {_token(exchange)}"),))
        self._feeds.know(found)
        return found

    @staticmethod
    def _needed(exchange: Exchange) -> bool:
        who = policy.component(exchange.request.user_agent.decode("latin-1"))
        return exchange.identity is Identity.NODE and who in policy.NEEDED

    def _form(self, exchange: Exchange, what: Asked) -> Form | None:
        try:
            return forms.negotiate((exchange.request.accept or b"").decode("latin-1"), what.include_object)
        except BadInput:
            return None

    # -- lit

    def _lit_read(self, exchange: Exchange, target: Target, what: Asked, name: str) -> bool:
        form = self._form(exchange, what)
        if form is None or form.shape is Shape.PARTIAL:
            return False
        whole = self._shares(exchange, what, form)
        if whole is not None:
            self._feeds.spawn("list", self._list_of_whole(exchange, target, what, name, form, whole))
            return True
        return self._pass_with_copy(exchange, target, what, name, form)

    def _shares(self, exchange: Exchange, what: Asked, form: Form) -> SetKey | None:
        """The whole kind, if this request may be answered from the one feed of it."""
        if form.shape is Shape.TABLE or what.verb == "get":
            return None
        token = _token(exchange)
        return self._shared.whole(what.key) if not token or self._takes.known_good(token) else None

    async def _list_of_whole(
        self, exchange: Exchange, target: Target, what: Asked, name: str, form: Form, whole: SetKey
    ) -> None:
        """Let the whole kind be listed before its first reader: so their watches fit behind its list."""
        following = await self._whole(exchange, whole, name)
        client = exchange.client
        if client is None:
            return
        if following is not None and target.query.get("resourceVersion") == ("0",):
            local = self._kept_answer(target, what, name, form)
            if local.status == 200:
                headers = tuple(pair for pair in local.headers if pair[0] != b"Warning")
                send(exchange, client, Local(200, headers, local.body))
                _count(self.counters.lit, (what.verb, "store"))
                return
        self._pass_with_copy(exchange, target, what, name, form)

    async def _whole(self, exchange: Exchange, whole: SetKey, name: str) -> Following | None:
        """The feed of a whole kind, ready and open to this caller; None: the usual road."""
        following = self._shared.following(whole)
        last = exchange.started + min(READY_WITHIN, exchange.route.answer_within)
        while not following.ready.is_set():
            now = self._clock()
            if now >= last or (now >= exchange.started + self._patience() and not self._heard()):
                return None
            await following.wait_ready(0.1)
        try:
            async with asyncio.timeout(max(0.1, self._patience())):
                permitted = await self._shared.permitted(whole, name)
        except TimeoutError:
            return None
        if following.denied or not permitted:
            return None
        return following if self._readable(following, name) else None

    async def _watch_of_whole(self, exchange: Exchange, what: Asked, name: str, form: Form, whole: SetKey) -> None:
        following = await self._whole(exchange, whole, name)
        if exchange.client is None or what.options is None:
            return
        if following is not None and self._follow(exchange, what, what.options, form, following, name):
            return
        if not self._watch_of_set(exchange, what, name, form):
            self._cloud.open(exchange)

    def _pass_with_copy(self, exchange: Exchange, target: Target, what: Asked, name: str, form: Form) -> bool:
        request = exchange.request
        if form.shape is Shape.TABLE:
            whole = with_query(request.target, b"includeObject", b"Object")
            exchange.request = asking(request, accept=forms.ACCEPT_TABLE.encode(), target=whole)
        else:
            exchange.request = asking(request, accept=forms.ACCEPT_JSON.encode())
        permit = Permit(name, self._wall(), self._needed(exchange))
        as_of = self._store.horizon(what.key.gvr)
        copy = ReadCopy(
            self._takes,
            what,
            permit,
            as_of,
            _token(exchange),
            self._instead(lambda e, client, who: self._from_store(e, client, target, what, who, form)),
        )
        _count(self.counters.lit, (what.verb, "cloud"))
        self._copy(exchange, copy)
        return True

    def _copy(self, exchange: Exchange, copy: ReadCopy | DocumentCopy | ReviewCopy | LeaseCopy) -> None:
        """Send a request to the cloud; its answer passes, and a copy goes to `copy`."""
        assert exchange.client is not None  # noqa: S101 - it has just come
        exchange.client = Tee(exchange.client, copy)
        exchange.patience = min(self._patience(), LOOK)
        self._cloud.open(exchange)

    def _patience(self) -> float:
        return max((PATIENCE[link.state] for link in self._links.view()), default=0.0)

    def _heard(self) -> bool:
        """Tell whether the cloud said anything lately."""
        since = self._clock() - RECENT
        return any(link.last_heard is not None and link.last_heard > since for link in self._links.view())

    def impatient(self, exchange: Exchange) -> None:
        """A read has waited long: answer it from here if the link is in doubt and it can be answered."""
        waits = self._clock() - exchange.started
        patience = self._patience()
        if waits < patience:
            exchange.patience = waits + LOOK
            return
        if self.lit() and self._heard():
            exchange.patience = waits + LOOK  # the cloud lives, and is slow
            self._cloud.suspect(exchange)
            return
        exchange.patience = float("inf")
        carrier, client = exchange.carrier, exchange.client
        if isinstance(client, Tee) and client.without(exchange) and carrier is not None:
            carrier.drop(exchange)

    def _lit_watch(self, exchange: Exchange, what: Asked, name: str) -> bool:
        form = self._form(exchange, what)
        token = _token(exchange)
        if form is None or what.options is None:
            return False
        if token and not self._verifier_knows(token):
            return False  # the cloud judges a token that it was not seen to take; its watch passes
        whole = self._shares(exchange, what, form)
        if whole is not None:
            self._feeds.spawn("watch", self._watch_of_whole(exchange, what, name, form, whole))
            return True
        return self._watch_of_set(exchange, what, name, form)

    def _watch_of_set(self, exchange: Exchange, what: Asked, name: str, form: Form) -> bool:
        assert what.options is not None  # noqa: S101 - the callers looked
        credentials = self._credentials(exchange, name)
        coverage = self._store.coverage(what.key)
        following = self._feeds.containing(what.key)
        if following is None or not self._readable(following, name):
            if coverage is None or not coverage.readable(name):
                return self._watch_after_list(exchange, what, form, credentials)
            following = self._feeds.feed(what.key, credentials)
        return self._follow(exchange, what, what.options, form, following, name)

    def _verifier_knows(self, token: str) -> bool:
        return self._takes.known_good(token)

    @staticmethod
    def _readable(following: Following, name: str) -> bool:
        coverage = following.feed.coverage
        return coverage is not None and coverage.readable(name)

    def _watch_after_list(self, exchange: Exchange, what: Asked, form: Form, credentials: Credentials) -> bool:
        """Nothing is kept of the set yet: wait for a list that is on its way, or list it now, then follow."""
        assert what.options is not None  # noqa: S101 - the caller looked
        if what.options.version and not self._takes.pending(what.key):
            return False  # it was listed past this hub: the watch passes too, and nothing is lost
        self._feeds.spawn("watch", self._follow_when_ready(exchange, what, what.options, form, credentials))
        return True

    async def _follow_when_ready(
        self, exchange: Exchange, what: Asked, options: Options, form: Form, credentials: Credentials
    ) -> None:
        await self._takes.settled(what.key)
        following = self._feeds.feed(what.key, credentials)
        if form.shape is Shape.TABLE:
            following.want_table()
        if not await following.wait_ready(exchange.route.answer_within) or not self._readable(
            following, credentials.name
        ):
            if exchange.client is not None:
                self._cloud.open(exchange)  # the cloud's own words are better than ours
            return
        if not self._follow(exchange, what, options, form, following, credentials.name):
            self._cloud.open(exchange)

    def _follow(
        self, exchange: Exchange, what: Asked, options: Options, form: Form, following: Following, name: str
    ) -> bool:
        client = exchange.client
        if client is None:
            return True
        if form.shape is Shape.TABLE:
            following.want_table()
        try:
            reader = Reader(following.feed, what.key, options, form)
        except Gone as err:
            self._count_watch(410)
            send(exchange, client, said(410, str(err), reason="Expired"))
            return True
        except BadInput:
            return False
        seconds = options.timeout or 1800.0 * (1.0 + random.random())  # noqa: S311 - spreads load
        watch = LocalWatch(
            exchange,
            client,
            reader,
            ends_at=exchange.started + seconds,
            gone=following.leave,
            more=following.tell_soon,
        )
        watch.identity = name
        self._count_watch(200)
        following.follow(watch)
        watch.start(self._wall())
        return True

    def _ask_review(self, exchange: Exchange, target: Target, name: str, body: bytes) -> None:
        instead = self._instead(lambda e, client, who: self._from_reviews(e, client, target, who, body))
        copy = ReviewCopy(self._takes, target, name, body, instead)
        if exchange.client is not None:
            self._copy(exchange, copy)

    # -- the Lease

    def _lease(self, exchange: Exchange, act: Act) -> bool:
        if act is Act.RENEW:
            Collector.collect(exchange, self._renew)
            return True
        if self.lit():
            exchange.request = asking(exchange.request, accept=forms.ACCEPT_JSON.encode())
            self._copy(exchange, LeaseCopy(self._takes, lambda e, c: self._from_lease(e, c, act)))
            return True
        assert exchange.client is not None  # noqa: S101 - it has just come
        return self._from_lease(exchange, exchange.client, act)

    def _renew(self, exchange: Exchange, body: bytes) -> None:
        client = exchange.client
        if client is None:
            return
        local = self._beats.renewed(body, self._wall())
        if local is None:
            self._cloud.open(exchange)
            return
        send(exchange, client, local)
        self._renewed()

    def _from_lease(self, exchange: Exchange, client: Caller, act: Act) -> bool:
        send(exchange, client, self._beats.created() if act is Act.CREATE else self._beats.read(self._wall()))
        return True

    # -- dark

    def _dark(self, exchange: Exchange, target: Target) -> None:
        request, client = exchange.request, exchange.client
        if client is None:
            return
        name = self._dark_name(exchange)
        if isinstance(name, Local):
            send(exchange, client, name)
            return
        if request.method in (b"GET", b"HEAD"):
            self._dark_read(exchange, client, target, name)
        elif is_review(exchange.route.verb, target):
            Collector.collect(exchange, lambda e, body: self._review_in_the_dark(e, target, name, body))
        else:
            send(exchange, client, dark_write(exchange.route.verb, target, name, self._has))

    def _dark_name(self, exchange: Exchange) -> str | Local:
        """Who calls, as far as that can be told without the cloud; or the answer that ends it."""
        if _impersonating(exchange):
            return missing("the cloud cannot be reached, and it alone can let one caller act as another")
        if exchange.identity is Identity.NODE:
            return self._node
        verdict = self._verifier.check(_token(exchange), self._wall())
        if isinstance(verdict, Rejected):
            return UNAUTHORIZED
        if isinstance(verdict, Unknowable):
            why = "; ".join(link.last_error for link in self._links.view() if link.last_error)
            gone = f"the cloud cannot be reached ({why})" if why else "the cloud cannot be reached"
            return missing(f"{gone}, and this token cannot be checked without it: {verdict.why}")
        return verdict.identity

    def _dark_read(self, exchange: Exchange, client: Caller, target: Target, name: str) -> None:
        if not target.is_resource:
            if not self._from_documents(exchange, client, target):
                send(exchange, client, missing(f"the cloud cannot be reached; {target.path} is its to answer"))
            return
        what = asked(exchange.request.target, exchange.route.verb)
        if what is None:
            send(exchange, client, missing(f"the cloud cannot be reached, and {exchange.route.resource} is not kept"))
            return
        form = self._form(exchange, what)
        if what.verb == "watch":
            self._dark_watch(exchange, client, what, form, name)
        else:
            local = self._kept_answer(target, what, name, form)
            _count(self.counters.dark, (what.verb, local.status))
            send(exchange, client, local)

    def _dark_watch(self, exchange: Exchange, client: Caller, what: Asked, form: Form | None, name: str) -> None:
        following = self._feeds.containing(what.key)
        if following is None or not self._readable(following, name):
            coverage = self._store.find(what.key, name)
            if coverage is None or form is None or what.options is None:
                why = self._store.missing(what.key, name)
                _count(self.counters.dark, ("watch", 503))
                send(exchange, client, missing(f"the cloud cannot be reached, and {why}"))
                return
            following = self._feeds.feed(coverage.key, self._credentials(exchange, name))
        if (
            form is None
            or what.options is None
            or not self._follow(exchange, what, what.options, form, following, name)
        ):
            _count(self.counters.dark, ("watch", 503))
            send(exchange, client, missing("the cloud cannot be reached, and it alone knows these fields"))

    def _has(self, gvr: Gvr, namespace: str, name: str) -> bool:
        return isinstance(self._store.get(gvr, namespace, name, self._node), Found)

    def _review_in_the_dark(self, exchange: Exchange, target: Target, name: str, body: bytes) -> None:
        if exchange.client is not None:
            send(exchange, exchange.client, self._review(exchange, target, name, body))

    # -- answers from here; each says whether it gave one

    def _instead(self, answer: Callable[[Exchange, Caller, str], bool]) -> Without:
        """What to do when the cloud has no answer to a request: as in the dark, first find out who calls."""

        def without(exchange: Exchange, client: Caller) -> bool:
            name = self._dark_name(exchange)
            if name is UNAUTHORIZED:
                send(exchange, client, UNAUTHORIZED)
                return True
            return isinstance(name, str) and answer(exchange, client, name)

        return without

    def _from_store(
        self, exchange: Exchange, client: Caller, target: Target, what: Asked, name: str, form: Form | None
    ) -> bool:
        local = self._kept_answer(target, what, name, form)
        if local.status not in (200, 404):
            return False
        _count(self.counters.dark, (what.verb, local.status))
        send(exchange, client, local)
        return True

    def _kept_answer(self, target: Target, what: Asked, name: str, form: Form | None) -> Local:
        find = answers.get if what.verb == "get" else answers.list_
        found = find(self._store, target, name, form, self._wall())
        headers = [(b"Content-Type", found.content_type.encode()), NOT_CACHED]
        if found.warning:
            headers.append((b"Warning", found.warning.encode()))
        if found.code == 503:
            headers.append((b"Retry-After", b"%d" % RETRY_SECONDS))
        return Local(found.code, tuple(headers), found.body)

    def _from_documents(self, exchange: Exchange, client: Caller, target: Target) -> bool:
        request = exchange.request
        match_ = dict(request.headers).get(b"if-none-match", b"").decode("latin-1")
        accept = (request.accept or b"").decode("latin-1")
        why = "the cloud cannot be reached"
        local = self._documents.answer(target.path, target.query, accept, match_, now=self._wall(), why=why)
        if local is None:
            return False
        send(exchange, client, local)
        return True

    def _from_reviews(self, exchange: Exchange, client: Caller, target: Target, name: str, body: bytes) -> bool:
        local = self._review(exchange, target, name, body)
        if local.status != 201:
            return False
        send(exchange, client, local)
        return True

    def _review(self, exchange: Exchange, target: Target, name: str, body: bytes) -> Local:
        accept = (exchange.request.accept or b"").decode("latin-1")
        return self._reviews.answer(target, name, body, accept, self._wall())

    def _count_watch(self, code: int) -> None:
        if self.lit():
            _count(self.counters.lit, ("watch", "feed"))
        else:
            _count(self.counters.dark, ("watch", code))


def _count(counter: dict[Counted, int], what: Counted) -> None:
    counter[what] = counter.get(what, 0) + 1


def _token(exchange: Exchange) -> str:
    """The bearer token of a request; "" without one."""
    text = (exchange.request.authorization or b"").decode("latin-1")
    scheme, _, token = text.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _impersonating(exchange: Exchange) -> bool:
    """Tell whether a caller wants to act as another."""
    return b"\r\nimpersonate-" in exchange.request.head.lower()
