"""Reading what a token says of itself."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.tokens import ISSUER, Issuer, b64
from yurt_hub.domain.local.claims import LARGEST, identity_of, read_claims

ES = Issuer()


def jwt(head: object, body: object) -> str:
    return f"{b64(json.dumps(head).encode())}.{b64(json.dumps(body).encode())}.c2ln"


def opaque(token: str) -> str:
    return f"token:{hashlib.sha256(token.encode()).hexdigest()}"


def test_a_service_accounts_token_is_read() -> None:
    claims = read_claims(ES.token(aud="one", exp=7, nbf=3.5))
    assert claims is not None
    assert (claims.algorithm, claims.key_id, claims.issuer) == ("ES256", "k1", ISSUER)
    assert (claims.account, claims.audiences) == ("system:serviceaccount:a:b", {"one"})
    assert (claims.expires, claims.not_before) == (7, 3.5)
    assert len(claims.signature) == 64


def test_a_token_of_the_clusters_issuer_is_its_account() -> None:
    assert identity_of(ES.token(), ISSUER) == "system:serviceaccount:a:b"


@pytest.mark.parametrize(
    "token",
    [
        ES.token(iss="https://login.example"),
        ES.token(sub="system:serviceaccount:kube-system:admin"),
        ES.token(sub="alice"),
        ES.token(**{"kubernetes.io": None}),
        ES.token(exp=None),
        "0123456789abcdef.static",
        "abcdef",
    ],
    ids=["other issuer", "two accounts", "no account", "no namespace", "no end", "dotted", "plain"],
)
def test_any_other_token_is_known_by_its_hash_alone(token: str) -> None:
    """Somebody else's issuer may write any subject; the cloud may know that caller by another name."""
    assert identity_of(token, ISSUER) == opaque(token)


def test_before_the_issuer_is_known_every_token_is_known_by_its_hash() -> None:
    token = ES.token()
    assert identity_of(token, None) == opaque(token)


def test_no_token_is_nobody() -> None:
    assert identity_of("", ISSUER) is None


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b",
        "a.b.c.d",
        "!.e30.c2ln",
        "e30.e30.c",
        "e30.e30.c2 ln",
        "e30.e30.c2ln\n",
        "é.e30.c2ln",
        jwt([], {}),
        jwt({}, 3),
        jwt({"alg": 3}, {}),
        jwt({"alg": "ES256", "crit": ["exp"]}, {}),
        jwt({}, {"aud": 3}),
        jwt({}, {"aud": ["a", 3]}),
        jwt({}, {"exp": "soon"}),
        jwt({}, {"exp": True}),
        jwt({}, {"exp": 1e300}),
        jwt({}, {"exp": float("nan")}),
        jwt({}, {"nbf": []}),
        jwt({}, {"sub": None}),
        f"{b64(b'[' * 5000)}.e30.c2ln",
        f"e30.{b64(b'x' * LARGEST)}.c2ln",
    ],
)
def test_what_is_no_jwt_is_none(token: str) -> None:
    assert read_claims(token) is None


@pytest.mark.parametrize("private", [{"namespace": 3}, {"serviceaccount": []}, {"serviceaccount": {"name": 4}}, "text"])
def test_a_token_with_odd_claims_names_no_account(private: object) -> None:
    claims = read_claims(jwt({}, {"sub": "system:serviceaccount:a:b", "kubernetes.io": private}))
    assert claims is not None
    assert claims.account is None


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
fields = ("alg", "kid", "iss", "sub", "aud", "exp", "nbf", "kubernetes.io", "crit")


@given(st.dictionaries(st.sampled_from(fields), anything), st.dictionaries(st.sampled_from(fields), anything))
def test_any_claims_are_read_or_refused(head: dict[str, object], body: dict[str, object]) -> None:
    """No claim of any type breaks the reading, and none makes an account of another's."""
    token = jwt(head, body)
    claims = read_claims(token)
    assert claims is None or claims.account in (None, body.get("sub"))
    assert identity_of(token, ISSUER) in (opaque(token), body.get("sub"))


@given(st.text(max_size=60))
def test_any_text_is_a_token_that_has_a_name(token: str) -> None:
    found = identity_of(token, ISSUER)
    assert found is None if not token else found == f"token:{hashlib.sha256(token.encode()).hexdigest()}"
