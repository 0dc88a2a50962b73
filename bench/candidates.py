"""The proxies that are compared, each with an upstream of its own so that their connections can be told apart."""

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import machine, nginx
from bench.process import Child, RunError, free_ports

HUB, GO_H1, GO_H2, NGINX, FILES, RAW_FILES = "hub", "go-h1", "go-h2", "nginx", "go-files", "go-raw"
NAMES = {
    HUB: "yurt hub", GO_H1: "Go h1", GO_H2: "Go h2", NGINX: "nginx", FILES: "Go files", RAW_FILES: "Go raw files",
}  # fmt: skip
PEERS = tuple(name for name in NAMES if name != HUB)
FIRST_ANSWER = 15.0
DRAIN = 10.0


@dataclass(frozen=True, slots=True)
class Bench:
    """What every candidate shares: the program, certificates, a scratch folder, two cores, nginx or why not."""

    peer: Path
    pki: Path
    scratch: Path
    proxy_core: int
    load_core: int
    nginx: nginx.Nginx | None
    no_nginx: str


class Upstream:
    """The stand-in for the API server and its counters."""

    def __init__(self, child: Child) -> None:
        self.child = child
        where: dict[str, str] = json.loads(child.first_line())
        self.tls, self.plain, self.control = where["tls"], where["plain"], where["control"]

    def stats(self) -> dict[str, int]:
        """Counters since they were last cleared."""
        found: dict[str, int] = self._call("GET", "/stats")
        return found

    def clear(self) -> None:
        """Set the counters to zero."""
        self._call("POST", "/clear")

    def go_dark(self) -> None:
        """Refuse and reset everybody from here on."""
        self._call("POST", "/dark")

    def settle(self, shared: int = 0) -> None:
        """Wait until no watch of an earlier run is open any more, but for `shared` that the candidate keeps."""
        end = time.monotonic() + DRAIN
        while (left := self.stats()["watches"]) > shared:
            if time.monotonic() > end:
                raise RunError(f"{left} watches still open at the upstream {DRAIN:.0f} s after their callers left")
            time.sleep(0.02)

    def _call(self, method: str, path: str) -> Any:
        connection = http.client.HTTPConnection(self.control, timeout=5)
        try:
            connection.request(method, path)
            body = connection.getresponse().read()
        finally:
            connection.close()
        return json.loads(body) if body else None


@dataclass(frozen=True, slots=True)
class Running:
    """A candidate that has given its first right answer."""

    name: str
    child: Child
    upstream: Upstream
    plain: str
    secure: str
    start_ms: float


@contextmanager
def running(bench: Bench, name: str, *, secure_upstream: bool, token: Path | None) -> Iterator[Running]:
    """Start upstream and candidate; raises RunError with the reason when it does not come up."""
    folder = new_folder(bench, name)
    with (
        upstream(bench, folder) as cloud,
        started(bench, name, folder, cloud, secure_upstream=secure_upstream, token=token) as candidate,
    ):
        yield candidate


def new_folder(bench: Bench, name: str) -> Path:
    """A folder for one start of one candidate: its logs, its state."""
    folder = bench.scratch / f"{name}-{time.monotonic_ns()}"
    folder.mkdir()
    return folder


@contextmanager
def upstream(bench: Bench, folder: Path) -> Iterator[Upstream]:
    """Start a stand-in for the API server."""
    command = [str(bench.peer), "upstream", "-pki", str(bench.pki)]
    with Child(command, core=bench.load_core, log=folder / "upstream.log", speaks=True) as child:
        yield Upstream(child)


