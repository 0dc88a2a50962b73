"""Steering links from outside: a unix socket that takes one JSON object a line, and its client.

A request is `{"do": "cut", "target": "pool-a", "how": "delay", "ms": 50}`; an answer is `{"ok": ...}` with what the
method of `Links` returned, or `{"error": "...", "kind": "BadInput"}`. Whoever can open the socket may steer, so it
belongs to its owner alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from pathlib import Path
from typing import Any, Self

from yurtcore.errors import BadInput, Missing, Refused, Retry, YurtError

from yurtsim.links.links import Links

LINE = 64 * 1024
"""Bytes of a request at most."""
ANSWER = 4 * 1024 * 1024
"""Bytes of an answer at most: some thousand links."""
WITHIN = 5.0
"""Seconds that the link process has to answer."""
_VERBS = ("add", "remove", "cut", "heal", "drop", "show")
_KINDS: dict[str, type[YurtError]] = {"BadInput": BadInput, "Missing": Missing}


def answer(links: Links, line: bytes) -> dict[str, Any]:
    """Carry out one request; every failure that a caller can cause is an answer."""
    try:
        request = json.loads(line)
        if not isinstance(request, dict) or (verb := request.pop("do", None)) not in _VERBS:
            raise BadInput(f"a request says what to do: one of {', '.join(_VERBS)}")
        return {"ok": getattr(links, verb)(**request)}
    except YurtError as err:
        return {"error": str(err), "kind": type(err).__name__}
    except (ValueError, TypeError) as err:
        return {"error": f"malformed request: {err}", "kind": "BadInput"}


class _Session(asyncio.Protocol):
    """One caller's connection: lines in, lines out."""

    def __init__(self, links: Links, sessions: set[_Session]) -> None:
        self._links, self._sessions = links, sessions
        self._text = bytearray()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember how to answer."""
        if isinstance(transport, asyncio.Transport):
            self.transport = transport
            self._sessions.add(self)

    def data_received(self, data: bytes) -> None:
        """Answer every whole line; a caller that sends no end of line is cut off."""
        self._text += data
        while (end := self._text.find(b"\n")) >= 0:
            line = bytes(self._text[:end])
            del self._text[: end + 1]
            if self.transport is not None:
                self.transport.write(json.dumps(answer(self._links, line)).encode() + b"\n")
        if len(self._text) > LINE and self.transport is not None:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        """Forget the caller."""
        self._sessions.discard(self)


class Control:
    """The control socket, while in `async with`.

    Args:
        links: What is steered.
        path: Where the socket is; at most 107 bytes long. One left over by a dead process is replaced.
    """

    def __init__(self, links: Links, path: Path) -> None:
        self._links, self._path = links, path
        self._sessions: set[_Session] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        """Listen."""
        loop = asyncio.get_running_loop()
        try:
            self._path.unlink(missing_ok=True)
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.bind(str(self._path))
                self._path.chmod(0o600)
            except OSError:
                sock.close()
                raise
        except OSError as err:
            raise BadInput(f"no control socket at {self._path}: {err}") from err
        self._server = await loop.create_unix_server(lambda: _Session(self._links, self._sessions), sock=sock)
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Let callers go and remove the socket."""
        if self._server is not None:
            self._server.close()
            for session in list(self._sessions):
                if session.transport is not None:
                    session.transport.abort()
            await self._server.wait_closed()
        self._path.unlink(missing_ok=True)


class LinkControl:
    """A caller of the control socket: the methods of `Links`, from another process; one connection for each call.

    Every method raises what `Links` would, and `yurtcore.errors.Retry` when the link process does not answer.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    async def ready(self, within: float) -> None:
        """Return once the process answers; `Retry` after `within` seconds."""
        loop = asyncio.get_running_loop()
        end = loop.time() + within
        while True:
            try:
                await self._ask("show")
            except Retry:
                if loop.time() >= end:
                    raise
                await asyncio.sleep(0.02)
            else:
                return

    async def add(self, name: str, target: str, *, node: str = "", pool: str = "", listen: str = "127.0.0.1:0") -> int:
        """Open a link; its port."""
        return int(await self._ask("add", name=name, target=target, node=node, pool=pool, listen=listen))

    async def remove(self, name: str) -> None:
        """End one link, if it is there."""
        await self._ask("remove", name=name)

    async def cut(
        self,
        target: str | None = None,
        how: str = "blackhole",
        *,
        ms: float | None = None,
        rate: int | None = None,
        way: str | None = None,
    ) -> list[str]:
        """Make links worse; the names of those that were met."""
        return list(await self._ask("cut", target=target, how=how, ms=ms, rate=rate, way=way))

    async def heal(self, target: str | None = None) -> list[str]:
        """Make links whole; the names of those that were met."""
        return list(await self._ask("heal", target=target))

    async def drop(self, target: str | None = None, how: str = "reset") -> int:
        """Reset or freeze the connections that exist now; how many there were."""
        return int(await self._ask("drop", target=target, how=how))

    async def show(self, target: str | None = None) -> list[dict[str, Any]]:
        """Each link as plain data."""
        return list(await self._ask("show", target=target))

    async def _ask(self, verb: str, **what: Any) -> Any:
        line = json.dumps({"do": verb} | what).encode() + b"\n"
        try:
            async with asyncio.timeout(WITHIN):
                reader, writer = await asyncio.open_unix_connection(str(self._path), limit=ANSWER)
                try:
                    writer.write(line)
                    got = json.loads(await reader.readuntil(b"\n"))
                finally:
                    writer.close()
                    with contextlib.suppress(OSError):
                        await writer.wait_closed()
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as err:
            raise Retry(f"the link process does not answer at {self._path}: {str(err) or type(err).__name__}") from err
        if "error" in got:
            raise _KINDS.get(got["kind"], Refused)(got["error"])
        return got["ok"]
