"""The real control plane and hollow nodes: what tests and `yurt up` rely on."""

import json
import os
import socket
from pathlib import Path

import pytest
from kit.kubectl import must, objects
from kit.plane import MakePlane
from yurtsim import seed
from yurtsim.controlplane import ControlPlane, Wishes
from yurtsim.hollow import HollowNode
from yurtsim.processes import ProcessError, free_ports

pytestmark = pytest.mark.controlplane

RUNNING = "--for=jsonpath={.status.phase}=Running"


async def test_all_processes_come_up_and_end_without_leftovers(private_plane: MakePlane, tmp_path: Path) -> None:
    """After stop there is no process, no port that answers, and the folder can be removed."""
    cloud = await private_plane(seeded=False)
    assert [child.name for child in cloud.children] == [
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
    ]
    pids = [child.pid for child in cloud.children]
    assert all(child.running for child in cloud.children)
    said = json.loads(await must(cloud, "version", "-o", "json"))
    assert said["serverVersion"]["gitVersion"] == said["clientVersion"]["gitVersion"] == "v1.34.4"
    await cloud.stop()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert -9 not in [child.returncode for child in cloud.children], "each ended by itself, within its deadline"
    with socket.socket() as trial:
        assert trial.connect_ex(("127.0.0.1", cloud.port)) != 0


def test_everything_listens_on_loopback_only(plane: ControlPlane) -> None:
    """No port of etcd, API server, controller manager or scheduler is open to the network."""
    listening = [address for child in plane.children for address in listeners(child.pid)]
    assert len(listening) == 6
    assert {address.partition(":")[0] for address in listening} == {"0100007F"}


def listeners(pid: int) -> list[str]:
    """Return the local addresses, in the kernel's hexadecimal, at which a process accepts connections."""
    held = {str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()}
    tables = [Path(f"/proc/{pid}/net/{name}").read_text() for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table.splitlines()]
    return [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in held]


def below_tmp() -> set[str]:
    """Return what hollow kubelets have below /tmp."""
    return {path.name for path in Path("/tmp").iterdir() if path.name.startswith(("hollow-kubelet", "kubelet_remote"))}


async def test_keys_are_readable_by_their_owner_only(plane: ControlPlane) -> None:
    plane.node_files("modes")
    files = [*plane.pki.folder.iterdir(), plane.admin_kubeconfig]
    assert files
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


async def test_the_api_server_comes_back_on_its_port_after_stop_and_after_kill(private_plane: MakePlane) -> None:
    """Objects written before a graceful stop and before kill -9 are there afterwards, at the same address."""
    cloud = await private_plane(seeded=False)
    server = cloud.server
    for kill, name in ((False, "before-stop"), (True, "before-kill")):
        await must(cloud, "create", "configmap", name)
        await cloud.stop_api_server(kill=kill)
        assert cloud.api_server.returncode == (-9 if kill else 0)
        await cloud.start_api_server()
        assert cloud.server == server
        assert name in await must(cloud, "get", "configmaps")


async def test_a_taken_port_is_said_with_the_log(private_plane: MakePlane, tmp_path: Path, binaries: Path) -> None:
    """An API server that cannot listen ends the start at once, names the reason and leaves no process."""
    with socket.socket() as squatter:
        port = free_ports(1)[0]
        squatter.bind(("127.0.0.1", port))
        squatter.listen()
        cloud = ControlPlane(tmp_path / "taken", binaries, Wishes(extra={"kube-apiserver": (f"--secure-port={port}",)}))
        with pytest.raises(ProcessError, match="address already in use"):
            await cloud.start()
    assert not any(child.running for child in cloud.children)


async def test_a_hollow_node_runs_the_demo(private_plane: MakePlane, tmp_path: Path) -> None:
    """Straight at the API server, on loopback only: pods with ConfigMap, Secret and token run, endpoints follow."""
    cloud = await private_plane(Wishes(audit=True))
    node = HollowNode(
        "n1",
        cloud.server,
        tmp_path / "n1",
        cloud.binaries,
        ca=cloud.ca_file,
        pair=cloud.node_files("n1"),
        labels={"apps.openyurt.io/nodepool": "hangzhou"},
    )
    before = below_tmp()
    async with node.kubelet() as kubelet, node.proxy() as proxy:
        await must(cloud, "wait", "--for=create", "node/n1", "--timeout=60s")
        await must(cloud, "wait", "--for=condition=Ready", "node/n1", "--timeout=60s")
        await seed.demo(cloud)
        await must(cloud, "-n", "demo", "rollout", "status", "deployment/demo", "--timeout=80s")
        # kubemark calls a pod ready a moment before its container runs
        await must(cloud, "-n", "demo", "wait", "pods", "-l", "app=demo", RUNNING, "--timeout=60s")
        (item,) = await objects(cloud, "nodes")
        assert item["metadata"]["labels"]["apps.openyurt.io/nodepool"] == "hangzhou"
        pods = await objects(cloud, "-n", "demo", "pods")
        assert [(pod["status"]["phase"], pod["spec"]["nodeName"]) for pod in pods] == [("Running", "n1")] * 3
        slices = await objects(cloud, "-n", "demo", "endpointslices")
        assert sum(len(one["endpoints"]) for one in slices) == 3
        asked = [json.loads(line) for line in cloud.audit_log.read_text().splitlines()]
        by_node = [entry for entry in asked if entry["user"]["username"] == "system:node:n1"]
        uris = " ".join(entry["requestURI"] for entry in by_node)
        for part in ("metadata.name%3Ddemo-settings", "metadata.name%3Ddemo-secret", "serviceaccounts/demo/token"):
            assert part in uris
        assert not [entry for entry in by_node if entry["responseStatus"]["code"] == 403]
        assert proxy.running
        listening = listeners(kubelet.pid)
        assert len(listening) == 2
        assert {address.partition(":")[0] for address in listening} == {"0100007F"}
    assert below_tmp() <= before
