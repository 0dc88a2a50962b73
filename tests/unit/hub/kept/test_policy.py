"""Who is kept, and what."""

from collections.abc import Mapping

import pytest
from yurt_hub.domain.kept import policy
from yurt_hub.domain.kept.policy import Agents
from yurtcore.wire.gvr import parse_target, verb

DEFAULTS = policy.agents(None)


def kept(
    target: str, method: str = "GET", *, who: str = "kubelet", agents: Agents = DEFAULTS,
    headers: Mapping[str, str] | None = None,
) -> bool:  # fmt: skip
    parsed = parse_target(target)
    return policy.decide(agents, who, verb(method, parsed), parsed, headers or {}).kept


@pytest.mark.parametrize(
    ("user_agent", "who"),
    [
        ("kubelet/v1.34.4 (linux/amd64) kubernetes/abc", "kubelet"),
        ("Kube-Proxy/v1.34.4", "kube-proxy"),
        ("foo/v1.2 (linux)", "foo"),
        ("foo (linux) bar/1", "foo"),
        ("  foo", "foo"),
        ("", ""),
        ("/v1", ""),
    ],
)
def test_the_component_is_the_first_word_of_the_user_agent(user_agent: str, who: str) -> None:
    assert policy.component(user_agent) == who


def test_the_configmap_adds_to_the_defaults() -> None:
    named = policy.agents(" Kubectl ,, foo,")
    assert named.names == policy.DEFAULT_AGENTS | {"kubectl", "foo"}
    assert not named.everyone
    assert kept("/api/v1/pods", who="foo", agents=named)
    assert not kept("/api/v1/pods", who="foo")
    assert kept("/api/v1/pods", who="kubelet", agents=named)


def test_a_star_means_everyone_with_a_name() -> None:
    everyone = policy.agents("*")
    assert kept("/api/v1/pods", who="anything", agents=everyone)
    assert not kept("/api/v1/pods", who="", agents=everyone)


@pytest.mark.parametrize(
    ("method", "target", "result"),
    [
        ("GET", "/api/v1/pods?watch=true", True),
        ("GET", "/api/v1/namespaces/a/pods/x/status", True),
        ("PATCH", "/api/v1/nodes/n/status", True),
        ("POST", "/api/v1/nodes", True),
        ("POST", "/api/v1/nodes?dryRun=All", False),
        ("POST", "/api/v1/namespaces/a/events", False),
        ("GET", "/api/v1/namespaces/a/events", True),
        ("PUT", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n", False),
        ("GET", "/api/v1/namespaces/a/pods/x/log", False),
        ("POST", "/api/v1/namespaces/a/serviceaccounts/sa/token", False),
        ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", False),
        ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", False),
        ("GET", "/apis/certificates.k8s.io/v1/certificatesigningrequests", False),
        ("DELETE", "/api/v1/namespaces/a/pods/x", False),
        ("DELETE", "/api/v1/namespaces/a/pods", False),
        ("GET", "/api/v1/pods?resourceVersion=5&resourceVersionMatch=Exact", False),
        ("GET", "/version", False),
        ("GET", "/apis/apps/v1", False),
    ],
)
def test_only_objects_that_can_be_read_again_are_kept(
    method: str,
    target: str,
    result: bool,  # noqa: FBT001
) -> None:
    assert kept(target, method) is result


def test_answers_in_anothers_name_are_not_kept() -> None:
    assert not kept("/api/v1/pods", headers={"impersonate-user": "root"})
    assert not kept("/api/v1/pods", headers={"impersonate-extra-scopes": "x"})
    assert kept("/api/v1/pods", headers={"accept": "x"})
