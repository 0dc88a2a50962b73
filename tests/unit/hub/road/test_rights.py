"""Who may read what, lit and dark: only what the cloud let the same caller read."""

import asyncio
import json

import pytest
from kit.keeping import Hub, World, until
from kit.tokens import ISSUER, Issuer
from yurt_hub.domain.local.paths import ISSUER as ISSUER_PATH
from yurt_hub.domain.local.paths import JWKS

A, B = "system:serviceaccount:default:a", "system:serviceaccount:default:b"
SECRETS = "/api/v1/namespaces/default/secrets"


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
async def city(sky: World, issuer: Issuer) -> World:
    """The cloud knows two accounts, and publishes its keys."""
    sky.cluster.documents[ISSUER_PATH] = {"issuer": ISSUER}
    sky.cluster.documents[JWKS] = {"keys": [issuer.jwk()]}
    sky.cluster.put("secrets", "of-a")
    sky.cluster.put("secrets", "of-b")
    return sky


def token(city: World, issuer: Issuer, name: str, **claims: object) -> str:
    """A token that the cloud takes."""
    made = issuer.token(account=("default", name), **claims)
    city.cluster.tokens[made] = f"system:serviceaccount:default:{name}"
    return made


async def knows_keys(hub: Hub) -> None:
    await until(lambda: hub.keeping.verifier.issuer, "the cluster's keys")


async def test_one_account_never_reads_what_another_read(city: World, issuer: Issuer) -> None:
    a, b = token(city, issuer, "a"), token(city, issuer, "b")
    city.cluster.denied |= {(B, "secrets")}
    async with city.hub() as hub:
        await knows_keys(hub)
        await hub.get(f"{SECRETS}/of-a", token=a)
        await hub.get(SECRETS, token=a)
        assert (await hub.ask(SECRETS, token=b)).status == 403
        assert (await hub.ask(f"{SECRETS}?watch=true", token=b)).status == 403
        async with hub.watch(SECRETS, token=a) as watch:
            assert (await watch.told())[1] == "of-a"
        await city.link.refuse()
        await hub.dark()
        for path in (SECRETS, f"{SECRETS}/of-a", f"{SECRETS}/none", f"{SECRETS}?watch=true", "/api/v1/secrets"):
            assert (await hub.ask(path, token=b)).status == 503
            assert (await hub.ask(path)).status == 503  # nor does the node's own identity
        assert (await hub.ask(SECRETS, token=a)).status == 200
        assert (await hub.ask(f"{SECRETS}/of-b", token=a)).status == 200
        assert (await hub.ask(f"{SECRETS}/none", token=a)).status == 404


async def test_who_may_get_one_object_may_not_list_it(city: World, issuer: Issuer) -> None:
    a = token(city, issuer, "a")
    async with city.hub() as hub:
        await knows_keys(hub)
        await hub.get(f"{SECRETS}/of-a", token=a)
        await city.link.refuse()
        await hub.dark()
        assert (await hub.ask(f"{SECRETS}?fieldSelector=metadata.name%3Dof-a", token=a)).status == 503
        assert (await hub.ask(f"{SECRETS}/of-a", token=a)).status == 200


async def test_a_forged_token_is_refused_lit_and_dark(city: World, issuer: Issuer) -> None:
    a, forged = token(city, issuer, "a"), Issuer().token(account=("default", "a"))
    async with city.hub() as hub:
        await knows_keys(hub)
        await hub.get(SECRETS, token=a)
        async with hub.watch(SECRETS, token=a) as watch:
            assert [(await watch.told())[1] for _ in range(2)] == ["of-a", "of-b"]
            for path in (SECRETS, f"{SECRETS}/of-a", f"{SECRETS}?watch=true"):
                assert (await hub.ask(path, token=forged)).status == 401
            # The owner of the name is not disturbed: its feed goes on with its own token.
            city.cluster.end_watches()
            await until(lambda: [w for w in city.cluster.watches if w.kind.plural == "secrets"], "the watch")
            city.cluster.put("secrets", "new")
            assert (await watch.told())[1] == "new"
            await city.link.refuse()
            await hub.dark()
            for path in (SECRETS, f"{SECRETS}/of-a", f"{SECRETS}?watch=true"):
                assert (await hub.ask(path, token=forged)).status == 401


async def test_a_forged_token_gets_nothing_while_the_cloud_is_silent(city: World, issuer: Issuer) -> None:
    """The read is under way when the cloud falls silent: it is answered from here only to a token that is proven."""
    a, forged = token(city, issuer, "a"), Issuer().token(account=("default", "a"))
    review = b'{"kind":"SelfSubjectAccessReview","spec":{"resourceAttributes":{"resource":"secrets"}}}'
    reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    async with city.hub() as hub:
        await knows_keys(hub)
        await hub.get(SECRETS, token=a)
        assert (await hub.ask(reviews, "POST", token=a, body=review)).status == 201
        city.link.hush()
        async with asyncio.TaskGroup() as group:
            ours = group.create_task(hub.ask(SECRETS, token=a))
            theirs = group.create_task(hub.ask(SECRETS, token=forged))
            asked = group.create_task(hub.ask(reviews, "POST", token=a, body=review))
            begged = group.create_task(hub.ask(reviews, "POST", token=forged, body=review))
        assert (ours.result().status, asked.result().status) == (200, 201)
        assert theirs.result().status == begged.result().status == 401
        await city.link.mend()


