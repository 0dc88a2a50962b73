"""The store's rules, one by one; `test_model` drives all of them together."""

from collections.abc import Iterable

import pytest
from kit.kept import Records, dump
from yurt_hub.domain.kept import quota
from yurt_hub.domain.kept.objects import ListRead, Obj, read_event, read_list, read_object
from yurt_hub.domain.kept.quota import Limits
from yurt_hub.domain.kept.sets import SetKey, one_key, set_key
from yurt_hub.domain.kept.store import Absent, Found, Permit, Store, Unknown
from yurtcore.wire.gvr import Gvr, parse_target

PODS, SECRETS = Gvr("", "v1", "pods"), Gvr("", "v1", "secrets")
KUBELET = "system:node:n1"


def key(target: str) -> SetKey:
    return set_key(parse_target(target))


ALL, IN_A, WEB = key("/api/v1/pods"), key("/api/v1/namespaces/a/pods"), key("/api/v1/pods?labelSelector=app%3Dweb")


def obj(name: str, version: int, *, app: str = "web", pad: int = 0, uid: str = "u") -> Obj:
    meta = {"name": name, "namespace": "a", "resourceVersion": str(version), "labels": {"app": app}, "uid": uid}
    return read_object(dump({"kind": "Pod", "apiVersion": "v1", "metadata": meta, "pad": "x" * pad}))


def read(version: int, items: Iterable[Obj], *, columns: bytes | None = None) -> ListRead:
    kind = "Table" if columns else "PodList"
    return ListRead(kind, "v1", "Pod", version, "", None, list(items), columns)


def permit(identity: str = "me", now: float = 1.0, *, needed: bool = False) -> Permit:
    return Permit(identity, now, needed)


def event(kind: str, one: Obj) -> bytes:
    return b'{"type":"%b","object":%b}' % (kind.encode(), one.raw)


def found(store: Store, name: str, identity: str = "me") -> int | str | None:
    match store.get(PODS, "a", name, identity):
        case Found(obj=one):
            return one.version
        case Absent():
            return None
        case Unknown(reason=reason):
            return reason


def test_who_was_not_allowed_reads_nothing() -> None:
    store = Store(Records())
    store.put_list(ALL, read(5, [obj("x", 3)]), permit("reader"))
    assert found(store, "x", "reader") == 3
    assert store.find(IN_A, "other") is None
    assert found(store, "x", "other") == ("pods a/x is kept, but this caller was not seen to be allowed to read it")
    store.allow(ALL, permit("other"))
    assert found(store, "x", "other") == 3


def test_who_is_refused_a_set_reads_none_that_contains_it() -> None:
    store = Store(Records())
    store.put_list(ALL, read(5, [obj("x", 3)]), permit())
    store.put_list(IN_A, read(5, [obj("x", 3)]), permit())
    store.put_object(PODS, obj("x", 3), permit())
    store.refuse(WEB, "me")
    assert store.find(ALL, "me") is None
    assert store.find(IN_A, "me") is not None
    store.refuse(IN_A, "me")
    assert store.find(IN_A, "me") is None
    assert found(store, "x") == 3, "getting it was not refused"
    store.refuse(one_key(PODS, "a", "x"), "me")
    assert isinstance(found(store, "x"), str)


def test_who_may_get_may_not_list() -> None:
    store = Store(Records())
    store.put_object(PODS, obj("x", 3), permit())
    assert found(store, "x") == 3
    assert store.find(key("/api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dx"), "me") is None


def test_absence_is_told_only_by_a_set_that_would_contain_the_object() -> None:
    store = Store(Records())
    assert found(store, "x") == "nothing is kept of pods a/x"
    store.put_list(WEB, read(5, [obj("x", 3)]), permit())
    assert found(store, "x") == 3
    assert found(store, "y") == "pods a/y is not within any set that is kept"
    store.put_list(IN_A, read(5, [obj("x", 3)]), permit())
    assert found(store, "y") is None


