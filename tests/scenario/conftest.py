"""What the scenarios share: one hub for each module, before the run's control plane."""

from collections.abc import Callable, Iterator

import pytest
from kit.accounts import Account, account, admin
from kit.hub import Site
from kit.plane import run
from yurtsim.controlplane import ControlPlane


@pytest.fixture(scope="module")
def home(request: pytest.FixtureRequest) -> str:
    """Return a name for the module's node and namespace."""
    return str(request.module.__name__).rpartition(".")[2].replace("_", "-").removeprefix("test-")


@pytest.fixture(scope="module")
def site(plane: ControlPlane, home: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return the module's hub, behind a link of its own."""
    made = Site(plane, tmp_path_factory.mktemp(home), node=home)
    run(made.start())
    try:
        yield made
    finally:
        run(made.stop())


@pytest.fixture(scope="module")
def caller(plane: ControlPlane, home: str) -> Iterator[Account]:
    """Return a service account that may do anything with the ConfigMaps of the module's namespace."""

    async def make() -> Account:
        async with admin(plane) as kube:
            return await account(kube, home, "caller")

    async def remove(path: str) -> None:
        async with admin(plane) as kube:
            await kube.delete(path)

    yield run(make())
    run(remove(f"/api/v1/namespaces/{home}"))


@pytest.fixture
def tell(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Return how a test says a number that people want to read, also when it passes."""
    screen = pytestconfig.pluginmanager.getplugin("terminalreporter")
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        if screen is not None and capture is not None:
            with capture.global_and_fixture_disabled():
                screen.write_line(f"  {line}")

    return say
