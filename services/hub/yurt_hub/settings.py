"""What can be set on a hub: OpenYurt's flag names where they have an effect, ours beside them.

Fields stand in the order in which mistakes are told. Values are checked here; files are looked at when the hub starts.
"""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field, model_validator
from yurtcore.serve.settings import Duration, Flag, Settings
from yurtcore.wire.names import HUB_API_PORT, PROXY_PORT, PROXY_SECURE_PORT

from yurt_hub.domain.facts import About
from yurt_hub.domain.links import LinkPolicy


def _server(text: str) -> str:
    """Read one API server's address and write it as ``https://host:port``."""
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"{text!r} is not a URL")
    url = urlsplit("https:" + text if text.startswith("//") else text)
    if "://" not in text and not text.startswith("//"):
        raise ValueError(f"{text!r} is not a URL; write https://{text}")
    if url.scheme != "https":
        raise ValueError(f"{text!r} is not reached by TLS; write https://{url.netloc}")
    if not url.hostname or url.username is not None or url.path not in ("", "/") or url.query or url.fragment:
        raise ValueError(f"{text!r} is not of the form https://host:port")
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    return f"https://{host}:{_port(url, text)}"


def _port(url: SplitResult, text: str) -> int:
    try:
        return url.port or 443
    except ValueError as err:
        raise ValueError(f"{text!r} has no valid port") from err


def _servers(found: tuple[str, ...]) -> tuple[str, ...]:
    if not found:
        raise ValueError("no API server is named; write https://host:port")
    servers = tuple(_server(text) for text in found)
    if len(set(servers)) < len(servers):
        raise ValueError("an API server is named twice")
    return servers


def _address(text: str) -> str:
    try:
        address = ip_address(text)
    except ValueError as err:
        raise ValueError("is not an IP address") from err
    if address.is_unspecified:
        raise ValueError("means every address of this machine; name one of them")
    return text


def _loopback(text: str) -> str:
    if not ip_address(_address(text)).is_loopback:
        raise ValueError("the control API asks for no credential and stays on loopback, for example 127.0.0.1")
    return text


def _mode(text: str) -> str:
    if text == "local":
        raise ValueError("a hub without upstream is not offered; use cloud on nodes beside the API server, else edge")
    if text not in ("edge", "cloud"):
        raise ValueError("is not a working mode; use edge or cloud")
    return text


def _bootstrap(text: str) -> str:
    if text != "kubeletcertificate":
        raise ValueError("the hub uses the kubelet's own certificate; use kubeletcertificate")
    return text


def _named(text: str) -> str:
    if not text:
        raise ValueError("node name is empty; give the name of this node as the API server knows it")
    return text


def _components(entries: tuple[str, ...]) -> tuple[str, ...]:
    if not entries:
        raise ValueError("is empty: port 10261 would serve nobody; name programs such as kubelet")
    return entries


Port = Annotated[int, Field(ge=0, le=65535)]
"""A TCP port; 0 takes a free one, which the log and the control API tell."""
Seconds = Annotated[int, Field(gt=0, le=3600)]


class LinkSettings(Settings):
    """How hard the hub holds on to an API server."""

    lb_mode: Annotated[Literal["rr", "priority"], Flag("lb-mode")] = "rr"
    """rr: healthy API servers take turns; priority: the first healthy one in the order of --server-addr."""
    interval: Annotated[Seconds, Flag("heartbeat-interval-seconds")] = 10
    """Silence after which an API server is probed; one that answers requests needs no probe."""
    timeout: Annotated[Seconds, Flag("heartbeat-timeout-seconds")] = 2
    """What a probe may take."""
    failed_retry: Annotated[int, Field(ge=1, le=100), Flag("heartbeat-failed-retry")] = 2
    """Failures within half a minute, with no answer between them, that bring a link down."""
    healthy_threshold: Annotated[int, Field(ge=1, le=100), Flag("heartbeat-healthy-threshold")] = 2
    """Proofs in a row, a second apart, that bring it back."""

    def policy(self) -> LinkPolicy:
        """What the link table needs to know."""
        return LinkPolicy(
            mode=self.lb_mode,
            interval=float(self.interval),
            timeout=float(self.timeout),
            healthy_threshold=self.healthy_threshold,
            misses_to_down=self.failed_retry,
        )


