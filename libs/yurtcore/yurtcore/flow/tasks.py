"""Background work: started in one place, known by name, never forgotten, never silent.

Two kinds. A *standing* task (`start`) runs until the service stops; one that ends on its own takes the service down, as
its supervisor restarts a process better than a process mends itself. A *passing* job (`spawn`) belongs to a connection
or a request and may end whenever it is done; an error in it is reported and stays there.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

Work: TypeAlias = Coroutine[Any, Any, Any]
Report: TypeAlias = Callable[[str, Exception], None]


class Tasks:
    """Starts tasks in `group`; after `stop` is set they may end without taking the service down.

    `report` hears the name and the error of each passing job that fails; by default the loop's exception handler does.
    """

    def __init__(self, group: asyncio.TaskGroup, stop: asyncio.Event, report: Report | None = None) -> None:
        self._group = group
        self._stop = stop
        self._report = report or _to_loop
        self._standing: set[asyncio.Task[None]] = set()
        self._passing: set[asyncio.Task[None]] = set()

    def start(self, name: str, work: Work) -> asyncio.Task[None]:
        """Run standing work; its end or error before `stop` ends the group with an error that names it."""

        async def guarded() -> None:
            await work
            if not self._stop.is_set():
                raise RuntimeError(f"{name} ended on its own")

        return self._create(name, work, guarded(), self._standing)

    def spawn(self, name: str, work: Work) -> asyncio.Task[None]:
        """Run a passing job; its error goes to `report` and nowhere else."""

        async def guarded() -> None:
            try:
                await work
            except Exception as err:  # noqa: BLE001  the job's owner hears of it, the other jobs go on
                self._report(name, err)

        return self._create(name, work, guarded(), self._passing)

    def cancel(self) -> None:
        """Cancel everything that still runs; the group then waits for it."""
        for task in (*self._standing, *self._passing):
            task.cancel()

    @property
    def names(self) -> list[str]:
        """Names of all tasks that run now, for a dump."""
        return sorted(task.get_name() for task in (*self._standing, *self._passing))

    @property
    def passing(self) -> int:
        """How many passing jobs run now."""
        return len(self._passing)

    def _create(self, name: str, work: Work, guarded: Work, kept: set[asyncio.Task[None]]) -> asyncio.Task[None]:
        try:
            task = self._group.create_task(guarded, name=name)
        except BaseException:
            guarded.close()
            work.close()
            raise

        def done(task: asyncio.Task[None]) -> None:
            kept.discard(task)
            work.close()  # a task cancelled before its first step never awaited it

        kept.add(task)
        task.add_done_callback(done)
        return task


def _to_loop(name: str, err: Exception) -> None:
    asyncio.get_running_loop().call_exception_handler({"message": f"{name} failed", "exception": err})
