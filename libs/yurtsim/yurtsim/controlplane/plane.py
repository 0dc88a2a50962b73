"""The cloud of a local site: a real etcd, API server, controller manager and scheduler.

    async with ControlPlane(folder, binaries) as cloud:
        ...  # cloud.server, cloud.ca_file, cloud.admin_kubeconfig

Everything listens on loopback, on ports of its own, with a PKI in `folder`. On exit
the processes end in reverse order, each within a deadline, and the folder can be removed.
"""

import asyncio
import json
import ssl
from dataclasses import fields
from pathlib import Path
from typing import Self

from yurtcore.adapters.files import write_atomic

from yurtsim.controlplane import flags
from yurtsim.controlplane.flags import Files, Ports, Wishes
from yurtsim.pki import Pair, Pki, kubeconfig
from yurtsim.probes import Probe, answers
from yurtsim.processes import Child, free_ports

_START_WITHIN = 60.0
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}


class ControlPlane:
    """One control plane in `folder`, from the programs in `binaries`."""

    def __init__(self, folder: Path, binaries: Path, wishes: Wishes | None = None) -> None:
        self.folder = folder
        self.binaries = binaries
        self.wishes = wishes or Wishes()
        self.pki = Pki(folder / "pki")
        self.children: list[Child] = []
        """The processes in the order they were started: etcd, kube-apiserver and its company."""
        self._ports: Ports | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start all four and wait until each is ready; raises ProcessError and leaves none behind otherwise."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._ports = ports = Ports(*free_ports(len(fields(Ports))))
        files = self._files()
        self.children = self._children(ports, files)
        etcd, api, *company = self.children
        try:
            await etcd.start(_START_WITHIN)
            await api.start(_START_WITHIN)
            for child in company:
                child.spawn()
            async with asyncio.TaskGroup() as group:
                for child in company:
                    group.create_task(child.settle(_START_WITHIN))
        except BaseException as err:
            await self.stop()
            if isinstance(err, BaseExceptionGroup):
                raise err.exceptions[0] from None
            raise

    async def stop(self) -> None:
        """End all processes, last started first; also when this is cancelled, then at once."""
        try:
            for child in reversed(self.children):
                await child.stop()
        finally:
            for child in reversed(self.children):
                child.kill()

    async def stop_api_server(self, *, kill: bool = False) -> None:
        """End kube-apiserver only: by SIGTERM, or at once with `kill`. etcd and the company stay."""
        if kill:
            self.api_server.kill()
        else:
            await self.api_server.stop(within=_START_WITHIN)

    async def start_api_server(self) -> None:
        """Start kube-apiserver again on the same port and wait until it is ready."""
        await self.api_server.start(_START_WITHIN)

    @property
    def api_server(self) -> Child:
        """The API server's process."""
        return self.children[1]

    @property
    def port(self) -> int:
        """The API server's port on 127.0.0.1."""
        if self._ports is None:
            raise RuntimeError("the control plane was not started")
        return self._ports.api

    @property
    def server(self) -> str:
        """The API server's URL."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca_file(self) -> Path:
        """Certificate of the authority that signed the API server's certificate and all clients'."""
        return self.pki.authority().cert

    @property
    def admin(self) -> Pair:
        """Client certificate in `system:masters`; for seeding only."""
        return self.pki.issue("admin", user="yurt-admin", groups=("system:masters",))

    @property
    def admin_kubeconfig(self) -> Path:
        """A kubeconfig file (JSON) for `admin`; there from start on."""
        return self._kubeconfig_path("admin")

    @property
    def audit_log(self) -> Path:
        """Where answered requests are noted, if `wishes.audit`."""
        return self.folder / "logs" / "audit.log"

    def node_files(self, name: str) -> Pair:
        """Return the client certificate of node `name`'s kubelet."""
        return self.pki.node(name)

    def hub_files(self, name: str) -> Pair:
        """Return the serving certificate of the hub on node `name`."""
        return self.pki.hub(name)

    def kubeconfig(self, name: str, server: str, *, pair: Pair | None = None, token: str | None = None) -> Path:
        """Write `kubeconfigs/NAME` for `server` (http or https) and return its path."""
        path = self._kubeconfig_path(name)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        ca = self.ca_file if server.startswith("https://") else None
        write_atomic(path, kubeconfig(server, ca=ca, pair=pair, token=token), mode=0o600)
        return path

    def _kubeconfig_path(self, name: str) -> Path:
        return self.folder / "kubeconfigs" / name

    def _files(self) -> Files:
        pki = self.pki
        self.kubeconfig("admin", self.server, pair=self.admin)
        masters = ("system:masters",)
        controllers = pki.issue("controller-manager", user="system:kube-controller-manager")
        scheduler = pki.issue("scheduler", user="system:kube-scheduler")
        policy = self.folder / "audit-policy.json"
        write_atomic(policy, json.dumps(_AUDIT_POLICY).encode(), mode=0o600)
        return Files(
            data=self.folder / "etcd",
            audit=self.audit_log,
            audit_policy=policy,
            ca=pki.authority(),
            etcd_ca=pki.authority("etcd-ca"),
            etcd=pki.issue("etcd", user="etcd", names=("127.0.0.1", "localhost"), authority="etcd-ca"),
            server=pki.issue("apiserver", user="kube-apiserver", names=flags.SERVER_NAMES),
            kubelet_client=pki.issue("kubelet-client", user="kube-apiserver-kubelet-client", groups=masters),
            accounts=pki.service_accounts(),
            controllers_config=self.kubeconfig("controller-manager", self.server, pair=controllers),
            scheduler_config=self.kubeconfig("scheduler", self.server, pair=scheduler),
        )

    def _children(self, ports: Ports, files: Files) -> list[Child]:
        tls = ssl.create_default_context(cafile=str(files.ca.cert))

        def child(name: str, command: list[str], ready: Probe) -> Child:
            return Child(name, command, log=self.folder / "logs" / f"{name}.log", ready=ready)

        def program(name: str) -> Path:
            return self.binaries / name

        return [
            child(
                "etcd",
                flags.etcd(program("etcd"), ports, files, self.wishes),
                answers(f"http://127.0.0.1:{ports.etcd_health}/readyz"),
            ),
            child(
                "kube-apiserver",
                flags.api_server(program("kube-apiserver"), ports, files, self.wishes),
                answers(f"https://127.0.0.1:{ports.api}/readyz", tls=tls),
            ),
            child(
                "kube-controller-manager",
                flags.controller_manager(program("kube-controller-manager"), ports, files, self.wishes),
                answers(f"https://127.0.0.1:{ports.controllers}/healthz", tls=tls),
            ),
            child(
                "kube-scheduler",
                flags.scheduler(program("kube-scheduler"), ports, files, self.wishes),
                answers(f"https://127.0.0.1:{ports.scheduler}/healthz", tls=tls),
            ),
        ]
