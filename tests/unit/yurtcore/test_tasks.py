"""Work in the background ends when it should, and is heard of when it should not."""

import asyncio

import pytest
from yurtcore.flow.tasks import Tasks


async def forever() -> None:
    await asyncio.Event().wait()


async def at_once() -> None:
    pass


async def fail() -> None:
    raise ValueError("broken")


async def test_standing_work_that_ends_takes_the_service_down() -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="links ended on its own")):
        async with asyncio.TaskGroup() as group:
            tasks = Tasks(group, asyncio.Event())
            tasks.start("other", forever())
            tasks.start("links", at_once())


async def test_standing_work_that_fails_takes_the_service_down_with_its_own_error() -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="broken")):
        async with asyncio.TaskGroup() as group:
            Tasks(group, asyncio.Event()).start("links", fail())


async def test_standing_work_may_end_after_stop() -> None:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        tasks = Tasks(group, stop)
        task = tasks.start("links", stop.wait())
        stop.set()
    assert task.exception() is None
    assert tasks.names == []


async def test_a_passing_jobs_error_is_reported_and_stays_there() -> None:
    heard: list[tuple[str, str]] = []
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        tasks = Tasks(group, stop, report=lambda name, err: heard.append((name, str(err))))
        standing = tasks.start("links", forever())
        await tasks.spawn("conn:1", fail())
        await tasks.spawn("conn:2", at_once())
        assert not standing.done()
        assert tasks.passing == 0
        tasks.cancel()
    assert heard == [("conn:1", "broken")]


async def test_a_passing_jobs_error_reaches_the_loop_when_nobody_else_wants_it() -> None:
    heard: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: heard.append(context["message"]))
    async with asyncio.TaskGroup() as group:
        Tasks(group, asyncio.Event()).spawn("conn:1", fail())
    assert heard == ["conn:1 failed"]


async def test_cancel_ends_everything_and_leaves_no_exception_group() -> None:
    ended: list[str] = []

    async def clean_up(name: str) -> None:
        try:
            await forever()
        finally:
            ended.append(name)

    async with asyncio.TaskGroup() as group:
        tasks = Tasks(group, asyncio.Event())
        tasks.start("a", clean_up("a"))
        tasks.spawn("b", clean_up("b"))
        await asyncio.sleep(0)
        assert tasks.names == ["a", "b"]
        tasks.cancel()
    assert sorted(ended) == ["a", "b"]


async def test_work_cancelled_before_its_first_step_is_closed() -> None:
    """Otherwise Python warns of a coroutine that was never awaited, and warnings are errors here."""
    async with asyncio.TaskGroup() as group:
        tasks = Tasks(group, asyncio.Event())
        tasks.start("a", forever())
        tasks.spawn("b", forever())
        tasks.cancel()


async def test_work_offered_to_a_group_that_has_ended_is_refused_and_closed() -> None:
    async with asyncio.TaskGroup() as group:
        tasks = Tasks(group, asyncio.Event())
    with pytest.raises(RuntimeError, match="finished"):
        tasks.start("late", forever())
    assert tasks.names == []
