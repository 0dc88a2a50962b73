"""The near end of a link: numeric addresses, sockets that never block, and a listening socket that can be shut."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import struct
from collections.abc import Callable
from typing import TypeAlias

from yurtcore.errors import BadInput

Address: TypeAlias = tuple[str, int]

BACKLOG = 1024
BREATHE = 0.1
"""Seconds without accepting when the process has no file descriptor left."""
_LINGER_NOT = struct.pack("ii", 1, 0)


def address(text: str) -> Address:
    """Read `127.0.0.1:6443` or `[::1]:6443`; names are refused, for looking one up could block.

    Raises:
        BadInput: When it is not a numeric address and a port.
    """
    host, _, port = text.rpartition(":")
    try:
        return str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))), _port(port)
    except ValueError as err:
        raise BadInput(f"{text!r} is not an address with a port, like 127.0.0.1:6443") from err


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError(text)
    return port


def socket_for(where: Address) -> socket.socket:
    """A TCP socket of the address's family that never blocks."""
    sock = socket.socket(socket.AF_INET6 if ":" in where[0] else socket.AF_INET)
    sock.setblocking(False)
    return sock


def abort(sock: socket.socket) -> None:
    """Close with a reset instead of an orderly end."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    sock.close()


class Door:
    """A listening socket that can be shut so that whoever knocks hears nothing, as on a dead link.

    The kernel answers a connection attempt by itself as long as its queue has room. So a shut door has a queue of
    one place, taken by a connection of our own: the kernel drops further attempts (they go on trying, and succeed
    soon after the door opens again).
    """

    def __init__(self, where: Address, accept: Callable[[socket.socket], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._accept = accept
        self._sock = socket_for(where)
        self._stopper: socket.socket | None = None
        self._own: Address | None = None
        self._pause: asyncio.TimerHandle | None = None
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._sock.bind(where)
            self._sock.listen(BACKLOG)
        except OSError as err:
            self._sock.close()
            raise BadInput(f"cannot listen on {where[0]}:{where[1]}: {err.strerror}") from err
        self.port = int(self._sock.getsockname()[1])
        self._loop.add_reader(self._sock, self._take)

    def set(self, *, ajar: bool) -> None:
        """Open or shut."""
        if ajar and self._stopper is not None:
            self._own = _near_end(self._stopper)
            self._stopper.close()
            self._stopper = None
            self._sock.listen(BACKLOG)
            self._loop.add_reader(self._sock, self._take)
        elif not ajar and self._stopper is None:
            self._take()
            self._loop.remove_reader(self._sock)
            self._sock.listen(0)
            self._stopper = socket_for(self._sock.getsockname()[:2])
            with contextlib.suppress(BlockingIOError):
                self._stopper.connect(self._sock.getsockname())

    def close(self) -> None:
        """Stop listening."""
        if self._pause is not None:
            self._pause.cancel()
        if self._stopper is not None:
            self._stopper.close()
        self._loop.remove_reader(self._sock)
        self._sock.close()

    def _take(self) -> None:
        """Accept what waits; without descriptors left, try again in a moment."""
        for _ in range(64):
            try:
                client, peer = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                self._loop.remove_reader(self._sock)
                self._pause = self._loop.call_later(BREATHE, self._go_on)
                return
            if peer[:2] == self._own:
                self._own = None
                client.close()
                continue
            client.setblocking(False)
            self._accept(client)

    def _go_on(self) -> None:
        if self._stopper is None:
            self._loop.add_reader(self._sock, self._take)


def _near_end(sock: socket.socket) -> Address | None:
    """The address by which the other end knows this socket, once it is connected."""
    try:
        sock.getpeername()
    except OSError:
        return None
    host, port = sock.getsockname()[:2]
    return str(host), int(port)
