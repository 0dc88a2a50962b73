"""Who may read what in the dark, and what else a hub answers for the cloud: tokens, documents, reviews, beats.

`lit` asks, `dark` takes the cloud away once; tests that need a cut of their own bring a hub of their own.
"""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from kit.accounts import Audit, account, admin, token
from kit.dark import CONFIG, Kubectl, Reader, cut, heal, keep_answers_of, start_again
from kit.hub import LOOK_EVERY, WITHIN, Site, until
from kit.plane import run
from kit.tokens import ISSUER, Issuer, b64
from kit.watchers import flock, living
from yurtcore.adapters.kube import KubeClient
from yurtcore.errors import Missing
from yurtsim.controlplane import ControlPlane

pytestmark = pytest.mark.controlplane

QUICK = {"heartbeat-interval-seconds": "1", "heartbeat-timeout-seconds": "1"}
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
REVIEWS = "/apis/authorization.k8s.io/v1"
WORD = "a word that nobody else may see"
PUBLIC = "a word for everybody"


@dataclass
class Cast:
    """Callers with different rights in one namespace."""

    site: Site
    home: str
    node: Reader
    callers: dict[str, Reader]
    seen: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The module's namespace."""
        return f"/api/v1/namespaces/{self.home}"

    def secret(self, name: str) -> str:
        """The path of a Secret."""
        return f"{self.path}/secrets/{name}"