def test_the_set_that_knows_more_answers_for_an_object() -> None:
    store = Store(Records())
    store.put_list(IN_A, read(5, [obj("x", 3)]), permit())
    store.put_object(PODS, obj("x", 7), permit())
    assert found(store, "x") == 7
    store.put_list(ALL, read(9, []), permit())
    assert found(store, "x") is None
    assert store.find(IN_A, "me") is store.coverage(ALL)


def test_a_404_hides_what_was_known_before_it_was_asked_for() -> None:
    store = Store(Records())
    store.put_list(ALL, read(5, [obj("x", 3), obj("y", 5)]), permit())
    store.absent(PODS, ("a", "x"), permit(), as_of=store.horizon(PODS))
    assert found(store, "x") is None
    coverage = store.find(ALL, "me")
    assert coverage is not None
    assert [one.key[1] for one in coverage.shown()] == ["y"]


def test_a_404_from_before_does_not_hide_what_came_since() -> None:
    store = Store(Records())
    store.put_list(ALL, read(5, []), permit())
    as_of = store.horizon(PODS)
    store.apply(ALL, read_event(event("ADDED", obj("x", 6))), 2.0)
    store.absent(PODS, ("a", "x"), permit(), as_of=as_of)
    assert found(store, "x") == 6


def test_a_late_answer_does_not_bring_back_the_dead() -> None:
    store = Store(Records())
    store.put_object(PODS, obj("x", 3), permit())
    store.put_list(ALL, read(5, [obj("y", 5)]), permit())
    store.absent(PODS, ("a", "x"), permit(), as_of=5)
    store.put_object(PODS, obj("x", 3), permit(), as_of=3)
    assert found(store, "x") is None
    store.put_object(PODS, obj("x", 8, uid="again"), permit(), as_of=5)
    assert found(store, "x") == 8


def test_of_many_answers_the_highest_version_stays() -> None:
    store = Store(Records())
    for version in [5, 9, 2, 7, 8, 1]:
        store.put_object(PODS, obj("x", version), permit())
    assert found(store, "x") == 9


def test_events_add_update_ignore_and_remove() -> None:
    store = Store(Records())
    store.put_list(ALL, read(5, []), permit())
    changes = [
        store.apply(ALL, read_event(event(kind, one)), 2.0)
        for kind, one in [
            ("ADDED", obj("x", 6)), ("MODIFIED", obj("x", 8)), ("MODIFIED", obj("x", 7)), ("DELETED", obj("x", 9)),
        ]
    ]  # fmt: skip
    assert [change and (change.type, change.version) for change in changes] == [
        ("ADDED", 6), ("MODIFIED", 8), None, ("DELETED", 9),
    ]  # fmt: skip
    assert found(store, "x") is None
    assert store.objects == 0
    assert store.size == 0
    assert store.apply(WEB, read_event(event("ADDED", obj("x", 10))), 2.0) is None, "a set that is not kept"


def test_a_deletion_hides_the_object_in_sets_that_have_not_heard_of_it() -> None:
    store = Store(Records())
    store.put_list(WEB, read(4, [obj("x", 3), obj("y", 4)]), permit())
    store.put_list(ALL, read(5, [obj("x", 3), obj("y", 4)]), permit())
    store.apply(ALL, read_event(event("DELETED", obj("x", 6))), 2.0)
    web = store.coverage(WEB)
    assert web is not None
    assert [one.key[1] for one in web.shown()] == ["y"]
    assert ("a", "x") in web.members, "its own feed will tell"


def test_an_object_that_was_made_anew_shows_again_also_after_a_restart() -> None:
    records = Records()
    store = Store(records)
    store.put_list(WEB, read(4, [obj("x", 3)]), permit())
    store.put_list(ALL, read(5, [obj("x", 3)]), permit())
    store.apply(ALL, read_event(event("DELETED", obj("x", 6))), 2.0)
    assert loaded(records)[0].find(WEB, "me") is not None
    assert [one.shown() for one in loaded(records)[0].coverages()] == [[], []]
    store.apply(WEB, read_event(event("MODIFIED", obj("x", 7, uid="again"))), 2.0)
    assert found(store, "x") == 7
    assert found(loaded(records)[0], "x") == 7


