"""A real control plane for tests.

`plane` is started once for the whole run, when the first test asks for it, and holds
the rights of `deploy/k8s`. Tests share it: they use names and namespaces of their own.
`private_plane` makes one for a test that stops or reconfigures it.
A control plane is not bound to an event loop, so each test keeps its own.
"""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from yurtcore.errors import YurtError
from yurtsim import seed
from yurtsim.controlplane import ControlPlane, Wishes, find

T = TypeVar("T")
MakePlane = Callable[..., Awaitable[ControlPlane]]


_FOUND = pytest.StashKey[Path | YurtError]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Find, fetch or build the programs before the first test: that may take longer than a test is allowed to."""
    wanted = any("binaries" in getattr(item, "fixturenames", ()) for item in session.items)
    if not wanted or session.config.option.collectonly:
        return
    screen = session.config.pluginmanager.getplugin("terminalreporter")
    try:
        found: Path | YurtError = find(lambda line: screen.write_line(f"control plane: {line}") if screen else None)
    except YurtError as err:
        found = err
    session.config.stash[_FOUND] = found


@pytest.fixture(scope="session")
def binaries(pytestconfig: pytest.Config) -> Path:
    """Return the folder with the control plane's programs; tests fail with the reason if none can be had."""
    found = pytestconfig.stash[_FOUND]  # asked for by name only: getfixturevalue would come too late
    if isinstance(found, YurtError):
        raise found
    return found


@pytest.fixture(scope="session")
def plane(binaries: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Return the run's shared control plane, seeded, with an audit log."""
    cloud = ControlPlane(tmp_path_factory.mktemp("cloud"), binaries, Wishes(audit=True))
    run(_start(cloud, seeded=True))
    try:
        yield cloud
    finally:
        run(cloud.stop())
        shutil.rmtree(cloud.folder)


@pytest.fixture
async def private_plane(binaries: Path, tmp_path: Path) -> AsyncIterator[MakePlane]:
    """Return `await make(wishes=None, seeded=True)` → a ControlPlane of this test alone; it ends with the test."""
    async with contextlib.AsyncExitStack() as shed:
        made: list[ControlPlane] = []

        async def make(wishes: Wishes | None = None, *, seeded: bool = True) -> ControlPlane:
            cloud = ControlPlane(tmp_path / f"cloud-{len(made)}", binaries, wishes)
            made.append(cloud)
            shed.push_async_callback(cloud.stop)
            await _start(cloud, seeded=seeded)
            return cloud

        yield make


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine from a synchronous fixture, without touching the loop of any test."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(work)


async def _start(cloud: ControlPlane, *, seeded: bool) -> None:
    await cloud.start()
    if seeded:
        try:
            await seed.rights(cloud)
        except BaseException:
            await cloud.stop()
            raise
