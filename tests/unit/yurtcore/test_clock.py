"""The clock of services is the event loop's."""

import asyncio

import looptime
import pytest
from yurtcore.flow.clock import loop_clock


@pytest.mark.looptime
async def test_an_hour_of_the_loops_time_passes_on_the_clock(looptime: looptime.LoopTimeProxy) -> None:
    clock = loop_clock()
    begun = clock.now()
    await clock.sleep(3600)
    assert clock.now() - begun == 3600
    assert clock.now() == asyncio.get_running_loop().time()
    assert looptime == 3600
