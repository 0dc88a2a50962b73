"""Local callers are known by their processes: real programs, users and namespaces on the other end of a socket."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from yurt_hub.adapters.doors import LocalDoor
from yurt_hub.adapters.owners import Owners, ask_kernel, local_policy, self_test
from yurt_hub.domain.callers import LocalPolicy, Shown

CONNECT = """
import encodings.idna, os, socket, sys
host, port, uid = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if uid >= 0:
    os.setgid(uid), os.setuid(uid)
with socket.create_connection((host, port), timeout=20) as caller:
    caller.recv(1)
"""
AS_NOBODY = """
import encodings.idna, json, os, socket, sys
from yurt_hub.adapters.owners import Owners, local_policy
from yurt_hub.domain.callers import judge_owner
os.setgid(65534), os.setuid(65534)
policy = local_policy(["kubelet"])
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    theirs, far = server.accept()
    stranger = judge_owner(Owners(policy).find(theirs.getsockname(), far), policy)
    with socket.create_connection(server.getsockname()) as mine:
        theirs, far = server.accept()
        own = judge_owner(Owners(policy).find(theirs.getsockname(), far), policy)
print(json.dumps([stranger.value, own.value]))
"""
NOBODY = 65534
PYTHON = Path(sys.executable).resolve()
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user or to make namespaces")


@pytest.fixture(scope="module")
def kubelet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a program that /proc calls kubelet: Python under another name, readable by every user."""
    folder = tmp_path_factory.mktemp("bin")
    program = folder / "kubelet"
    shutil.copy2(PYTHON, program)
    return program


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


class Listener(asyncio.Protocol):
    """Hands each accepted connection to the test."""

    def __init__(self, accepted: "asyncio.Queue[asyncio.Transport]") -> None:
        self._accepted = accepted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._accepted.put_nowait(transport)


@asynccontextmanager
async def caller(*command: str | Path, host: str = "127.0.0.1", uid: int = -1) -> AsyncIterator[asyncio.Transport]:
    """Run a program that connects to us; yields our end of its connection."""
    accepted: asyncio.Queue[asyncio.Transport] = asyncio.Queue()
    server = await asyncio.get_running_loop().create_server(lambda: Listener(accepted), host, 0)
    port = server.sockets[0].getsockname()[1]
    words = [*map(str, command), "-c", CONNECT, host, str(port), str(uid)]
    child = await asyncio.create_subprocess_exec(*words, env={"PYTHONHOME": sys.base_prefix})
    try:
        async with asyncio.timeout(20):
            transport = await accepted.get()
        yield transport
        transport.abort()
    finally:
        server.close()
        if child.returncode is None:
            child.kill()
        await child.wait()


async def greet(transport: asyncio.Transport, threads: ThreadPoolExecutor, *executables: str) -> Shown:
    policy = local_policy(executables or ("kubelet", "kube-proxy"))
    return await LocalDoor(Owners(policy), policy, threads).greet(transport)


async def test_a_program_on_the_list_is_the_nodes_own(kubelet: Path, threads: ThreadPoolExecutor) -> None:
    async with caller(kubelet) as transport:
        assert await greet(transport, threads) is Shown.NODE


async def test_a_full_path_on_the_list_means_that_file(kubelet: Path, threads: ThreadPoolExecutor) -> None:
    async with caller(kubelet) as transport:
        assert await greet(transport, threads, str(kubelet)) is Shown.NODE
        assert await greet(transport, threads, "/usr/bin/kubelet") is Shown.UNKNOWN


async def test_a_program_that_was_replaced_while_it_runs_keeps_its_name(
    kubelet: Path, tmp_path: Path, threads: ThreadPoolExecutor
) -> None:
    running = tmp_path / "kubelet"
    shutil.copy2(kubelet, running)
    async with caller(running) as transport:
        running.unlink()
        assert await greet(transport, threads) is Shown.NODE


async def test_a_program_not_on_the_list_is_unknown_and_told_about_once(threads: ThreadPoolExecutor) -> None:
    """A refused caller is named in the log with its pid and program, a second time only for debugging."""
    policy = local_policy(("kubelet",))
    door = LocalDoor(Owners(policy), policy, threads)
    async with caller(PYTHON) as transport:
        with capture_logs() as lines:
            assert await door.greet(transport) is Shown.UNKNOWN
            assert await door.greet(transport) is Shown.UNKNOWN
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("caller.refused", "warning"),
        ("caller.refused", "debug"),
    ]
    assert lines[0]["executable"] == str(PYTHON)
    assert lines[0]["pid"] != os.getpid()


async def test_a_caller_that_is_gone_is_unknown(kubelet: Path, threads: ThreadPoolExecutor) -> None:
    """A closed socket has no owner any more, although the kernel would give it root's uid."""
    async with caller(kubelet) as transport:
        near, far = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
        assert ask_kernel(far, near) is not None
    assert ask_kernel(far, near) is None
    policy = local_policy(("kubelet",))
    assert Owners(policy).find(near, far) is None