@pytest.fixture(scope="module")
def site(plane: ControlPlane, home: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return a hub that notices a cut within seconds."""
    made = Site(plane, tmp_path_factory.mktemp(home), node=home, flags=QUICK)
    run(made.start())
    try:
        yield made
    finally:
        run(made.stop())


def own_secret(name: str) -> list[dict[str, Any]]:
    """Rules of an account that may get one Secret."""
    return [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": [name], "verbs": ["get", "list", "watch"]}]


@pytest.fixture(scope="module")
def lit(plane: ControlPlane, site: Site, home: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cast]:
    """Return callers who have asked for everything that the tests are about."""
    caches = tmp_path_factory.mktemp("caches")

    async def make() -> Cast:
        async with admin(plane) as kube:
            rules: dict[str, list[dict[str, Any]]] = {
                "a": own_secret("a"),
                "b": own_secret("b"),
                "c": own_secret("c"),
                "rich": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}],
                "poor": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"], "resourceNames": ["one"]}],
                "boss": [{"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"]}],
            }
            callers = {}
            for name, rule in rules.items():
                callers[name] = Reader(site, (await account(kube, home, name, rules=rule)).token)
            for name in "abc":
                data = {"stringData": {"word": f"{WORD}: {name}"}}
                await kube.create(f"/api/v1/namespaces/{home}/secrets", {"metadata": {"name": name}, **data})
            await kube.create(
                f"/api/v1/namespaces/{home}/configmaps", {"metadata": {"name": "one"}, "data": {"word": PUBLIC}}
            )
            await kube.create("/api/v1/nodes", {"metadata": {"name": home}})
            unused = await token(kube, home, "a")
            node = Reader(site, pair=plane.node_files(home), agent="kubelet/v1.34.4 (linux/amd64)")
            cast = Cast(site, home, node, {**callers, "a again": Reader(site, unused)})
        await _ask_all(cast)
        assert "DESCRIPTION" in await kubectl(cast, plane, caches).out("explain", "pod.spec")
        return cast

    async def remove() -> None:
        async with admin(plane) as kube:
            for path in (f"/api/v1/nodes/{home}", f"{LEASES}/{home}", f"/api/v1/namespaces/{home}"):
                with contextlib.suppress(Missing):
                    await kube.delete(path)

    try:
        yield run(make())
    finally:
        run(remove())


def kubectl(cast: Cast, plane: ControlPlane, caches: Path) -> Kubectl:
    """Return kubectl as account a, with cache folders below `caches`."""
    return Kubectl(plane, cast.site.config("a", token=cast.callers["a"].token), caches)


async def _ask_all(cast: Cast) -> None:
    callers, seen = cast.callers, cast.seen
    for mine, others in (("a", "b"), ("b", "a")):
        seen[mine] = await callers[mine].read(cast.secret(mine))
        assert (await callers[mine].ask(cast.secret(others))).status == 403
    seen["configmaps"] = await callers["rich"].read(f"{cast.path}/configmaps")
    assert (await callers["poor"].ask(f"{cast.path}/configmaps")).status == 403
    assert (await callers["poor"].ask(f"{cast.path}/configmaps/one")).status == 200
    as_c = f"Impersonate-User: system:serviceaccount:{cast.home}:c"
    assert (await callers["boss"].ask(cast.secret("c"), as_c)).status == 200, "the cloud lets boss act as c"
    seen["node"] = await cast.node.read(f"/api/v1/nodes/{cast.home}")
    seen["review"] = await _review(cast, "get", "a")
    for path in ("/version", "/api", "/apis", "/openapi/v3", "/api/v1", "/apis/apps/v1"):
        seen[path] = await callers["a"].read(path)
    await cast.site.hub.said("documents.fetched")


async def _review(cast: Cast, verb: str, name: str) -> tuple[int, dict[str, Any]]:
    """Ask what a kubelet asks about whoever calls it."""
    what = {"verb": verb, "resource": "secrets", "namespace": cast.home, "name": name}
    spec = {"user": f"system:serviceaccount:{cast.home}:a", "resourceAttributes": what}
    body = json.dumps({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}).encode()
    path = f"{REVIEWS}/subjectaccessreviews"
    got = await cast.node.ask(path, "Content-Type: application/json", method="POST", body=body)
    return got.status, json.loads(got.body)


@pytest.fixture(scope="module")
def dark(lit: Cast) -> Cast:
    """The cloud is gone."""
    run(cut(lit.site))
    return lit


@pytest.mark.parametrize("who", ["a", "b"])
async def test_a_pods_token_reads_its_own_secret_lit_and_dark_and_no_other(dark: Cast, who: str) -> None:
    """What the cloud let it read, and nothing that it let another read."""
    found = await dark.callers[who].read(dark.secret(who))
    assert found == dark.seen[who]
    assert base64.b64decode(found["data"]["word"]).decode() == f"{WORD}: {who}"
    for other in {"a", "b", "c"} - {who}:
        code, why = await dark.callers[who].refused(dark.secret(other))
        assert (code, WORD in why) == (503, False)
    assert (await dark.callers[who].refused(f"{dark.path}/secrets"))[0] == 503


async def test_who_could_not_list_when_lit_cannot_when_dark(dark: Cast) -> None:
    """Though the hub holds the list, for another; the one object that it may read it can read."""
    assert await dark.callers["rich"].names(f"{dark.path}/configmaps") == [
        one["metadata"]["name"] for one in dark.seen["configmaps"]["items"]
    ]
    assert (await dark.callers["poor"].refused(f"{dark.path}/configmaps"))[0] == 503
    assert (await dark.callers["poor"].refused(f"{dark.path}/configmaps?watch=1"))[0] == 503
    assert (await dark.callers["poor"].refused(f"{dark.path}/configmaps/kube-root-ca.crt"))[0] == 503
    assert (await dark.callers["poor"].read(f"{dark.path}/configmaps/one"))["metadata"]["name"] == "one"


async def test_answers_in_anothers_name_are_not_kept(dark: Cast) -> None:
    """Neither for who asked nor for whom it acted as, and in the dark nobody acts as another."""
    boss, as_c = dark.callers["boss"], f"Impersonate-User: system:serviceaccount:{dark.home}:c"
    assert (await boss.refused(dark.secret("c")))[0] == 503
    assert (await boss.refused(dark.secret("c"), as_c))[0] == 503
    assert (await dark.callers["c"].refused(dark.secret("c")))[0] == 503
    as_a = f"Impersonate-User: system:serviceaccount:{dark.home}:a"
    assert (await boss.refused(dark.secret("a"), as_a))[0] == 503


def forged(real: str, how: str) -> str:
    """Return a token that is almost a real one."""
    head, body, signature = real.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    if how == "another's name under the old signature":
        claims["sub"] = claims["sub"].removesuffix(":b") + ":a"
        return f"{head}.{b64(json.dumps(claims).encode())}.{signature}"
    if how == "no signature":
        return f"{b64(json.dumps({'alg': 'none'}).encode())}.{body}."
    key_id = json.loads(base64.urlsafe_b64decode(head + "=="))["kid"]
    namespace, _, name = claims["sub"].removeprefix("system:serviceaccount:").partition(":")
    return Issuer("RS256", key_id=key_id, issuer=ISSUER).token(account=(namespace, name))


@pytest.mark.parametrize("how", ["another's name under the old signature", "no signature", "another's key"])
async def test_a_forged_token_is_refused_in_the_dark(dark: Cast, how: str) -> None:
    """The keys that the hub keeps prove it wrong, so the answer is the API server's own 401."""
    bad = replace(dark.callers["b"], token=forged(dark.callers["b"].token or "", how))
    assert await bad.refused(dark.secret("a")) == (401, "Unauthorized")
    assert (await bad.refused(dark.secret("b")))[0] == 401
    assert (await bad.refused("/version"))[0] == 401


async def test_a_token_that_was_never_seen_is_checked_by_the_kept_keys(dark: Cast) -> None:
    """It is the same account's, so it reads what that account has read, and no more."""
    again = dark.callers["a again"]
    assert await again.read(dark.secret("a")) == dark.seen["a"]
    assert (await again.refused(dark.secret("b")))[0] == 503


async def test_a_word_that_is_no_token_is_not_let_in(dark: Cast) -> None:
    """It says nothing about itself that could be checked."""
    code, _ = await replace(dark.callers["a"], token="secret").refused(dark.secret("a"))
    assert code in (401, 503)


async def test_secrets_are_sealed_on_the_disk(dark: Cast) -> None:
    """No file of the hub holds them as they are, or in the base64 in which they came."""
    files = {path: path.read_bytes() for path in (dark.site.folder / "root").rglob("*") if path.is_file()}
    assert any(PUBLIC.encode() in held for held in files.values()), "what is no secret can be read"
    words = [WORD.encode(), *(dark.seen[who]["data"]["word"].encode() for who in "ab")]
    assert [path for path, held in files.items() if any(word in held for word in words)] == []


async def test_hub_047_documents_are_answered_as_the_cloud_gave_them_last(dark: Cast) -> None:
    """`/version`, discovery and OpenAPI; of its health the cloud alone can speak."""
    for path in ("/version", "/api", "/apis", "/openapi/v3", "/api/v1", "/apis/apps/v1"):
        assert await dark.callers["b"].read(path) == dark.seen[path], path
    code, why = await dark.callers["b"].refused("/healthz")
    assert (code, "cannot be reached" in why) == (503, True)


async def test_hub_047_kubectl_with_an_empty_cache_knows_versions_kinds_and_fields(
    dark: Cast, plane: ControlPlane, tmp_path: Path
) -> None:
    """Versions and kinds the hub fetched itself; fields, of what somebody had explained lit."""
    ask = kubectl(dark, plane, tmp_path)
    assert "Server Version: v1.34" in await ask.out("version")
    assert "configmaps" in await ask.out("api-resources")
    assert "apps/v1" in await ask.out("api-versions")
    assert "DESCRIPTION" in await ask.out("explain", "pod.spec.containers")


async def test_hub_046_a_review_gets_its_last_answer_or_none(dark: Cast) -> None:
    """The same question: the cloud's answer; one that was never asked: 503, not a guess."""
    status, found = dark.seen["review"]
    assert (status, found["status"]["allowed"]) == (201, True)
    now_status, now = await _review(dark, "get", "a")
    assert (now_status, now["status"]) == (201, found["status"])
    assert (await _review(dark, "delete", "a"))[0] == 503
    assert (await _review(dark, "get", "b"))[0] == 503


async def test_writes_wait_for_the_cloud_and_a_node_that_is_there_is_there(dark: Cast) -> None:
    """503 with what was not done, never an echo; a kubelet that registers again hears that its Node exists."""
    kind = "Content-Type: application/json"
    body = json.dumps({"metadata": {"name": dark.home}}).encode()
    code, why = await dark.node.refused("/api/v1/nodes", kind, method="POST", body=body)
    assert (code, why) == (409, f'nodes "{dark.home}" already exists')
    rich = dark.callers["rich"]
    for method, path in (("POST", "configmaps"), ("PUT", "configmaps/one"), ("DELETE", "configmaps/one")):
        code, why = await rich.refused(f"{dark.path}/{path}", kind, method=method, body=b"{}")
        assert (code, "was not done" in why) == (503, True)


async def test_a_kubelet_asks_for_its_node_a_hundred_times_in_the_dark(dark: Cast) -> None:
    """All are answered from what is kept."""
    for _ in range(100):
        assert await dark.node.read(f"/api/v1/nodes/{dark.home}") == dark.seen["node"]


# -- the Lease; at a hub of its own, which stays lit


@dataclass
class Beating:
    """A kubelet's Lease, as the kubelet itself would renew it."""

    kube: KubeClient
    node: Reader
    name: str
    audit: Audit
    version: str = ""

    async def renew(self, *, within: float = WITHIN) -> dict[str, Any]:
        """PUT once, with the version that was seen last, and wait until the cloud has a newer time."""
        before = await self.renewed()
        meta = {"name": self.name, "namespace": "kube-node-lease", "resourceVersion": self.version or "1"}
        spec = {"holderIdentity": self.name, "leaseDurationSeconds": 40, "renewTime": "2026-01-01T00:00:00.000000Z"}
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
        target, body = f"{LEASES}/{self.name}?timeout=10s", json.dumps(lease).encode()
        got = await self.node.ask(target, "Content-Type: application/json", method="PUT", body=body)
        assert got.status == 200, got.body
        found: dict[str, Any] = json.loads(got.body)
        self.version = found["metadata"]["resourceVersion"]
        async with asyncio.timeout(within):
            while await self.renewed() in (None, before):
                await asyncio.sleep(LOOK_EVERY)
        return found

    async def renewed(self) -> str | None:
        """When the cloud saw the last renewal."""
        try:
            return str((await self.kube.get(f"{LEASES}/{self.name}"))["spec"]["renewTime"])
        except Missing:
            return None

    def by(self, agent: str) -> list[str]:
        """The verbs of answered writes of this Lease by a User-Agent."""
        lines = [line for line in self.audit.by(agent) if f"{LEASES}/" in line["requestURI"] + "/"]
        return [line["verb"] for line in lines if line["verb"] in ("create", "update", "patch")]


@pytest.fixture
async def beating(plane: ControlPlane, tmp_path: Path) -> AsyncIterator[Beating]:
    """Return the Lease of a node whose hub has seen it once."""
    name = "hub-dark-beats"
    async with admin(plane) as kube, Site(plane, tmp_path / "site", node=name, flags=QUICK) as site:
        await kube.create("/api/v1/nodes", {"metadata": {"name": name}})
        node = Reader(site, pair=plane.node_files(name), agent="kubelet/v1.34.4 (linux/amd64)")
        made = Beating(kube, node, name, Audit(plane))
        try:
            await made.renew()
            yield made
        finally:
            await kube.delete(f"/api/v1/nodes/{name}")
            with contextlib.suppress(Missing):
                await kube.delete(f"{LEASES}/{name}")


async def test_hub_049_the_cloud_sees_the_hubs_renewals_one_for_each_of_the_kubelets(beating: Beating) -> None:
    """Never a PUT of the kubelet; holder and duration are its own words."""
    begun = len(beating.by("yurt-hub"))
    for number in range(1, 5):
        await beating.renew()
        assert len(beating.by("yurt-hub")) == begun + number
    assert beating.by("kubelet") == []
    spec = (await beating.kube.get(f"{LEASES}/{beating.name}"))["spec"]
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"]) == (beating.name, 40)


async def test_hub_050_a_kubelet_that_falls_silent_is_not_spoken_for(beating: Beating) -> None:
    """Longer than a kubelet's period of ten seconds nothing is renewed, though link and hub are well."""
    await beating.renew()
    last, begun = await beating.renewed(), beating.by("yurt-hub")
    await asyncio.sleep(12)  # nothing is to happen, so there is nothing to wait for
    assert (await beating.renewed(), beating.by("yurt-hub")) == (last, begun)


async def test_hub_053_a_lease_that_others_changed_or_removed_heals_by_the_next_renewal(beating: Beating) -> None:
    """The kubelet notices neither: the one keeps the other's words, the other is made anew."""
    path = f"{LEASES}/{beating.name}"
    await beating.kube.patch(path, {"metadata": {"annotations": {"other": "word"}}})
    await beating.renew()
    assert (await beating.kube.get(path))["metadata"]["annotations"] == {"other": "word"}
    await beating.kube.delete(path)
    await beating.renew()
    assert (await beating.kube.get(path))["spec"]["leaseDurationSeconds"] == 40
    assert beating.by("kubelet") == []


# -- a cut in the middle, and damage; each with a hub of its own


async def test_hub_017_what_is_in_flight_at_the_cut_is_answered_from_the_store(
    plane: ControlPlane, tmp_path: Path
) -> None:
    """Within six seconds, with a hub's ordinary settings, also the kubelet's own Lease; nothing is a 502."""
    name = "hub-dark-flight"
    async with admin(plane) as kube, Site(plane, tmp_path / "site", node=name) as site:
        await kube.create("/api/v1/nodes", {"metadata": {"name": name}})
        node = Reader(site, pair=plane.node_files(name), agent="kubelet/v1.34.4 (linux/amd64)")
        beating = Beating(kube, node, name, Audit(plane))
        paths = (f"/api/v1/nodes/{name}", "/api/v1/services", f"{LEASES}/{name}?timeout=10s", "/version")
        try:
            await beating.renew()
            before = [await node.read(path) for path in paths]
            await site.link.cut()
            now = asyncio.get_running_loop().time
            begun = now()

            async def timed(path: str) -> tuple[dict[str, Any], float]:
                return await node.read(path), now() - begun

            got = await asyncio.gather(*(timed(path) for path in paths))
            await site.link.heal()
        finally:
            await kube.delete(f"/api/v1/nodes/{name}")
            await kube.delete(f"{LEASES}/{name}")
    assert [round(took) for _, took in got if took > 6] == []
    assert [one["metadata"]["name"] for one, _ in (got[0], got[2])] == [name, name]
    assert [one["metadata"]["name"] for one in got[1][0]["items"]] == [
        one["metadata"]["name"] for one in before[1]["items"]
    ]
    assert got[3][0] == before[3]


def damage(folder: Path, text: bytes) -> None:
    """Change one byte of the last place where a text stands in the files of a hub that does not run."""
    (file,) = [path for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]
    held = bytearray(file.read_bytes())
    held[held.rindex(text)] ^= 0x20
    file.write_bytes(held)


async def test_hub_056_damage_is_named_never_served_and_still_known_after_another_start(
    plane: ControlPlane, tmp_path: Path
) -> None:
    """One byte is wrong: that object is 503, neither 404 nor wrong; its neighbour is as it was; heal mends."""
    name = "hub-dark-damage"
    async with admin(plane) as kube, Site(plane, tmp_path / "site", node=name, flags=QUICK) as site:
        rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}
        reader = Reader(site, (await account(kube, name, "reader", rules=[rule])).token)
        path = f"/api/v1/namespaces/{name}/configmaps"
        try:
            for word in ("good", "rotten"):
                await kube.create(path, {"metadata": {"name": word}, "data": {"word": f"this is {word}"}})
                await reader.read(f"{path}/{word}")
            await reader.read(path)
            await site.hub.child.stop()
            await site.link.cut()
            damage(tmp_path / "site" / "root", b"this is rotten")
            await site.hub.child.start()
            for _ in range(2):
                assert (await reader.refused(f"{path}/rotten"))[0] == 503
                assert (await reader.refused(path))[0] == 503
                assert (await reader.read(f"{path}/good"))["data"] == {"word": "this is good"}
                await start_again(site)
            told = await site.hub.said("store.damaged", within=1)
            assert "rotten" in json.dumps(told)
            await heal(site)
            assert (await reader.read(f"{path}/rotten"))["data"] == {"word": "this is rotten"}
        finally:
            await kube.delete(f"/api/v1/namespaces/{name}")


