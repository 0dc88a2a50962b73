"""The supervisor of a local site: brings it up, keeps its processes alive, takes it down.

Everything at the edge reaches the cloud by its link and nothing else: the hub by its listener, kubelet and kube-proxy
by the plain port of their hub. What is written to the site's record is what every other `yurt` command knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from yurtcore.adapters.files import write_atomic
from yurtcore.adapters.kube import KubeClient
from yurtcore.errors import Retry, YurtError
from yurtcore.flow.stop import until_told
from yurtcore.wire.gvr import Gvr, path
from yurtsim import seed
from yurtsim.controlplane import ControlPlane
from yurtsim.hollow import HollowNode
from yurtsim.links import LinkControl
from yurtsim.probes import answers
from yurtsim.processes import Child, ProcessError, free_ports

from yurtctl import access
from yurtctl.folder import Folder
from yurtctl.keep import Kept, trim
from yurtctl.nodes import PORTS, hub_command, links_config, plan, ready
from yurtctl.progress import Tell
from yurtctl.record import Process, Site

START = 60.0
"""Seconds that one process has to become ready."""
SETTLE = 180.0
"""Seconds that the nodes have to become Ready, and then their pods to run."""
LOOK = 0.5
_NODES = Gvr("", "v1", "nodes")
_PODS = Gvr("", "v1", "pods")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a site shall be."""

    binaries: Path
    """Folder of the control plane's programs."""
    nodes: int = 1


