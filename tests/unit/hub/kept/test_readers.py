"""Feeds and their readers, one by one; `test_model` drives them together."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from kit.kept import Records, bookmark, dump
from yurt_hub.domain.kept.feed import Feed, LogLimits
from yurt_hub.domain.kept.forms import OBJECTS, Form, Shape
from yurt_hub.domain.kept.objects import ListRead, Obj, read_event, read_list, read_object
from yurt_hub.domain.kept.quota import Limits
from yurt_hub.domain.kept.readers import Options, Reader, options
from yurt_hub.domain.kept.sets import SetKey, set_key
from yurt_hub.domain.kept.store import Permit, Store
from yurtcore.errors import BadInput, Gone
from yurtcore.wire.gvr import parse_target

Recorded = Mapping[str, bytes]
ME = Permit("me", 1.0)


def key(target: str) -> SetKey:
    return set_key(parse_target(target))


PODS = key("/api/v1/pods")


def obj(name: str, version: int, app: str = "web") -> Obj:
    meta = {"name": name, "namespace": "a", "resourceVersion": str(version), "labels": {"app": app}, "uid": name}
    return read_object(dump({"kind": "Pod", "apiVersion": "v1", "metadata": meta}))


def read(version: int, items: Iterable[Obj]) -> ListRead:
    return ListRead("PodList", "v1", "Pod", version, "", None, list(items), None)


def tell(feed: Feed, *events: tuple[str, Obj]) -> None:
    for kind, one in events:
        feed.event(read_event(b'{"type":"%b","object":%b}' % (kind.encode(), one.raw)), 1.0)


def seen(reader: Reader, limit: int = 10**6) -> list[tuple[str, str, int]]:
    """Type, name (or code of an error) and version of what is due."""
    out = []
    for line in reader.take(1.0, limit).splitlines():
        event: dict[str, Any] = json.loads(line)
        meta = event["object"]["metadata"]
        name = meta.get("name", "") or str(event["object"].get("code", ""))
        out.append((event["type"], name, int(meta.get("resourceVersion", 0))))
    return out


@pytest.fixture
def feed() -> Feed:
    """A feed of all pods, listed at version 10, with x at 3 and y (of another app) at 4."""
    made = Feed(Store(Records()), PODS)
    made.listed(read(10, [obj("x", 3), obj("y", 4, "db")]), ME, since=1.0)
    return made


def test_a_watch_from_now_begins_with_what_is_there(feed: Feed) -> None:
    reader = Reader(feed, PODS, Options())
    assert seen(reader) == [("ADDED", "x", 3), ("ADDED", "y", 4)]
    tell(feed, ("ADDED", obj("z", 11)))
    assert seen(reader) == [("ADDED", "z", 11)]
    assert seen(reader) == []


def test_initial_events_end_with_their_bookmark(feed: Feed) -> None:
    reader = Reader(feed, PODS, Options(bookmarks=True, initial=True))
    lines = reader.take(1.0).splitlines()
    assert json.loads(lines[-1]) == {
        "type": "BOOKMARK",
        "object": {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {"resourceVersion": "10", "annotations": {"k8s.io/initial-events-end": "true"}},
        },
    }
    assert len(lines) == 3


def test_initial_events_may_be_declined(feed: Feed) -> None:
    reader = Reader(feed, PODS, Options(initial=False))
    assert seen(reader) == []
    tell(feed, ("DELETED", obj("x", 11)))
    assert seen(reader) == [("DELETED", "x", 11)]


def test_a_watch_goes_on_from_its_version(feed: Feed) -> None:
    tell(feed, ("MODIFIED", obj("x", 11)), ("DELETED", obj("y", 12, "db")), ("ADDED", obj("z", 13)))
    assert seen(Reader(feed, PODS, Options(13))) == []
    assert seen(Reader(feed, PODS, Options(11))) == [("DELETED", "y", 12), ("ADDED", "z", 13)]
    assert seen(Reader(feed, PODS, Options(10))) == [("MODIFIED", "x", 11), ("DELETED", "y", 12), ("ADDED", "z", 13)]
    with pytest.raises(Gone, match="too old resource version: 9"):
        Reader(feed, PODS, Options(9))


def test_a_watch_ahead_of_the_hub_is_told_only_what_comes_after(feed: Feed) -> None:
    reader = Reader(feed, PODS, Options(12))
    tell(feed, ("MODIFIED", obj("x", 11)), ("MODIFIED", obj("x", 12)), ("MODIFIED", obj("x", 13)))
    assert seen(reader) == [("MODIFIED", "x", 13)]


def test_a_watch_goes_on_after_a_restart_when_nothing_was_deleted() -> None:
    records = Records()
    before = Feed(Store(records), PODS)
    before.listed(read(10, [obj("x", 3), obj("y", 4)]), ME, since=1.0)
    tell(before, ("DELETED", obj("y", 11)), ("MODIFIED", obj("x", 12)), ("ADDED", obj("z", 13)))
    store = Store(Records(records.content()))
    assert store.load(records.content().items()) == []
    after = Feed(store, PODS)
    assert after.resume_version == 13
    assert seen(Reader(after, PODS, Options(11))) == [("MODIFIED", "x", 12), ("MODIFIED", "z", 13)]
    assert seen(Reader(after, PODS, Options(12))) == [("MODIFIED", "z", 13)]
    with pytest.raises(Gone):
        Reader(after, PODS, Options(10))
    with pytest.raises(Gone):
        Reader(after, key("/api/v1/pods?labelSelector=app%3Ddb"), Options(11))


def test_differences_of_a_list_reach_those_who_follow(feed: Feed) -> None:
    reader = Reader(feed, PODS, Options(10, bookmarks=True))
    feed.expired()
    assert feed.resume_version is None
    feed.listed(read(30, [obj("x", 21), obj("n", 15)]), ME, since=2.0)
    assert feed.resume_version == 30
    assert seen(reader) == [("DELETED", "y", 10), ("ADDED", "n", 15), ("MODIFIED", "x", 21), ("BOOKMARK", "", 30)]
    assert seen(Reader(feed, PODS, Options(10))) == [("DELETED", "y", 10), ("ADDED", "n", 15), ("MODIFIED", "x", 21)]
    assert seen(Reader(feed, PODS, Options(30))) == []
    with pytest.raises(Gone):
        Reader(feed, PODS, Options(20))


def test_who_knew_more_than_the_hub_lists_after_a_gap(feed: Feed) -> None:
    """It may have seen an object that came and went where the hub was blind."""
    reader = Reader(feed, PODS, Options(20))
    feed.expired()
    feed.listed(read(30, [obj("x", 3), obj("y", 4, "db")]), ME, since=2.0)
    assert seen(reader) == [("ERROR", "410", 0)]
    assert reader.ended


def test_a_cloud_that_was_set_back_ends_all_watches(feed: Feed) -> None:
    reader = Reader(feed, PODS, Options(10))
    feed.expired()
    feed.listed(read(5, [obj("x", 3)]), Permit("me", 3.0), since=2.0)
    assert seen(reader) == [("ERROR", "410", 0)]
    assert feed.resume_version == 5
    assert seen(Reader(feed, PODS, Options(5))) == []


def test_a_set_that_is_forgotten_ends_its_watches() -> None:
    store = Store(Records())
    feed = Feed(store, PODS)
    feed.listed(read(10, [obj("x", 3)]), ME, since=1.0)
    reader = Reader(feed, PODS, Options(10))
    store.forget(PODS)
    assert feed.resume_version is None
    assert seen(reader) == [("ERROR", "410", 0)]
    with pytest.raises(Gone):
        Reader(feed, PODS, Options(10))


def test_a_set_that_is_not_kept_is_not_listed_again_and_again() -> None:
    feed = Feed(Store(Records(), Limits(members=1)), PODS)
    assert feed.listed(read(10, [obj("x", 3), obj("y", 4)]), ME, since=1.0) == []
    assert feed.refused == "2 objects; at most 1 are kept of a set"
    assert feed.resume_version == 10
    tell(feed, ("MODIFIED", obj("x", 11)))
    with pytest.raises(Gone):
        Reader(feed, PODS, Options(10))
    feed.expired()
    feed.listed(read(20, [obj("x", 13)]), ME, since=1.0)
    assert (feed.refused, feed.resume_version) == ("", 20)


def test_bookmarks_are_the_clouds_and_only_for_those_who_want_them(feed: Feed) -> None:
    wants, does_not = Reader(feed, PODS, Options(10, bookmarks=True)), Reader(feed, PODS, Options(10))
    feed.event(read_event(bookmark(17)), 1.0)
    assert seen(wants) == [("BOOKMARK", "", 17)]
    assert seen(wants) == []
    assert seen(does_not) == []
    assert does_not.mark() == b""
    assert json.loads(wants.mark())["object"]["metadata"] == {"resourceVersion": "17"}
    tell(feed, ("ADDED", obj("z", 18)))
    assert wants.mark() == b"", "there is something to tell first"


def test_errors_of_the_cloud_do_not_reach_those_who_follow(feed: Feed) -> None:
    reader = Reader(feed, PODS, Options(10))
    feed.event(read_event(b'{"type":"ERROR","object":{"kind":"Status","code":500}}'), 1.0)
    assert (feed.live, feed.resume_version) == (False, 10)
    feed.event(read_event(b'{"type":"ERROR","object":{"kind":"Status","code":410}}'), 1.0)
    assert feed.resume_version is None
    assert seen(reader) == []


def test_selections_see_objects_enter_and_leave(feed: Feed) -> None:
    web = key("/api/v1/namespaces/a/pods?labelSelector=app%3Dweb")
    reader = Reader(feed, web, Options(10))
    tell(
        feed,
        ("MODIFIED", obj("x", 11, "db")), ("MODIFIED", obj("y", 12, "web")), ("MODIFIED", obj("x", 13, "db")),
        ("DELETED", obj("x", 14, "db")), ("MODIFIED", obj("y", 15, "web")), ("DELETED", obj("y", 16, "web")),
        ("ADDED", obj("z", 17, "db")),
    )  # fmt: skip
    assert seen(reader) == [("DELETED", "x", 11), ("ADDED", "y", 12), ("MODIFIED", "y", 15), ("DELETED", "y", 16)]


def test_who_is_ahead_is_told_of_all_that_may_have_left_its_selection(feed: Feed) -> None:
    """What it knew of an object is not known here: better a deletion too many than an object that stays for ever."""
    web = key("/api/v1/pods?labelSelector=app%3Dweb")
    reader = Reader(feed, web, Options(11))
    tell(feed, ("MODIFIED", obj("y", 11, "web")), ("MODIFIED", obj("y", 12, "db")), ("MODIFIED", obj("x", 13, "db")))
    assert seen(reader) == [("DELETED", "y", 12), ("DELETED", "x", 13)]
    behind = Feed(Store(Records()), PODS)
    behind.listed(read(10, [obj("y", 4, "db")]), ME, since=1.0)
    ahead = Reader(behind, web, Options(12))  # it saw y become `web` at 11, and `db` becomes so again at 13
    tell(behind, ("MODIFIED", obj("y", 13, "db")))
    assert seen(ahead) == [("DELETED", "y", 13)]


def test_a_deletion_of_what_the_hub_does_not_have_is_told(feed: Feed) -> None:
    """A reader may have it: from before a crash that took the hub's last records."""
    web, db = (Reader(feed, key(f"/api/v1/pods?labelSelector=app%3D{app}"), Options(10)) for app in ("web", "db"))
    tell(feed, ("DELETED", obj("lost", 11)))
    assert seen(web) == [("DELETED", "lost", 11)]
    assert seen(db) == []


