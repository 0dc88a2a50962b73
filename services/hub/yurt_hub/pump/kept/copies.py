"""What happens with copies of answers: they are read, and the store and its neighbours learn from them.

Small answers are read at once, so that a client's next request finds what it was just given; a big list is read in a
thread, and whoever needs its set waits for it.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from yurtcore.wire.gvr import Target

from yurt_hub.domain.asked import Asked
from yurt_hub.domain.callers import Identity
from yurt_hub.domain.kept import sets
from yurt_hub.domain.kept.collect import Collector
from yurt_hub.domain.kept.objects import ListRead, Unreadable, read_list, read_object, read_table_object
from yurt_hub.domain.kept.sets import SetKey
from yurt_hub.domain.kept.store import Permit, Store
from yurt_hub.domain.local.beats import Beats
from yurt_hub.domain.local.documents import Documents
from yurt_hub.domain.local.reviews import Reviews
from yurt_hub.domain.local.tokens import Verifier
from yurt_hub.pump.cloud import Log, Spawn
from yurt_hub.pump.exchange import Caller, Exchange
from yurt_hub.pump.fetch import Answer, read_answer
from yurt_hub.pump.kept.feeds import Credentials, Together

BIG = 256 * 1024
"""Bytes of an answer, as sent, above which it is read in a thread."""
GOOD_FOR = 600.0
"""Seconds for which a token that the cloud took may follow feeds; the API server's own watches last as long."""
TOKENS = 10_000
WAITING = 128 * 1024 * 1024
"""Bytes of answers of one set that may wait to be read."""

Without = Callable[[Exchange, Caller], bool]


class Takes:
    """Reads copies and passes on what they say."""

    def __init__(  # noqa: PLR0913 - wiring
        self,
        *,
        store: Store,
        documents: Documents,
        beats: Beats,
        reviews: Reviews,
        verifier: Verifier,
        tables: Callable[[SetKey], None],
        know: Callable[[Credentials], None],
        together: Together,
        spawn: Spawn,
        log: Log,
        wall: Callable[[], float],
    ) -> None:
        self._tables = tables
        self._know = know
        self._together = together
        self.store = store
        self.documents = documents
        self.beats = beats
        self.reviews = reviews
        self.verifier = verifier
        self.wall = wall
        self._spawn = spawn
        self._log = log
        self._pages = Collector()
        self._pending: dict[SetKey, asyncio.Event] = {}
        self._waiting: dict[SetKey, deque[tuple[ReadCopy, bytes]]] = {}
        self._good: dict[str, float] = {}

    def token(self, token: str, status: int, name: str) -> None:
        """The cloud has judged a token by its answer; `name` is the caller's as the hub calls it."""
        if not token:
            return
        if status == 401:
            self._good.pop(token, None)
            self.verifier.refused(token, self.wall())
        elif 200 <= status < 300 or status in (403, 404):
            if len(self._good) >= TOKENS:
                self._good.clear()
            self._good[token] = self.wall()
            self.verifier.accepted(token, self.wall())
            self._know(Credentials(name, Identity.CALLER, (("Authorization", f"Bearer {token}"),)))

    def known_good(self, token: str) -> bool:
        """Tell whether the cloud took this token not long ago."""
        return self.wall() - self._good.get(token, -GOOD_FOR) < GOOD_FOR

    def pending(self, key: SetKey) -> bool:
        """Tell whether a list of this set is being read."""
        return key in self._pending

    async def settled(self, key: SetKey) -> None:
        """Wait until no list of this set is being read."""
        while (event := self._pending.get(key)) is not None:
            await event.wait()

    def unreadable(self, what: str, err: Exception) -> None:
        """Say that an answer could not be kept."""
        self._log.warning("answer.not_kept", what=what, why=str(err))

    def list(self, copy: "ReadCopy", raw: bytes) -> None:
        """Take in a list, or a page of one; those of one set are read in the order in which they came."""
        key = copy.asked.key
        waiting = self._waiting.get(key)
        if waiting is not None:
            if sum(len(one) for _, one in waiting) + len(raw) <= WAITING:
                waiting.append((copy, raw))
            else:
                self.unreadable(sets.describe(key), ValueError("too many lists of it wait to be read"))
        elif len(raw) > BIG:
            self._waiting[key] = deque([(copy, raw)])
            self._pending[key] = asyncio.Event()
            self._spawn("read list", self._in_a_thread(key))
        else:
            try:
                self._listed(copy, read_list(read_answer(raw).body))
            except ValueError as err:
                self.unreadable(sets.describe(key), err)

    async def _in_a_thread(self, key: SetKey) -> None:
        waiting = self._waiting[key]
        try:
            while waiting:
                copy, raw = waiting.popleft()
                try:
                    self._listed(copy, await asyncio.to_thread(_read_list, raw))
                except ValueError as err:
                    self.unreadable(sets.describe(key), err)
        finally:
            del self._waiting[key]
            self._pending.pop(key).set()

    def _listed(self, copy: "ReadCopy", read: ListRead) -> None:
        since = copy.permit.now if copy.asked.consistent else None
        whole = self._pages.add(copy.permit.identity, copy.asked.key, copy.asked.continue_, read, since)
        if whole is not None:
            found, since = whole
            if found.columns is not None:
                self._tables(copy.asked.key)
            with self._together():
                self.store.put_list(copy.asked.key, found, copy.permit, since=since)


