"""One direction of one connection: bytes from one socket to the other, at the link's mercy.

Works on plain sockets with the loop's readiness callbacks rather than on transports: a transport would go on to send
what it had buffered after a cut, and would notice (and tell) that a peer has gone while the link is silent.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from yurtsim.links.modes import Bucket, Mode, Way

LIMIT = 256 * 1024
"""Bytes that one direction holds at most. With a delay this is the window: 256 KB per delay and connection."""

_SCRATCH = memoryview(bytearray(LIMIT))
"""Reading buffer of the whole process: what can be sent on at once is never copied."""


@dataclass(slots=True)
class Count:
    """What passed in one direction."""

    bytes: int = 0


class Gate:
    """The rate of one link in one direction, shared in turn by its connections."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._bucket: Bucket | None = None
        self._queue: deque[Pipe] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def limit(self, rate: int | None) -> None:
        """Set bytes a second (None: unlimited); whoever waits tries again under the new rate."""
        if (self._bucket.rate if self._bucket else None) == rate:
            return
        self._bucket = None if rate is None else Bucket(rate, self._loop.time())
        self._reset_timer()
        waiting, self._queue = self._queue, deque()
        for pipe in waiting:
            pipe.turn(None)

    def take(self, pipe: Pipe, want: int) -> int:
        """Bytes that a pipe may read now; on 0 it is queued and hears by `turn` how many."""
        if self._bucket is None:
            return want
        if not self._queue and (grant := self._bucket.take(want, self._loop.time())):
            return grant
        self._queue.append(pipe)
        self._arm(self._bucket)
        return 0

    def refund(self, unused: int) -> None:
        """Give back what a pipe was granted and found no bytes for."""
        if self._bucket is not None and unused > 0:
            self._bucket.refund(unused)

    def forget(self, pipe: Pipe) -> None:
        """Take a pipe that closes out of the queue."""
        if pipe in self._queue:
            self._queue.remove(pipe)

    def close(self) -> None:
        """Stop the clock; nobody is waiting any more."""
        self._reset_timer()
        self._queue.clear()

    def _arm(self, bucket: Bucket) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(bucket.wait(bucket.quantum), self._ring)

    def _reset_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        while self._queue and self._bucket is not None:
            grant = self._bucket.take(self._bucket.quantum, self._loop.time())
            if not grant:
                self._arm(self._bucket)
                return
            self._queue.popleft().turn(grant)


class Pipe:
    """Moves bytes one way, in order, each once; holds at most `LIMIT` of them.

    Args:
        way: Which direction this is.
        source: Read from here.
        sink: Written to here.
        gate: The rate limit of this direction.
        count: Where delivered bytes are counted.
        done: Called once, after the end of the stream was delivered.
        broken: Called when either socket failed.
    """

    def __init__(
        self,
        way: Way,
        source: socket.socket,
        sink: socket.socket,
        *,
        gate: Gate,
        count: Count,
        done: Callable[[], None],
        broken: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._way, self._source, self._sink = way, source, sink
        self._gate, self._count = gate, count
        self._done, self._broken = done, broken
        self._mode = Mode(silent=frozenset(Way))
        self._held: deque[tuple[float, memoryview]] = deque()
        self._size = 0
        self._ended = self._finished = self._closed = False
        self._queued = self._full = False
        self._reading = self._writing = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def held(self) -> int:
        """Bytes that were read and not delivered yet."""
        return self._size

    def obey(self, mode: Mode) -> None:
        """Go on under another mode; what is held keeps the delay that it was read with."""
        self._mode = mode
        self._flush()

    def turn(self, grant: int | None) -> None:
        """Hear from the gate: read up to `grant` bytes now, or ask again when it is None."""
        self._queued = False
        if grant is None or not self._may_read():
            self._gate.refund(grant or 0)
            self._settle()
        else:
            self._read(grant)

    def close(self) -> None:
        """Let go of both sockets (which the owner closes) and of what is held."""
        self._closed = True
        self._held.clear()
        self._gate.forget(self)
        self._settle()

    def _silent(self) -> bool:
        return self._closed or self._way in self._mode.silent

    def _may_read(self) -> bool:
        """A link that does not keep up stops reading: with a delay at the limit, else at the first byte not taken."""
        room = self._size < LIMIT if self._mode.delay_ms else not self._held
        return not (self._silent() or self._ended or self._queued) and room

    def _settle(self) -> None:
        """Make the loop watch exactly what can be acted on now."""
        want = self._may_read()
        if want != self._reading:
            self._reading = want
            if want:
                self._loop.add_reader(self._source, self._readable)
            else:
                self._loop.remove_reader(self._source)
        want = self._full and not self._silent()
        if want != self._writing:
            self._writing = want
            if want:
                self._loop.add_writer(self._sink, self._flush)
            else:
                self._loop.remove_writer(self._sink)
        self._set_timer()

    def _set_timer(self) -> None:
        """Wake when the oldest held bytes are due, unless a socket's readiness does."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._held and not self._full and not self._silent():
            self._timer = self._loop.call_at(self._held[0][0], self._flush)

    def _readable(self) -> None:
        grant = self._gate.take(self, LIMIT - self._size)
        if grant:
            self._read(grant)
        else:
            self._queued = True
            self._settle()

    def _read(self, grant: int) -> None:
        room = min(grant, LIMIT - self._size)
        try:
            got = self._source.recv_into(_SCRATCH, room)
        except (BlockingIOError, InterruptedError):
            self._gate.refund(grant)
            self._settle()
            return
        except OSError:
            self._broken()
            return
        self._gate.refund(grant - got)
        if got == 0:
            self._ended = True
            self._hold(memoryview(b""))
            self._flush()
        elif self._held or self._mode.delay_ms:
            self._hold(_SCRATCH[:got])
            self._settle()
        elif self._send(_SCRATCH[:got]) is not None:
            self._settle()

    def _hold(self, data: memoryview) -> None:
        """Keep a copy until it is due; the empty one stands for the end of the stream."""
        due = self._loop.time() + self._mode.delay_ms / 1000
        if self._held:
            due = max(due, self._held[-1][0])
        self._held.append((due, memoryview(bytes(data))))
        self._size += len(data)

    def _send(self, data: memoryview) -> int | None:
        """Pass on what the sink takes and hold the rest; None when the connection broke."""
        try:
            sent = self._sink.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._broken()
            return None
        self._count.bytes += sent
        self._full = sent < len(data)
        if self._full:
            rest = memoryview(bytes(data[sent:]))
            self._held.appendleft((0.0, rest))
            self._size += len(rest)
        return sent

    def _flush(self) -> None:
        """Deliver what is due, as far as the sink takes it."""
        self._full = False
        now = self._loop.time()
        while self._held and not self._full and not self._silent() and self._held[0][0] <= now:
            _, data = self._held.popleft()
            self._size -= len(data)
            if not data:
                self._finish()
                return
            if self._send(data) is None:
                return
        self._settle()

    def _finish(self) -> None:
        """Pass on the end of the stream: a half-close goes through as one."""
        self._finished = True
        self._settle()
        try:
            self._sink.shutdown(socket.SHUT_WR)
        except OSError:
            self._broken()
            return
        self._done()
