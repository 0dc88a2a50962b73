"""Store, feeds and readers against a model of the cloud, with cuts, compaction, restarts and torn records."""

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from kit.kept import PODS, Client, Cloud, Key, Records, bookmark, dump
from yurt_hub.domain.kept import answers, sets
from yurt_hub.domain.kept.feed import Feed, LogLimits
from yurt_hub.domain.kept.forms import OBJECTS
from yurt_hub.domain.kept.objects import read_event, read_list, read_object
from yurt_hub.domain.kept.readers import Options, Reader
from yurt_hub.domain.kept.store import Absent, Found, Permit, Store
from yurtcore.errors import Gone
from yurtcore.wire.gvr import parse_target

ME = "system:node:n1"
STRANGER = "system:serviceaccount:a:stranger"
KEYS: list[Key] = [(namespace, name) for namespace in ("a", "a-b") for name in ("x", "y", "z")]

TARGETS = {
    "/api/v1/pods": ["/api/v1/pods", "/api/v1/namespaces/a/pods", "/api/v1/pods?labelSelector=app%3Dweb",
                     "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1%2Cmetadata.name%21%3Dx"],
    "/api/v1/pods?labelSelector=app%3Dweb": [
        "/api/v1/pods?labelSelector=app%3Dweb", "/api/v1/namespaces/a-b/pods?labelSelector=app%20in%20%28web%29",
    ],
    "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1": ["/api/v1/pods?fieldSelector=spec.nodeName%3Dn1"],
}  # fmt: skip
"""Sets that feeds keep, and what clients ask within each."""


