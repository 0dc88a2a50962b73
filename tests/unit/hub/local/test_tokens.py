"""Whose token it is in the dark: proven by the cluster's keys, or worth what the cloud said last."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.local import Records
from kit.tokens import ISSUER, Issuer, b64
from yurt_hub.adapters.keys import proves
from yurt_hub.domain.local import tokens
from yurt_hub.domain.local.jwks import Keys
from yurt_hub.domain.local.tokens import OPAQUE_FRESH, Rejected, Verdict, Verified, Verifier

T0 = 1_700_000_000.0
ACCOUNT = "system:serviceaccount:a:b"
ES = Issuer()
GOOD = ES.token(exp=T0 + 3600)


def keys(*issuers: Issuer, at: float = T0 - 1000) -> Keys:
    return Keys(ISSUER, tuple(issuer.jwk() for issuer in issuers), at)


def verifier(*issuers: Issuer, records: Records | None = None) -> Verifier:
    made = Verifier(proves, records if records is not None else Records())
    made.renew(keys(*(issuers or (ES,))))
    return made


def told(verdict: Verdict) -> str:
    return type(verdict).__name__


@pytest.mark.parametrize("algorithm", sorted(tokens.ALGORITHMS))
def test_a_token_of_the_cluster_is_its_account_until_it_expires(algorithm: Any) -> None:
    issuer = Issuer(algorithm)
    for judge in (verifier(issuer), verifier(ES, issuer)):  # a second key of the same id changes nothing
        assert judge.check(issuer.token(exp=T0 + 100), T0) == Verified(ACCOUNT, T0 + 160)
    assert verifier(ES).check(issuer.token(exp=T0 + 100), T0) == Rejected("its signature is wrong")


@pytest.mark.parametrize(
    ("at", "verdict"),
    [
        (T0, "Verified"),
        (T0 + 100 + 59, "Verified"),
        (T0 + 100 + 60, "Rejected"),
        (T0 - 50 - 60, "Verified"),
        (T0 - 50 - 61, "Rejected"),
    ],
)
def test_clocks_may_differ_by_a_minute(at: float, verdict: str) -> None:
    judge = Verifier(proves, Records())
    judge.renew(keys(ES, at=0))
    token = ES.token(exp=T0 + 100, nbf=T0 - 50)
    assert told(judge.check(token, at)) == verdict
    assert told(judge.check(token, at)) == verdict


def test_a_proven_token_expires_too() -> None:
    """What was proven once is not checked again, but its time runs."""
    judge = verifier()
    assert told(judge.check(GOOD, T0)) == "Verified"
    assert told(judge.check(GOOD, T0 + 3661)) == "Rejected"


def test_a_clock_that_was_set_back_brings_no_old_token_to_life() -> None:
    """No moment lies before the one at which the cloud gave its keys."""
    judge = Verifier(proves, Records())
    judge.renew(keys(ES, at=T0 + 5000))
    assert told(judge.check(GOOD, T0)) == "Rejected"


def hs256() -> str:
    """The old trick: the public key as the secret of an HMAC."""
    head, body = b64(json.dumps({"alg": "HS256", "kid": "k1"}).encode()), GOOD.split(".")[1]
    secret = json.dumps(ES.jwk()).encode()
    return f"{head}.{body}.{b64(hmac.digest(secret, f'{head}.{body}'.encode(), hashlib.sha256))}"


@pytest.mark.parametrize(
    "token",
    [
        hs256(),
        ES.token(head={"alg": "none"}),
        ES.token(head={"alg": "none"}).rpartition(".")[0] + ".",
        ES.token(head={"alg": "RS256"}),
        ES.token(head={"alg": None}),
        Issuer().token(),
        Issuer().token(head={"kid": None}),
        ES.token(sub="system:serviceaccount:kube-system:admin"),
        ES.token(sub="system:node:n1"),
        GOOD.rpartition(".")[0] + ".",
    ],
    ids=[
        "HMAC by the public key", "none", "none and no signature", "another algorithm", "no algorithm",
        "another key of the same id", "another key without an id", "another account", "a node", "no signature",
    ],
)  # fmt: skip
def test_a_forged_token_is_refused(token: str) -> None:
    assert told(verifier().check(token, T0)) == "Rejected"


def test_a_foreign_algorithm_is_refused_before_any_key_is_looked_at() -> None:
    judge = Verifier(lambda *_: True, Records())
    judge.renew(keys(ES))
    assert told(judge.check(GOOD, T0)) == "Verified"
    for algorithm in ("HS256", "none", "RS512", "es256", ""):
        assert told(judge.check(ES.token(head={"alg": algorithm}), T0)) == "Rejected"


@given(st.integers(0, len(GOOD) - 1), st.sampled_from("ABCXYZabcxyz0189-_.="))
def test_a_token_with_one_other_letter_is_never_good(place: int, letter: str) -> None:
    """Whatever is changed, wherever; bits of base64 that carry nothing aside."""
    token = GOOD[:place] + letter + GOOD[place + 1 :]
    found = verifier().check(token, T0)
    if _decoded(token) == _decoded(GOOD):
        return
    assert not isinstance(found, Verified)


def _decoded(token: str) -> list[bytes | str]:
    """The parts that are signed as they are written, and the signature's bytes."""
    *signed, signature = token.split(".")
    try:
        return [*signed, base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))]
    except ValueError:
        return [*signed, signature]


