"""The hub as a process: how it starts, what it says when it cannot, how it stops."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yurtsim.pki import Pki

PYTHON = Path(sys.executable).resolve()
NOWHERE = "https://127.0.0.1:1"
"""Nobody listens there, and nobody may without root."""


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def flags(pki: Pki, tmp_path: Path) -> Callable[..., list[str]]:
    """Return a maker of command lines: all that a hub needs, and what a test adds or replaces."""
    node, serving = pki.node("n1"), pki.hub("n1")

    def make(**changed: str) -> list[str]:
        values = {
            "node-name": "n1",
            "server-addr": NOWHERE,
            "ca-file": str(pki.authority().cert),
            "cert-file": str(node.cert),
            "key-file": str(node.key),
            "tls-cert-file": str(serving.cert),
            "tls-private-key-file": str(serving.key),
            "root-dir": str(tmp_path / "root"),
            "serve-port": "0",
            "proxy-port": "0",
            "proxy-secure-port": "0",
            "components": PYTHON.name,
        } | {name.replace("_", "-"): value for name, value in changed.items()}
        return [f"--{name}={value}" for name, value in values.items() if value]

    return make


class Hub:
    """A running hub process and what it has logged."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []

    async def said(self, event: str, **fields: object) -> dict[str, Any]:
        """Wait for a line of the log, or find it among earlier ones."""
        assert self.process.stderr is not None
        async with asyncio.timeout(30):
            while True:
                for line in self.lines:
                    if line["event"] == event and fields.items() <= line.items():
                        return line
                text = await self.process.stderr.readline()
                assert text, f"the hub ended before {event}; it said {self.lines}"
                self.lines.append(json.loads(text))

    async def url(self, door: str) -> str:
        event = "hub.started" if door == "admin" else "hub.listening"
        scheme = "https" if door == "secure" else "http"
        return f"{scheme}://{(await self.said(event))[door]}"


@asynccontextmanager
async def running(argv: list[str]) -> AsyncIterator[Hub]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from yurt_hub.main import main; main()", *argv, stderr=subprocess.PIPE
    )
    try:
        yield Hub(process)
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(20):
            await process.communicate()


async def ended(argv: list[str]) -> tuple[int | None, str]:
    """Run a hub that cannot start; return its code and what it said."""
    async with running(argv) as hub, asyncio.timeout(30):
        _, said = await hub.process.communicate()
    return hub.process.returncode, said.decode()


async def test_hub_001_without_a_node_name_the_hub_ends_with_the_reason(flags: Callable[..., list[str]]) -> None:
    code, said = await ended(flags(node_name=""))
    assert (code, said.count("\n")) == (2, 1)
    assert "--node-name is required" in said


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"server_addr": "127.0.0.1:6443"}, "write https://127.0.0.1:6443"),
        ({"working_mode": "foo"}, "--working-mode"),
        ({"ca_file": "/nowhere/ca.crt"}, "cannot read /nowhere/ca.crt"),
        ({"cert_file": "/nowhere/n.crt"}, "cannot read /nowhere/n.crt"),
        ({"key_file": "/dev/null"}, "are not a PEM certificate and key"),
        ({"tls_cert_file": "/nowhere/t.crt"}, "cannot read /nowhere/t.crt"),
        ({"root_dir": "/proc/nowhere"}, "--root-dir"),
        ({"disk_cache_path": "/proc/nowhere"}, "cannot use the folder /proc/nowhere"),
        ({"limits_disk": "4"}, "--limits-disk"),
        ({"bind_proxy_address": "192.0.2.1"}, "cannot listen on 192.0.2.1"),
    ],
)
async def test_a_wrong_input_is_one_line_and_code_2(
    flags: Callable[..., list[str]], changed: dict[str, str], words: str
) -> None:
    code, said = await ended(flags(**changed))
    lines = [line for line in said.splitlines() if not line.startswith('{"')]  # the log's own lines are no complaint
    assert (code, len(lines)) == (2, 1), said
    assert lines[0].startswith("yurt-hub: ")
    assert words in lines[0]


