"""kubectl of the built control plane, as an independent witness: not our client, not our code."""

import asyncio
import json
from pathlib import Path
from typing import Any

from yurtsim.controlplane import ControlPlane


async def kubectl(cloud: ControlPlane, *args: str, config: Path | None = None, within: float = 90.0) -> tuple[int, str]:
    """Run kubectl as admin, or with another kubeconfig; return its exit code and all that it said."""
    process = await asyncio.create_subprocess_exec(
        cloud.binaries / "kubectl",
        f"--kubeconfig={config or cloud.admin_kubeconfig}",
        f"--cache-dir={cloud.folder / 'kubectl-cache'}",
        *args,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(within):
            said, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return process.returncode, said.decode()


async def must(cloud: ControlPlane, *args: str, config: Path | None = None, within: float = 90.0) -> str:
    """Run kubectl and return what it said; the test fails with that if the exit code is not 0."""
    code, said = await kubectl(cloud, *args, config=config, within=within)
    assert code == 0, said
    return said


async def objects(cloud: ControlPlane, *args: str, config: Path | None = None) -> list[dict[str, Any]]:
    """Return the items of `kubectl get ARGS`."""
    items: list[dict[str, Any]] = json.loads(await must(cloud, "get", *args, "-o", "json", config=config))["items"]
    return items


async def can(cloud: ControlPlane, config: Path, *what: str) -> bool:
    """Say whether the API server allows `what` (arguments of `kubectl auth can-i`) to the user of `config`."""
    code, said = await kubectl(cloud, "auth", "can-i", *what, config=config)
    assert said.strip().splitlines()[-1].startswith("yes" if code == 0 else "no"), said
    return code == 0
