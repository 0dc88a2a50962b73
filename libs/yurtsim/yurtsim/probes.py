"""Ready probes for supervised processes: one small request, one answer, no client library."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

Probe = Callable[[], Awaitable[str | None]]
"""Asks once whether a process is ready: None, or the reason why not yet."""

_ANSWER_WITHIN = 5.0
_HEAD_LIMIT = 4096


def answers(url: str, *, tls: ssl.SSLContext | None = None) -> Probe:
    """Return a probe that is content when `url` (http or https) answers a GET with 200."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or (443 if parts.scheme == "https" else 80)
    head = f"GET {parts.path or '/'} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: yurtsim\r\n\r\n".encode()

    async def ask() -> str | None:
        try:
            async with asyncio.timeout(_ANSWER_WITHIN):
                status = await _status(host, port, tls if parts.scheme == "https" else None, head)
        except TimeoutError:
            return f"{url} gave no answer for {_ANSWER_WITHIN:.0f} s"
        except (OSError, ValueError) as err:
            return f"{url}: {err}"
        return None if status == 200 else f"{url} answered {status}"

    return ask


async def _status(host: str, port: int, tls: ssl.SSLContext | None, head: bytes) -> int:
    reader, writer = await asyncio.open_connection(host, port, ssl=tls, limit=_HEAD_LIMIT)
    try:
        writer.write(head)
        line = await reader.readline()
    finally:
        writer.transport.abort()
    fields = line.split(None, 2)
    if len(fields) < 2:
        raise ValueError("closed without an answer")
    return int(fields[1])
