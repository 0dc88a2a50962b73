"""A real hub: the `yurt-hub` process on free ports, with a link process between it and the cloud.

Neither is bound to an event loop, so one `Site` may serve all tests of a module. Tests ask it with
kubectl (`Site.config`) or by bytes (`Site.plain`, `Site.secure`), read what it logs (`Site.said`) and
what its control API tells, and steer its link (`Site.link`).
"""

import asyncio
import json
import ssl
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import aiohttp
from kit.pump import Got, Wire
from yurtsim.controlplane import ControlPlane
from yurtsim.links import LinkControl
from yurtsim.pki import Pair, Pki
from yurtsim.probes import answers
from yurtsim.processes import Child, free_ports

COMPONENTS: Final = "kubelet,kube-proxy,kubemark"
WITHIN: Final = 60.0
OWN_WATCHES: Final = 1
"""Streams of the hub itself: it follows the ConfigMap yurt-hub-cfg."""
"""Seconds for anything that a process is waited for; a busy machine needs a few of them."""
LOOK_EVERY: Final = 0.05
STREAM_LIMIT: Final = 1024 * 1024
PROGRAM: Final = Path(sys.executable).with_name("yurt-hub")


class Hub:
    """One `yurt-hub` process.

    `flags` are added to or replace what every hub needs; a value of None leaves a flag away.
    `before` is put in front of the command line, for example to become another user.
    """

    def __init__(
        self,
        pki: Pki,
        server: str,
        folder: Path,
        *,
        node: str = "n1",
        flags: Mapping[str, str | None] | None = None,
        before: tuple[str, ...] = (),
    ) -> None:
        self.pki, self.server, self.folder, self.node = pki, server, folder, node
        self.control, self.plain_port, self.secure_port = free_ports(3)
        own, serving = pki.node(node), pki.hub(node)
        values: dict[str, str | None] = {
            "node-name": node,
            "server-addr": server,
            "serve-port": str(self.control),
            "proxy-port": str(self.plain_port),
            "proxy-secure-port": str(self.secure_port),
            "root-dir": str(folder / "root"),
            "ca-file": str(pki.authority().cert),
            "cert-file": str(own.cert),
            "key-file": str(own.key),
            "tls-cert-file": str(serving.cert),
            "tls-private-key-file": str(serving.key),
            "components": COMPONENTS,
        }
        values.update(flags or {})
        self.log = folder / "hub.log"
        command = [*before, str(PROGRAM), *(f"--{name}={value}" for name, value in values.items() if value is not None)]
        self.child = Child(f"hub of {node}", command, log=self.log, ready=answers(f"{self.control_url}/livez"))

    async def __aenter__(self) -> Self:
        await self.child.start(WITHIN)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.child.stop()

    # -- where it is

    @property
    def control_url(self) -> str:
        """The control API."""
        return f"http://127.0.0.1:{self.control}"

    @property
    def plain_url(self) -> str:
        """Port 10261 of this hub."""
        return f"http://127.0.0.1:{self.plain_port}"

    @property
    def secure_url(self) -> str:
        """Port 10268 of this hub."""
        return f"https://127.0.0.1:{self.secure_port}"

    # -- what it says

    def lines(self) -> list[dict[str, Any]]:
        """All lines of its log so far; one that is no JSON (a traceback, a refusal to start) stands under `text`."""
        return [_parsed(line) for line in self.log.read_text(errors="replace").splitlines()]

    async def said(self, event: str, *, after: int = 0, within: float = WITHIN, **fields: object) -> dict[str, Any]:
        """Wait for a line of the log, among those from number `after` on."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            lines = self.lines()[after:]
            found[:] = [line for line in lines if line.get("event") == event and fields.items() <= line.items()]
            return bool(found)

        await until(there, f"the hub says {event} {fields}", within=within)
        return found[0]

    async def asks(self, path: str) -> tuple[int, str]:
        """Ask the control API; return status and text."""
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WITHIN)) as session,
            session.get(self.control_url + path) as answer,
        ):
            return answer.status, await answer.text()

    async def told(self, path: str) -> dict[str, Any]:
        """Return the object that the control API answers."""
        status, text = await self.asks(path)
        assert status == 200, text
        got: dict[str, Any] = json.loads(text)
        return got

    async def upstreams(self) -> dict[str, Any]:
        """Return connections and streams towards the cloud."""
        return await self.told("/v1/upstreams")

    async def metrics(self) -> dict[str, float]:
        """Return its metrics by name with labels, as Prometheus reads them."""
        status, text = await self.asks("/metrics")
        assert status == 200, text
        return metrics(text)

    # -- who asks it

    def tls(self, pair: Pair | None = None) -> ssl.SSLContext:
        """TLS of a caller, with a client certificate or without."""
        return client_tls(self.pki.authority().cert, pair)

    async def plain(self) -> Wire:
        """Open a connection to the plain port, as this process."""
        return Wire(*await asyncio.open_connection("127.0.0.1", self.plain_port, limit=STREAM_LIMIT))

    async def secure(self, pair: Pair | None = None) -> Wire:
        """Open a connection to the TLS port."""
        return await wire(self.secure_url, self.tls(pair))


class Site:
    """One hub behind a link of its own; the link listens where the hub believes the API server is."""

    def __init__(
        self,
        cloud: ControlPlane,
        folder: Path,
        *,
        node: str = "n1",
        flags: Mapping[str, str | None] | None = None,
    ) -> None:
        self.cloud, self.folder, self.node = cloud, folder, node
        folder.mkdir(parents=True, exist_ok=True)
        (port,) = free_ports(1)
        steer = folder / "links.sock"
        links = [{"name": node, "node": node, "listen": f"127.0.0.1:{port}", "target": f"127.0.0.1:{cloud.port}"}]
        config = folder / "links.json"
        config.write_text(json.dumps({"control": str(steer), "links": links}))
        command = [sys.executable, "-m", "yurtsim.links", "--config", str(config)]
        self.link = LinkControl(steer)
        self._links = Child("links", command, log=folder / "links.log", ready=self._steerable)
        self.hub = Hub(cloud.pki, f"https://127.0.0.1:{port}", folder, node=node, flags=flags)

    async def _steerable(self) -> str | None:
        await self.link.ready(WITHIN)
        return None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start link and hub, and wait until the hub has found the cloud."""
        await self._links.start(WITHIN)
        try:
            await self.hub.child.start(WITHIN)
            await self.hub.said("link.changed", now="up")
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End both."""
        await self.hub.child.stop()
        await self._links.stop()

    async def linked(self) -> dict[str, Any]:
        """What the link tells of itself: `open` and `total` connections, `bytes` by direction."""
        (line,) = await self.link.show()
        return line

    def config(self, name: str, *, token: str | None = None, pair: Pair | None = None) -> Path:
        """Write a kubeconfig that leads through the hub's TLS port."""
        return self.cloud.kubeconfig(f"{self.node}-{name}", self.hub.secure_url, pair=pair, token=token)

    async def direct(self, pair: Pair | None = None) -> Wire:
        """Open a connection to the API server itself."""
        return await wire(self.cloud.server, client_tls(self.cloud.ca_file, pair))


