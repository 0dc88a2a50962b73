"""The hub's heartbeat: probes API servers when the link table asks for it, and tells the log how links change."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import structlog

from yurt_hub.domain.links import Changed, Link, LinkTable

TICK: Final = 0.2
"""Seconds between looks at the table: a link that has become doubtful meanwhile waits no longer than this."""

_log = structlog.get_logger("links")


async def keep_probing(
    links: LinkTable,
    *,
    probe: Callable[[str], Awaitable[object]],
    spawn: Callable[[str, Coroutine[Any, Any, None]], object],
    clock: Callable[[], float],
    timeout: float,  # noqa: ASYNC109 (of one probe, not of this function)
) -> None:
    """Probe whatever is due, each server on its own, for ever.

    ``probe`` returns when a server answered and raises otherwise; it gets ``timeout`` seconds.
    """

    async def once(server: str) -> None:
        since = clock()
        try:
            async with asyncio.timeout(timeout):
                await probe(server)
        except TimeoutError:
            links.missed(server, clock(), f"no answer to a probe within {timeout:g} s", since=since)
        except OSError as err:
            links.missed(server, clock(), str(err) or type(err).__name__, since=since)
        else:
            links.heard(server, clock())

    while True:
        now = clock()
        for server in links.due(now):
            spawn(f"probe {server}", once(server))
        await asyncio.sleep(min(max(links.next_due(now) - now, 0.01), TICK))


def tell(change: Changed, *, retry_in: int) -> None:
    """Write one line about a link that changed; ``retry_in`` is when a server that is down is asked again, seconds."""
    facts = {
        "server": change.server,
        "was": change.was.value,
        "now": change.now.value,
        "why": change.why,
        "lasted": round(change.lasted, 3),
    }
    if change.now is Link.DOWN:
        _log.warning("link.changed", **facts, retry_in=retry_in)
    else:
        _log.info("link.changed", **facts)
