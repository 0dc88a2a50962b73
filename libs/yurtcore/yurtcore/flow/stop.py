"""Being told to stop: signals become an event that the whole service waits for."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def until_told(*signals: signal.Signals) -> AsyncIterator[asyncio.Event]:
    """An event that is set by the first of `signals` (default SIGTERM and SIGINT); further ones change nothing.

    Only in the main thread. On leaving, the handlers that were there before are back.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    before = {sig: signal.getsignal(sig) for sig in signals or (signal.SIGTERM, signal.SIGINT)}
    for sig in before:
        loop.add_signal_handler(sig, stop.set)
    try:
        yield stop
    finally:
        for sig, handler in before.items():
            loop.remove_signal_handler(sig)
            signal.signal(sig, handler)