@root_only
async def test_another_users_program_is_unknown(kubelet: Path, threads: ThreadPoolExecutor) -> None:
    async with caller(kubelet, uid=NOBODY) as transport:
        assert await greet(transport, threads) is Shown.UNKNOWN


def allowed(*command: str) -> bool:
    """Say whether a command exists and may do its work here: containers forbid new namespaces even to root."""
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, check=False, capture_output=True, timeout=20).returncode == 0


@root_only
@pytest.mark.skipif(not allowed("unshare", "--mount", "true"), reason="may not make mount namespaces here")
async def test_a_program_in_another_mount_namespace_is_unknown(kubelet: Path, threads: ThreadPoolExecutor) -> None:
    async with caller("unshare", "--mount", kubelet) as transport:
        assert await greet(transport, threads) is Shown.UNKNOWN


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, str]]:
    """Yield a network namespace with a cable to ours, and our address on it."""
    name, number = f"yurt{os.getpid() % 100000}", os.getpid() % 250
    ours, theirs, host, peer = f"{name}a", f"{name}b", f"10.249.{number}.1", f"10.249.{number}.2"

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)

    ip("netns", "add", name)
    try:
        ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name)
        ip("addr", "add", f"{host}/30", "dev", ours)
        ip("link", "set", ours, "up")
        ip("-n", name, "addr", "add", f"{peer}/30", "dev", theirs)
        ip("-n", name, "link", "set", theirs, "up")
        yield name, host
    finally:
        ip("netns", "del", name)


@root_only
@pytest.mark.skipif(shutil.which("ip") is None, reason="needs ip")
@pytest.mark.skipif(not allowed("unshare", "--net", "true"), reason="may not make network namespaces here")
async def test_a_program_in_another_network_namespace_is_unknown(
    kubelet: Path, elsewhere: tuple[str, str], threads: ThreadPoolExecutor
) -> None:
    """A pod that runs a program called kubelet as root reaches the port, but has no socket in the hub's namespace."""
    namespace, host = elsewhere
    async with caller("nsenter", f"--net=/run/netns/{namespace}", kubelet, host=host) as transport:
        assert await greet(transport, threads) is Shown.UNKNOWN
    async with caller(kubelet, host=host) as transport:
        assert await greet(transport, threads) is Shown.NODE


@root_only
async def test_without_root_a_root_process_is_known_by_its_uid_and_an_own_one_by_its_program() -> None:
    """A hub without root cannot look at root's processes, so their uid decides; what it can see has to be listed."""
    hub = await asyncio.create_subprocess_exec(sys.executable, "-c", AS_NOBODY, stdout=subprocess.PIPE)
    assert hub.stdout is not None
    async with asyncio.timeout(20):
        port = int(await hub.stdout.readline())
        with socket.create_connection(("127.0.0.1", port)):
            answer = await hub.stdout.readline()
        await hub.wait()
    assert json.loads(answer) == ["node", "unknown"]


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET6, "::ffff:127.0.0.1")]
)
def test_the_kernel_finds_the_socket_in_each_family(family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family) as server:
        try:
            server.bind((host, 0))
        except OSError as err:
            pytest.skip(f"no {host} on this machine: {err}")
        server.listen()
        with socket.create_connection(server.getsockname()[:2]) as mine:
            theirs, far = server.accept()
            with theirs:
                found = ask_kernel(far[:2], theirs.getsockname()[:2])
                assert found == (os.geteuid(), os.fstat(mine.fileno()).st_ino)


def test_a_listening_socket_is_not_taken_for_a_connected_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert ask_kernel(server.getsockname(), ("127.0.0.1", 9)) is None


def test_this_machine_can_tell_local_callers_apart() -> None:
    assert self_test() is None


def test_a_hint_from_before_is_checked_anew(kubelet: Path) -> None:
    """A process that held an earlier connection does not vouch for a later one."""
    policy = LocalPolicy(uids=frozenset({os.geteuid()}), executables=(PYTHON.name,))
    owners = Owners(policy)
    with socket.create_server(("127.0.0.1", 0)) as server:
        connect: Callable[[], socket.socket] = lambda: socket.create_connection(server.getsockname())  # noqa: E731
        with connect():
            theirs, far = server.accept()
            with theirs:
                first = owners.find(theirs.getsockname(), far)
        assert first is not None
        assert first.pid == os.getpid()
        words = [kubelet, "-c", CONNECT, *map(str, server.getsockname()), "-1"]
        with subprocess.Popen(words, env={"PYTHONHOME": sys.base_prefix}) as child:
            theirs, far = server.accept()
            with theirs:
                second = owners.find(theirs.getsockname(), far)
        assert second is not None
        assert (second.pid, second.executable) == (child.pid, str(kubelet))
