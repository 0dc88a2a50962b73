"""A real node behind the hub, lit: a hollow kubelet and kube-proxy that know nothing but the hub's plain port."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kit.accounts import Audit, admin, there
from kit.hub import LOOK_EVERY, OWN_WATCHES, WITHIN, Site
from kit.plane import run
from yurtcore.adapters.kube import KubeClient
from yurtcore.errors import Missing
from yurtsim.controlplane import ControlPlane
from yurtsim.hollow import HollowNode

pytestmark = pytest.mark.controlplane

REPLICAS = 3
PODS = 30
"""As many as the budget of connections is written for: each has a ConfigMap and a Secret of its own."""
MOST_CONNECTIONS = 8
AGENTS = {"hollow-kubelet", "hollow-proxy"}


@pytest.fixture(scope="module")
def audit(plane: ControlPlane) -> Audit:
    """Return what the API server notes from before the node's first request."""
    return Audit(plane)


@pytest.fixture(scope="module")
def node(
    plane: ControlPlane, site: Site, audit: Audit, home: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Return the name of a node whose components run; their kubeconfig holds an http address and nothing else."""
    hollow = HollowNode(home, site.hub.plain_url, tmp_path_factory.mktemp("hollow"), plane.binaries)
    kubelet, proxy = hollow.kubelet(), hollow.proxy()

    async def leave() -> None:
        await proxy.stop()
        await kubelet.stop()
        async with admin(plane) as kube:
            await kube.delete(f"/api/v1/namespaces/{home}")
            await kube.delete(f"/api/v1/nodes/{home}")

    run(kubelet.start(WITHIN))
    run(proxy.start(WITHIN))
    try:
        yield home
    finally:
        run(leave())
        shutil.rmtree(hollow.folder)


@pytest.fixture(scope="module")
def pods(plane: ControlPlane, node: str) -> list[dict[str, Any]]:
    """Return the pods of the node: three of a Deployment, the others bare; all run."""

    async def make() -> list[dict[str, Any]]:
        async with admin(plane) as kube:
            await ready(kube, node)
            return await load(kube, node)

    return run(make())


async def ready(kube: KubeClient, node: str) -> None:
    """Wait until a node is Ready."""
    async with asyncio.timeout(WITHIN):
        while not is_true(await there(kube, f"/api/v1/nodes/{node}"), "Ready"):
            await asyncio.sleep(LOOK_EVERY)


def is_true(obj: dict[str, Any], condition: str) -> bool:
    """Say whether an object's condition holds."""
    found = obj.get("status", {}).get("conditions", [])
    return any(one["type"] == condition and one["status"] == "True" for one in found)


async def load(kube: KubeClient, node: str) -> list[dict[str, Any]]:
    """Put a Deployment and bare pods on a node and wait until all run."""
    path = f"/api/v1/namespaces/{node}"
    await kube.create("/api/v1/namespaces", {"metadata": {"name": node}})
    await there(kube, f"{path}/serviceaccounts/default")
    await there(kube, f"{path}/configmaps/kube-root-ca.crt")
    names = ["app", *(f"bare-{number}" for number in range(PODS - REPLICAS))]
    for name in names:
        await kube.create(f"{path}/configmaps", {"metadata": {"name": name}, "data": {"a": name}})
        await kube.create(f"{path}/secrets", {"metadata": {"name": name}, "stringData": {"b": name}})
    app = {
        "metadata": {"name": "app"},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": {"app": "app"}},
            "template": {
                "metadata": {"labels": {"app": "app"}},
                "spec": spec("app") | {"nodeSelector": {"kubernetes.io/hostname": node}},
            },
        },
    }
    await kube.create(f"/apis/apps/v1/namespaces/{node}/deployments", app)
    for name in names[1:]:
        await kube.create(f"{path}/pods", {"metadata": {"name": name}, "spec": spec(name) | {"nodeName": node}})
    async with asyncio.timeout(2 * WITHIN):
        while True:
            found: list[dict[str, Any]] = (await kube.list(f"{path}/pods"))["items"]
            if sum(is_true(pod, "Ready") for pod in found) == PODS:
                return found
            await asyncio.sleep(5 * LOOK_EVERY)


def spec(name: str) -> dict[str, Any]:
    """Return a pod's spec with a ConfigMap, a Secret and, as every pod, a token."""
    mounts = [{"name": kind, "mountPath": f"/{kind}"} for kind in ("config", "secret")]
    return {
        "containers": [{"name": "c", "image": "registry.k8s.io/pause:3.10", "volumeMounts": mounts}],
        "volumes": [
            {"name": "config", "configMap": {"name": name}},
            {"name": "secret", "secret": {"secretName": name}},
        ],
    }


