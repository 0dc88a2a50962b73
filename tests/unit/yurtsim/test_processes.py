"""Supervised children, with real processes."""

import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from yurtsim.probes import answers
from yurtsim.processes import Child, ProcessError, free_ports

SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)",
]


def child(tmp_path: Path, command: list[str], **more: object) -> Child:
    return Child("thing", command, log=tmp_path / "logs" / "thing.log", **more)  # type: ignore[arg-type]


async def until_logged(path: Path, word: str) -> None:
    """Wait until a log holds `word`; the process writes it, so there is no event of ours to await."""
    async with asyncio.timeout(30):
        while word not in read(path):
            await asyncio.sleep(0.02)


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


async def test_a_child_runs_between_start_and_stop(tmp_path: Path) -> None:
    """Its pid is the command's own, because the tether becomes the command; SIGTERM ends it."""
    async with child(tmp_path, SLEEPS) as one:
        assert one.running
        assert one.returncode is None
        os.kill(one.pid, 0)
    assert not one.running
    assert one.returncode == -signal.SIGTERM


async def test_start_waits_for_the_probe(tmp_path: Path) -> None:
    """A web server counts as started once it answers, not when its process exists."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port), "--directory", str(tmp_path)]
    async with child(tmp_path, command, ready=answers(f"http://127.0.0.1:{port}/")):
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


async def test_a_child_that_ends_during_start_is_reported_with_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('no such flag: --colour'); raise SystemExit(3)"]
    with pytest.raises(ProcessError, match=r"thing ended with exit code 3; the end of .*thing\.log:\nno such flag"):
        await child(tmp_path, command, ready=answers("http://127.0.0.1:1/")).start()


async def test_a_child_that_never_gets_ready_is_ended_and_the_reason_told(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    one = child(tmp_path, SLEEPS, ready=answers(f"http://127.0.0.1:{port}/"))
    with pytest.raises(ProcessError, match=f"not ready within 1 s: http://127.0.0.1:{port}/: "):
        await one.start(within=1)
    assert one.returncode == -signal.SIGKILL


async def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    one = child(tmp_path, ["/nowhere/etcd"])
    one.spawn()
    async with asyncio.timeout(30):
        assert await one.exited() == 1
    assert "/nowhere/etcd: No such file or directory" in one.obituary()


async def test_a_child_that_ignores_sigterm_is_killed_at_the_deadline(tmp_path: Path) -> None:
    one = child(tmp_path, DEAF)
    await one.start()
    await until_logged(one.log, "deaf")
    await one.stop(within=0.2)
    assert one.returncode == -signal.SIGKILL


async def test_the_end_of_a_child_is_an_event(tmp_path: Path) -> None:
    """Two waiters learn the exit code, also one that comes after the end; a cancelled one disturbs nobody."""
    one = child(tmp_path, SLEEPS)
    await one.start()
    async with asyncio.TaskGroup() as group:
        gives_up = group.create_task(one.exited())
        waiters = [group.create_task(one.exited()) for _ in range(2)]
        await asyncio.sleep(0)
        gives_up.cancel()
        os.kill(one.pid, signal.SIGUSR1)
    assert [waiter.result() for waiter in waiters] == [-signal.SIGUSR1] * 2
    assert await one.exited() == -signal.SIGUSR1
    assert "was ended by SIGUSR1" in one.obituary()


async def test_a_child_may_be_started_again(tmp_path: Path) -> None:
    one = child(tmp_path, SLEEPS)
    await one.start()
    first = one.pid
    with pytest.raises(ProcessError, match="runs already"):
        await one.start()
    await one.stop()
    await one.stop()
    await one.start()
    assert one.pid != first
    await one.stop()


def test_a_child_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """After kill -9 of the parent the kernel ends the child; nobody has to clean up."""
    parent = textwrap.dedent(
        f"""
        import asyncio, pathlib
        from yurtsim.processes import Child
        async def main():
            one = Child("thing", {SLEEPS!r}, log=pathlib.Path({str(tmp_path / "log")!r}))
            await one.start()
            print(one.pid, flush=True)
            await one.exited()
        asyncio.run(main())
        """
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        orphan = os.pidfd_open(pid)
        process.kill()
    watch = select.poll()
    watch.register(orphan, select.POLLIN)
    assert watch.poll(30_000), "the child still runs"
    os.close(orphan)


def test_a_child_outlives_the_loop_it_was_started_in(tmp_path: Path) -> None:
    """Started in one event loop and stopped in another, as a fixture of a whole test run needs it."""
    one = child(tmp_path, SLEEPS)
    for step in (one.start, one.stop):
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            runner.run(step())
    assert one.returncode == -signal.SIGTERM


async def test_the_probe_says_what_it_got(tmp_path: Path) -> None:
    """Wrong status, silence at once and no listener are told apart."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/bad " in head:
            writer.write(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
        elif b"/good " in head:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        assert await answers(f"http://127.0.0.1:{port}/good")() is None
        assert await answers(f"http://127.0.0.1:{port}/bad")() == f"http://127.0.0.1:{port}/bad answered 503"
        assert "closed without an answer" in str(await answers(f"http://127.0.0.1:{port}/mute")())
    assert await answers(f"http://127.0.0.1:{port}/good")() is not None


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports[0]))
        taken.listen()
        assert ports[0] not in free_ports(500)