def test_a_key_that_is_not_kept_leaves_the_question_open() -> None:
    """503: the cluster may have made a new key since."""
    new = Issuer(key_id="k2")
    assert told(verifier().check(new.token(), T0)) == "Unknowable"
    bare = Verifier(proves, Records())
    bare.renew(Keys(ISSUER, (), T0))
    assert told(bare.check(GOOD, T0)) == "Unknowable"


def test_new_keys_take_the_place_of_old_ones() -> None:
    judge, new = verifier(), Issuer(key_id="k2")
    assert told(judge.check(GOOD, T0)) == "Verified"
    judge.renew(keys(new))
    assert told(judge.check(new.token(), T0)) == "Verified"
    assert told(judge.check(GOOD, T0)) == "Unknowable"


class TestAudiences:
    """A token must be meant for the API server."""

    def test_the_issuer_is_the_audience_until_others_are_learnt(self) -> None:
        judge = verifier()
        assert told(judge.check(GOOD, T0)) == "Verified"
        assert told(judge.check(ES.token(aud=["vault"]), T0)) == "Unknowable"
        assert told(judge.check(ES.token(aud=[]), T0)) == "Unknowable"

    def test_an_audience_that_the_cloud_took_is_taken(self) -> None:
        judge = verifier()
        assert told(judge.check(GOOD, T0)) == "Verified"
        judge.accepted(ES.token(aud=["api"], exp=T0 + 1), T0)
        assert told(judge.check(ES.token(aud=["api"]), T0)) == "Verified"
        assert told(judge.check(ES.token(aud=["x", "api"]), T0)) == "Verified"
        assert told(judge.check(ES.token(aud=["x"]), T0)) == "Unknowable"
        assert told(judge.check(GOOD, T0)) == "Unknowable"

    def test_a_token_for_several_proves_none_of_them_alone(self) -> None:
        """One with the API server's audience and a vault's must not open the door to those of the vault."""
        judge = verifier()
        judge.accepted(ES.token(aud=["api", "vault"]), T0)
        assert told(judge.check(ES.token(aud=["vault"]), T0)) == "Unknowable"
        assert told(judge.check(ES.token(aud=["api"]), T0)) == "Unknowable"
        assert told(judge.check(ES.token(aud=["vault", "api"]), T0)) == "Verified"
        judge.accepted(ES.token(aud=["api"]), T0)
        assert told(judge.check(ES.token(aud=["vault"]), T0)) == "Unknowable"
        assert told(judge.check(ES.token(aud=["api"]), T0)) == "Verified"

    def test_they_outlive_the_process(self) -> None:
        records = Records()
        verifier(records=records).accepted(ES.token(aud=["api"]), T0)
        after = verifier(records=Records())
        after.load(records.items())
        assert told(after.check(ES.token(aud=["api"]), T0)) == "Verified"