def test_leaving_a_selection_hides_nothing_elsewhere() -> None:
    """The API server sends the same event for an object that left the selection as for a deleted one."""
    store = Store(Records())
    store.put_list(WEB, read(5, [obj("x", 3)]), permit())
    store.put_list(ALL, read(4, [obj("x", 3)]), permit())
    store.apply(WEB, read_event(event("DELETED", obj("x", 6))), 2.0)
    assert found(store, "x") == 3


def test_a_list_tells_what_it_changed() -> None:
    store = Store(Records())
    store.put_list(ALL, read(5, [obj(name, at) for at, name in enumerate("abcd", 1)]), permit())
    listed = store.put_list(
        ALL, read(20, [obj("b", 2), obj("c", 15), obj("e", 12), obj("d", 18, uid="again")]), permit()
    )
    assert [(one.type, one.obj.key[1], one.version) for one in listed.changes] == [
        ("DELETED", "a", 20), ("DELETED", "d", 20), ("ADDED", "e", 12), ("MODIFIED", "c", 15), ("ADDED", "d", 18),
    ]  # fmt: skip
    assert listed.before == 5
    assert store.put_list(ALL, read(20, [obj("b", 2), obj("c", 15), obj("e", 12), obj("d", 18)]), permit()).changes


def test_an_older_list_only_permits() -> None:
    store = Store(Records())
    store.put_list(ALL, read(9, [obj("x", 8)]), permit())
    assert store.put_list(ALL, read(5, [obj("x", 3), obj("y", 5)]), permit("other")).changes == []
    assert found(store, "x", "other") == 8
    assert found(store, "y", "other") is None


def test_a_cloud_that_was_set_back_is_believed() -> None:
    store = Store(Records())
    store.put_list(ALL, read(90, [obj("x", 80)]), permit(now=10.0))
    store.put_list(WEB, read(95, [obj("x", 80)]), permit(now=11.0))
    in_flight = store.put_list(ALL, read(50, []), permit(now=140.0), since=100.0)
    assert not in_flight.set_back, "it may have been asked for before the last news"
    listed = store.put_list(ALL, read(50, [obj("x", 40)]), permit(now=150.0), since=140.0)
    assert listed.set_back
    assert found(store, "x") == 40
    assert store.horizon(PODS) == 50
    assert store.coverage(WEB) is None, "it knew of what never happened"


def test_each_state_is_held_once_and_goes_with_its_last_set() -> None:
    records = Records()
    store = Store(records)
    store.put_list(ALL, read(5, [obj("x", 3)]), permit())
    store.put_list(IN_A, read(5, [obj("x", 3)]), permit())
    store.put_object(PODS, obj("x", 3), permit())
    held = {id(one) for coverage in store.coverages() for one in coverage.members.values()}
    assert len(held) == 1
    assert store.objects == 1
    for coverage in store.coverages():
        assert store.objects == 1
        store.forget(coverage.key)
    assert store.objects == store.size == 0
    assert records.content() == {}


def test_cells_of_the_same_state_reach_all_its_sets() -> None:
    store = Store(Records())
    store.put_list(ALL, read(5, [obj("x", 3)]), permit())
    dressed = Obj(("a", "x"), 3, obj("x", 3).raw, b'["x","1m"]')
    store.put_list(WEB, read(5, [dressed], columns=b"[]"), permit())
    assert [one.cells for coverage in store.coverages() for one in coverage.shown()] == [b'["x","1m"]'] * 2


def test_a_set_with_a_feed_takes_only_columns_and_cells_from_others_lists() -> None:
    store = Store(Records())
    store.put_list(ALL, read(5, [obj("x", 3)]), permit())
    coverage = store.coverage(ALL)
    assert coverage is not None
    coverage.fed = True
    dressed = Obj(("a", "x"), 3, obj("x", 3).raw, b'["x"]')
    listed = store.put_list(ALL, read(9, [dressed, obj("y", 8)], columns=b"[{}]"), permit("other"))
    assert (listed.changes, coverage.version, coverage.columns) == ([], 5, b"[{}]")
    assert [one.cells for one in coverage.shown()] == [b'["x"]']
    assert coverage.readable("other")