async def test_a_token_that_the_cloud_has_not_taken_yet_gets_no_feed(city: World, issuer: Issuer) -> None:
    a, again = token(city, issuer, "a"), token(city, issuer, "a", iat=1_600_000_001)
    async with city.hub() as hub:
        await knows_keys(hub)
        await hub.get(SECRETS, token=a)
        async with hub.watch(f"{SECRETS}?resourceVersion=107", token=again) as watch:
            assert (watch.status, hub.feeds()) == (200, [])
            assert city.cluster.count("watch", "secrets") == 1
        async with hub.watch(f"{SECRETS}?resourceVersion=107", token=a) as watch:
            assert (watch.status, hub.feeds()[0][2]) == (200, 1)


async def test_a_feed_goes_on_with_the_newest_token_of_its_account(city: World, issuer: Issuer) -> None:
    old = token(city, issuer, "a")
    async with city.hub() as hub:
        await knows_keys(hub)
        await hub.get(SECRETS, token=old)
        async with hub.watch(f"{SECRETS}?resourceVersion=107", token=old) as watch:
            await until(lambda: [w for w in city.cluster.watches if w.kind.plural == "secrets"], "the watch")
            new = token(city, issuer, "a", iat=1_600_000_001)
            await hub.get(f"{SECRETS}/of-a", token=new)
            del city.cluster.tokens[old]  # it has expired
            city.cluster.end_watches()
            await until(lambda: [w for w in city.cluster.watches if w.kind.plural == "secrets"], "the watch again")
            city.cluster.put("secrets", "new")
            assert (await watch.told())[1] == "new"


async def test_a_token_that_expires_under_a_feed_is_told_so_by_the_cloud(city: World, issuer: Issuer) -> None:
    """Its watch ends; the next one passes to the cloud and gets its 401, others go on."""
    a, b = token(city, issuer, "a"), token(city, issuer, "b")
    async with city.hub() as hub:
        await knows_keys(hub)
        await hub.get(SECRETS, token=a)
        await hub.get(SECRETS, token=b)
        path = f"{SECRETS}?resourceVersion=107"
        async with hub.watch(path, token=a) as first, hub.watch(path, token=b) as second:
            await until(lambda: [w for w in city.cluster.watches if w.kind.plural == "secrets"], "the watch")
            del city.cluster.tokens[a]
            city.cluster.end_watches()
            assert await first.event() is None
            assert (await hub.ask(f"{path}&watch=true", token=a)).status == 401
            city.cluster.put("secrets", "new")
            assert (await second.told())[1] == "new"


async def test_a_right_that_is_taken_back_ends_the_watch(city: World, issuer: Issuer) -> None:
    a, b = token(city, issuer, "a"), token(city, issuer, "b")
    async with city.hub() as hub:
        await knows_keys(hub)
        await hub.get(SECRETS, token=a)
        await hub.get(SECRETS, token=b)
        path = f"{SECRETS}?resourceVersion=107"
        async with hub.watch(path, token=a) as first, hub.watch(path, token=b) as second:
            await until(lambda: [w for w in city.cluster.watches if w.kind.plural == "secrets"], "the watch")
            city.cluster.denied.add((A, "secrets"))
            city.cluster.end_watches()
            assert await first.event() is None
            assert (await hub.ask(f"{path}&watch=true", token=a)).status == 403
            city.cluster.put("secrets", "new")
            assert (await second.told())[1] == "new"
        await city.link.refuse()
        await hub.dark()
        assert (await hub.ask(SECRETS, token=a)).status == 503
        assert (await hub.ask(SECRETS, token=b)).status == 200


async def test_an_opaque_token_reads_in_the_dark_what_it_read(city: World) -> None:
    city.cluster.tokens["opaque"] = "jane"
    async with city.hub() as hub:
        await hub.get(SECRETS, token="opaque")
        await city.link.refuse()
        await hub.dark()
        assert (await hub.ask(SECRETS, token="opaque")).status == 200
        got = await hub.ask(SECRETS, token="another")
        assert (got.status, json.loads(got.body)["kind"]) == (503, "Status")


async def test_readers_of_a_shared_kind_are_asked_for_their_right(city: World, issuer: Issuer) -> None:
    a = token(city, issuer, "a")
    async with city.hub() as hub:
        await knows_keys(hub)
        await hub.get("/api/v1/services", agent="kube-proxy")
        await hub.get("/api/v1/services?labelSelector=app%3Ddns", token=a)
        async with (
            hub.watch("/api/v1/services?resourceVersion=107", agent="kube-proxy") as proxy,
            hub.watch("/api/v1/services?labelSelector=app%3Ddns&resourceVersion=107", token=a) as dns,
        ):
            city.cluster.put("services", "dns", "kube-system", labels={"app": "dns"}, spec={"clusterIP": "1"})
            assert (await proxy.told())[:2] == (await dns.told())[:2] == ("MODIFIED", "dns")
            assert city.cluster.count("watch", "services") == 1
            reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
            assert city.cluster.count("create", reviews) == 2
