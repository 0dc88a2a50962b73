"""deploy/k8s on a real API server: what a node's identity may do with it, and that it goes without a trace."""

from pathlib import Path

import pytest
from kit.kubectl import can, kubectl, must
from kit.plane import MakePlane
from yurtsim import seed
from yurtsim.controlplane import ControlPlane

pytestmark = pytest.mark.controlplane

GRANTED = [
    ("list", "endpointslices.discovery.k8s.io", "--all-namespaces"),
    ("watch", "endpointslices.discovery.k8s.io", "--all-namespaces"),
    ("list", "servicecidrs.networking.k8s.io"),
    ("watch", "servicecidrs.networking.k8s.io"),
    ("create", "events.events.k8s.io", "-n", "default"),
    ("get", "/openid/v1/jwks"),
    ("get", "/.well-known/openid-configuration"),
    ("get", "configmaps/yurt-hub-cfg", "-n", "kube-system"),
    ("watch", "configmaps/yurt-hub-cfg", "-n", "kube-system"),
]
REFUSED = [
    ("get", "configmaps", "-n", "kube-system"),
    ("get", "configmaps/extension-apiserver-authentication", "-n", "kube-system"),
    ("get", "configmaps/yurt-hub-cfg", "-n", "default"),
    ("update", "configmaps/yurt-hub-cfg", "-n", "kube-system"),
    ("list", "configmaps", "--all-namespaces"),
    ("list", "secrets", "--all-namespaces"),
    ("get", "secrets/any", "-n", "kube-system"),
    ("update", "endpointslices.discovery.k8s.io", "-n", "default"),
    ("update", "leases.coordination.k8s.io/peer", "-n", "kube-node-lease"),
]


def node_config(cloud: ControlPlane, name: str = "n1") -> Path:
    return cloud.kubeconfig(f"node-{name}", cloud.server, pair=cloud.node_files(name))


@pytest.mark.parametrize("what", GRANTED, ids=" ".join)
async def test_a_node_may(plane: ControlPlane, what: tuple[str, ...]) -> None:
    """With deploy/k8s a node's identity may do what its hub needs."""
    assert await can(plane, node_config(plane), *what)


@pytest.mark.parametrize("what", REFUSED, ids=" ".join)
async def test_a_node_may_not(plane: ControlPlane, what: tuple[str, ...]) -> None:
    """Neither deploy/k8s nor Kubernetes lets a node's identity do more than that."""
    assert not await can(plane, node_config(plane), *what)


async def test_a_node_may_list_pools_once_there_is_such_a_kind(plane: ControlPlane) -> None:
    """The right stands before the kind does: 404, where a kind that no one granted gives 403."""
    config = node_config(plane)
    _, pools = await kubectl(plane, "get", "--raw", "/apis/apps.openyurt.io/v1beta2/nodepools", config=config)
    _, other = await kubectl(plane, "get", "--raw", "/apis/apps.openyurt.io/v1beta2/yurtappsets", config=config)
    assert "(NotFound)" in pools
    assert "(Forbidden)" in other


async def test_a_node_is_who_its_certificate_says(plane: ControlPlane) -> None:
    said = await must(plane, "auth", "whoami", config=node_config(plane))
    assert "system:node:n1" in said
    assert "system:nodes" in said


async def test_the_manifests_pass_the_api_servers_checks(plane: ControlPlane) -> None:
    """A server-side dry run accepts every object and would change nothing that is applied already."""
    said = await must(
        plane, "apply", "--server-side", "--dry-run=server", "--field-manager=yurt", "-k", str(seed.RIGHTS)
    )
    assert len(said.splitlines()) == 5
    assert all(line.endswith("serverside-applied (server dry run)") for line in said.splitlines())


async def test_rights_come_with_the_files_and_go_without_a_trace(private_plane: MakePlane) -> None:
    """Before apply and after delete a node gets 403; nothing labelled as Yurt's remains."""
    cloud = await private_plane(seeded=False)
    config = node_config(cloud)
    asked = ("get", "--raw", "/apis/discovery.k8s.io/v1/endpointslices")
    assert await kubectl(cloud, *asked, config=config) == (1, refused())
    await seed.rights(cloud)
    await seed.rights(cloud)  # twice is as good as once
    await must(cloud, *asked, config=config)
    await must(cloud, "delete", "-k", str(seed.RIGHTS))
    assert await kubectl(cloud, *asked, config=config) == (1, refused())
    kinds = "clusterroles,clusterrolebindings,roles,rolebindings"
    left = await must(cloud, "get", kinds, "-A", "-l", "app.kubernetes.io/part-of=yurt", "-o", "name")
    assert left == ""


def refused() -> str:
    what = 'resource "endpointslices" in API group "discovery.k8s.io" at the cluster scope'
    said = f'endpointslices.discovery.k8s.io is forbidden: User "system:node:n1" cannot list {what}'
    return f"Error from server (Forbidden): {said}\n"