class ListenSettings(Settings):
    """Where the hub can be reached."""

    admin: Annotated[str, AfterValidator(_loopback), Flag("bind-address")] = "127.0.0.1"
    """Address of the control API; loopback only."""
    admin_port: Annotated[Port, Flag("serve-port")] = HUB_API_PORT
    """Port of the control API."""
    proxy: Annotated[str, AfterValidator(_address), Flag("bind-proxy-address")] = "127.0.0.1"
    """Address of both proxy ports."""
    proxy_port: Annotated[Port, Flag("proxy-port")] = PROXY_PORT
    """Plain HTTP, for the node's own components."""
    secure_port: Annotated[Port, Flag("proxy-secure-port")] = PROXY_SECURE_PORT
    """TLS, for callers with a token or the kubelet's certificate; open when --tls-cert-file is given."""


class FileSettings(Settings):
    """Certificates; all files are PEM and read again when they change."""

    ca: Annotated[Path, Flag("ca-file")] = Path("/etc/kubernetes/pki/ca.crt")
    """The cluster's CA: proves the API servers to the hub, and client certificates on the TLS port."""
    cert: Annotated[Path, Flag("cert-file")] = Path("/var/lib/kubelet/pki/kubelet-client-current.pem")
    """The node's client certificate."""
    key: Annotated[Path | None, Flag("key-file")] = None
    """Its key; without it the key is looked for in --cert-file."""
    serving_cert: Annotated[Path | None, Flag("tls-cert-file")] = None
    """Certificate of the TLS port."""
    serving_key: Annotated[Path | None, Flag("tls-private-key-file")] = None
    """Its key; without it the key is looked for in --tls-cert-file."""

    @property
    def client_key(self) -> Path:
        """The file with the key of the node's certificate."""
        return self.key or self.cert

    @property
    def serving_pair(self) -> tuple[Path, Path] | None:
        """The files of the TLS port, None when it stays shut."""
        return None if self.serving_cert is None else (self.serving_cert, self.serving_key or self.serving_cert)

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if self.serving_key is not None and self.serving_cert is None:
            raise ValueError("--tls-private-key-file needs --tls-cert-file beside it")
        return self


class LimitSettings(Settings):
    """Bounds; what is beyond them is refused with a reason."""

    clients: Annotated[int, Field(ge=1, le=65536)] = 2000
    """Connections of local callers at once."""
    connections: Annotated[int, Field(ge=1, le=256)] = 6
    """HTTP/1.1 connections for short requests, to each API server with each identity."""
    memory: Annotated[int, Field(ge=8, le=65536)] = 64
    """MiB of objects kept in memory and on disk; what the kubelet and kube-proxy need is kept beyond it."""
    disk: Annotated[int, Field(ge=16, le=65536)] = 512
    """MiB of the folder of the store, also while it is compacted: live data may have a little less than half of it."""
    drain: Duration = 5.0
    """How long requests under way may go on after SIGTERM."""