@contextmanager
def started(
    bench: Bench, name: str, folder: Path, cloud: Upstream, *,
    secure_upstream: bool, token: Path | None, first: Sequence[str] = (),
) -> Iterator[Running]:  # fmt: skip
    """Start a candidate with its state in `folder`; `first` are more words for the load that asks it first."""
    port, secure_port, api_port = free_ports(3)
    address = cloud.tls if secure_upstream else cloud.plain
    command, environment = _command(
        bench, name, folder=folder, upstream=address, secure_upstream=secure_upstream,
        ports=(port, secure_port, api_port),
    )  # fmt: skip
    began = time.time_ns()
    child = Child(command, core=bench.proxy_core, log=folder / "proxy.log", environment=environment)
    with child:
        plain, secure = f"127.0.0.1:{port}", f"127.0.0.1:{secure_port}"
        answered = first_answer(child, [*caller(bench, "first", plain, token), *first], core=bench.load_core)
        yield Running(name, child, cloud, plain, secure, (answered - began) / 1e6)


def first_answer(child: Child, command: list[str], *, core: int) -> int:
    """Ask until the first right answer; returns its instant (wall clock, nanoseconds)."""
    with machine.on_core(core):
        asking = subprocess.Popen(
            [*command, "-patience", str(FIRST_ANSWER)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    with asking:
        while asking.poll() is None:
            if child.process.poll() is not None:
                asking.terminate()
                raise RunError(f"ended at once: {child.last_words()}")
            time.sleep(0.02)
        said, failed = asking.communicate()
    if asking.returncode:
        raise RunError(f"{failed.strip()}; {child.last_words()}")
    at: int = json.loads(said)["at"]
    return at


def caller(bench: Bench, kind: str, address: str, token: Path | None, *, tls: bool = False) -> list[str]:
    """The beginning of every load's command line."""
    words = [str(bench.peer), kind, "-address", address, "-pki", str(bench.pki)]
    if token:
        words += ["-token-file", str(token)]
    return [*words, "-tls"] if tls else words


def _command(
    bench: Bench, name: str, *, folder: Path, upstream: str, secure_upstream: bool, ports: Sequence[int]
) -> tuple[list[str], dict[str, str]]:
    scheme = "https" if secure_upstream else "http"
    port, secure_port, _ = ports
    if name == HUB:
        return _hub(bench, folder, f"{scheme}://{upstream}", ports), {}
    if name == NGINX:
        if bench.nginx is None:
            raise RunError(bench.no_nginx)
        file = folder / "nginx.conf"
        file.write_text(
            nginx.configuration(
                folder=folder, pki=bench.pki, upstream=upstream, secure_upstream=secure_upstream,
                port=port, secure_port=secure_port,
            )
        )  # fmt: skip
        return [bench.nginx.path, "-p", str(folder), "-c", str(file)], bench.nginx.environment
    if name in (FILES, RAW_FILES):
        words = [
            str(bench.peer), "files", "-pki", str(bench.pki), "-upstream", f"{scheme}://{upstream}",
            "-listen", f"127.0.0.1:{port}", "-dir", str(folder / "cache"),
        ]  # fmt: skip
        return ([*words, "-raw"] if name == RAW_FILES else words), {}
    words = [
        str(bench.peer), "proxy", "-pki", str(bench.pki), "-upstream", f"{scheme}://{upstream}",
        "-listen", f"127.0.0.1:{port}", "-listen-tls", f"127.0.0.1:{secure_port}",
    ]  # fmt: skip
    return ([*words, "-h2"] if name == GO_H2 else words), {}


def _hub(bench: Bench, folder: Path, server: str, ports: Sequence[int]) -> list[str]:
    port, secure_port, api_port = ports
    pki = bench.pki
    return [
        str(Path(sys.executable).with_name("yurt-hub")),
        "--node-name", "n1", "--nodepool-name", "p", "--server-addr", server,
        "--bind-address", "127.0.0.1", "--serve-port", str(api_port),
        "--bind-proxy-address", "127.0.0.1", "--proxy-port", str(port), "--proxy-secure-port", str(secure_port),
        "--root-dir", str(folder / "hub"), "--ca-file", f"{pki}/ca.crt",
        "--cert-file", f"{pki}/node.crt", "--key-file", f"{pki}/node.key",
        "--tls-cert-file", f"{pki}/server.crt", "--tls-private-key-file", f"{pki}/server.key",
        "--components", "kubelet,kube-proxy,benchpeer",
    ]  # fmt: skip
