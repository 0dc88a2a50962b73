"""kubectl through the hub's TLS port: a service account stays itself, and nothing of a request or answer is lost."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from kit.accounts import RBAC, Account, Audit, account, admin
from kit.hub import WITHIN, Site
from kit.kubectl import kubectl, must
from yurtcore.adapters.kube import KubeClient
from yurtsim.controlplane import ControlPlane

pytestmark = pytest.mark.controlplane


@pytest.fixture
async def kube(plane: ControlPlane) -> AsyncIterator[KubeClient]:
    """Return a client for the cluster's admin that goes round the hub."""
    async with admin(plane) as client:
        yield client


@pytest.fixture
def config(site: Site, caller: Account) -> Path:
    """Return a kubeconfig with the account's token that leads through the hub."""
    return site.config("caller", token=caller.token)


async def whoami(cloud: ControlPlane, config: Path, *args: str) -> str:
    """Return the user that the API server sees."""
    said = await must(cloud, "auth", "whoami", "-o", "json", *args, config=config)
    return str(json.loads(said)["status"]["userInfo"]["username"])


async def test_an_account_creates_gets_lists_patches_and_deletes_as_itself(
    plane: ControlPlane, config: Path, caller: Account
) -> None:
    """Every request arrives at the API server as the account's, none as the node's."""
    audit = Audit(plane)
    here = ("-n", caller.namespace)
    await must(plane, "create", "configmap", "one", "--from-literal=a=1", *here, config=config)
    assert await must(plane, "get", "configmap", "one", *here, "-o", "jsonpath={.data.a}", config=config) == "1"
    listed = await must(plane, "get", "configmaps", *here, "-o", "name", config=config)
    assert "configmap/one" in listed.splitlines()
    await must(plane, "patch", "configmap", "one", *here, "-p", '{"data":{"a":"2"}}', config=config)
    assert await must(plane, "get", "configmap", "one", *here, "-o", "jsonpath={.data.a}", config=config) == "2"
    await must(plane, "delete", "configmap", "one", *here, config=config)
    code, said = await kubectl(plane, "get", "configmap", "one", *here, config=config)
    assert (code, "NotFound" in said) == (1, True)
    mine = [line for line in audit.by("kubectl/") if line.get("objectRef", {}).get("namespace") == caller.namespace]
    assert {"create", "get", "list", "patch", "delete"} <= {line["verb"] for line in mine}
    assert {line["user"]["username"] for line in mine} == {caller.user}


async def test_a_watch_shows_what_others_change_meanwhile(
    plane: ControlPlane, kube: KubeClient, config: Path, caller: Account
) -> None:
    """`kubectl get -w` prints an object that was made after it began, and its change, and its end."""
    path = f"/api/v1/namespaces/{caller.namespace}/configmaps"
    watching = await asyncio.create_subprocess_exec(
        plane.binaries / "kubectl",
        f"--kubeconfig={config}",
        f"--cache-dir={plane.folder / 'kubectl-cache'}",
        *("get", "configmaps", "-n", caller.namespace, "--watch-only", "--output-watch-events", "--no-headers"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert watching.stdout is not None
    try:
        for number in range(1000):  # it has begun when it sees one of these
            await kube.create(path, {"metadata": {"name": f"seen-{number}"}})
            try:
                async with asyncio.timeout(0.5):
                    line = await watching.stdout.readline()
            except TimeoutError:
                continue
            break
        while f"seen-{number}" not in line.decode():
            line = await asyncio.wait_for(watching.stdout.readline(), WITHIN)
        await kube.patch(f"{path}/seen-{number}", {"data": {"a": "1", "b": "2"}})
        await kube.delete(f"{path}/seen-{number}")
        seen = [(await asyncio.wait_for(watching.stdout.readline(), WITHIN)).split()[:3] for _ in range(2)]
    finally:
        watching.terminate()
        await watching.communicate()
    assert seen == [[b"MODIFIED", f"seen-{number}".encode(), b"2"], [b"DELETED", f"seen-{number}".encode(), b"2"]]


async def test_hub_014_a_token_reaches_the_cloud_alone_and_the_kubelets_certificate_as_the_node(
    plane: ControlPlane, site: Site, caller: Account
) -> None:
    """With a token a caller is its account, whatever certificate it shows too; with the kubelet's alone, the node."""
    audit = Audit(plane)
    own = plane.node_files(site.node)
    assert await whoami(plane, site.config("token", token=caller.token)) == caller.user
    assert await whoami(plane, site.config("both", token=caller.token, pair=own)) == caller.user
    assert await whoami(plane, site.config("node", pair=own)) == f"system:node:{site.node}"
    asked = [line for line in audit.by("kubectl/") if line.get("objectRef", {}).get("resource") == "selfsubjectreviews"]
    assert [line["user"]["username"] for line in asked] == [caller.user, caller.user, f"system:node:{site.node}"]
    _, said = await kubectl(plane, "auth", "whoami", config=site.config("bad", token="bad", pair=own))
    assert "Unauthorized" in said, "a bad token is not made good by the certificate beside it"


async def test_impersonation_passes_for_those_who_may(
    plane: ControlPlane, kube: KubeClient, site: Site, caller: Account, config: Path
) -> None:
    """`--as` reaches the API server, which lets an account with the right to it, and refuses another."""
    boss = await account(kube, caller.namespace, "boss", rules=())
    rule = {"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"], "resourceNames": ["alice"]}
    name = f"impersonate-{caller.namespace}"
    await kube.create(f"{RBAC}/clusterroles", {"metadata": {"name": name}, "rules": [rule]})
    binding = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": boss.name, "namespace": boss.namespace}],
    }
    await kube.create(f"{RBAC}/clusterrolebindings", binding)
    try:
        assert await whoami(plane, site.config("boss", token=boss.token), "--as=alice") == "alice"
        code, said = await kubectl(plane, "get", "--raw", "/api", "--as=alice", config=config)
        assert (code, "cannot impersonate" in said) == (1, True), said
    finally:
        await kube.delete(f"{RBAC}/clusterrolebindings/{name}")
        await kube.delete(f"{RBAC}/clusterroles/{name}")


async def test_discovery_and_server_side_apply_work(plane: ControlPlane, caller: Account, config: Path) -> None:
    """What kubectl needs before it can write: discovery, OpenAPI, apply and diff of what is applied."""
    manifest = config.with_name("applied.json")
    wanted = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "applied", "namespace": caller.namespace},
        "data": {"a": "1"},
    }
    manifest.write_text(json.dumps(wanted))
    fresh = f"--cache-dir={config.parent / 'empty-cache'}"
    await must(plane, fresh, "apply", "--server-side", "-f", str(manifest), config=config)
    assert "configmaps" in await must(plane, fresh, "api-resources", config=config)
    assert "DESCRIPTION" in await must(plane, fresh, "explain", "configmap.data", config=config)
    await must(plane, fresh, "diff", "--server-side", "-f", str(manifest), config=config)
