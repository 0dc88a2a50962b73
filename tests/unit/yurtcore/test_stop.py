"""Signals become an event, and afterwards everything is as before."""

import asyncio
import os
import signal

import pytest
from yurtcore.flow.stop import until_told


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_sets_stop_and_a_second_one_changes_nothing(sig: signal.Signals) -> None:
    async with asyncio.timeout(10), until_told() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), sig)
        await stop.wait()
        os.kill(os.getpid(), sig)
        await asyncio.sleep(0)


async def test_the_handlers_of_before_are_back_afterwards() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, _frame: heard.append(number))
    try:
        async with until_told(signal.SIGUSR2):
            pass
        os.kill(os.getpid(), signal.SIGUSR2)
        await asyncio.sleep(0)
        assert heard == [signal.SIGUSR2]
    finally:
        signal.signal(signal.SIGUSR2, before)