def client_tls(authority: Path, pair: Pair | None) -> ssl.SSLContext:
    """TLS of a client that speaks HTTP/1.1."""
    context = ssl.create_default_context(cafile=str(authority))
    if pair is not None:
        context.load_cert_chain(pair.cert, pair.key)
    return context


async def wire(url: str, tls: ssl.SSLContext) -> Wire:
    """Open a connection to an https URL's host."""
    where = urlsplit(url)
    async with asyncio.timeout(WITHIN):
        return Wire(*await asyncio.open_connection(where.hostname, where.port, ssl=tls, limit=STREAM_LIMIT))


def request(
    target: str,
    *headers: str,
    method: str = "GET",
    token: str | None = None,
    agent: str = "yurt-test",
    body: bytes = b"",
) -> bytes:
    """Return one request's bytes."""
    lines = [f"{method} {target} HTTP/1.1", "Host: kubernetes", f"User-Agent: {agent}", *headers]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def ask(to: Wire, sent: bytes) -> Got:
    """Ask once over a connection and hang up."""
    try:
        return await to.ask(sent)
    finally:
        await to.close()


async def until(true: Callable[[], bool], what: str, *, within: float = WITHIN) -> None:
    """Look until something is so; fail with `what` if it never is."""
    try:
        async with asyncio.timeout(within):
            while not true():
                await asyncio.sleep(LOOK_EVERY)
    except TimeoutError:
        raise AssertionError(f"not within {within:g} s: {what}") from None


def metrics(text: str) -> dict[str, float]:
    """Read Prometheus' text format into a dictionary by name with labels."""
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def _parsed(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"text": line}