class ReadCopy:
    """Of a get or list of a resource."""

    def __init__(self, takes: Takes, what: Asked, permit: Permit, as_of: int, token: str, without: Without) -> None:
        self.asked = what
        self.permit = permit
        self._takes = takes
        self._as_of = as_of
        self._token = token
        self._without = without

    def whole(self, exchange: Exchange, status: int, raw: bytes) -> None:  # noqa: ARG002 - the port's signature
        """Keep what it says."""
        takes, key = self._takes, self.asked.key
        takes.token(self._token, status, self.permit.identity)
        if status == 403:
            takes.store.refuse(key, self.permit.identity)
        elif self.asked.verb == "list":
            if status == 200:
                takes.list(self, raw)
        elif status == 200:
            self._object(raw)
        elif status == 404 and self.asked.consistent:
            name = (key.namespace, sets.named(key) or "")
            takes.store.absent(key.gvr, name, self.permit, as_of=self._as_of)

    def _object(self, raw: bytes) -> None:
        takes, key = self._takes, self.asked.key
        try:
            body = read_answer(raw).body
            columns: bytes | None = None
            if b'"kind":"Table"' in body[:200].replace(b" ", b""):
                obj, columns = read_table_object(body)
            else:
                obj = read_object(body)
            as_of = self._as_of if self.asked.consistent else 0
            takes.store.put_object(key.gvr, obj, self.permit, columns=columns, as_of=as_of)
        except (ValueError, Unreadable) as err:
            takes.unreadable(sets.describe(key), err)

    def missing(self, exchange: Exchange, client: Caller) -> bool:
        """Answer from the store."""
        return self._without(exchange, client)


class DocumentCopy:
    """Of discovery, `/version`, OpenAPI."""

    def __init__(self, takes: Takes, target: Target, without: Without) -> None:
        self._takes = takes
        self._target = target
        self._without = without

    def whole(self, exchange: Exchange, status: int, raw: bytes) -> None:  # noqa: ARG002 - the port's signature
        """Keep the document, if it is not there already; the hub itself looks for changes."""
        if not self._takes.documents.wants(self._target.path):
            return
        try:
            self._takes.documents.learn(self._target.path, read_answer(raw), self._takes.wall())
        except ValueError as err:
            self._takes.unreadable(self._target.path, err)

    def missing(self, exchange: Exchange, client: Caller) -> bool:
        """Answer with the document as it was."""
        return self._without(exchange, client)


class ReviewCopy:
    """Of a review: the answer to a question."""

    def __init__(self, takes: Takes, target: Target, identity: str, question: bytes, without: Without) -> None:
        self._takes = takes
        self._target = target
        self._identity = identity
        self._question = question
        self._without = without

    def whole(self, exchange: Exchange, status: int, raw: bytes) -> None:  # noqa: ARG002 - the port's signature
        """Remember the answer."""
        try:
            answer: Answer = read_answer(raw)
        except ValueError as err:
            self._takes.unreadable(self._target.path, err)
            return
        self._takes.reviews.learn(self._target, self._identity, self._question, answer, self._takes.wall())

    def missing(self, exchange: Exchange, client: Caller) -> bool:
        """Answer as last time."""
        return self._without(exchange, client)


class LeaseCopy:
    """Of the node's own Lease."""

    def __init__(self, takes: Takes, without: Without) -> None:
        self._takes = takes
        self._without = without

    def whole(self, exchange: Exchange, status: int, raw: bytes) -> None:  # noqa: ARG002 - the port's signature
        """Learn how the cloud has it."""
        if status in (200, 201):
            try:
                self._takes.beats.learn(read_answer(raw).body, self._takes.wall())
            except ValueError as err:
                self._takes.unreadable("the node's Lease", err)
        elif status == 404:
            self._takes.beats.forget()

    def missing(self, exchange: Exchange, client: Caller) -> bool:
        """Answer with the Lease as it is known."""
        return self._without(exchange, client)


def _read_list(raw: bytes) -> ListRead:
    return read_list(read_answer(raw).body)
