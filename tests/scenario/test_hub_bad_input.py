"""The hub as a program: wrong input is one line and code 2, a cloud that is away is waited for, an end is clean."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest
from kit.accounts import Account, account, admin
from kit.hub import OWN_WATCHES, WITHIN, Hub, Site, ask, request, until
from kit.plane import MakePlane
from kit.watchers import Watcher, living
from yurtsim.controlplane import ControlPlane
from yurtsim.pki import Pki

NOWHERE: Final = "https://127.0.0.1:1"
NOBODY: Final = 65534


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """Return keys of a cluster that is not there."""
    return Pki(tmp_path_factory.mktemp("pki"))


async def refused(hub: Hub) -> str:
    """Start a hub that cannot start; return the one line that it says."""
    hub.child.spawn()
    try:
        async with asyncio.timeout(WITHIN):
            code = await hub.child.exited()
    finally:
        hub.child.kill()
    said = hub.log.read_text()
    last = said.splitlines()[-1]
    assert code == 2, said
    assert last.startswith("yurt-hub: "), said
    assert "Traceback" not in said
    assert [line for line in hub.lines() if "text" in line] == [{"text": last}]
    return last


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"no-such-flag": "1"}, ["--no-such-flag"]),
        ({"enable-coordinator": "true"}, ["--enable-coordinator", "elect"]),
        ({"proxy-port": "many"}, ["--proxy-port"]),
        ({"server-addr": None}, ["--server-addr"]),
        ({"server-addr": "http://127.0.0.1:6443"}, ["--server-addr", "https://"]),
        ({"node-name": None}, ["--node-name"]),
        ({"bind-address": "0.0.0.0"}, ["--bind-address", "every address"]),
        ({"ca-file": "/nowhere/ca.crt"}, ["/nowhere/ca.crt", "--ca-file"]),
        ({"cert-file": "/nowhere/n.crt"}, ["/nowhere/n.crt", "--cert-file"]),
        ({"tls-private-key-file": "/nowhere/t.key"}, ["/nowhere/t.key", "--tls-private-key-file"]),
        ({"config": "/nowhere/hub.toml"}, ["/nowhere/hub.toml"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
async def test_what_is_wrong_is_one_line_and_code_2(
    pki: Pki, tmp_path: Path, flags: dict[str, str | None], words: list[str]
) -> None:
    """The line names the flag or file; nothing was listened on."""
    said = await refused(Hub(pki, NOWHERE, tmp_path, flags=flags))
    assert [word for word in words if word not in said] == [], said


async def test_a_certificate_with_another_ones_key_is_named(pki: Pki, tmp_path: Path) -> None:
    """For the node's pair and for the serving pair."""
    other = pki.node("another")
    for flag, file in (("key-file", other.key), ("tls-private-key-file", other.key)):
        said = await refused(Hub(pki, NOWHERE, tmp_path / flag, flags={flag: str(file)}))
        assert "do not belong together" in said
        assert f"--{flag}" in said


async def test_a_file_that_is_no_certificate_is_named(pki: Pki, tmp_path: Path) -> None:
    """A key where a CA should be, and an empty serving certificate."""
    empty = tmp_path / "empty.crt"
    empty.touch()
    for flag, file in (("ca-file", pki.node("n1").key), ("tls-cert-file", empty)):
        said = await refused(Hub(pki, NOWHERE, tmp_path / flag, flags={flag: str(file)}))
        assert str(file) in said
        assert f"--{flag}" in said


