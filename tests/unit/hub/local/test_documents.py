"""Documents about the API server: kept as it gave them, answered in the dark."""

import json
import random
from typing import Any

import pytest
from kit.local import Records, Told
from yurt_hub.domain.local import accepts, paths
from yurt_hub.domain.local.answers import Local
from yurt_hub.domain.local.documents import CONFIRMED, PREFIX, Documents
from yurt_hub.domain.local.jwks import Keys

V2 = accepts.media_type("v2")
WHY = "the cloud cannot be reached"
GROUPS = {
    "kind": "APIGroupList",
    "apiVersion": "v1",
    "groups": [
        {
            "name": "apps",
            "versions": [{"groupVersion": "apps/v1", "version": "v1"}],
            "preferredVersion": {"groupVersion": "apps/v1", "version": "v1"},
        }
    ],
}


def aggregated(*groups: str) -> bytes:
    items: list[dict[str, Any]] = [
        {"metadata": {"name": name} if name else {}, "versions": [{"version": "v1", "resources": []}]}
        for name in groups
    ]
    return json.dumps({"kind": "APIGroupDiscoveryList", "items": items}).encode()


def told(body: bytes, *, kind: str = "application/json", etag: str = "", vary: str = "") -> Told:
    named = {b"content-type": kind, b"etag": etag, b"vary": vary, b"audit-id": "never kept"}
    return Told(200, body, {name: value.encode() for name, value in named.items() if value})


def discovered(
    documents: Documents, *, groups: tuple[str, ...] = ("apps",), etag: str = '"A"', now: float = 100
) -> None:
    """One whole round as the cloud answers it."""
    documents.learn("/api", told(aggregated(""), kind=V2, etag='"core"', vary="Accept"), now)
    documents.learn("/apis", told(aggregated(*groups), kind=V2, etag=etag, vary="Accept"), now)
    for ask in documents.rest():
        body = json.dumps(GROUPS if ask.path == "/apis" else {"kind": "APIResourceList", "of": ask.path}).encode()
        documents.learn(ask.path, told(body), now, basis=ask.basis)
    documents.confirmed(now)


def answer(
    documents: Documents, path: str, accept: str = "*/*", *, tag: str = "", now: float = 130, **query: str
) -> Local:
    found = documents.answer(path, {k: (v,) for k, v in query.items()}, accept, tag, now=now, why=WHY)
    assert found is not None
    return found


@pytest.fixture
def documents() -> Documents:
    return Documents(Records())


def test_a_document_comes_back_as_it_was_given_with_its_age(documents: Documents) -> None:
    """Bytes, type, ETag and Vary are the cloud's; the age is in a Warning; nothing else of the head is repeated."""
    discovered(documents)
    found = answer(documents, "/apis", accepts.ASK_DISCOVERY)
    assert (found.status, found.body) == (200, aggregated("apps"))
    assert dict(found.headers) == {
        b"Content-Type": V2.encode(),
        b"ETag": b'"A"',
        b"Vary": b"Accept",
        b"Warning": b'299 yurt-hub "the cloud cannot be reached; this answer is 30 s old"',
    }


@pytest.mark.parametrize("tag", ['"A"', 'W/"A"', '"x", "A"', "*"])
def test_a_client_that_has_the_document_is_told_so(documents: Documents, tag: str) -> None:
    discovered(documents)
    found = answer(documents, "/apis", accepts.ASK_DISCOVERY, tag=tag)
    assert (found.status, found.body) == (304, b"")
    assert found.header(b"ETag") == b'"A"'
    assert found.header(b"Content-Type") is None


@pytest.mark.parametrize("tag", ['"B"', "", '"a"'])
def test_a_client_that_has_another_state_gets_the_document(documents: Documents, tag: str) -> None:
    discovered(documents)
    assert answer(documents, "/apis", accepts.ASK_DISCOVERY, tag=tag).status == 200


def test_plain_discovery_is_answered_beside_the_aggregated(documents: Documents) -> None:
    discovered(documents)
    assert json.loads(answer(documents, "/apis", "application/json").body) == GROUPS
    assert json.loads(answer(documents, "/apis/apps/v1").body)["of"] == "/apis/apps/v1"
    assert json.loads(answer(documents, "/api/v1/").body)["of"] == "/api/v1"


def test_one_group_is_cut_out_of_the_list_of_groups(documents: Documents) -> None:
    discovered(documents)
    found = answer(documents, "/apis/apps", "application/json")
    assert json.loads(found.body) == {"kind": "APIGroup", "apiVersion": "v1", **GROUPS["groups"][0]}  # type: ignore[dict-item]
    assert answer(documents, "/apis/none.example", "application/json").status == 503