def test_secrets_are_sealed() -> None:
    records = Records()
    store = Store(records)
    secret = read_object(b'{"kind":"Secret","apiVersion":"v1","metadata":{"name":"s","namespace":"a"},"data":{}}')
    store.put_object(SECRETS, secret, permit())
    store.put_object(PODS, obj("x", 1), permit())
    assert records.secret == {"o/secrets.v1./a/s"}


def test_kinds_are_learnt_from_whatever_tells_them() -> None:
    store = Store(Records())
    assert store.kinds(PODS) == ("", "")
    store.put_list(ALL, ListRead("Table", "meta.k8s.io/v1", "", 5, "", None, [], b"[]"), permit())
    assert store.kinds(PODS) == ("", "")
    store.put_object(PODS, obj("x", 6), permit())
    assert store.kinds(PODS) == ("Pod", "PodList")


# ---- limits ----


def fill(store: Store, count: int, *, needed: bool = False) -> None:
    for at in range(count):
        namespace = key(f"/api/v1/namespaces/n{at}/pods")
        store.put_list(namespace, read(1, [obj(f"x{at}", 1, pad=1000)]), permit("me", float(at), needed=needed))


def test_what_was_read_longest_ago_goes_first() -> None:
    store = Store(Records(), Limits(bytes=8000))
    fill(store, 3)
    store.allow(key("/api/v1/namespaces/n0/pods"), permit("me", 50.0))
    fill_one = key("/api/v1/namespaces/last/pods")
    store.put_list(fill_one, read(1, [obj("last", 1, pad=4000)]), permit("me", 60.0))
    left = [one.key.namespace for one in store.coverages()]
    assert left == ["n0", "n2", "last"]
    assert store.size <= 8000


def test_what_a_feed_keeps_stays() -> None:
    store = Store(Records(), Limits(sets=3, sets_per_identity=2))
    for at in range(3):
        one = key(f"/api/v1/namespaces/f{at}/pods")
        coverage = store.put_list(one, read(1, []), permit("me", float(at))).coverage
        assert coverage is not None
        coverage.fed = True
    listed = store.put_list(ALL, read(1, []), permit("other", 60.0))
    assert (listed.coverage, listed.why) == (None, "the quota of the store is used up")
    assert [one.key.namespace for one in store.coverages()] == ["f0", "f1", "f2"]


def test_what_kubelet_and_kube_proxy_need_never_goes() -> None:
    store = Store(Records(), Limits(bytes=3000))
    fill(store, 5, needed=True)
    assert len(store.coverages()) == 5
    listed = store.put_list(ALL, read(9, [obj("big", 1, pad=5000)]), permit("other", 99.0))
    assert (listed.coverage, listed.why) == (None, "the quota of the store is used up")
    assert store.coverage(ALL) is None
    assert quota.order_of_eviction(store) == []


def test_a_set_that_is_too_large_is_not_kept_unless_it_is_needed() -> None:
    store = Store(Records(), Limits(members=2))
    many = read(5, [obj(f"x{at}", at) for at in range(1, 4)])
    listed = store.put_list(ALL, many, permit())
    assert (listed.coverage, listed.why) == (None, "3 objects; at most 2 are kept of a set")
    assert store.put_list(ALL, many, permit(KUBELET, needed=True)).coverage is not None
    assert store.put_list(ALL, many, permit()).coverage is not None, "it is there anyway"


def test_an_identity_pushes_out_only_its_own_sets() -> None:
    store = Store(Records(), Limits(sets_per_identity=3))
    store.put_list(ALL, read(1, []), permit("quiet", 0.0))
    fill(store, 6)
    assert [one.key.namespace for one in store.coverages()] == ["", "n3", "n4", "n5"]
    store.put_list(key("/api/v1/namespaces/n3/pods"), read(1, []), permit("quiet", 99.0))
    fill(store, 9)
    assert store.coverage(key("/api/v1/namespaces/n3/pods")) is not None, "another may still read it"


def test_callers_of_a_set_are_bounded() -> None:
    store = Store(Records(), Limits(callers=2))
    for at in range(4):
        store.put_list(ALL, read(1, []), permit(f"c{at}", float(at)))
    coverage = store.coverage(ALL)
    assert coverage is not None
    assert list(coverage.callers) == ["c2", "c3"]