@pytest.mark.parametrize("flag", ["proxy-port", "proxy-secure-port", "serve-port"])
async def test_a_port_that_is_taken_is_one_line_and_code_2(flags: Callable[..., list[str]], flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, said = await ended(flags(**{flag.replace("-", "_"): port}))
    last = said.splitlines()[-1]
    assert code == 2
    assert last.startswith("yurt-hub: ")
    assert port in last
    assert f"--{flag}" in last


async def test_a_state_folder_serves_one_hub_at_a_time(flags: Callable[..., list[str]]) -> None:
    async with running(flags()) as hub:
        await hub.said("hub.listening")
        code, said = await ended(flags())
        assert code == 2
        assert f"in use by the hub with pid {hub.process.pid}" in said
    async with running(flags()) as hub:
        await hub.said("hub.started")


async def test_several_hubs_live_on_one_machine(flags: Callable[..., list[str]], tmp_path: Path) -> None:
    async with running(flags()) as one, running(flags(root_dir=str(tmp_path / "other"))) as two:
        assert await one.url("admin") != await two.url("admin")


async def test_without_any_api_server_the_hub_starts_retries_and_answers_503(flags: Callable[..., list[str]]) -> None:
    """The log says what is wrong and when it tries again; a component gets a Status with Retry-After."""
    async with running(flags()) as hub, aiohttp.ClientSession() as session:
        down = await hub.said("link.changed", now="down")
        assert down["server"] == NOWHERE
        assert down["retry_in"] >= 1
        async with session.get(await hub.url("local") + "/api/v1/nodes/n1") as answer:
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) >= 1
            assert (await answer.json())["reason"] == "ServiceUnavailable"
        async with session.get(await hub.url("admin") + "/v1/readyz") as answer:
            assert answer.status == 500
        async with session.get(await hub.url("admin") + "/v1/healthz") as answer:
            assert answer.status == 200


async def test_hub_083_nobody_without_a_credential_is_served(flags: Callable[..., list[str]], pki: Pki) -> None:
    """On the plain port a program that is not on the list, on the TLS port whoever shows nothing: 401."""
    context = ssl.create_default_context(cafile=pki.authority().cert)
    async with running(flags(components="kubelet")) as hub, aiohttp.ClientSession() as session:
        for url, tls in ((await hub.url("local"), None), (await hub.url("secure"), context)):
            async with session.get(url + "/api", ssl=tls or True) as answer:
                assert answer.status == 401
                assert (await answer.json())["kind"] == "Status"
        refused = await hub.said("caller.refused")
        assert refused["executable"] == str(PYTHON)
        assert refused["pid"] == os.getpid()


async def test_without_a_serving_certificate_the_tls_port_stays_shut(flags: Callable[..., list[str]]) -> None:
    async with running(flags(tls_cert_file="", tls_private_key_file="")) as hub:
        assert "secure" not in await hub.said("hub.listening")


def test_the_proxy_does_not_wait_for_the_control_api() -> None:
    """What opens the proxy ports imports neither FastAPI nor uvicorn nor aiohttp."""
    code = "import sys, yurt_hub.main; print([n for n in ('fastapi', 'uvicorn', 'aiohttp') if n in sys.modules])"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    assert seen.stdout.decode().strip() == "[]"


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_hub_cleanly(flags: Callable[..., list[str]], end: signal.Signals) -> None:
    """Also before it has started whole: exit code 0, no traceback, all ports free again."""
    for event in ("hub.listening", "hub.started"):
        async with running(flags()) as hub, asyncio.timeout(20):
            port = int((await hub.said(event)).get("local", "0:0").rpartition(":")[2])
            hub.process.send_signal(end)
            await hub.process.wait()
            assert hub.process.returncode == 0
            assert hub.process.stderr is not None
            assert b"Traceback" not in await hub.process.stderr.read()
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port or 1)) != 0