async def test_watchers_of_every_kind_go_on_over_a_cut_and_see_each_change_once(
    plane: ControlPlane, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    """Begun lit, with a token and as the node, of all objects or some: none ends, none lists again, nothing is lost."""
    name = "hub-dark-flock"
    async with admin(plane) as kube, Site(plane, tmp_path / "site", node=name, flags=QUICK) as site:
        try:
            caller = await account(kube, name, "caller")
            await keep_answers_of(kube, site, "*")
            every = await flock(site.hub, kube, caller, plane.node_files(name), size=26, of_node=4)
            changes = every.changes
            for one in every.watchers:
                pair = None if one.token else plane.node_files(name)
                listed = await Reader(site, one.token, pair, one.agent).read(f"{one.path}?{one.selector}")
                one.since = int(listed["metadata"]["resourceVersion"])
            async with living(*every.watchers):
                await until(lambda: set(every.answers.values()) == {1}, "all watches have begun")
                await changes.create()
                await every.settled()
                # two that list the same set one after the other: the first may find its version overtaken
                relists = every.relists
                await cut(site)
                for _ in range(11):
                    await changes.create()
                    await changes.update()
                await site.hub.said("upstream.lost")  # what the link holds back is not delivered after all
                begun = asyncio.get_running_loop().time()
                await site.link.heal()
                await every.settled()
                took = asyncio.get_running_loop().time() - begun
                await changes.update()
                await every.settled()
        finally:
            for path in (f"/api/v1/namespaces/{name}", CONFIG):
                with contextlib.suppress(Missing):
                    await kube.delete(path)
    tell(f"heal: {len(every.watchers)} watchers saw {len(changes.made)} changes within {took:.1f} s")
    assert (every.relists - relists, every.torn, every.refused) == (0, [], [])
    assert set(every.answers.values()) == {1}