@pytest.mark.parametrize(
    ("path", "accept", "says"),
    [
        ("/version", "*/*", "/version was not kept"),
        ("/apis/batch/v1", "*/*", "/apis/batch/v1 was not kept"),
        ("/openapi/v3", "*/*", "/openapi/v3 was not kept"),
        ("/apis", "application/yaml", "only as v2, json, which the request does not accept"),
        ("/readyz", "*/*", "the API server's to answer"),
        ("/healthz/etcd", "*/*", "the API server's to answer"),
        ("/livez", "*/*", "the API server's to answer"),
    ],
)
def test_what_is_missing_is_named(documents: Documents, path: str, accept: str, says: str) -> None:
    """503 with a Status that names the document and the reason, and when to come back."""
    discovered(documents)
    found = answer(documents, path, accept)
    status = json.loads(found.body)
    assert (found.status, status["code"], status["reason"]) == (503, 503, "ServiceUnavailable")
    assert says in status["message"]
    assert WHY in status["message"]
    assert found.header(b"Retry-After") == b"1"


@pytest.mark.parametrize("path", ["/", "/metrics", "/api/v1/pods", "/apis/apps/v1/deployments", "/logs", "/openapi"])
def test_other_paths_are_left_to_others(documents: Documents, path: str) -> None:
    assert documents.answer(path, {}, "*/*", "", now=1, why=WHY) is None
    assert not documents.wants(path)
    assert not documents.learn(path, told(b"{}"), 1)


def test_a_restart_in_the_dark_changes_nothing() -> None:
    """All documents, their heads and their ages come back from the records."""
    records = Records()
    before = Documents(records)
    discovered(before)
    discovered(before, now=500)
    after = Documents(Records())
    after.load(records.items())
    assert len(after) == len(before) == 6
    assert after.size == before.size
    for path, accept in [("/apis", accepts.ASK_DISCOVERY), ("/api", "application/json"), ("/apis/apps/v1", "*/*")]:
        assert answer(after, path, accept, now=530) == answer(before, path, accept, now=530)
    assert records.secret == set()


def test_damaged_records_are_dropped_and_the_others_kept() -> None:
    records = Records()
    discovered(Documents(records))
    torn = f"{PREFIX}/apis|v2"
    records[torn] = records[torn][:-3]
    records[CONFIRMED] = b"\xc1"
    records["l/n1"] = b"somebody else's"
    after = Documents(records)
    after.load(list(records.items()))
    assert len(after) == 5
    assert torn not in records
    assert CONFIRMED not in records
    assert "l/n1" in records


def test_unchanged_documents_are_not_written_again() -> None:
    """A round without news costs one small record."""
    records = Records()
    documents = Documents(records)
    discovered(documents)
    records.writes.clear()
    documents.learn("/apis", Told(304, b"", {b"etag": b'"A"'}), 700)
    documents.learn("/api", Told(304, b"", {b"etag": b'"core"'}), 700)
    assert documents.rest() == []
    documents.confirmed(700)
    assert records.writes == [CONFIRMED]
    for path, accept in [("/apis", accepts.ASK_DISCOVERY), ("/apis/apps/v1", "*/*")]:
        assert b"this answer is 1 s old" in (answer(documents, path, accept, now=701).header(b"Warning") or b"")


def test_plain_documents_are_fetched_again_when_the_lists_changed(documents: Documents) -> None:
    """A kind that came or went shows in the aggregated list; what is served no more is dropped."""
    discovered(documents, groups=("apps", "old.example"))
    assert answer(documents, "/apis/old.example/v1").status == 200
    documents.learn("/apis", told(aggregated("apps", "new.example"), kind=V2, etag='"B"'), 200)
    assert [ask.path for ask in documents.rest()] == [
        "/api", "/apis", "/api/v1", "/apis/apps/v1", "/apis/new.example/v1",
    ]  # fmt: skip
    discovered(documents, groups=("apps", "new.example"), etag='"B"', now=200)
    assert documents.rest() == []
    assert answer(documents, "/apis/old.example/v1").status == 503
    assert answer(documents, "/apis/new.example/v1").status == 200


def test_a_server_without_aggregated_discovery_is_kept_too(documents: Documents) -> None:
    """The first round asks for both forms; what comes decides, and leads to the plain documents."""
    documents.learn("/api", told(b'{"kind":"APIVersions","versions":["v1"]}'), 1)
    documents.learn("/apis", told(json.dumps(GROUPS).encode()), 1)
    assert {"/api/v1", "/apis/apps/v1"} <= {ask.path for ask in documents.rest()}
    assert json.loads(answer(documents, "/apis", accepts.ASK_DISCOVERY).body) == GROUPS


def test_the_first_requests_carry_the_tags_that_are_known(documents: Documents) -> None:
    assert [ask.etag for ask in documents.first()] == ["", "", "", "", ""]
    discovered(documents)
    assert [(ask.path, ask.etag) for ask in documents.first()] == [
        (paths.VERSION, ""), (paths.JWKS, ""), (paths.ISSUER, ""), ("/api", '"core"'), ("/apis", '"A"'),
    ]  # fmt: skip


def test_a_form_that_nobody_asked_for_is_not_kept(documents: Documents) -> None:
    assert not documents.learn("/apis", told(b"kind: APIGroupList", kind="application/yaml"), 1)
    assert len(documents) == 0


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503, 206])
def test_a_refusal_leaves_what_is_kept(documents: Documents, status: int) -> None:
    discovered(documents)
    assert not documents.learn("/apis", Told(status, b"{}"), 200)
    assert answer(documents, "/apis", accepts.ASK_DISCOVERY).body == aggregated("apps")


