"""Hollow node components: the real kubelet's and kube-proxy's code with stand-in containers.

`kubemark` registers its node, runs pods, renews Leases and watches as a real node
does, and mounts nothing. Where it asks is its caller's choice: the API server itself
with the node's certificate, or the plain port of the node's hub without any.
Its user agents are `hollow-kubelet` and `hollow-proxy`, its executable is `kubemark`.

The hollow kubelet puts its root folder below /tmp, wherever TMPDIR points, and leaves
it there (Kubernetes' own kubemark a socket too); `HollowKubelet` removes them at its end.
"""

import contextlib
import re
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from yurtcore.adapters.files import write_atomic

from yurtsim.pki import Pair, kubeconfig
from yurtsim.probes import answers
from yurtsim.processes import Child, free_ports

_ROOT = re.compile(r"Using (/tmp/hollow-kubelet\.\d+) as root dir")


@dataclass(frozen=True, slots=True)
class HollowNode:
    """What the two components of one node are started with.

    `server` is an URL with http or https; `ca` and `pair` are for https. `folder`
    receives kubeconfigs and logs.
    """

    name: str
    server: str
    folder: Path
    binaries: Path
    ca: Path | None = None
    pair: Pair | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def kubelet(self) -> "HollowKubelet":
        """Return the hollow kubelet, not yet started; ready when its own health port answers."""
        port, read_only = free_ports(2)
        command = [
            *self._command("kubelet"),
            f"--kubelet-port={port}",
            f"--kubelet-read-only-port={read_only}",
            "--use-host-image-service=false",
        ]
        if self.labels:
            command.append("--node-labels=" + ",".join(f"{key}={value}" for key, value in self.labels.items()))
        health = answers(f"http://127.0.0.1:{read_only}/healthz")
        return HollowKubelet(f"kubelet of {self.name}", command, log=self.folder / "kubelet.log", ready=health)

    def proxy(self) -> Child:
        """Return the hollow kube-proxy, not yet started; it has no port, so it is ready once started."""
        return Child(f"kube-proxy of {self.name}", self._command("proxy"), log=self.folder / "kube-proxy.log")

    def _command(self, morph: str) -> list[str]:
        return [
            str(self.binaries / "kubemark"),
            f"--morph={morph}",
            f"--name={self.name}",
            f"--kubeconfig={self._kubeconfig(morph)}",
        ]

    def _kubeconfig(self, morph: str) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.folder / f"{morph}.kubeconfig"
        write_atomic(path, kubeconfig(self.server, ca=self.ca, pair=self.pair), mode=0o600)
        return path


class HollowKubelet(Child):
    """The kubelet's process, which cleans up behind it."""

    def kill(self) -> None:
        """End it at once and remove what it made below /tmp."""
        super().kill()
        sweep(self.log)


def sweep(log: Path) -> None:
    """Remove what hollow kubelets left below /tmp: the root folders that `log` names and all dead sockets.

    Only after the end of the kubelet that wrote `log`; may be repeated.
    """
    with contextlib.suppress(FileNotFoundError), log.open(encoding="utf-8", errors="replace") as lines:
        for root in _ROOT.findall(lines.read()):
            shutil.rmtree(root, ignore_errors=True)
    for path in Path("/tmp").glob("kubelet_remote_*.sock"):  # noqa: S108
        with contextlib.suppress(FileNotFoundError, PermissionError):
            if _is_dead(path):
                path.unlink()


def _is_dead(path: Path) -> bool:
    """Say whether nobody listens at a UNIX socket. The kubelet renames it into place after it listens: no race."""
    with socket.socket(socket.AF_UNIX) as trial:
        try:
            trial.connect(str(path))
        except ConnectionRefusedError:
            return True
    return False