def test_after_damage_nobody_goes_on_from_before() -> None:
    """Whoever watched may have objects that the hub lost, and that are gone by now."""
    records = Records()
    before = Feed(Store(records), PODS)
    before.listed(read(10, [obj("x", 3), obj("y", 4)]), ME, since=1.0)
    records.drop("o/pods.v1./a/y")
    store = Store(Records(records.content()))
    store.load(records.content().items(), damaged=["o/pods.v1./a/y"])
    feed = Feed(store, PODS)
    assert feed.resume_version is None
    reader = Reader(feed, PODS, Options(10))
    feed.listed(read(20, [obj("x", 3)]), ME, since=2.0)
    assert seen(reader) == [("ERROR", "410", 0)]
    with pytest.raises(Gone):
        Reader(feed, PODS, Options(10))


def test_a_field_that_nobody_knows_cannot_be_followed(feed: Feed) -> None:
    with pytest.raises(BadInput, match="color"):
        Reader(feed, key("/api/v1/pods?fieldSelector=spec.color%3Dred"), Options(10))


@pytest.mark.parametrize("form", [OBJECTS, Form(Shape.TABLE, include="Object")])
def test_a_watch_by_label_is_byte_by_byte_what_the_cloud_tells(recorded: Recorded, form: Form) -> None:
    """An object loses its label, gets it back and is deleted: told from a feed of all objects of the namespace."""
    every = key("/api/v1/namespaces/a/configmaps")
    feed = Feed(Store(Records()), every)
    table = read_list(recorded["table-Object"])
    feed.listed(table, ME, since=1.0)
    reader = Reader(feed, key("/api/v1/namespaces/a/configmaps?labelSelector=l%3D1"), Options(table.version), form)
    events = [read_event(line) for line in recorded["leave-table"].splitlines()]
    left, back, gone = (event.obj for event in events[:3])
    assert left is not None
    assert back is not None
    assert gone is not None
    without = Obj(left.key, left.version, left.raw.replace(b'{"l":"1"}', b'{"l":"2"}'), left.cells)
    for kind, one in (("MODIFIED", without), ("MODIFIED", back), ("DELETED", gone)):
        row = b'{"kind":"Table","apiVersion":"meta.k8s.io/v1","rows":[{"cells":%b,"object":%b}]}'
        line = row % (one.cells or b"", one.raw)
        feed.event(read_event(b'{"type":"%b","object":%b}' % (kind.encode(), line)), 1.0)
    name = "leave" if form is OBJECTS else "leave-table"
    theirs = b"".join(recorded[name].splitlines(keepends=True)[:3])
    assert reader.take(1795629670.0 + 17.0) == theirs