@pytest.mark.parametrize("flag", ["serve-port", "proxy-port", "proxy-secure-port"])
async def test_a_port_that_is_taken_is_named(pki: Pki, tmp_path: Path, flag: str) -> None:
    """With the flag that chooses another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = await refused(Hub(pki, NOWHERE, tmp_path, flags={flag: port}))
    assert port in said
    assert f"--{flag}" in said


@pytest.mark.controlplane
async def test_hub_052_without_an_api_server_the_hub_starts_and_finds_it_when_it_comes(
    private_plane: MakePlane, tmp_path: Path
) -> None:
    """Until then it says so, retries, and answers 503 with a time to come back; no restart is needed."""
    cloud = await private_plane()
    async with admin(cloud) as kube:
        caller = await account(kube, "early", "caller")
    await cloud.stop_api_server(kill=True)
    asked = request("/version", token=caller.token)
    async with Hub(cloud.pki, cloud.server, tmp_path / "hub", node="early") as hub:
        down = await hub.said("link.changed", now="down")
        assert (down["server"], down["level"]) == (cloud.server, "warning")
        assert down["why"]
        assert down["retry_in"] >= 1
        status, text = await hub.asks("/readyz?verbose")
        assert status != 200
        assert "[-]cloud" in text
        assert (await hub.asks("/livez"))[0] == 200
        got = await ask(await hub.secure(), asked)
        assert (got.status, int(got.headers["retry-after"]) >= 1) == (503, True)
        assert b"cannot be reached" in got.body
        await cloud.start_api_server()
        await hub.said("link.changed", now="up")
        assert (await ask(await hub.secure(), asked)).status == 200
        assert (await hub.asks("/readyz"))[0] == 200


@pytest.mark.controlplane
async def test_an_api_server_that_another_authority_vouches_for_is_not_trusted(
    plane: ControlPlane, tmp_path: Path
) -> None:
    """No request and no token reaches it; the log and the answer say why."""
    stranger = Pki(tmp_path / "pki")
    async with Hub(stranger, plane.server, tmp_path / "hub") as hub:
        down = await hub.said("link.changed", now="down")
        assert "certificate verify failed" in down["why"].lower().replace("_", " ")
        got = await ask(await hub.secure(), request("/version", token="secret-token"))
        assert got.status == 503
        assert b"certificate" in got.body.lower()
        assert "secret-token" not in hub.log.read_text()


@pytest.mark.controlplane
async def test_two_hubs_live_on_one_machine_each_as_its_node(plane: ControlPlane, tmp_path: Path) -> None:
    """By ports and root folders; a third one with the first one's folder says whose it is."""
    async with (
        Site(plane, tmp_path / "one", node="twin-1") as one,
        Site(plane, tmp_path / "two", node="twin-2") as two,
    ):
        for site, other in ((one, two), (two, one)):
            wire = await site.hub.secure(plane.node_files(site.node))
            got = await ask(wire, request(f"/api/v1/nodes/{site.node}"))
            assert got.status == 404, "it may read its own Node, which nobody has made"
            wire = await site.hub.secure(plane.node_files(other.node))
            assert (await ask(wire, request(f"/api/v1/nodes/{other.node}"))).status == 401
        third = Hub(plane.pki, NOWHERE, tmp_path / "three", flags={"root-dir": str(one.hub.folder / "root")})
        said = await refused(third)
        assert f"pid {one.hub.child.pid}" in said
        assert "--root-dir" in said


