"""Command lines of etcd and the four Kubernetes processes, as plain data.

Pure: ports, files and wishes in, argument lists out. Only flags that differ from
the defaults for a reason are set.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from yurtsim.pki import Pair

ADVERTISED = "192.0.2.1"
"""Documentation address (RFC 5737). The `kubernetes` endpoints may not be loopback, and nothing dials it."""
SERVICE_RANGE = "10.96.0.0/16"
SERVICE_ADDRESS = "10.96.0.1"
ISSUER = "https://kubernetes.default.svc.cluster.local"
SERVER_NAMES = (
    "127.0.0.1",
    ADVERTISED,
    SERVICE_ADDRESS,
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a user of the control plane may want otherwise."""

    goaway_chance: float = 0.0
    """Chance that a request over HTTP/2 is answered with GOAWAY too; kube-apiserver accepts up to 0.02."""
    node_monitor_period: str | None = None
    """How often the controller manager looks at Leases (its default: 5s)."""
    node_monitor_grace: str | None = None
    """Silence after which a node counts as lost (its default: 50s); below 20s healthy nodes flap."""
    fsync: bool = False
    """Whether etcd waits for the disk; a site that may be thrown away needs no such promise."""
    audit: bool = False
    """Write one JSON line per answered request to `logs/audit.log` (user, verb, URI, code)."""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Further flags by process name; they stand last and win."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Loopback ports of one control plane."""

    etcd: int
    etcd_peer: int
    etcd_health: int
    api: int
    controllers: int
    scheduler: int


@dataclass(frozen=True, slots=True)
class Files:
    """Where one control plane keeps its files."""

    data: Path
    audit: Path
    audit_policy: Path
    ca: Pair
    etcd_ca: Pair
    etcd: Pair
    server: Pair
    kubelet_client: Pair
    accounts: Pair
    controllers_config: Path
    scheduler_config: Path


def etcd(binary: Path, ports: Ports, files: Files, wishes: Wishes) -> list[str]:
    """Return etcd's command line: one member, TLS with client certificates on both ports."""
    client, peer = f"https://127.0.0.1:{ports.etcd}", f"https://127.0.0.1:{ports.etcd_peer}"
    return [
        str(binary),
        "--name=cloud",
        f"--data-dir={files.data}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=cloud={peer}",
        f"--cert-file={files.etcd.cert}",
        f"--key-file={files.etcd.key}",
        f"--trusted-ca-file={files.etcd_ca.cert}",
        "--client-cert-auth",
        f"--peer-cert-file={files.etcd.cert}",
        f"--peer-key-file={files.etcd.key}",
        f"--peer-trusted-ca-file={files.etcd_ca.cert}",
        "--peer-client-cert-auth",
        f"--listen-metrics-urls=http://127.0.0.1:{ports.etcd_health}",  # health and metrics alone, for the ready probe
        "--log-level=warn",
        *([] if wishes.fsync else ["--unsafe-no-fsync"]),
        *wishes.extra.get("etcd", ()),
    ]


def api_server(binary: Path, ports: Ports, files: Files, wishes: Wishes) -> list[str]:
    """Return kube-apiserver's command line."""
    return [
        str(binary),
        f"--etcd-servers=https://127.0.0.1:{ports.etcd}",
        f"--etcd-cafile={files.etcd_ca.cert}",
        f"--etcd-certfile={files.etcd.cert}",
        f"--etcd-keyfile={files.etcd.key}",
        "--bind-address=127.0.0.1",
        f"--secure-port={ports.api}",
        f"--advertise-address={ADVERTISED}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        f"--tls-cert-file={files.server.cert}",
        f"--tls-private-key-file={files.server.key}",
        f"--client-ca-file={files.ca.cert}",
        f"--kubelet-client-certificate={files.kubelet_client.cert}",
        f"--kubelet-client-key={files.kubelet_client.key}",
        "--kubelet-preferred-address-types=InternalIP",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged",
        # Without it a stop waits 60 s for the watches of clients, which wait for it.
        "--shutdown-watch-termination-grace-period=3s",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={files.accounts.cert}",
        f"--service-account-signing-key-file={files.accounts.key}",
        *([f"--goaway-chance={wishes.goaway_chance}"] if wishes.goaway_chance else []),
        *(
            [f"--audit-log-path={files.audit}", f"--audit-policy-file={files.audit_policy}", "--audit-log-maxsize=50"]
            if wishes.audit
            else []
        ),
        *wishes.extra.get("kube-apiserver", ()),
    ]


def controller_manager(binary: Path, ports: Ports, files: Files, wishes: Wishes) -> list[str]:
    """Return kube-controller-manager's command line; it also signs CSRs with the site's authority."""
    return [
        str(binary),
        f"--kubeconfig={files.controllers_config}",
        *_company(ports.controllers, files),
        "--use-service-account-credentials",
        f"--service-account-private-key-file={files.accounts.key}",
        f"--root-ca-file={files.ca.cert}",
        f"--cluster-signing-cert-file={files.ca.cert}",
        f"--cluster-signing-key-file={files.ca.key}",
        *([f"--node-monitor-period={wishes.node_monitor_period}"] if wishes.node_monitor_period else []),
        *([f"--node-monitor-grace-period={wishes.node_monitor_grace}"] if wishes.node_monitor_grace else []),
        *wishes.extra.get("kube-controller-manager", ()),
    ]


def scheduler(binary: Path, ports: Ports, files: Files, wishes: Wishes) -> list[str]:
    """Return kube-scheduler's command line."""
    return [
        str(binary),
        f"--kubeconfig={files.scheduler_config}",
        *_company(ports.scheduler, files),
        *wishes.extra.get("kube-scheduler", ()),
    ]


def _company(port: int, files: Files) -> list[str]:
    return [
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--tls-cert-file={files.server.cert}",
        f"--tls-private-key-file={files.server.key}",
        "--leader-elect=false",
    ]