def test_a_table_is_not_followed_without_its_columns(feed: Feed) -> None:
    reader = Reader(feed, PODS, Options(10), Form(Shape.TABLE))
    tell(feed, ("ADDED", obj("z", 11)))
    assert seen(reader) == [("ERROR", "410", 0)]


def test_metadata_only_can_be_followed(feed: Feed) -> None:
    reader = Reader(feed, PODS, Options(10, bookmarks=True), Form(Shape.PARTIAL))
    tell(feed, ("ADDED", obj("z", 11)))
    feed.event(read_event(bookmark(12)), 1.0)
    events = [json.loads(line)["object"] for line in reader.take(1.0).splitlines()]
    assert [event["kind"] for event in events] == ["PartialObjectMetadata"] * 2
    assert events[1] == {
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": "12"},
    }  # fmt: skip


def test_lines_are_given_out_in_parts(feed: Feed) -> None:
    reader = Reader(feed, PODS, Options())
    tell(feed, ("ADDED", obj("z", 11)))
    parts = [seen(reader, 1) for _ in range(4)]
    assert parts == [[("ADDED", "x", 3)], [("ADDED", "y", 4)], [("ADDED", "z", 11)], []]


def test_the_log_is_bounded_but_waits_for_those_who_follow() -> None:
    limits = LogLimits(entries=3, bytes=10_000, held_entries=6)
    feed = Feed(Store(Records()), PODS, limits)
    feed.listed(read(10, [obj("x", 3)]), ME, since=1.0)
    tell(feed, *[("MODIFIED", obj("x", version)) for version in range(11, 16)])
    assert (feed.end - feed.first, feed.floor) == (3, 12)
    slow, slower = Reader(feed, PODS, Options(15)), Reader(feed, PODS, Options(15))
    tell(feed, *[("MODIFIED", obj("x", version)) for version in range(16, 22)])
    assert feed.end - feed.first == 6
    assert [version for _, _, version in seen(slow)] == list(range(16, 22))
    tell(feed, ("MODIFIED", obj("x", 22)))
    assert seen(slow) == [("MODIFIED", "x", 22)]
    assert seen(slower) == [("ERROR", "410", 0)], "it is too slow for any bound"
    slow.close()
    assert (feed.readers, feed.end - feed.first) == (0, 3)


