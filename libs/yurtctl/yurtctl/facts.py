"""What a site is doing now, asked of everything that knows: the record, the system, the links, the hubs, the cloud.

Each part that does not answer is named as such; the others are shown all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeAlias

from yurtcore.adapters.kube import KubeClient
from yurtcore.errors import YurtError
from yurtcore.wire.gvr import Gvr, path
from yurtsim.links import LinkControl

from yurtctl import access
from yurtctl.detached import alive
from yurtctl.folder import Folder
from yurtctl.nodes import ready
from yurtctl.record import Process, Site

Facts: TypeAlias = dict[str, Any]

WITHIN = 4.0
"""Seconds that each part has to answer."""
_NODES = Gvr("", "v1", "nodes")
_PODS = Gvr("", "v1", "pods")


async def gather(folder: Folder) -> Facts:
    """All that can be known, as JSON's types; see `show.table` for the words.

    Raises:
        Missing: When there is no site.
    """
    site = folder.read()
    running = folder.running
    problems: list[str] = []
    if not running and site.phase in {"starting", "ready", "stopping"}:
        problems.append(
            "the supervisor is gone, and its processes with it: `yurt up` starts anew, `yurt down` cleans up"
        )

    async def part(what: str, work: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(WITHIN):
                return await work
        except TimeoutError:
            problems.append(f"{what}: no answer in {WITHIN:.0f} s")
        except YurtError as err:
            problems.append(f"{what}: {err}")
        return None

    async with asyncio.TaskGroup() as group:
        if running:
            links = group.create_task(part("links", LinkControl(folder.links_socket).show()))
            cloud = group.create_task(part("cloud", _cloud(folder, site)))
            hubs = {
                node.name: group.create_task(part(f"hub of {node.name}", _hub(node.control_url))) for node in site.nodes
            }
    seen = (cloud.result() or {}) if running else {}
    return {
        "state": str(folder.root),
        "phase": site.phase if running or site.phase == "failed" else "dead",
        "error": site.error,
        "supervisor": {"pid": site.pid, "running": running, "since": site.started, "log": str(folder.log)},
        "cloud": {"server": site.server, "kubeconfig": str(folder.kubeconfig()), "answers": bool(seen)},
        "nodes": [
            {"name": node.name, "pool": node.pool, "kubeconfig": str(folder.kubeconfig(node.name))}
            | seen.get(node.name, {"ready": None, "pods": None})
            | {"hub": hubs[node.name].result() if running else None}
            for node in site.nodes
        ],
        "links": links.result() if running else None,
        "processes": [_process(one) for one in site.processes],
        "problems": problems,
    }


def _process(one: Process) -> Facts:
    """A process by the record, corrected by what the system says of its pid."""
    state = one.state
    if state in {"starting", "running"} and not alive(one.pid):
        state = "ended"
    return {
        "name": one.name,
        "node": one.node or None,
        "pid": one.pid if state != "ended" else None,
        "state": state,
        "restarts": one.restarts,
        "addresses": one.addresses,
        "docs": one.docs,
        "log": one.log,
        "last": one.last,
    }


async def _cloud(folder: Folder, site: Site) -> dict[str, Facts]:
    """Nodes by name: Ready or not, and how many of their pods run."""
    async with KubeClient.from_kubeconfig(await access.fresh(folder, site)) as client:
        nodes = (await client.list(path(_NODES)))["items"]
        pods = (await client.list(path(_PODS)))["items"]
    seen: dict[str, Facts] = {}
    for node in nodes:
        name = node["metadata"]["name"]
        own = [pod for pod in pods if pod.get("spec", {}).get("nodeName") == name]
        running = sum(pod.get("status", {}).get("phase") == "Running" for pod in own)
        seen[name] = {"ready": ready(node), "pods": {"running": running, "all": len(own)}}
    return seen


async def _hub(url: str) -> Facts:
    """What a hub says about itself on its control API: ready or why not, its API servers, its connections to them."""
    async with KubeClient(url) as client:
        code, _, why = await client.raw("GET", "/v1/readyz")
        links = await client.get("/v1/links")
        upstreams = await client.get("/v1/upstreams")
    return {
        "ready": code == 200,
        "why": None if code == 200 else why.decode(errors="replace").strip(),
        "servers": links["links"],
        "connections": upstreams["connections"],
        "streams": upstreams["streams"],
    }