def test_thirty_pods_run_with_config_maps_secrets_and_tokens(
    plane: ControlPlane, site: Site, audit: Audit, node: str, pods: list[dict[str, Any]]
) -> None:
    """They run on the node, and the kubelet fetched for each what it mounts."""
    assert {pod["spec"]["nodeName"] for pod in pods} == {node}
    noted = [line for line in audit.by("hollow-kubelet") if "objectRef" in line]
    assert {line["responseStatus"]["code"] for line in noted if line["objectRef"].get("subresource") == "token"} == {
        201
    }
    for kind in ("configmaps", "secrets"):
        watched = {line["objectRef"].get("name") for line in noted if names(line, "watch", kind)}
        assert {pod["spec"]["volumes"][0]["configMap"]["name"] for pod in pods} <= watched


def names(line: dict[str, Any], verb: str, resource: str) -> bool:
    """Say whether an audit line is of such a request."""
    return bool(line["verb"] == verb and line["objectRef"]["resource"] == resource)


def test_every_request_of_kubelet_and_proxy_came_as_the_node(
    audit: Audit, node: str, pods: list[dict[str, Any]]
) -> None:
    """No other identity, and nothing of theirs was refused for want of rights.

    What a pod mounts may be refused for a moment: the API server learns by a watch of its own that the pod is here.
    """
    lines = [line for agent in AGENTS for line in audit.by(agent)]
    assert {line["userAgent"].split("/")[0] for line in lines} == AGENTS
    assert {line["user"]["username"] for line in lines} == {f"system:node:{node}"}
    refused = {(line["verb"], line["requestURI"]) for line in lines if code(line) in (401, 403)}
    assert not {uri for _, uri in refused if f"/namespaces/{node}/" not in uri}
    wanted = {
        ("hollow-kubelet", "create", "nodes"),
        ("hollow-kubelet", "patch", "nodes"),
        ("hollow-kubelet", "create", "leases"),
        ("hollow-kubelet", "watch", "pods"),
        ("hollow-kubelet", "watch", "services"),
        ("hollow-proxy", "watch", "services"),
        ("hollow-proxy", "watch", "endpointslices"),
    }
    seen = {
        (line["userAgent"].split("/")[0], line["verb"], line["objectRef"]["resource"])
        for line in lines
        if "objectRef" in line
    }
    assert wanted <= seen


def code(line: dict[str, Any]) -> int:
    """Return the status of an audit line's answer; 0 while there is none."""
    return int(line.get("responseStatus", {}).get("code", 0))


async def test_a_node_with_thirty_pods_holds_at_most_eight_connections(
    site: Site, audit: Audit, pods: list[dict[str, Any]], tell: Callable[[str], None]
) -> None:
    """Counted by the hub and at the link; each watch is one stream at the API server, and none is there twice."""
    async with asyncio.timeout(WITHIN):
        while True:
            told, link = await site.hub.upstreams(), await site.linked()
            watches = [one for agent in AGENTS for one in audit.watches(agent).values()]
            if told["connections"] == link["open"] and told["streams"] == len(watches) + OWN_WATCHES:
                break
            await asyncio.sleep(LOOK_EVERY)
    tell(f"{PODS} pods: {link['open']} connections ({link['total']} ever), {len(watches)} watches")
    assert link["open"] <= MOST_CONNECTIONS
    assert len(watches) > 2 * PODS
    assert len(set(watches)) == len(watches)


async def test_the_kubelet_renews_its_lease_and_follows_a_changed_pod(
    plane: ControlPlane, node: str, pods: list[dict[str, Any]]
) -> None:
    """What the cloud asks for later arrives by the watches: a deleted pod is gone, its place filled anew."""
    path = f"/api/v1/namespaces/{node}"
    lease = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{node}"
    async with admin(plane) as kube:
        before = (await there(kube, lease))["spec"]["renewTime"]
        first = next(pod["metadata"]["name"] for pod in pods if pod["metadata"]["name"].startswith("app-"))
        await kube.delete(f"{path}/pods/{first}", query={"gracePeriodSeconds": 1})
        async with asyncio.timeout(WITHIN):
            while await exists(kube, f"{path}/pods/{first}") or await running(kube, path) < PODS:
                await asyncio.sleep(5 * LOOK_EVERY)
            while (await kube.get(lease))["spec"]["renewTime"] == before:
                await asyncio.sleep(5 * LOOK_EVERY)


async def exists(kube: KubeClient, path: str) -> bool:
    """Say whether an object is there."""
    try:
        await kube.get(path)
    except Missing:
        return False
    return True


async def running(kube: KubeClient, path: str) -> int:
    """Count the pods that are Ready."""
    return sum(is_true(pod, "Ready") for pod in (await kube.list(f"{path}/pods"))["items"])