@pytest.fixture
def public() -> Iterator[Path]:
    """Return a folder that every user may enter."""
    made = Path(tempfile.mkdtemp(prefix="yurt-hub-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.mark.controlplane
async def test_a_hub_runs_without_root(plane: ControlPlane, caller: Account, home: str, public: Path) -> None:
    """As nobody, with files of its own, it serves both identities and is ready."""
    before = as_nobody()
    files = {}
    for flag, file in {
        "ca-file": plane.ca_file,
        "cert-file": plane.node_files(home).cert,
        "key-file": plane.node_files(home).key,
        "tls-cert-file": plane.hub_files(home).cert,
        "tls-private-key-file": plane.hub_files(home).key,
    }.items():
        files[flag] = shutil.copy(file, public / flag)
        if before:
            os.chown(files[flag], NOBODY, NOBODY)
    root = public / "root"
    root.mkdir(mode=0o700)
    if before:
        os.chown(root, NOBODY, NOBODY)
    flags = {flag: str(file) for flag, file in files.items()} | {"root-dir": str(root)}
    async with Hub(plane.pki, plane.server, public / "logs", node=home, flags=flags, before=before) as hub:
        await hub.said("link.changed", now="up")
        if before:
            assert uid(hub.child.pid) == NOBODY
        assert (await hub.asks("/readyz"))[0] == 200
        got = await ask(await hub.secure(), request("/version", token=caller.token))
        assert got.status == 200
        got = await ask(await hub.secure(plane.node_files(home)), request(f"/api/v1/nodes/{home}"))
        assert got.status == 404


def uid(pid: int) -> int:
    """Return a process's user."""
    return Path(f"/proc/{pid}").stat().st_uid


def as_nobody() -> tuple[str, ...]:
    """Return what turns a command of root's into one of nobody's; nothing if these tests run without root.

    Where Python lies in a folder that only root may enter (a pyenv of root's), nobody may search folders, no more.
    """
    if os.getuid() != 0:
        return ()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("setpriv (util-linux) is not installed")
    open_to_all = all(
        path.stat().st_mode & 0o001
        for home in (sys.prefix, sys.base_prefix)
        for path in (Path(home).resolve(), *Path(home).resolve().parents)
    )
    caps = "-all" if open_to_all else "-all,+dac_read_search"
    return (
        *(setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
        *(f"--{kind}={caps}" for kind in ("inh-caps", "ambient-caps", "bounding-set")),
    )


@pytest.mark.controlplane
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_a_hub_with_twenty_open_watches(
    plane: ControlPlane, caller: Account, tmp_path: Path, end: signal.Signals
) -> None:
    """Exit code 0, no traceback, no port, and nothing in its folder but its lock and its store."""
    async with watched(plane, caller, tmp_path) as site:
        process = site.hub.child
        os.kill(process.pid, end)
        async with asyncio.timeout(WITHIN):
            assert await process.exited() == 0
    assert site.hub.lines()[-1]["event"] == "hub.stopping"
    assert site.hub.lines()[-1]["streams"] == 20
    assert not [line for line in site.hub.lines() if "text" in line]
    left = sorted(path.name for path in (tmp_path / "site" / "root").iterdir())
    assert left == ["cache", "hub.lock", "seal.key"]
    assert not any(listens(port) for port in (site.hub.control, site.hub.plain_port, site.hub.secure_port))


@contextlib.asynccontextmanager
async def watched(plane: ControlPlane, caller: Account, folder: Path) -> AsyncIterator[Site]:
    """Run a hub with twenty watches."""
    async with Site(plane, folder / "site", node="ending") as site:
        path = f"/api/v1/namespaces/{caller.namespace}/configmaps"
        birds = [Watcher(site.hub.secure, f"w-{number}", path, "", None, 0, token=caller.token) for number in range(20)]
        async with living(*birds):
            await until(lambda: all(bird.answers for bird in birds), "all watches are answered")
            yield site


def listens(port: int) -> bool:
    """Say whether anybody listens there."""
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.controlplane
async def test_a_hub_that_was_killed_starts_again_as_if_nothing_had_been(
    plane: ControlPlane, caller: Account, tmp_path: Path
) -> None:
    """With the same ports and folder, at once, though clients still hold their ends of broken connections."""
    async with watched(plane, caller, tmp_path) as site:
        site.hub.child.kill()
        mark = len(site.hub.lines())
        await site.hub.child.start(WITHIN)
        await site.hub.said("link.changed", now="up", after=mark)
        got = await ask(await site.hub.secure(), request("/version", token=caller.token))
        assert got.status == 200
        await streams(site, 20 + OWN_WATCHES)


async def streams(site: Site, count: int) -> None:
    """Wait until so many watches are open."""
    async with asyncio.timeout(WITHIN):
        while (await site.hub.upstreams())["streams"] != count:
            await asyncio.sleep(0.1)
