"""One link: a listener on this machine, its target in the cloud, and the connections that it carries."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

from yurtsim.links.door import Door, abort, address, socket_for
from yurtsim.links.modes import UP, Mode, Way
from yurtsim.links.pipes import Count, Gate, Pipe

CONNECT_WITHIN = 10.0
"""Seconds that the target has to accept a connection; both ends are on this machine."""

_FROZEN = Mode(silent=frozenset(Way))


@dataclass(frozen=True, slots=True)
class Spec:
    """What a link is: a name of its own, the place it serves, where it listens and where it leads.

    `listen` may have port 0 for a free one.
    """

    name: str
    target: str
    node: str = ""
    pool: str = ""
    listen: str = "127.0.0.1:0"


class Connection:
    """One client's connection through a link, from its acceptance to the end of both directions."""

    def __init__(self, line: Line, client: socket.socket) -> None:
        self._line, self._client = line, client
        self._loop = asyncio.get_running_loop()
        self._cloud = socket_for(line.target)
        self._pipes: tuple[Pipe, ...] = ()
        self._left = len(Way)
        self._timer: asyncio.TimerHandle | None = None
        self._frozen = False

    @property
    def held(self) -> int:
        """Bytes on their way in both directions."""
        return sum(pipe.held for pipe in self._pipes)

    def start(self) -> None:
        """Reach for the target once a handshake would have crossed the link and come back."""
        for sock in (self._client, self._cloud):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._timer = self._loop.call_later(2 * self._line.mode.delay_ms / 1000, self._connect)

    def obey(self, mode: Mode) -> None:
        """Go on under another mode."""
        if mode.resets:
            self.reset()
            return
        for pipe in self._pipes:
            pipe.obey(_FROZEN if self._frozen else mode)

    def freeze(self) -> None:
        """Fall silent for good, whatever the link does, until the link is mended."""
        self._frozen = True
        for pipe in self._pipes:
            pipe.obey(_FROZEN)

    def thaw(self) -> None:
        """Undo `freeze`; what was held moves on when the next mode is told."""
        self._frozen = False

    def reset(self) -> None:
        """End at once with a reset to both sides."""
        self._close()
        abort(self._client)
        abort(self._cloud)
        self._line.forget(self)

    def _connect(self) -> None:
        """Open the second half; the target's refusal reaches the client as a reset."""
        try:
            self._cloud.connect(self._line.target)
        except BlockingIOError:
            self._timer = self._loop.call_later(CONNECT_WITHIN, self.reset)
            self._loop.add_writer(self._cloud, self._connected)
        except OSError:
            self.reset()
        else:
            self._timer = None
            self._join()

    def _connected(self) -> None:
        self._loop.remove_writer(self._cloud)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._cloud.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.reset()
        else:
            self._join()

    def _join(self) -> None:
        ends = {Way.UP: (self._client, self._cloud), Way.DOWN: (self._cloud, self._client)}
        self._pipes = tuple(
            Pipe(
                way,
                source,
                sink,
                gate=self._line.gates[way],
                count=self._line.counts[way],
                done=self._half_done,
                broken=self.reset,
            )
            for way, (source, sink) in ends.items()
        )
        self.obey(self._line.mode)

    def _half_done(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._close()
            self._client.close()
            self._cloud.close()
            self._line.forget(self)

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for pipe in self._pipes:
            pipe.close()
        self._loop.remove_writer(self._cloud)


class Line:
    """A link in operation: accepts, carries, counts, and suffers what it is told.

    Args:
        spec: What it is.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.target = address(spec.target)
        self.mode = UP
        self._loop = asyncio.get_running_loop()
        self.gates = {way: Gate(self._loop) for way in Way}
        self.counts = {way: Count() for way in Way}
        self._open: set[Connection] = set()
        self._total = 0
        self._door: Door | None = None

    @property
    def name(self) -> str:
        """The name of its own."""
        return self.spec.name

    @property
    def node(self) -> str:
        """The node that it serves."""
        return self.spec.node

    @property
    def pool(self) -> str:
        """That node's pool."""
        return self.spec.pool

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._door.port if self._door else 0

    def open(self) -> None:
        """Listen.

        Raises:
            BadInput: When the address is taken or is not this machine's.
        """
        self._door = Door(address(self.spec.listen), self._accept)

    def obey(self, mode: Mode) -> None:
        """Enter a mode: what is open now goes through it, and so does what comes. A whole link thaws what is frozen."""
        self.mode = mode
        for gate in self.gates.values():
            gate.limit(mode.rate)
        for connection in list(self._open):
            if mode == UP:
                connection.thaw()
            connection.obey(mode)
        if self._door is not None:
            self._door.set(ajar=mode.lets_in)

    def drop(self, *, silently: bool) -> int:
        """Reset the connections that exist now, or let them hang; new ones pass. Says how many there were."""
        was = list(self._open)
        for connection in was:
            if silently:
                connection.freeze()
            else:
                connection.reset()
        return len(was)

    def forget(self, connection: Connection) -> None:
        """Hear that a connection has ended."""
        self._open.discard(connection)

    def show(self) -> dict[str, Any]:
        """Everything about it as plain data."""
        spec = self.spec
        host = address(spec.listen)[0]
        return {
            "name": spec.name,
            "node": spec.node,
            "pool": spec.pool,
            "listen": f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}",
            "target": spec.target,
            "state": str(self.mode),
            "open": len(self._open),
            "total": self._total,
            "held": sum(connection.held for connection in self._open),
            "bytes": {way.value: self.counts[way].bytes for way in Way},
        }

    def close(self) -> None:
        """Stop listening and end every connection."""
        if self._door is not None:
            self._door.close()
        for connection in list(self._open):
            connection.reset()
        for gate in self.gates.values():
            gate.close()

    def _accept(self, client: socket.socket) -> None:
        self._total += 1
        if self.mode.resets:
            abort(client)
            return
        connection = Connection(self, client)
        self._open.add(connection)
        connection.start()