class Hub(RuleBasedStateMachine):
    """Every rule is one thing that may happen; at any time the store is right as of what it says it is."""

    def __init__(self) -> None:
        super().__init__()
        self.cloud, self.records = Cloud(), Records()
        self.now = 0.0
        self.store = Store(self.records)
        self.feeds: dict[str, Feed] = {}
        self.upstream: dict[str, int | None] = {}
        """Up to which version a feed's watch has delivered; None when it is cut."""
        self.exact = True
        """No record was ever lost: everything is the cloud's state as of its version."""
        self.clients = [(path, Client(sets.set_key(parse_target(target))), target)
                        for path, targets in TARGETS.items() for target in targets]  # fmt: skip
        self.readers: dict[int, Reader] = {}
        self.relists: dict[str, int] = {}
        self._start_feeds()

    def _start_feeds(self) -> None:
        # a log of four entries: who comes back late meets every way to go on
        limits = LogLimits(entries=4, bytes=10_000)
        self.feeds = {path: Feed(self.store, sets.set_key(parse_target(path)), limits) for path in TARGETS}
        self.upstream = dict.fromkeys(TARGETS)
        self.readers = {}

    def _permit(self) -> Permit:
        self.now += 1.0
        return Permit(ME, self.now)

    # ---- the cloud ----

    @rule(key=st.sampled_from(KEYS), app=st.sampled_from(["web", "db"]), node=st.sampled_from(["n1", "n2"]))
    def write(self, key: Key, app: str, node: str) -> None:
        old = self.cloud.states[-1].get(key)
        # a pod never leaves its node
        self.cloud.write(key, app, old["spec"]["nodeName"] if old else node)

    @rule(key=st.sampled_from(KEYS))
    def delete(self, key: Key) -> None:
        if key in self.cloud.states[-1]:
            self.cloud.delete(key)

    @rule()
    def compact(self) -> None:
        self.cloud.compact()

    # ---- the hub's own watches ----

    @rule(path=st.sampled_from(list(TARGETS)))
    def connect(self, path: str) -> None:
        feed = self.feeds[path]
        if self.upstream[path] is not None:
            return
        if feed.resume_version is not None and feed.resume_version < self.cloud.compacted:
            error = b'{"type":"ERROR","object":{"kind":"Status","code":410}}'
            assert feed.event(read_event(error), self.now) == []
            assert feed.resume_version is None
        if feed.resume_version is None:
            before = feed.version
            read = read_list(self.cloud.list(feed.key))
            logged = feed.listed(read, self._permit(), since=self.now)
            kinds = [entry.type for entry in logged]
            assert kinds == sorted(kinds, key=lambda kind: kind != "DELETED"), "what was deleted comes first"
            upserts = [entry.obj.version for entry in logged if entry.type != "DELETED"]
            assert upserts == sorted(upserts)
            if before:
                self.relists[path] = self.relists.get(path, 0) + 1
        self.upstream[path] = feed.resume_version

    @rule(path=st.sampled_from(list(TARGETS)), most=st.integers(1, 5))
    def deliver(self, path: str, most: int) -> None:
        position = self.upstream[path]
        if position is None:
            return
        events = list(self.cloud.events(self.feeds[path].key, position))[:most]
        for version, line in events:
            self.now += 1.0
            self.feeds[path].event(read_event(line), self.now)
            self.upstream[path] = version

    @rule(path=st.sampled_from(list(TARGETS)))
    def bookmark(self, path: str) -> None:
        position = self.upstream[path]
        if position is not None and not list(self.cloud.events(self.feeds[path].key, position)):
            self.feeds[path].event(read_event(bookmark(self.cloud.version)), self.now)
            self.upstream[path] = self.cloud.version

    @rule(path=st.sampled_from(list(TARGETS)))
    def cut(self, path: str) -> None:
        self.upstream[path] = None
        self.feeds[path].lost()

    # ---- requests that pass while lit ----

    @rule(key=st.sampled_from(KEYS))
    def get(self, key: Key) -> None:
        as_of = self.store.horizon(PODS)
        pod = self.cloud.states[-1].get(key)
        if pod is None:
            self.store.absent(PODS, key, self._permit(), as_of=as_of)
        else:
            obj = read_object(dump(pod), api_version="v1", kind="Pod")
            self.store.put_object(PODS, obj, self._permit(), as_of=as_of)

    @rule(number=st.integers(0, 6))
    def list_lit(self, number: int) -> None:
        """A client lists at the cloud, and may then know more than the hub."""
        path, client, _ = self.clients[number]
        self._close(number)
        body = self.cloud.list(client.asked)
        client.listed(body)
        client.strict = client.version <= self.feeds[path].version
        self.store.put_list(client.asked, read_list(body), self._permit(), since=self.now)

    # ---- clients of the hub ----

    @rule(number=st.integers(0, 6))
    def list_dark(self, number: int) -> None:
        self._close(number)
        self._list(number)

    def _list(self, number: int) -> None:
        _, client, target = self.clients[number]
        answer = answers.list_(self.store, parse_target(target), ME, OBJECTS, self.now)
        if answer.code == 503:
            return
        assert answer.code == 200, answer
        client.listed(answer.body)
        covering = self.store.find(client.asked, ME)
        assert covering is not None
        assert client.version == covering.version
        if self.exact:
            as_of = self.cloud.at(client.asked, covering.version)
            assert client.has == {key: version for key, version in as_of.items() if key not in covering.gone}
        client.strict = self.exact and not covering.gone

    @rule(number=st.integers(0, 6), limit=st.sampled_from([1, 100_000]), bookmarks=st.booleans())
    def watch(self, number: int, limit: int, bookmarks: bool) -> None:  # noqa: FBT001
        if number not in self.readers:
            self._watch(number, bookmarks=bookmarks)
        reader = self.readers.get(number)
        if reader is not None and not self.clients[number][1].told(reader.take(self.now, limit)):
            assert reader.ended
            self._close(number)
            self._list(number)

    def _watch(self, number: int, *, bookmarks: bool) -> None:
        path, client, _ = self.clients[number]
        feed = self.feeds[path]
        if client.version == 0 or feed.coverage is None:
            return
        client.strict = client.strict and client.version <= feed.version
        client.typed = client.typed and client.version >= feed.floor
        try:
            self.readers[number] = Reader(feed, client.asked, Options(client.version, bookmarks))
        except Gone:
            self._list(number)

    @rule(number=st.integers(0, 6))
    def watch_anew(self, number: int) -> None:
        """A client starts without a list: initial events and the bookmark that ends them."""
        path, client, _ = self.clients[number]
        self._close(number)
        coverage = self.feeds[path].coverage
        if coverage is None:
            return
        client.begin()
        client.strict = self.exact and not coverage.gone
        self.readers[number] = Reader(self.feeds[path], client.asked, Options(0, bookmarks=True, initial=True))

    @rule(number=st.integers(0, 6))
    def leave(self, number: int) -> None:
        self._close(number)

    def _close(self, number: int) -> None:
        reader = self.readers.pop(number, None)
        if reader is not None:
            client = self.clients[number][1]
            client.broken_off()
            reader.close()

    # ---- the hub's own end ----

    @rule()
    def checkpoint(self) -> None:
        self.store.checkpoint()

    @rule(lost=st.sampled_from([0, 0, 0, 1, 2, 3, 5, 8]), clean=st.booleans())
    def restart(self, lost: int, clean: bool) -> None:  # noqa: FBT001
        if clean:
            self.store.checkpoint()
        kept = self.records.content(max(0, len(self.records.log) - lost))
        self.records = Records(kept)
        before = self.store
        self.store = Store(self.records)
        assert self.store.load(kept.items()) == []
        if lost:
            self.exact = False
        else:
            assert _content(before) == _content(self.store)
            versions = [(one.version, before.coverage(one.key).version) for one in self.store.coverages()]
            assert all(new == old if clean else new <= old for new, old in versions)
        for _, client, _ in self.clients:
            client.broken_off()
            client.strict = client.strict and not lost
        self._start_feeds()

    # ---- what always holds ----

    @invariant()
    def sets_are_snapshots(self) -> None:
        if not self.exact:
            return
        for coverage in self.store.coverages():
            members = {key: obj.version for key, obj in coverage.members.items()}
            if coverage.key.one:
                continue
            assert members == self.cloud.at(coverage.key, coverage.version), coverage.key
            for key, deleted in coverage.gone.items():
                assert self._was_absent(key, deleted)

    @invariant()
    def gets_tell_the_truth(self) -> None:
        for key in KEYS:
            found = self.store.get(PODS, *key, ME)
            assert not isinstance(self.store.get(PODS, *key, STRANGER), Found | Absent)
            if not self.exact:
                continue
            if isinstance(found, Found):
                state = self.cloud.states[found.coverage.version].get(key)
                assert state is not None
                assert int(state["metadata"]["resourceVersion"]) == found.obj.version
            elif isinstance(found, Absent):
                as_of = max(found.coverage.version, found.coverage.gone.get(key, 0))
                assert self._was_absent(key, as_of)

    def _was_absent(self, key: Key, since: int) -> bool:
        """A 404 tells of some version from the one on that was known when it was asked for."""
        return any(key not in state for state in self.cloud.states[since:])

    @invariant()
    def objects_are_counted(self) -> None:
        held = {id(obj) for one in self.store.coverages() for obj in one.members.values()}
        states = {(one.key.gvr, obj.key, obj.version) for one in self.store.coverages() for obj in one.members.values()}
        assert len(held) == len(states), "each state is held once"

    @precondition(lambda self: self.cloud.version > 0)
    @rule()
    def settle(self) -> None:
        """Everything heals: each client that goes on from what it had ends with what the cloud has."""
        self._heal()

    def _heal(self) -> None:
        for path in TARGETS:
            self.connect(path)
            self.deliver(path, 1_000_000)
            self.bookmark(path)
        for number, (_, client, _) in enumerate(self.clients):
            if number not in self.readers:
                self._watch(number, bookmarks=True)
            reader = self.readers.get(number)
            if reader is None:
                self._list(number)
                continue
            while text := reader.take(self.now, 1):
                if not client.told(text):
                    self._close(number)
                    self._list(number)
                    break
            assert client.has == self.cloud.at(client.asked, self.cloud.version), (number, client.asked)
        self.exact = (
            all(
                {key: obj.version for key, obj in one.members.items()} == self.cloud.at(one.key, one.version)
                for one in self.store.coverages()
            )
            and self.exact
        )

    def teardown(self) -> None:
        self._heal()
        for feed in self.feeds.values():
            assert feed.coverage is not None
            members = {key: obj.version for key, obj in feed.coverage.members.items()}
            assert members == self.cloud.at(feed.key, self.cloud.version)


def _content(store: Store) -> object:
    return [
        (one.key, one.deleted, dict(one.members), dict(one.gone), set(one.callers), one.needed)
        for one in store.coverages()
    ]


TestHub = Hub.TestCase
TestHub.settings = settings(
    max_examples=int(os.environ.get("YURT_KEPT_EXAMPLES", "150")),
    stateful_step_count=60,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow],
)
