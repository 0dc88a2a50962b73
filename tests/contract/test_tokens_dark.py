"""The API server's own tokens and keys: the hub judges in the dark as the server does when it is there."""

import json
import time
from collections.abc import AsyncIterator

import pytest
from kit.accounts import Account, account, admin
from kit.local import Records, Straight, as_node
from yurt_hub.adapters.keys import proves
from yurt_hub.domain.local import paths
from yurt_hub.domain.local.answers import UNAUTHORIZED
from yurt_hub.domain.local.documents import Documents
from yurt_hub.domain.local.tokens import Rejected, Unknowable, Verdict, Verified, Verifier
from yurtcore.adapters.kube import KubeClient
from yurtsim.controlplane import ControlPlane

pytestmark = pytest.mark.controlplane

WHOAMI = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


@pytest.fixture
async def verifier(plane: ControlPlane) -> Verifier:
    """What a node's hub knows after it fetched the cluster's documents once."""
    documents, now = Documents(Records()), time.time()
    async with as_node(plane) as kube:
        cloud = Straight(kube)
        for path in (paths.JWKS, paths.ISSUER):
            assert documents.learn(path, await cloud.fetch("GET", path), now)
    made = Verifier(proves, Records())
    made.renew(documents.keys())
    return made


@pytest.fixture
async def seed(plane: ControlPlane) -> AsyncIterator[KubeClient]:
    async with admin(plane) as kube:
        yield kube


async def token_for(kube: KubeClient, who: Account, **spec: object) -> str:
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    path = f"/api/v1/namespaces/{who.namespace}/serviceaccounts/{who.name}/token"
    made = await kube.create(path, asked)
    return str(made["status"]["token"])


async def lit(plane: ControlPlane, token: str) -> tuple[int, bytes]:
    """What the API server itself says to a token: the status, and the caller's name or the Status' bytes."""
    async with KubeClient(plane.server, ca_file=plane.ca_file, token=token) as kube:
        body = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).encode()
        status, _, answer = await kube.raw("POST", WHOAMI, headers={"Content-Type": "application/json"}, body=body)
    return status, json.loads(answer)["status"]["userInfo"]["username"].encode() if status == 201 else answer


def dark(verifier: Verifier, token: str) -> Verdict:
    return verifier.check(token, time.time())


async def test_a_real_token_is_the_account_that_the_server_says(
    plane: ControlPlane, seed: KubeClient, verifier: Verifier
) -> None:
    """By published keys alone, and under the name that the server itself gives the caller."""
    who = await account(seed, "tokens-dark", "good")
    found = dark(verifier, who.token)
    assert isinstance(found, Verified)
    assert (201, found.identity.encode()) == await lit(plane, who.token)
    assert found.identity == who.user == verifier.identity_of(who.token)
    assert found.expires - time.time() == pytest.approx(86400 + 60, abs=30)


async def test_a_forged_token_is_refused_in_the_servers_words(
    plane: ControlPlane, seed: KubeClient, verifier: Verifier
) -> None:
    who = await account(seed, "tokens-dark", "forged")
    head, body, signature = who.token.split(".")
    forged = f"{head}.{body}.{signature[:-6]}{'AAAAAA' if signature[-6:] != 'AAAAAA' else 'BBBBBB'}"
    assert isinstance(dark(verifier, forged), Rejected)
    status, said = await lit(plane, forged)
    assert (status, json.loads(said)) == (UNAUTHORIZED.status, json.loads(UNAUTHORIZED.body))


async def test_a_token_for_somebody_else_is_not_for_us(
    plane: ControlPlane, seed: KubeClient, verifier: Verifier
) -> None:
    """The server refuses it; in the dark the hub cannot know all of the server's audiences, and does not guess."""
    who = await account(seed, "tokens-dark", "vault")
    token = await token_for(seed, who, audiences=["vault"])
    assert isinstance(dark(verifier, token), Unknowable)
    assert (await lit(plane, token))[0] == 401
    verifier.refused(token, time.time())
    assert isinstance(dark(verifier, token), Rejected)


async def test_a_token_that_lit_requests_carried_teaches_the_audience(seed: KubeClient, verifier: Verifier) -> None:
    """A token whose request named no audience has the server's own; after it was taken, tokens like it are."""
    who = await account(seed, "tokens-dark", "taught")
    verifier.accepted(await token_for(seed, who), time.time())
    assert isinstance(dark(verifier, who.token), Verified)
    assert isinstance(dark(verifier, await token_for(seed, who, audiences=["vault"])), Unknowable)


async def test_an_account_that_is_gone_works_on_until_the_server_has_refused_it(
    plane: ControlPlane, seed: KubeClient, verifier: Verifier
) -> None:
    """What cannot be known in the dark; one refusal while lit ends it."""
    who = await account(seed, "tokens-dark", "gone")
    await seed.delete(f"/api/v1/namespaces/{who.namespace}/serviceaccounts/{who.name}")
    assert isinstance(dark(verifier, who.token), Verified)
    assert (await lit(plane, who.token))[0] == 401
    verifier.refused(who.token, time.time())
    assert isinstance(dark(verifier, who.token), Rejected)
