"""The road of kept requests runs on uvloop in production, so its tests do too."""

import gc
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest
import uvloop
from kit.keeping import World, world
from kit.scripted import Keys


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], uvloop.Loop]]:
    return {"uvloop": uvloop.new_event_loop}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # A dial that fails in its handshake leaves its (closed) socket's transport to the collector: aiofastnet warns then.
    for item in items:
        if not item.path.is_relative_to(Path(__file__).parent):
            continue
        item.add_marker(pytest.mark.filterwarnings("ignore:deleting unclosed SSLTransport:ResourceWarning"))


@pytest.fixture(autouse=True)
def nothing_left_to_collect() -> Iterator[None]:
    """Collect here what failed dials leave."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys.make(tmp_path_factory.mktemp("keys"))


@pytest.fixture
async def sky(keys: Keys, tmp_path: Path) -> AsyncIterator[World]:
    """A cloud with three pods, a Service and the node."""
    async with world(keys, tmp_path) as found:
        cluster = found.cluster
        for name, app, node in (("a", "web", "n1"), ("b", "db", "n1"), ("c", "web", "n2")):
            cluster.put("pods", name, labels={"app": app}, spec={"nodeName": node})
        cluster.put("services", "dns", "kube-system", labels={"app": "dns"})
        cluster.put("nodes", "n1")
        cluster.documents["/version"] = {"major": "1", "minor": "34"}
        yield found