def test_a_sweep_takes_what_nobody_read_but_not_what_is_needed_at_a_start() -> None:
    store = Store(Records())
    config = key("/api/v1/namespaces/a/configmaps?fieldSelector=metadata.name%3Dc")
    store.put_list(config, read(1, [obj("c", 1)]), permit(KUBELET, 0.0, needed=True))
    store.put_object(PODS, obj("x", 1), permit(KUBELET, 0.0, needed=True))
    store.absent(PODS, ("a", "gone"), permit(KUBELET, 0.0, needed=True), as_of=1)
    store.put_list(ALL, read(1, [obj("x", 1)]), permit("kubectl", 0.0))
    store.put_list(WEB, read(1, [obj("x", 1)]), permit("kubectl", 0.0))
    web = store.coverage(WEB)
    assert web is not None
    web.read(90.0)
    assert store.sweep(100.0, idle=50.0) == [config, one_key(PODS, "a", "gone"), ALL]
    assert store.sweep(1000.0, idle=50.0) == [WEB]
    assert found(store, "x", KUBELET) == 1


# ---- disk ----


def loaded(records: Records, damaged: Iterable[str] = ()) -> tuple[Store, list[str]]:
    store = Store(Records(records.content()))
    return store, store.load(records.content().items(), damaged=list(damaged))


@pytest.fixture
def two() -> tuple[Store, Records]:
    """A store with a list of pods and one Secret."""
    records = Records()
    store = Store(records)
    store.put_list(ALL, read(5, [obj("x", 3), obj("y", 4)]), permit())
    secret = read_object(
        b'{"kind":"Secret","apiVersion":"v1","metadata":{"name":"s","namespace":"a","resourceVersion":"2"}}'
    )
    store.put_object(SECRETS, secret, permit())
    return store, records


def test_a_lost_record_tears_the_sets_of_its_kind_until_they_are_listed(two: tuple[Store, Records]) -> None:
    _, records = two
    records.drop("o/pods.v1./a/x")
    store, problems = loaded(records, ["o/pods.v1./a/x"])
    assert problems == ["record o/pods.v1./a/x was lost"]
    assert found(store, "y") == 4
    assert found(store, "x") == "what was kept of pods a/x is damaged"
    assert store.find(ALL, "me") is None
    assert isinstance(store.get(SECRETS, "a", "s", "me"), Found)
    store.put_list(ALL, read(9, [obj("y", 4)]), permit())
    assert found(store, "x") is None


def test_damage_is_remembered_over_a_restart(two: tuple[Store, Records]) -> None:
    store = Store(records := Records(two[1].content()))
    store.load(two[1].content().items(), damaged=["o/pods.v1./a/zzz"])
    again, problems = loaded(records)
    assert problems == []
    assert again.find(ALL, "me") is None


def test_a_lost_record_without_a_name_tears_everything(two: tuple[Store, Records]) -> None:
    store, problems = loaded(two[1], [""])
    assert problems == ["record of an unknown object was lost"]
    assert all(coverage.torn for coverage in store.coverages())
    assert isinstance(store.get(SECRETS, "a", "s", "me"), Found), "what is there is so"


@pytest.mark.parametrize("record", ["o/pods.v1./a/x", "o/nonsense", "c/1", "v/1", "q/1"])
def test_an_unreadable_record_is_named(two: tuple[Store, Records], record: str) -> None:
    records = two[1]
    records.put(record, b"\xc1", secret=False)
    store, problems = loaded(records)
    assert len(problems) == 1
    assert record in problems[0]
    assert store.find(ALL, "me") is None


def test_objects_of_sets_that_are_gone_are_forgotten(two: tuple[Store, Records]) -> None:
    two[1].drop("c/1")
    store, problems = loaded(two[1])
    assert problems == []
    assert store.objects == 1
    assert store.put_list(ALL, read(9, [obj("y", 4)]), permit()).coverage is not None


