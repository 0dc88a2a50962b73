"""What all tests share: the kit's fixtures, and the rule that a test leaves nothing running behind."""

import asyncio
import contextlib
import inspect
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # import mode importlib adds nothing: `kit` is imported from here

pytest_plugins = ["kit.plane"]


def pytest_sessionstart() -> None:
    """Say that the main thread has no loop: else looptime's look for one makes a loop that nobody closes."""
    asyncio.set_event_loop(None)


@pytest.fixture(autouse=True)
def nothing_left_running(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a child process or an asyncio task behind; fixtures of wider scope keep theirs."""
    if inspect.iscoroutinefunction(request.function):
        request.getfixturevalue("no_task_left")
    before = _children()
    yield
    left = {pid: name for pid, name in _children().items() if pid not in before}
    assert not left, f"processes left running: {left}"


@pytest.fixture
async def no_task_left() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    current = asyncio.current_task()
    left = [task for task in asyncio.all_tasks() - before if task is not current]
    assert not left, f"tasks left running: {left}"


def _children() -> dict[int, str]:
    """Return pid and command of this process's children; empty where the kernel does not list them."""
    found: dict[int, str] = {}
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            for pid in map(int, (task / "children").read_text().split()):
                with contextlib.suppress(FileNotFoundError):
                    found[pid] = (Path("/proc") / str(pid) / "comm").read_text().strip()
    return found