class LogSettings(Settings):
    """What the hub writes to stderr."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Flag("log-level")] = "info"
    """debug, info, warning or error."""
    fmt: Annotated[Literal["json", "text"], Flag("log-format")] = "json"
    """json or text."""


class HubSettings(Settings):
    """The per-node proxy that node components use instead of kube-apiserver.

    `yurt-hub fsck FOLDER` examines the store of one that does not run.
    """

    node_name: Annotated[str, AfterValidator(_named)]
    """Name of this node, as the API server knows it."""
    server_addr: Annotated[tuple[str, ...], AfterValidator(_servers)]
    """API servers: https://host:port, several by commas."""
    working_mode: Annotated[str, AfterValidator(_mode)] = "edge"
    """edge keeps what the node needs for dark times; cloud, for a node beside the API server, keeps nothing."""
    bootstrap_mode: Annotated[str, AfterValidator(_bootstrap)] = "kubeletcertificate"
    """Where the hub's identity comes from: kubeletcertificate."""
    link: LinkSettings = LinkSettings()
    nodepool_name: str = ""
    """Pool of this node; told by the control API."""
    listen: ListenSettings = ListenSettings()
    files: FileSettings = FileSettings()
    root_dir: Path = Path("/var/lib/yurthub")
    """State folder of this hub; hubs on one machine need one each."""
    disk_cache_path: Path | None = None
    """Folder of the store on disk, for this hub alone; the folder `cache` in --root-dir without it."""
    components: Annotated[tuple[str, ...], AfterValidator(_components)] = ("kubelet", "kube-proxy")
    """Programs that get the node's identity on the plain port: base names, or full paths."""
    limits: LimitSettings = LimitSettings()
    log: LogSettings = LogSettings()

    def about(self, *, version: str, pid: int) -> About:
        """What the hub tells about itself."""
        return About(
            version=version,
            node=self.node_name,
            pool=self.nodepool_name,
            working_mode=self.working_mode,
            pid=pid,
            root_dir=str(self.root_dir),
            servers=self.server_addr,
        )


_TOKEN: Final = "the hub uses the kubelet's own certificate (--bootstrap-mode=kubeletcertificate)"  # noqa: S105 (a message)
_DUMMY: Final = "the hub makes no network interface; give an existing address by --bind-proxy-address"
_FILTERS: Final = "answers pass unchanged; remove it"
_COORDINATOR: Final = "each hub works for its node alone and elects no leader; remove it"

FOREIGN: Final = {
    "access-server-through-hub": "the hub asks the cloud itself, over its own connections; remove it",
    "bootstrap-file": _TOKEN,
    "coordinator-server-addr": _COORDINATOR,
    "coordinator-storage-addr": _COORDINATOR,
    "coordinator-storage-prefix": _COORDINATOR,
    "disabled-resource-filters": _FILTERS,
    "discovery-token-ca-cert-hash": _TOKEN,
    "discovery-token-unsafe-skip-ca-verification": _TOKEN,
    "dummy-if-ip": _DUMMY,
    "dummy-if-name": _DUMMY,
    "enable-coordinator": _COORDINATOR,
    "enable-dummy-if": _DUMMY,
    "enable-iptables": "it has had no effect since OpenYurt 1.7; remove it",
    "enable-node-pool": "topology is not worked on by the hub; remove it",
    "enable-pool-service-topology": "topology is not worked on by the hub; remove it",
    "enable-resource-filter": _FILTERS,
    "gc-frequency": "the store evicts by size (--limits-memory) and forgets what nobody reads for a week; remove it",
    "host-control-plane-address": "the local working mode is not offered",
    "hub-cert-organizations": _TOKEN,
    "join-token": _TOKEN,
    "kubelet-health-grace-period": "a Lease is renewed once per renewal of the kubelet; remove it",
    "leader-elect": _COORDINATOR,
    "leader-elect-lease-duration": _COORDINATOR,
    "leader-elect-renew-deadline": _COORDINATOR,
    "leader-elect-resource-lock": _COORDINATOR,
    "leader-elect-resource-name": _COORDINATOR,
    "leader-elect-resource-namespace": _COORDINATOR,
    "leader-elect-retry-period": _COORDINATOR,
    "max-requests-in-flight": "it has had no effect since OpenYurt 1.7; see --limits-clients",
    "min-request-timeout": "a watch lives as long as its client asks, else half an hour to an hour; remove it",
    "multiplexer-port": "port 10269 stays shut: hubs need no proxy of each other; remove it",
    "namespace": "the hub reads its ConfigMap yurt-hub-cfg in kube-system; remove it",
    "node-ip": "the hub listens on no node address; see --bind-proxy-address",
    "pool-scope-resources": "nothing is shared between hubs; remove it",
    "profiling": "the control API has no profiler; remove it",
}
"""OpenYurt's other flags, and why they are not here; the settings loader makes one line of it."""
