"""Health of the API servers, and which of them the next request takes.

Proof is passive first: any byte of an answer proves a server, a lost connection or a failed dial speaks against it.
Only a server that said nothing for a while is probed, or one that a request waits for. The reference renews a Lease
every ten seconds and takes a refusal or a conflict for a dead link; here only silence and broken connections count.

The table knows no clock, no socket and no chance: it is told what happened and when, in seconds of a monotonic clock.
"""

import enum
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from yurtcore.flow.backoff import backoff


class Link(enum.Enum):
    """What is known about one server."""

    TRYING = "trying"
    """Nothing is known yet, or it answered again after it was down, but not often enough."""
    UP = "up"
    SHAKY = "shaky"
    """It failed once; still in use when there is no better one."""
    DOWN = "down"


class Sign(enum.Enum):
    """What an event means for a link, thresholds applied."""

    GOOD = "an answer, but more are wanted"
    PROVEN = "answers enough"
    MISS = "a failure, but it may be chance"
    LOST = "failures enough"


STEPS: Final[Mapping[tuple[Link, Sign], Link]] = {
    (Link.TRYING, Sign.GOOD): Link.TRYING,
    (Link.TRYING, Sign.PROVEN): Link.UP,
    (Link.TRYING, Sign.LOST): Link.DOWN,
    (Link.UP, Sign.PROVEN): Link.UP,
    (Link.UP, Sign.MISS): Link.SHAKY,
    (Link.UP, Sign.LOST): Link.DOWN,
    (Link.SHAKY, Sign.PROVEN): Link.UP,
    (Link.SHAKY, Sign.MISS): Link.SHAKY,
    (Link.SHAKY, Sign.LOST): Link.DOWN,
    (Link.DOWN, Sign.GOOD): Link.TRYING,
    (Link.DOWN, Sign.PROVEN): Link.UP,
    (Link.DOWN, Sign.LOST): Link.DOWN,
}
"""Every step a link can take; a pair that is missing cannot happen."""

_UP: Final = Link.UP
_RANK: Final = {Link.UP: 0, Link.TRYING: 1, Link.SHAKY: 1}


@dataclass(frozen=True, slots=True)
class LinkPolicy:
    """How hard the hub holds on to an API server; durations in seconds."""

    mode: Literal["rr", "priority"] = "rr"
    """Take turns among the best servers, or the first of them in configured order."""
    interval: float = 10.0
    """Silence after which a server that is up is probed; up to a tenth less by jitter."""
    timeout: float = 2.0
    """What one probe may take; a probe without a result is asked for again after it."""
    healthy_threshold: int = 2
    """Proofs in a row that bring back a server that was down."""
    misses_to_down: int = 2
    """Failures that bring a server down, when no answer lies between them."""
    miss_gap: float = 0.3
    """Failures closer together count as one: a dying server ends all its connections at once."""
    miss_window: float = 30.0
    """Failures further apart than this begin a new count."""
    recover_every: float = 1.0
    """Distance of probes, and the least distance of proofs that count, while a server comes back."""
    down_base: float = 2.0
    down_cap: float = 5.0
    """Back-off between probes of a server that is down: 1 to ``down_cap`` seconds."""


@dataclass(frozen=True, slots=True)
class Changed:
    """One server's link went from one state to another."""

    server: str
    was: Link
    now: Link
    why: str
    lasted: float
    """Seconds that the former state had lasted."""


class LinkSeen(NamedTuple):
    """One server's link at one moment; times are of the clock that the table is told."""

    server: str
    state: Link
    since: float
    misses: int
    last_heard: float | None
    last_error: str


class _Row:
    """What the table keeps about one server."""

    __slots__ = (
        "asked",
        "attempt",
        "goods",
        "last_error",
        "last_good",
        "last_heard",
        "last_miss",
        "misses",
        "pace",
        "probe_at",
        "server",
        "since",
        "state",
    )

    def __init__(self, server: str, now: float, pace: float) -> None:
        self.server, self.since, self.pace = server, now, pace
        self.state = Link.TRYING
        self.asked = False
        self.attempt = self.goods = self.misses = 0
        self.last_heard = self.last_good = self.last_miss = -math.inf
        self.probe_at = -math.inf
        self.last_error = ""

    def due_at(self) -> float:
        if self.state is Link.UP and not self.asked:
            return max(self.probe_at, self.last_heard + self.pace)
        return self.probe_at