async def run(folder: Folder, wanted: Wanted, tell: Tell, *, up: Callable[[Site], None]) -> None:
    """Bring a site up in a claimed folder and keep it until SIGTERM, SIGINT or SIGHUP; `up` hears once it is ready.

    Raises:
        YurtError: When it did not come up; every process has ended, the folder keeps the logs.
    """
    supervisor = Supervisor(folder, wanted, tell)
    async with until_told(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as stop:
        try:
            async with asyncio.TaskGroup() as group:
                life = group.create_task(supervisor.live(group, up))
                told = group.create_task(stop.wait())
                await asyncio.wait({life, told}, return_when=asyncio.FIRST_COMPLETED)
                if told.done() and not life.done():
                    supervisor.stopping()
                life.cancel()
                told.cancel()
        except BaseExceptionGroup as errs:
            first = errs.exceptions[0]
            supervisor.failed(first)
            raise first from None


class Supervisor:
    """One site's life."""

    def __init__(self, folder: Folder, wanted: Wanted, tell: Tell) -> None:
        self._folder, self._wanted, self._tell = folder, wanted, tell
        self._site = Site(phase="starting", pid=os.getpid(), started=time.time(), binaries=str(wanted.binaries))
        self._kept: list[Kept] = []

    async def live(self, group: asyncio.TaskGroup, up: Callable[[Site], None]) -> None:
        """Bring everything up in order, then stand by; on cancellation take it down in reverse."""
        async with contextlib.AsyncExitStack() as shed:
            cloud = await self._cloud(group, shed)
            admin = await shed.enter_async_context(KubeClient.from_kubeconfig(cloud.admin_kubeconfig))
            self._step("giving rights and the demo workload")
            await seed.rights(cloud)
            await seed.demo(cloud)
            await access.grant(admin)
            self._site.server = cloud.server
            self._site.nodes = plan(self._wanted.nodes, free_ports(PORTS * self._wanted.nodes))
            await access.mint(admin, self._folder, self._site)
            self._step("starting links and nodes")
            await self._layer(group, shed, [self._links(cloud)])
            await LinkControl(self._folder.links_socket).ready(START)
            await self._layer(group, shed, [self._hub(cloud, number) for number in range(len(self._site.nodes))])
            await self._layer(group, shed, self._components(cloud))
            trimming = group.create_task(trim(self._kept))
            shed.callback(trimming.cancel)
            self._step("waiting for the nodes to be Ready")
            await self._until(lambda: self._all_ready(admin), "the nodes are not Ready: see `yurt logs`")
            self._step("waiting for pods to run")
            await self._until(lambda: self._pods_run(admin), "the demo's pods do not run: see `yurt get pods -A`")
            self._site.phase = "ready"
            self._save()
            up(self._site)
            await asyncio.Event().wait()

    def stopping(self) -> None:
        """Note that the end has begun."""
        self._site.phase = "stopping"
        self._step("stopping")

    def failed(self, err: BaseException) -> None:
        """Note why there is no site."""
        self._site.phase, self._site.error = "failed", str(err)
        self._save()

    async def _cloud(self, group: asyncio.TaskGroup, shed: contextlib.AsyncExitStack) -> ControlPlane:
        self._step("starting the control plane")
        cloud = ControlPlane(self._folder.cloud, self._wanted.binaries)
        shed.push_async_callback(cloud.stop)
        await cloud.start()
        for child in cloud.children:
            kept = self._enter(child, child.name)
            if child is cloud.api_server:
                kept.record.addresses = {"api": cloud.server}
            kept.adopt()
            shed.callback(group.create_task(kept.keep()).cancel)
        return cloud

    async def _layer(self, group: asyncio.TaskGroup, shed: contextlib.AsyncExitStack, members: Sequence[Kept]) -> None:
        """Start processes side by side and keep them; they are stopped side by side too."""
        shed.push_async_callback(_each, [one.stop for one in members])
        await _each([partial(one.start, START) for one in members])
        for one in members:
            shed.callback(group.create_task(one.keep()).cancel)

    def _links(self, cloud: ControlPlane) -> Kept:
        config = links_config(self._site.nodes, f"127.0.0.1:{cloud.port}", self._folder.links_socket)
        write_atomic(self._folder.links_config, config)
        command = [sys.executable, "-m", "yurtsim.links", "--config", str(self._folder.links_config)]
        kept = self._enter(Child("links", command, log=self._folder.links_log), "links")
        kept.record.addresses = {"control": str(self._folder.links_socket)} | {
            node.name: node.link_url for node in self._site.nodes
        }
        return kept

    def _hub(self, cloud: ControlPlane, number: int) -> Kept:
        node = self._site.nodes[number]
        home = self._folder.node(node.name)
        command = hub_command(
            node,
            home / "hub",
            ca=cloud.ca_file,
            client=cloud.node_files(node.name),
            serving=cloud.hub_files(node.name),
        )
        (home / "hub").mkdir(parents=True, exist_ok=True, mode=0o700)
        alive = answers(f"{node.control_url}/livez")
        kept = self._enter(
            Child(f"hub of {node.name}", command, log=home / "hub.log", ready=alive), f"hub-{node.name}", node.name
        )
        kept.record.addresses = {"control": node.control_url, "plain": node.proxy_url, "tls": node.secure_url}
        kept.record.docs = f"{node.control_url}/docs"
        return kept

    def _components(self, cloud: ControlPlane) -> list[Kept]:
        """Hollow kubelets and kube-proxies, each behind its own hub."""
        kept = []
        for node in self._site.nodes:
            hollow = HollowNode(node.name, node.proxy_url, self._folder.node(node.name), cloud.binaries)
            kept.append(self._enter(hollow.kubelet(), f"kubelet-{node.name}", node.name))
            kept.append(self._enter(hollow.proxy(), f"kube-proxy-{node.name}", node.name))
        return kept

    def _enter(self, child: Child, name: str, node: str = "") -> Kept:
        record = Process(name=name, log=str(child.log), node=node)
        self._site.processes.append(record)
        kept = Kept(child, record, self._changed)
        self._kept.append(kept)
        return kept

    async def _all_ready(self, admin: KubeClient) -> bool:
        found = await admin.list(path(_NODES))
        up = {one["metadata"]["name"] for one in found["items"] if ready(one)}
        return up >= {node.name for node in self._site.nodes}

    async def _pods_run(self, admin: KubeClient) -> bool:
        pods = (await admin.list(path(_PODS, namespace=access.NAMESPACE)))["items"]
        return bool(pods) and all(pod.get("status", {}).get("phase") == "Running" for pod in pods)

    async def _until(self, holds: Callable[[], Awaitable[bool]], why: str) -> None:
        """Ask again and again until it holds.

        Raises:
            ProcessError: When it does not hold in time.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE):
                while True:
                    with contextlib.suppress(Retry):
                        if await holds():
                            return
                    await asyncio.sleep(LOOK)
        ended = "; ".join(f"{one.record.name} {one.record.last}" for one in self._kept if one.record.last)
        raise ProcessError(f"after {SETTLE:.0f} s {why}" + (f" ({ended})" if ended else ""))

    def _step(self, text: str) -> None:
        self._site.steps.append(text)
        self._save()
        self._tell.step(text)

    def _changed(self, line: str | None) -> None:
        self._save()
        if line is not None:
            self._tell.note(line)

    def _save(self) -> None:
        self._folder.write(self._site)


async def _each(works: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Do all of it side by side; the first error ends the rest and is raised alone."""

    async def one(work: Callable[[], Awaitable[None]]) -> None:
        await work()

    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(one(work))
    except BaseExceptionGroup as errs:
        known = [err for err in errs.exceptions if isinstance(err, YurtError)]
        raise (known or errs.exceptions)[0] from None