def test_a_path_that_is_gone_is_forgotten(documents: Documents) -> None:
    discovered(documents)
    assert documents.learn("/apis/apps/v1", Told(404), 200)
    assert answer(documents, "/apis/apps/v1").status == 503


class TestOpenApi:
    """OpenAPI is kept when it passes, and found by its hash."""

    @pytest.fixture
    def documents(self) -> Documents:
        found = Documents(Records())
        found.learn("/openapi/v3/apis/apps/v1", told(b'{"openapi":"3.0.0"}', etag='"AB12"'), 100)
        return found

    def test_it_is_wanted_whenever_somebody_asks(self, documents: Documents) -> None:
        assert documents.wants("/openapi/v3/apis/apps/v1")
        assert documents.wants("/openapi/v2")
        assert documents.wants("/openapi/v3")

    def test_other_documents_are_wanted_until_they_are_there(self, documents: Documents) -> None:
        assert documents.wants("/apis")
        discovered(documents)
        assert not documents.wants("/apis")
        assert not documents.wants("/readyz")

    def test_it_is_found_with_its_hash_and_without(self, documents: Documents) -> None:
        for query in ({"hash": "AB12"}, {}, {"timeout": "32s"}):
            assert answer(documents, "/openapi/v3/apis/apps/v1", **query).body == b'{"openapi":"3.0.0"}'

    def test_another_hash_leads_to_the_one_there_is(self, documents: Documents) -> None:
        """As the API server does when its documents have changed since the index was read."""
        found = answer(documents, "/openapi/v3/apis/apps/v1", hash="CD34")
        assert (found.status, found.header(b"Location")) == (301, b"/openapi/v3/apis/apps/v1?hash=AB12")

    def test_a_round_says_nothing_of_its_age(self, documents: Documents) -> None:
        """Nobody fetched it again, so it is as old as its last passing."""
        discovered(documents, now=900)
        found = answer(documents, "/openapi/v3/apis/apps/v1", now=1000)
        assert b"this answer is 900 s old" in (found.header(b"Warning") or b"")

    def test_it_is_kept_in_the_form_that_came(self, documents: Documents) -> None:
        kind = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
        documents.learn("/openapi/v2", told(b"\n\x032.0", kind=kind), 1)
        asked = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
        assert answer(documents, "/openapi/v2", asked).body == b"\n\x032.0"
        assert answer(documents, "/openapi/v2", "application/json").status == 503


def test_there_is_a_bound_and_openapi_goes_first() -> None:
    """OpenAPI that was asked for longest ago makes room; what a kubectl begins with stays, whatever its size."""
    records = Records()
    documents = Documents(records, limit=11_000)
    discovered(documents)
    noise = random.Random(4)  # noqa: S311
    for i in range(4):
        documents.learn(f"/openapi/v3/apis/g{i}/v1", told(noise.randbytes(2500)), 200 + i)
        if i == 1:
            answer(documents, "/openapi/v3/apis/g0/v1", now=300)
    assert documents.size <= 11_000
    assert answer(documents, "/openapi/v3/apis/g1/v1").status == 503
    assert answer(documents, "/apis/apps/v1").status == 200
    assert {key.removeprefix(PREFIX) for key in records} >= {"/apis|v2", "/api|v2"}
    assert not any("g1" in key for key in records)


def test_the_clusters_keys_are_read_from_its_documents(documents: Documents) -> None:
    assert documents.keys() == Keys()
    documents.learn(paths.JWKS, told(b'{"keys":[{"kid":"a"}]}', kind="application/jwk-set+json"), 100)
    documents.learn(paths.ISSUER, told(b'{"issuer":"https://k"}'), 200)
    assert documents.keys() == Keys("https://k", ({"kid": "a"},), 100)


def test_an_answer_with_the_known_tag_is_the_known_document(documents: Documents) -> None:
    """Two megabytes of OpenAPI are not looked at again when somebody asks for them again."""
    records = Records()
    documents = Documents(records)
    assert documents.learn("/openapi/v2", told(b"one", etag='"1"'), 1)
    assert not documents.learn("/openapi/v2", told(b"", etag='"1"'), 50)
    assert len(records.writes) == 1
    assert answer(documents, "/openapi/v2", now=60).body == b"one"
    assert documents.learn("/openapi/v2", told(b"two", etag='"2"'), 70)
    assert answer(documents, "/openapi/v2", now=80).body == b"two"


def test_a_document_beyond_all_measure_is_not_kept(documents: Documents) -> None:
    assert not documents.learn("/openapi/v2", told(bytes(17 * 1024 * 1024)), 1)
    assert documents.size == 0


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"kind":"APIGroupDiscoveryList","items":[{"metadata":3},4]}'])
def test_a_list_that_makes_no_sense_leads_nowhere(documents: Documents, body: bytes) -> None:
    documents.learn("/apis", told(body, kind=V2), 1)
    assert documents.rest() == []