class TestOpaque:
    """Tokens that say nothing, or nothing that can be proven here."""

    TOKENS: Mapping[str, str] = {
        "static": "s3cret",
        "bootstrap": "abcdef.0123456789abcdef",
        "OIDC": Issuer(issuer="https://login.example").token(sub="system:serviceaccount:a:b"),
        "legacy account": ES.token(exp=None, iss="kubernetes/serviceaccount"),
    }

    @pytest.fixture(params=sorted(TOKENS))
    def token(self, request: pytest.FixtureRequest) -> str:
        return self.TOKENS[request.param]

    def test_one_that_the_cloud_never_saw_leaves_the_question_open(self, token: str) -> None:
        assert told(verifier().check(token, T0)) == "Unknowable"

    def test_one_that_the_cloud_took_is_good_for_an_hour(self, token: str) -> None:
        judge = verifier()
        judge.accepted(token, T0)
        name = f"token:{hashlib.sha256(token.encode()).hexdigest()}"
        assert judge.check(token, T0 + OPAQUE_FRESH - 1) == Verified(name, T0 + OPAQUE_FRESH)
        assert told(judge.check(token, T0 + OPAQUE_FRESH)) == "Unknowable"

    def test_one_that_the_cloud_goes_on_taking_stays_good(self, token: str) -> None:
        judge = verifier()
        for n in range(100):
            judge.accepted(token, T0 + n * 100)
        assert told(judge.check(token, T0 + 9900 + 3000)) == "Verified"


@pytest.mark.parametrize("token", [GOOD, "s3cret"])
def test_a_token_that_the_cloud_refused_last_is_refused(token: str) -> None:
    """Its account or its Secret is gone: that much is known, also after a restart."""
    records = Records()
    judge = verifier(records=records)
    judge.accepted(token, T0)
    judge.refused(token, T0 + 1)
    after = verifier(records=Records())
    after.load(records.items())
    for one in (judge, after):
        assert told(one.check(token, T0 + 2)) == "Rejected"
        one.accepted(token, T0 + 3)
        assert told(one.check(token, T0 + 4)) == "Verified"


def test_what_is_remembered_is_sealed_bounded_and_seldom_written() -> None:
    records = Records()
    judge = verifier(records=records)
    for n in range(0, 3600, 10):
        judge.accepted("s3cret", T0 + n)
    assert len(records.writes) == 6
    for n in range(tokens.MOST + 50):
        judge.accepted(f"token-{n}", T0 + n)
    assert len(records) == tokens.MOST == len(records.secret)
    assert told(judge.check("s3cret", T0)) == "Unknowable"
    assert not any("s3cret" in key or b"s3cret" in value for key, value in records.items())
    records["t/token/x"] = b"\xc1"
    verifier(records=records).load(list(records.items()))
    assert "t/token/x" not in records


def test_names_notes_and_proofs_have_a_bound() -> None:
    judge = Verifier(lambda *_: True, Records())
    judge.renew(keys(ES))
    for n in range(tokens.MOST + 100):
        judge.identity_of(f"token-{n}")
        judge.accepted(f"token-{n}", T0)
        assert told(judge.check(ES.token(exp=T0 + n), T0)) == "Verified"
    kept = (judge._names, judge._noted, judge._seen, judge._proven)
    assert all(0 < len(one) <= tokens.MOST for one in kept)


def test_names_follow_the_issuer() -> None:
    judge = Verifier(proves, Records())
    before = judge.identity_of(GOOD)
    judge.renew(keys(ES))
    assert before == f"token:{hashlib.sha256(GOOD.encode()).hexdigest()}"
    assert judge.identity_of(GOOD) == ACCOUNT
    assert judge.identity_of("") is None
    assert told(judge.check("", T0)) == "Rejected"
