"""Who calls: every combination of what a connection proved and what a request carries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yurt_hub.domain import callers
from yurt_hub.domain.callers import Identity, LocalPolicy, Owner, Refusal, Shown, decide, judge_certificate, judge_owner

HOME = "mnt:[1]"
POLICY = LocalPolicy(uids=frozenset({0, 1000}), mount_namespaces=frozenset({HOME}))
ROOTLESS = LocalPolicy(uids=frozenset({0, 1000}), mount_namespaces=frozenset({HOME}), hidden_uids=frozenset({0}))


@pytest.mark.parametrize(
    ("shown", "authorization", "ws", "verdict"),
    [
        (Shown.NODE, None, False, Identity.NODE),
        (Shown.NODE, b"Bearer t", False, Identity.CALLER),
        (Shown.NODE, None, True, Identity.CALLER),
        (Shown.NODE, b"Basic dTpw", False, callers.REFUSE_SCHEME),
        (Shown.NODE, b"", False, callers.REFUSE_SCHEME),
        (Shown.NOTHING, None, False, callers.REFUSE_NOTHING),
        (Shown.NOTHING, b"Bearer t", False, Identity.CALLER),
        (Shown.NOTHING, b"bearer t", False, Identity.CALLER),
        (Shown.NOTHING, None, True, Identity.CALLER),
        (Shown.NOTHING, b"Basic dTpw", True, callers.REFUSE_SCHEME),
        (Shown.FOREIGN, None, False, callers.REFUSE_FOREIGN),
        (Shown.FOREIGN, b"Bearer t", False, Identity.CALLER),
        (Shown.UNKNOWN, None, False, callers.REFUSE_UNKNOWN),
        (Shown.UNKNOWN, b"Bearer t", False, callers.REFUSE_UNKNOWN),
        (Shown.UNKNOWN, None, True, callers.REFUSE_UNKNOWN),
        *[
            (Shown.NODE, bad, False, callers.REFUSE_SCHEME)
            for bad in (b"Bearer", b"Bearer ", b"Bearer  t", b"Bearert", b"t")
        ],
    ],
)
def test_a_request_is_decided_by_its_connection_and_its_token(
    *, shown: Shown, authorization: bytes | None, ws: bool, verdict: object
) -> None:
    assert decide(shown, authorization, ws) is verdict


@given(shown=st.sampled_from(Shown), authorization=st.none() | st.binary(), ws=st.booleans())
def test_the_nodes_identity_is_lent_to_nobody_else(*, shown: Shown, authorization: bytes | None, ws: bool) -> None:
    """The node's certificate serves the node's own components, and only their requests without any credential."""
    verdict = decide(shown, authorization, ws)
    lent = shown is Shown.NODE and authorization is None and not ws
    assert (verdict is Identity.NODE) == lent
    if isinstance(verdict, Refusal):
        assert verdict.code == 401


@given(
    token=st.binary(min_size=1, max_size=20).filter(lambda t: t[0] > 32),
    word=st.sampled_from([b"Bearer", b"bearer", b"BEARER"]),
)
def test_a_token_travels_without_the_nodes_certificate(token: bytes, word: bytes) -> None:
    for shown in (Shown.NODE, Shown.NOTHING, Shown.FOREIGN):
        assert decide(shown, word + b" " + token) is Identity.CALLER


@pytest.mark.parametrize(
    ("owner", "policy", "shown"),
    [
        (None, POLICY, Shown.UNKNOWN),
        (Owner(None), POLICY, Shown.UNKNOWN),
        (Owner(1000, 5, "/usr/bin/kubelet", HOME), POLICY, Shown.NODE),
        (Owner(0, 5, "/usr/bin/kube-proxy", HOME), POLICY, Shown.NODE),
        (Owner(0, 5, "/usr/bin/curl", HOME), POLICY, Shown.UNKNOWN),
        (Owner(0, 5, "/usr/bin/kubelet2", HOME), POLICY, Shown.UNKNOWN),
        (Owner(0, 5, "/usr/bin/kubelet", "mnt:[2]"), POLICY, Shown.UNKNOWN),
        (Owner(0, 5, "/usr/bin/kubelet", None), POLICY, Shown.UNKNOWN),
        (Owner(0, 5, None, HOME), POLICY, Shown.UNKNOWN),
        (Owner(33, 5, "/usr/bin/kubelet", HOME), POLICY, Shown.UNKNOWN),
        (Owner(0), POLICY, Shown.UNKNOWN),
        (Owner(1000), POLICY, Shown.UNKNOWN),
        (Owner(0), ROOTLESS, Shown.NODE),
        (Owner(1000), ROOTLESS, Shown.UNKNOWN),
        (Owner(33), ROOTLESS, Shown.UNKNOWN),
        (Owner(0, 5, "/usr/bin/curl", HOME), ROOTLESS, Shown.UNKNOWN),
    ],
)
def test_a_local_caller_is_known_by_its_process(owner: Owner | None, policy: LocalPolicy, shown: Shown) -> None:
    assert judge_owner(owner, policy) is shown


def test_an_entry_with_a_slash_means_one_file() -> None:
    policy = LocalPolicy(uids=frozenset({0}), executables=("/usr/bin/kubelet",), mount_namespaces=frozenset({HOME}))
    assert judge_owner(Owner(0, 5, "/usr/bin/kubelet", HOME), policy) is Shown.NODE
    assert judge_owner(Owner(0, 5, "/tmp/kubelet", HOME), policy) is Shown.UNKNOWN


@pytest.mark.parametrize(
    ("name", "organizations", "shown"),
    [
        (None, (), Shown.NOTHING),
        ("", ("system:nodes",), Shown.FOREIGN),
        ("system:node:n1", ("system:nodes",), Shown.NODE),
        ("system:node:n1", ("openyurt:yurthub", "system:nodes"), Shown.NODE),
        ("system:node:n1", (), Shown.FOREIGN),
        ("system:node:n2", ("system:nodes",), Shown.FOREIGN),
        ("system:node:n11", ("system:nodes",), Shown.FOREIGN),
        ("admin", ("system:masters",), Shown.FOREIGN),
    ],
)
def test_only_this_nodes_kubelet_certificate_counts(
    name: str | None, organizations: tuple[str, ...], shown: Shown
) -> None:
    assert judge_certificate(name, organizations, "n1") is shown