@asynccontextmanager
async def cloud(context: ssl.SSLContext, port: int = 0) -> AsyncIterator[int]:
    """Stand in for an API server that is ready: 200 to every request; leaving ends all its connections."""
    open_now: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in open_now:
            writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in open_now), return_exceptions=True)


async def test_the_link_goes_up_with_the_api_server_and_down_with_it(flags: Callable[..., list[str]], pki: Pki) -> None:
    pair = pki.issue("cloud", user="cloud", names=("127.0.0.1",))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=pki.authority().cert)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(pair.cert, pair.key)
    async with AsyncExitStack() as shed:
        async with cloud(context) as port:
            settings = flags(server_addr=f"https://127.0.0.1:{port}", heartbeat_interval_seconds="1")
            hub = await shed.enter_async_context(running(settings))
            session = await shed.enter_async_context(aiohttp.ClientSession())
            await hub.said("link.changed", was="trying", now="up")
            async with session.get(await hub.url("local") + "/api") as answer:
                assert (answer.status, await answer.text()) == (200, "ok")
            async with session.get(await hub.url("admin") + "/readyz") as answer:
                assert answer.status == 200
        await hub.said("link.changed", now="down")
        async with session.get(await hub.url("admin") + "/v1/links") as answer:
            assert (await answer.json())["cloud"] is False
        hub.lines.clear()
        async with cloud(context, port):
            await hub.said("link.changed", now="up")


async def test_fsck_is_a_word_of_the_program(flags: Callable[..., list[str]], tmp_path: Path) -> None:
    """In order 0, in use or no store 2 with one line, damaged 1; a hub's own flags mean nothing to it."""
    store = str(tmp_path / "root" / "cache")
    async with running(flags()) as hub:
        await hub.said("hub.listening")
        code, said = await ended(["fsck", store])
        assert (code, said.count("\n")) == (2, 1)
        assert "in use" in said
    assert (await ended(["fsck", store]))[0] == 0
    code, said = await ended(["fsck", str(tmp_path)])
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith("yurt-hub fsck: ")
    log = Path(store) / "objects.log"
    log.write_bytes(b"?" * 64 + log.read_bytes()[64:])
    assert (await ended(["fsck", store]))[0] == 1
    assert (await ended(["fsck", store, "--node-name=n1"]))[0] == 2


async def test_without_cloud_and_store_the_hub_is_not_ready_and_shows_that_nothing_is_kept(
    flags: Callable[..., list[str]],
) -> None:
    """`/v1/kept`, the metrics and `/readyz` tell of the same empty store."""
    async with running(flags()) as hub, aiohttp.ClientSession() as session:
        admin = await hub.url("admin")
        async with session.get(admin + "/v1/kept") as answer:
            seen = await answer.json()
            assert (seen["lit"], seen["total"], seen["objects"]) == (False, 0, 0)
            assert seen["disk"]["stopped"] == ""
        async with session.get(admin + "/v1/kept/agents") as answer:
            assert {"kubelet", "kube-proxy"} <= set((await answer.json())["names"])
        async with session.get(admin + "/metrics") as answer:
            assert "\nyurt_hub_kept_sets 0.0\n" in await answer.text()
        async with session.get(admin + "/readyz?verbose") as answer:
            assert answer.status == 500
            assert "[-]cloud-or-store failed" in await answer.text()


async def test_in_the_working_mode_cloud_nothing_is_kept(flags: Callable[..., list[str]], tmp_path: Path) -> None:
    async with running(flags(working_mode="cloud")) as hub, aiohttp.ClientSession() as session:
        admin = await hub.url("admin")
        async with session.get(admin + "/v1/kept") as answer:
            assert answer.status == 404
        async with session.get(admin + "/metrics") as answer:
            assert "yurt_hub_kept_" not in await answer.text()
        async with session.get(await hub.url("local") + "/api/v1/nodes/n1") as answer:
            assert answer.status == 503
    assert not (tmp_path / "root" / "cache").exists()
