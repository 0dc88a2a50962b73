"""The node's Lease: answered at once, brought to the cloud as a patch, kept for a start in the dark."""

import json
from typing import Any

import pytest
from kit.local import Records
from kit.protobuf import lease
from yurt_hub.domain.local.answers import Local
from yurt_hub.domain.local.beats import LEASES, PREFIX, Act, Beats, micro_time
from yurtcore.wire.gvr import parse_target

OWNER = {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "node-uid"}
T0 = 1_700_000_000.25


def cloud_lease(**changes: Any) -> bytes:
    metadata = {
        "name": "n1",
        "namespace": "kube-node-lease",
        "uid": "lease-uid",
        "resourceVersion": "222",
        "ownerReferences": [OWNER],
        "annotations": {"new": "and unknown ✓"},
    }
    spec = {"holderIdentity": "n1", "leaseDurationSeconds": 40, "renewTime": "2023-11-14T22:13:20.000000Z", "next": 4}
    body = {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": metadata, "spec": spec, "odd": [1]}
    for key, value in changes.items():
        (metadata if key in ("name", "resourceVersion", "ownerReferences") else spec)[key] = value
    return json.dumps(body).encode()


def kubelet_put(**words: Any) -> bytes:
    return lease(
        "n1", **{"holder": "n1", "renewed": T0, "uid": "lease-uid", "version": "222", "owners": [OWNER], **words}
    )


def shown(answer: Local | None) -> dict[str, Any]:
    assert answer is not None
    return json.loads(answer.body)


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
def beats(records: Records) -> Beats:
    return Beats("n1", records)


@pytest.mark.parametrize(
    ("method", "target", "act"),
    [
        ("PUT", f"{LEASES}/n1?timeout=10s", Act.RENEW),
        ("GET", f"{LEASES}/n1?timeout=10s", Act.READ),
        ("POST", f"{LEASES}?timeout=10s", Act.CREATE),
        ("PUT", f"{LEASES}/n1?dryRun=All", None),
        ("POST", f"{LEASES}?dryRun=All", None),
        ("PUT", f"{LEASES}/n2", None),
        ("PATCH", f"{LEASES}/n1", None),
        ("DELETE", f"{LEASES}/n1", None),
        ("GET", LEASES, None),
        ("PUT", "/apis/coordination.k8s.io/v1/namespaces/default/leases/n1", None),
        ("POST", "/apis/coordination.k8s.io/v1/namespaces/default/leases", None),
        ("PUT", f"{LEASES}/n1/status", None),
    ],
)
def test_only_the_nodes_own_lease_is_ours(beats: Beats, method: str, target: str, act: Act | None) -> None:
    assert beats.act(method, parse_target(target)) is act


@pytest.mark.parametrize(
    "body", [kubelet_put(), cloud_lease(), b"not a lease at all"], ids=["protobuf", "json", "noise"]
)
def test_a_renewal_is_answered_with_the_clouds_lease_at_this_moment(beats: Beats, body: bytes) -> None:
    """Version, unknown fields and all else are the cloud's; only the time is new."""
    beats.learn(cloud_lease(), T0 - 10)
    answer = beats.renewed(body, T0)
    wanted = json.loads(cloud_lease(renewTime="2023-11-14T22:13:20.250000Z"))
    assert shown(answer) == wanted
    assert answer is not None
    assert (answer.status, answer.header(b"Content-Type")) == (200, b"application/json")
    assert beats.seen == T0


def test_each_renewal_has_its_own_time(beats: Beats) -> None:
    beats.learn(cloud_lease(), T0)
    times = [shown(beats.renewed(kubelet_put(), T0 + n * 10))["spec"]["renewTime"] for n in range(3)]
    assert times == [f"2023-11-14T22:13:{20 + 10 * n}.250000Z" for n in range(3)]
    assert micro_time(0) == "1970-01-01T00:00:00.000000Z"


def test_the_version_follows_the_clouds_answers(beats: Beats) -> None:
    beats.learn(cloud_lease(), T0)
    beats.learn(cloud_lease(resourceVersion="223"), T0 + 10)
    assert shown(beats.renewed(kubelet_put(), T0 + 11))["metadata"]["resourceVersion"] == "223"


def test_a_hub_that_knows_nothing_takes_the_kubelets_word(beats: Beats) -> None:
    """After a start in the dark with an empty disk a renewal is answered from what it says itself."""
    found = shown(beats.renewed(kubelet_put(duration=25), T0))
    assert found["metadata"] == {
        "name": "n1",
        "namespace": "kube-node-lease",
        "uid": "lease-uid",
        "resourceVersion": "222",
        "ownerReferences": [OWNER],
    }
    assert found["spec"] == {
        "holderIdentity": "n1",
        "leaseDurationSeconds": 25,
        "renewTime": "2023-11-14T22:13:20.250000Z",
    }


def test_a_renewal_that_says_nothing_to_a_hub_that_knows_nothing_is_left_to_the_cloud(beats: Beats) -> None:
    assert beats.renewed(b"\xa1acbor", T0) is None
    assert not beats.known
    assert beats.seen == 0


def test_the_patch_moves_the_time_and_names_no_version(beats: Beats) -> None:
    beats.learn(cloud_lease(), T0)
    beats.renewed(kubelet_put(), T0)
    assert json.loads(beats.patch()) == {
        "spec": {
            "holderIdentity": "n1",
            "leaseDurationSeconds": 40,
            "renewTime": "2023-11-14T22:13:20.250000Z",
        }
    }


def test_a_kubelet_with_another_configuration_is_heard(beats: Beats) -> None:
    """A changed lease duration or holder shows in the answer and goes to the cloud."""
    beats.learn(cloud_lease(), T0)
    assert shown(beats.renewed(kubelet_put(duration=80, holder="n1-new"), T0))["spec"]["leaseDurationSeconds"] == 80
    assert json.loads(beats.patch())["spec"]["leaseDurationSeconds"] == 80
    assert json.loads(beats.patch())["spec"]["holderIdentity"] == "n1-new"


def test_an_owner_that_the_kubelet_adds_goes_to_the_cloud_once(beats: Beats) -> None:
    """A Lease made before its Node gets its owner as soon as the kubelet knows it."""
    beats.learn(cloud_lease(ownerReferences=None), T0)
    assert shown(beats.renewed(kubelet_put(), T0))["metadata"]["ownerReferences"] == [OWNER]
    beats.renewed(kubelet_put(renewed=T0 + 1), T0 + 1)
    assert json.loads(beats.patch())["metadata"] == {"ownerReferences": [OWNER]}
    beats.learn(cloud_lease(), T0 + 2)
    beats.renewed(kubelet_put(), T0 + 10)
    assert "metadata" not in json.loads(beats.patch())


def test_a_lease_that_is_gone_is_created_as_the_kubelet_would(beats: Beats) -> None:
    """Nothing that only the cloud can say goes into it."""
    beats.learn(cloud_lease(), T0)
    beats.renewed(kubelet_put(), T0)
    made = json.loads(beats.creation())
    assert made["metadata"] == {
        "name": "n1",
        "namespace": "kube-node-lease",
        "ownerReferences": [OWNER],
        "annotations": {"new": "and unknown ✓"},
    }
    assert made["spec"]["renewTime"] == "2023-11-14T22:13:20.250000Z"


def test_a_lease_that_went_while_a_renewal_was_on_its_way_is_made_of_its_name(beats: Beats) -> None:
    """The cloud said that there is none between the kubelet's renewal and the hub's attempt."""
    beats.learn(cloud_lease(), T0)
    beats.renewed(kubelet_put(), T0)
    beats.forget()
    made = json.loads(beats.creation())
    assert (made["metadata"]["name"], made["spec"]["holderIdentity"]) == ("n1", "n1")
    assert made["spec"]["renewTime"] == json.loads(beats.patch())["spec"]["renewTime"]


def test_reading_in_the_dark_gives_the_lease_with_its_last_renewal(beats: Beats) -> None:
    assert beats.read(T0).status == 503
    beats.learn(cloud_lease(), T0)
    beats.renewed(kubelet_put(), T0 + 20)
    found = beats.read(T0 + 25)
    assert found.status == 200
    assert shown(found)["spec"]["renewTime"] == micro_time(T0 + 20)
    assert found.header(b"Warning") == b'299 yurt-hub "the cloud cannot be reached; this answer is 25 s old"'


def test_creating_in_the_dark_is_refused_as_the_cloud_would_or_waits(beats: Beats) -> None:
    assert beats.created().status == 503
    beats.learn(cloud_lease(), T0)
    assert beats.created().status == 409
    assert shown(beats.created())["message"] == 'leases.coordination.k8s.io "n1" already exists'
    assert shown(beats.created())["details"] == {"name": "n1", "group": "coordination.k8s.io", "kind": "leases"}


@pytest.mark.parametrize(
    "body", [cloud_lease(name="n2"), b'{"kind":"Status"}', b"", b"[]", b'{"kind":"Lease","metadata":{"name":"n1"}}']
)
def test_nothing_but_the_nodes_lease_is_learnt(beats: Beats, records: Records, body: bytes) -> None:
    assert not beats.learn(body, T0)
    assert not beats.known
    assert not records


class TestRecords:
    """What a start in the dark finds."""

    def test_a_start_in_the_dark_answers_as_before(self, beats: Beats, records: Records) -> None:
        beats.learn(cloud_lease(), T0)
        after = Beats("n1", Records())
        after.load([("o/other", b"\x00"), *records.items()])
        assert shown(after.renewed(kubelet_put(), T0 + 5)) == shown(beats.renewed(kubelet_put(), T0 + 5))
        assert after.read(T0 + 60).header(b"Warning") == beats.read(T0 + 60).header(b"Warning")

    def test_it_is_written_at_most_once_a_minute_and_seldom_without_news(self, beats: Beats, records: Records) -> None:
        """An hour of beats every 10 s costs seven records, a changed Lease one more a minute later at the latest."""
        for n in range(360):
            beats.learn(cloud_lease(resourceVersion=str(n)), T0 + n * 10)
        assert records.writes == [f"{PREFIX}n1"] * 6
        beats.learn(cloud_lease(leaseDurationSeconds=80), T0 + 3600)
        beats.learn(cloud_lease(leaseDurationSeconds=90), T0 + 3610)
        beats.learn(cloud_lease(leaseDurationSeconds=90), T0 + 3665)
        assert len(records.writes) == 8
        after = Beats("n1", Records())
        after.load(records.items())
        assert json.loads(after.creation())["spec"]["leaseDurationSeconds"] == 90

    def test_a_lease_that_is_gone_is_forgotten_for_good(self, beats: Beats, records: Records) -> None:
        beats.learn(cloud_lease(), T0)
        beats.forget()
        assert not beats.known
        assert not records
        beats.learn(cloud_lease(), T0 + 1)
        assert records

    @pytest.mark.parametrize("damage", [b"", b"\xc1", b"\x82\xa5lease\xc4\x02{}\xa2at\x00"])
    def test_a_damaged_record_is_dropped(self, damage: bytes) -> None:
        records = Records()
        records[f"{PREFIX}n1"] = damage
        after = Beats("n1", records)
        after.load(list(records.items()))
        assert not after.known
        assert not records
