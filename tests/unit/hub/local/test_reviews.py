"""The last answers to questions about rights and tokens."""

import json

import pytest
from kit.local import Records, Told
from kit.protobuf import enveloped, field
from kit.tokens import Issuer
from yurt_hub.domain.local.answers import Local
from yurt_hub.domain.local.reviews import PREFIX, RIGHTS_FRESH, TOKEN_FRESH, Reviews, canonical, is_review
from yurtcore.wire.gvr import Target, parse_target, verb

SAR = parse_target("/apis/authorization.k8s.io/v1/subjectaccessreviews")
SELF = parse_target("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
TOKENS = parse_target("/apis/authentication.k8s.io/v1/tokenreviews")
NODE, POD = "system:node:n1", "system:serviceaccount:a:b"
T0 = 1_700_000_000.0
QUESTION = b'{"kind":"SubjectAccessReview","spec":{"user":"eve","nonResourceAttributes":{"path":"/logs","verb":"get"}}}'
YES = b'{"kind":"SubjectAccessReview","status":{"allowed":true}}'
NO = b'{"kind":"SubjectAccessReview","status":{"allowed":false}}'


def ask(reviews: Reviews, question: bytes = QUESTION, *, target: Target = SAR, by: str = NODE, at: float = T0) -> Local:
    return reviews.answer(target, by, question, "application/vnd.kubernetes.protobuf, */*", at)


def token_review(token: str) -> bytes:
    return json.dumps({"kind": "TokenReview", "spec": {"token": token}}).encode()


def authenticated(*, good: bool = True) -> Told:
    return Told(201, json.dumps({"kind": "TokenReview", "status": {"authenticated": good}}).encode())


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
def reviews(records: Records) -> Reviews:
    return Reviews(records)


@pytest.mark.parametrize(
    ("method", "target", "ours"),
    [
        ("POST", SAR.path, True),
        ("POST", "/apis/authorization.k8s.io/v1/namespaces/a/localsubjectaccessreviews", True),
        ("POST", SELF.path, True),
        ("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", True),
        ("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", True),
        ("POST", "/apis/authentication.k8s.io/v1/tokenreviews?timeout=10s", True),
        ("GET", SAR.path, False),
        ("POST", "/api/v1/namespaces/a/serviceaccounts/b/token", True),
        ("POST", "/api/v1/namespaces/a/serviceaccounts/b", False),
        ("POST", "/apis/other.example/v1/subjectaccessreviews", False),
        ("POST", "/api/v1/pods", False),
    ],
)
def test_reviews_are_told_from_writes(method: str, target: str, *, ours: bool) -> None:
    seen = parse_target(target)
    assert is_review(verb(method, seen), seen) is ours


def test_the_same_question_gets_its_last_answer_with_its_age(reviews: Reviews) -> None:
    reviews.learn(SAR, NODE, QUESTION, Told(201, YES), T0)
    reviews.learn(SAR, NODE, QUESTION, Told(201, NO), T0 + 60)
    found = ask(reviews, at=T0 + 100)
    assert (found.status, found.body) == (201, NO)
    assert found.header(b"Content-Type") == b"application/json"
    assert found.header(b"Warning") == b'299 yurt-hub "the cloud cannot be reached; this answer is 40 s old"'


def test_a_question_is_the_same_whatever_the_order_of_its_keys(reviews: Reviews) -> None:
    reviews.learn(SAR, NODE, b'{"spec": {"user": "eve", "groups": ["a", "b"]}, "kind": "S"}', Told(201, YES), T0)
    assert ask(reviews, b'{"kind":"S","spec":{"groups":["a","b"],"user":"eve"}}').body == YES
    assert ask(reviews, b'{"kind":"S","spec":{"groups":["b","a"],"user":"eve"}}').status == 503
    assert canonical(b"k8s\x00{") == b"k8s\x00{"
    assert canonical(b"{") == b"{"


@pytest.mark.parametrize(
    ("target", "by", "question"),
    [(SAR, POD, QUESTION), (SELF, NODE, QUESTION), (SAR, NODE, QUESTION.replace(b"get", b"put"))],
    ids=["another caller", "another kind", "another question"],
)
def test_another_question_has_no_answer(reviews: Reviews, target: Target, by: str, question: bytes) -> None:
    """503 that says so, never a guess."""
    reviews.learn(SAR, NODE, QUESTION, Told(201, YES), T0)
    found = ask(reviews, question, target=target, by=by)
    assert found.status == 503
    assert "did not answer this" in json.loads(found.body)["message"]


@pytest.mark.parametrize("answer", [Told(403, b"{}"), Told(500, b"{}"), Told(429, b"{}"), Told(201, bytes(20_000))])
def test_what_is_no_answer_is_not_kept_and_spoils_none(reviews: Reviews, answer: Told) -> None:
    reviews.learn(SAR, NODE, QUESTION, Told(201, YES), T0)
    reviews.learn(SAR, NODE, QUESTION, answer, T0 + 1)
    assert ask(reviews).body == YES


def test_rights_are_fresh_for_a_day(reviews: Reviews) -> None:
    reviews.learn(SAR, NODE, QUESTION, Told(201, YES), T0)
    assert ask(reviews, at=T0 + RIGHTS_FRESH - 1).status == 201
    late = ask(reviews, at=T0 + RIGHTS_FRESH)
    assert late.status == 503
    assert "is 86400 s old" in json.loads(late.body)["message"]


def test_an_answer_in_another_format_than_the_accepted_is_not_given(reviews: Reviews) -> None:
    reviews.learn(
        SAR, NODE, QUESTION, Told(201, b"k8s\x00", {b"content-type": b"application/vnd.kubernetes.protobuf"}), T0
    )
    assert ask(reviews).status == 201
    assert reviews.answer(SAR, NODE, QUESTION, "application/json", T0).status == 503


class TestTokenReviews:
    """A token's answer holds while the token does."""

    def test_a_jwt_is_good_until_it_says_itself(self, reviews: Reviews) -> None:
        token = Issuer().token(exp=T0 + 5000)
        reviews.learn(TOKENS, NODE, token_review(token), authenticated(), T0)
        assert ask(reviews, token_review(token), target=TOKENS, at=T0 + 4999).status == 201
        assert ask(reviews, token_review(token), target=TOKENS, at=T0 + 5000).status == 503

    def test_a_jwt_in_protobuf_too(self, reviews: Reviews) -> None:
        """As a kubelet asks about who calls it."""
        spec = field(1, Issuer().token(exp=T0 + 5000))
        question = enveloped("TokenReview", field(2, spec), version="authentication.k8s.io/v1")
        reviews.learn(TOKENS, NODE, question, authenticated(), T0)
        assert ask(reviews, question, target=TOKENS, at=T0 + 4999).status == 201
        assert ask(reviews, question, target=TOKENS, at=T0 + 5000).status == 503

    def test_the_answer_may_be_protobuf_as_well(self, reviews: Reviews) -> None:
        token = Issuer().token(exp=T0 + 5000)
        body = enveloped("TokenReview", field(2, field(1, token)) + field(3, field(1, 1) + field(2, field(1, "u"))))
        answer = Told(201, body, {b"content-type": b"application/vnd.kubernetes.protobuf"})
        reviews.learn(TOKENS, NODE, token_review(token), answer, T0)
        assert ask(reviews, token_review(token), target=TOKENS, at=T0 + 4999).status == 201

    @pytest.mark.parametrize("question", [b"{}", b"[]", b"{", b"k8s\x00\xff", b"k8s\x00"])
    @pytest.mark.parametrize("body", [b'{"status":{"authenticated":true}}', b"[]", b"k8s\x00\xff", b'{"status":3}'])
    def test_one_that_cannot_be_read_for_an_hour(self, reviews: Reviews, question: bytes, body: bytes) -> None:
        reviews.learn(TOKENS, NODE, question, Told(201, body), T0)
        assert ask(reviews, question, target=TOKENS, at=T0 + TOKEN_FRESH - 1).body == body
        assert ask(reviews, question, target=TOKENS, at=T0 + TOKEN_FRESH).status == 503

    @pytest.mark.parametrize("token", ["static", "a.b.c", ""])
    def test_any_other_for_an_hour(self, reviews: Reviews, token: str) -> None:
        reviews.learn(TOKENS, NODE, token_review(token), authenticated(), T0)
        assert ask(reviews, token_review(token), target=TOKENS, at=T0 + TOKEN_FRESH - 1).status == 201
        assert ask(reviews, token_review(token), target=TOKENS, at=T0 + TOKEN_FRESH).status == 503

    def test_a_refused_one_for_an_hour_whatever_it_says(self, reviews: Reviews) -> None:
        token = Issuer().token(exp=T0 + 500_000)
        reviews.learn(TOKENS, NODE, token_review(token), authenticated(good=False), T0)
        assert ask(reviews, token_review(token), target=TOKENS, at=T0 + TOKEN_FRESH).status == 503


class TestBounds:
    """What is kept, for how long, and how often it is written."""

    def test_the_answer_that_nobody_asked_for_longest_goes_first(self, records: Records) -> None:
        reviews = Reviews(records, most=3)
        for user in (b"a", b"b", b"c"):
            reviews.learn(SAR, NODE, user, Told(201, YES), T0)
        ask(reviews, b"a")
        reviews.learn(SAR, NODE, b"d", Told(201, YES), T0)
        assert [ask(reviews, user).status for user in (b"a", b"b", b"c", b"d")] == [201, 503, 201, 201]
        assert len(reviews) == len(records) == 3

    def test_all_together_have_a_bound_in_bytes(self, records: Records) -> None:
        reviews = Reviews(records)
        for n in range(400):
            reviews.learn(SAR, NODE, b"%d" % n, Told(201, bytes(16_000)), T0)
        assert sum(map(len, records.values())) < 4.3 * 1024 * 1024
        assert ask(reviews, b"399").status == 201
        assert ask(reviews, b"0").status == 503

    def test_they_are_sealed_and_seldom_written_again(self, reviews: Reviews, records: Records) -> None:
        for n in range(100):
            reviews.learn(SAR, NODE, QUESTION, Told(201, YES), T0 + n * 10)
        assert len(records.writes) == 2
        reviews.learn(SAR, NODE, QUESTION, Told(201, NO), T0 + 1000)
        assert len(records.writes) == 3
        assert records.secret == set(records)

    def test_a_restart_in_the_dark_keeps_them(self, reviews: Reviews, records: Records) -> None:
        reviews.learn(SAR, NODE, QUESTION, Told(201, YES), T0)
        records[f"{PREFIX}torn"] = b"\xc1"
        after = Reviews(records)
        after.load(list(records.items()))
        assert ask(after, at=T0 + 30) == ask(reviews, at=T0 + 30)
        assert f"{PREFIX}torn" not in records

    def test_a_dry_run_teaches_nothing(self, reviews: Reviews) -> None:
        reviews.learn(parse_target(SAR.path + "?dryRun=All"), NODE, QUESTION, Told(201, YES), T0)
        assert len(reviews) == 0


@pytest.mark.parametrize("protobuf", [False, True])
def test_a_token_that_was_given_is_given_again_until_it_ends(reviews: Reviews, *, protobuf: bool) -> None:
    """And only for the same words by the same caller."""
    target = parse_target("/api/v1/namespaces/a/serviceaccounts/b/token")
    question = enveloped("TokenRequest", field(2, field(4, 3600)), version="authentication.k8s.io/v1")
    token = Issuer().token(exp=T0 + 3600)
    if protobuf:
        body = enveloped("TokenRequest", field(3, field(1, token)), version="authentication.k8s.io/v1")
        given = Told(201, body, {b"content-type": b"application/vnd.kubernetes.protobuf"})
    else:
        given = Told(201, json.dumps({"kind": "TokenRequest", "status": {"token": token}}).encode())
    reviews.learn(target, NODE, question, given, T0)
    again = ask(reviews, question, target=target, at=T0 + 3599)
    assert (again.status, again.body) == (201, given.body)
    assert ask(reviews, question, target=target, at=T0 + 3600).status == 503
    assert ask(reviews, question, target=target, by=POD).status == 503
    assert ask(reviews, question + b" ", target=target).status == 503


def test_what_holds_no_token_is_not_given_again(reviews: Reviews) -> None:
    target = parse_target("/api/v1/namespaces/a/serviceaccounts/b/token")
    reviews.learn(target, NODE, b"{}", Told(201, b'{"kind":"TokenRequest","status":{}}'), T0)
    assert ask(reviews, b"{}", target=target).status == 503
