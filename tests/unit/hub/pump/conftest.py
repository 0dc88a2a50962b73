"""The pump runs on uvloop in production, so its tests do too."""

from collections.abc import Callable, Mapping

import pytest
import uvloop
from kit.scripted import Keys


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], uvloop.Loop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys.make(tmp_path_factory.mktemp("keys"))