class LinkTable:
    """Links of all configured API servers.

    ``draw`` gives numbers in [0, 1) for jitter; ``told`` hears each change once, whoever noticed it. Servers are
    ``https://host:port`` strings, in order of preference; asking about another one is a ``KeyError``.
    """

    def __init__(
        self,
        servers: Sequence[str],
        policy: LinkPolicy,
        *,
        now: float = 0.0,
        draw: Callable[[], float] = lambda: 0.5,
        told: Callable[[Changed], None] = lambda _change: None,
    ) -> None:
        self._policy, self._draw, self._told = policy, draw, told
        self._rows = {server: _Row(server, now, self._pace()) for server in servers}
        self._best: tuple[str, ...] = tuple(self._rows)
        self._turn = 0

    def heard(self, server: str, now: float) -> tuple[Changed, ...]:
        """A byte of an answer came from a server."""
        row = self._rows[server]
        row.last_heard = now
        if row.state is _UP and not row.asked:
            return ()
        row.asked = False
        row.misses = 0
        if row.state is Link.DOWN or (row.state is Link.TRYING and row.goods):
            return self._recovering(row, now)
        return self._step(row, Sign.PROVEN, now, "it answered")

    def missed(self, server: str, now: float, why: str, *, since: float = math.inf) -> tuple[Changed, ...]:
        """A dial failed, a probe or a ping had no answer in time, or a connection was lost.

        ``since`` is when the attempt behind it began. With an answer after that it says nothing about the link (a dial
        into a black hole ends late, when the hole may be gone), and with another failure after that it is the same
        failure (a probe fails because its dial failed), as are failures of one moment.
        """
        row = self._rows[server]
        if row.last_heard >= since:
            return ()
        if row.misses and (now < row.last_miss + self._policy.miss_gap or row.last_miss >= since):
            return ()
        row.last_error = why
        row.asked = False
        row.misses = row.misses + 1 if now < row.last_miss + self._policy.miss_window else 1
        row.last_miss = now
        if row.state in (Link.UP, Link.SHAKY) and row.misses < self._policy.misses_to_down:
            row.probe_at = now + self._policy.miss_gap
            return self._step(row, Sign.MISS, now, why)
        row.probe_at = now + backoff(
            row.attempt, base=self._policy.down_base, cap=self._policy.down_cap, jitter=self._draw()
        )
        row.attempt += 1
        row.goods = 0
        return self._step(row, Sign.LOST, now, why)

    def suspect(self, server: str, now: float) -> None:
        """A request waits long for a server: have it probed at once, but not more often than once a second."""
        row = self._rows[server]
        if row.state in (Link.UP, Link.SHAKY) and now - max(row.last_heard, row.probe_at) >= self._policy.recover_every:
            row.asked = True
            row.probe_at = now

    def due(self, now: float) -> list[str]:
        """Servers that are to be probed now; each is named once, and again only if no result comes in time."""
        out = []
        for row in self._rows.values():
            if row.due_at() <= now:
                row.probe_at = now + self._policy.timeout + self._policy.recover_every
                out.append(row.server)
        return out

    def next_due(self, now: float) -> float:
        """When :meth:`due` is to be asked next; never before ``now``."""
        return max(now, min(row.due_at() for row in self._rows.values()))

    def choose(self, now: float) -> str | None:  # noqa: ARG002 (part of the port: a policy may look at ages)
        """Name the server that the next request takes, or None while all of them are down."""
        best = self._best
        if not best:
            return None
        if self._policy.mode == "priority" or len(best) == 1:
            return best[0]
        self._turn = turn = (self._turn + 1) % len(best)
        return best[turn]

    def may_ask(self) -> bool:
        """Say whether any server may be chosen; unlike `choose` it takes no turn."""
        return bool(self._best)

    def is_up(self, server: str) -> bool:
        """Say whether a server is in use: it answered, and has not been given up since."""
        return self._rows[server].state in (Link.UP, Link.SHAKY)

    def any_up(self) -> bool:
        """Say whether the cloud can be reached at all."""
        return any(row.state in (Link.UP, Link.SHAKY) for row in self._rows.values())

    def retry_after(self, now: float) -> int:
        """Whole seconds after which a refused caller may hope for more; at least 1."""
        return max(1, math.ceil(self.next_due(now) - now))

    def view(self) -> list[LinkSeen]:
        """All links in configured order."""
        return [
            LinkSeen(
                row.server,
                row.state,
                row.since,
                row.misses,
                row.last_heard if row.last_heard > -math.inf else None,
                row.last_error,
            )
            for row in self._rows.values()
        ]

    def _recovering(self, row: _Row, now: float) -> tuple[Changed, ...]:
        if row.goods and now < row.last_good + self._policy.recover_every:
            return ()
        row.goods += 1
        row.last_good = now
        if row.goods < self._policy.healthy_threshold:
            row.probe_at = now + self._policy.recover_every
            return self._step(row, Sign.GOOD, now, "it answers again")
        return self._step(row, Sign.PROVEN, now, "it answers again")

    def _step(self, row: _Row, sign: Sign, now: float, why: str) -> tuple[Changed, ...]:
        was, row.state = row.state, STEPS[row.state, sign]
        if row.state is Link.UP:
            row.goods = row.attempt = 0
            row.pace = self._pace()
            row.probe_at = -math.inf
        if was is row.state:
            return ()
        change = Changed(row.server, was, row.state, why, now - row.since)
        row.since = now
        self._rank()
        self._told(change)
        return (change,)

    def _rank(self) -> None:
        """Keep the servers that may be chosen: those that are up, else those in doubt."""
        ranks = [(rank, row.server) for row in self._rows.values() if (rank := _RANK.get(row.state)) is not None]
        best = min((rank for rank, _ in ranks), default=0)
        self._best = tuple(server for rank, server in ranks if rank == best)

    def _pace(self) -> float:
        return self._policy.interval * (1.0 - 0.1 * self._draw())
