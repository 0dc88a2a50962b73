"""What a fresh control plane is given: the rights of `deploy/k8s`, and a small demo workload.

Applied with the control plane's own kubectl (server-side apply), as its admin: the
same files and the same way as on a real cluster.
"""

import asyncio
from pathlib import Path

from yurtcore.errors import BadInput

from yurtsim.controlplane.plane import ControlPlane
from yurtsim.processes import Child, ProcessError

RIGHTS = Path(__file__).parents[3] / "deploy" / "k8s"
"""The kustomization that a real cluster gets too; only in a checkout."""
DEMO = Path(__file__).with_name("demo.yaml")
"""Namespace `demo`: ConfigMap, Secret, ServiceAccount with a Role, Deployment of 3 pods, Service."""

_APPLIED_WITHIN = 60.0


async def rights(cloud: ControlPlane) -> None:
    """Apply `deploy/k8s`; may be repeated. Raises ProcessError with kubectl's words."""
    if not (RIGHTS / "kustomization.yaml").is_file():
        raise BadInput(f"{RIGHTS} is missing: run Yurt from a checkout of its repository")
    await _apply(cloud, "-k", RIGHTS)


async def demo(cloud: ControlPlane) -> None:
    """Apply the demo workload; may be repeated. It needs a node before its pods run."""
    await _apply(cloud, "-f", DEMO)


async def _apply(cloud: ControlPlane, option: str, source: Path) -> None:
    command: list[str | Path] = [
        cloud.binaries / "kubectl",
        f"--kubeconfig={cloud.admin_kubeconfig}",
        f"--cache-dir={cloud.folder / 'kubectl-cache'}",
        "apply",
        "--server-side",
        "--field-manager=yurt",
        option,
        source,
    ]
    kubectl = Child("kubectl apply", command, log=cloud.folder / "logs" / "seed.log")
    kubectl.spawn()
    try:
        async with asyncio.timeout(_APPLIED_WITHIN):
            code = await kubectl.exited()
    finally:
        kubectl.kill()
    if code:
        raise ProcessError(kubectl.obituary())
