"""Writes in the dark: what is there is there, all else waits."""

import json

import pytest
from yurt_hub.domain.local.writes import dark_write
from yurtcore.wire.gvr import Gvr, parse_target, verb

NODE = "system:node:n1"
NODES, CSINODES = "/api/v1/nodes", "/apis/storage.k8s.io/v1/csinodes"


def everything(gvr: Gvr, namespace: str, name: str) -> bool:
    return (namespace, name) == ("", "n1")


def nothing(gvr: Gvr, namespace: str, name: str) -> bool:
    return False


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (NODES, {"name": "n1", "kind": "nodes"}),
        (CSINODES, {"name": "n1", "group": "storage.k8s.io", "kind": "csinodes"}),
    ],
)
def test_a_kubelet_that_starts_anew_finds_its_node_registered(target: str, status: dict[str, str]) -> None:
    """409 AlreadyExists in the API server's own words."""
    found = dark_write("create", parse_target(target), NODE, everything)
    body = json.loads(found.body)
    full = ".".join(filter(None, (status["kind"], status.get("group"))))
    assert body == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f'{full} "n1" already exists',
        "reason": "AlreadyExists",
        "details": status,
        "code": 409,
    }
    assert found.status == 409


@pytest.mark.parametrize("target", [NODES, CSINODES])
def test_a_node_that_is_not_kept_waits(target: str) -> None:
    assert dark_write("create", parse_target(target), NODE, nothing).status == 503


@pytest.mark.parametrize(
    ("method", "target", "identity", "told"),
    [
        ("POST", NODES, "system:serviceaccount:a:b", "create of nodes was not done"),
        ("POST", f"{NODES}?dryRun=All", NODE, "create of nodes was not done"),
        ("POST", "/api/v1/namespaces/a/events", NODE, "create of events in namespace a"),
        ("POST", "/apis/events.k8s.io/v1/namespaces/a/events", NODE, "create of events.events.k8s.io in namespace a"),
        ("PATCH", f"{NODES}/n1/status", NODE, "patch of nodes/status n1 was not done"),
        ("DELETE", "/api/v1/namespaces/a/pods/p", NODE, "delete of pods p in namespace a"),
        ("DELETE", "/api/v1/namespaces/a/pods", NODE, "deletecollection of pods in namespace a"),
        ("DELETE", "/api/v1/namespaces/a", NODE, "delete of namespaces a was not done"),
        ("PUT", "/apis/apps/v1/namespaces/a/deployments/d", NODE, "update of deployments.apps d in namespace a"),
        ("POST", "/api/v1/namespaces/a/pods/p/exec", NODE, "create of pods/exec p in namespace a"),
        ("POST", "/logs", NODE, "post of /logs was not done"),
        ("POST", f"{NODES}/n1/proxy", NODE, "create of nodes/proxy n1 was not done"),
        ("POST", f"{NODES}/n1", NODE, "create of nodes n1 was not done"),
        ("BREW", NODES, NODE, "a request of nodes was not done"),
    ],
)
def test_other_writes_wait_for_the_cloud_and_say_so(method: str, target: str, identity: str, told: str) -> None:
    """503 with a Status that names the write, so that a client repeats it."""
    seen = parse_target(target)
    found = dark_write(verb(method, seen), seen, identity, everything)
    body = json.loads(found.body)
    assert (found.status, body["reason"], body["details"]) == (503, "ServiceUnavailable", {"retryAfterSeconds": 1})
    assert found.header(b"Retry-After") == b"1"
    assert "the cloud cannot be reached, and writes wait for it" in body["message"]
    assert told in body["message"]