def test_numbers_of_sets_that_left_objects_behind_are_not_given_again(two: tuple[Store, Records]) -> None:
    records = two[1]
    records.drop("c/1")
    records.drop("c/2")
    store, _ = loaded(records)
    listed = store.put_list(WEB, read(9, []), permit())
    assert listed.coverage is not None
    assert listed.coverage.id == 3


def cut(records: Records, upto: int) -> Store:
    """A store from the first records alone."""
    store = Store(Records())
    assert store.load(records.content(upto).items()) == []
    return store


def test_a_deletion_is_whole_as_soon_as_anything_of_it_is_written() -> None:
    records = Records()
    store = Store(records)
    store.put_list(ALL, read(5, [obj("x", 3), obj("y", 4)]), permit())
    before = len(records.log)
    store.apply(ALL, read_event(event("DELETED", obj("x", 6))), 2.0)
    states = []
    for upto in range(before, len(records.log) + 1):
        coverage = cut(records, upto).coverage(ALL)
        assert coverage is not None
        states.append((coverage.version, coverage.deleted, [one.key[1] for one in coverage.shown()]))
    assert states == [(5, 5, ["x", "y"]), *[(6, 6, ["y"])] * (len(states) - 1)]


def test_a_set_that_a_list_replaced_in_part_is_torn() -> None:
    records = Records()
    store = Store(records)
    store.put_list(ALL, read(5, [obj("x", 3), obj("y", 4)]), permit())
    before = len(records.log)
    store.put_list(ALL, read(9, [obj("y", 4), obj("z", 8)]), permit())
    found_whole = [cut(records, upto).find(ALL, "me") for upto in range(before, len(records.log) + 1)]
    versions = [coverage and coverage.version for coverage in found_whole]
    assert versions[0] == 5
    assert versions[-1] == 9
    assert set(versions[1:-1]) == {None}


def test_a_new_set_is_there_whole_or_not_at_all() -> None:
    records = Records()
    store = Store(records)
    store.put_list(WEB, read(3, [obj("x", 3)]), permit())
    before = len(records.log)
    store.put_list(ALL, read(5, [obj("x", 3), obj("y", 4)]), permit())
    for upto in range(before, len(records.log) + 1):
        torn = cut(records, upto)
        whole = torn.coverage(ALL)
        assert whole is None or [one.key[1] for one in whole.shown()] == ["x", "y"]
        web = torn.coverage(WEB)
        assert web is not None
        assert [one.key[1] for one in web.shown()] == ["x"]


def test_versions_are_written_at_a_checkpoint() -> None:
    records = Records()
    store = Store(records)
    store.put_list(ALL, read(5, []), permit())
    written = len(records.log)
    for version in range(6, 50):
        store.bookmark(ALL, version, float(version))
    assert len(records.log) == written
    store.checkpoint()
    store.checkpoint()
    assert len(records.log) == written + 1
    coverage = loaded(records)[0].coverage(ALL)
    assert coverage is not None
    assert (coverage.version, coverage.confirmed) == (49, 49.0)


def test_one_event_writes_one_record_however_large_the_set() -> None:
    records = Records()
    store = Store(records)
    store.put_list(ALL, read(500, [obj(f"x{at}", at) for at in range(1, 500)]), permit())
    written = len(records.log)
    store.apply(ALL, read_event(event("MODIFIED", obj("x7", 501))), 2.0)
    assert [name for name, _ in records.log[written:]] == ["o/pods.v1./a/x7"]
    store.put_list(ALL, read(600, [*[obj(f"x{at}", at) for at in range(1, 500) if at != 7], obj("x7", 501)]), permit())
    assert [name for name, _ in records.log[written + 1 :]] == ["v/1"]


def test_a_table_is_loaded_with_its_cells_and_columns() -> None:
    records = Records()
    one = Obj(("a", "x"), 3, obj("x", 3).raw, b'["x"]')
    Store(records).put_list(ALL, read(5, [one], columns=b'[{"name":"Name"}]'), permit())
    coverage = loaded(records)[0].coverage(ALL)
    assert coverage is not None
    assert (coverage.columns, coverage.shown()) == (b'[{"name":"Name"}]', [one])
    assert read_list(b'{"kind":"PodList","metadata":{}}').items == []