def test_bytes_bound_the_log_too() -> None:
    feed = Feed(Store(Records()), PODS, LogLimits(bytes=300))
    feed.listed(read(10, []), ME, since=1.0)
    tell(feed, *[("MODIFIED", obj("x", version)) for version in range(11, 20)])
    assert feed.end - feed.first == 300 // len(obj("x", 11).raw)


def test_a_feed_that_ends_leaves_its_set_behind() -> None:
    store = Store(Records())
    feed = Feed(store, PODS)
    feed.listed(read(10, []), ME, since=1.0)
    coverage = store.coverage(PODS)
    assert coverage is not None
    assert coverage.fed
    feed.close()
    assert not coverage.fed
    assert store.find(PODS, "me") is coverage


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("watch=true", Options()),
        ("watch=true&resourceVersion=0", Options()),
        ("resourceVersion=7&allowWatchBookmarks=true&timeoutSeconds=527", Options(7, bookmarks=True, timeout=527.0)),
        ("sendInitialEvents=true&allowWatchBookmarks=1", Options(bookmarks=True, initial=True)),
        ("sendInitialEvents=false&allowWatchBookmarks=false", Options(initial=False)),
        ("timeoutSeconds=soon", Options()),
    ],
)
def test_options_are_read_from_the_request(query: str, found: Options) -> None:
    assert options(parse_target(f"/api/v1/pods?{query}")) == found


@pytest.mark.parametrize("text", ["abc", "-1", "1.5"])
def test_a_version_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        options(parse_target(f"/api/v1/pods?watch=1&resourceVersion={text}"))
