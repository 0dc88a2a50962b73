"""What a link can suffer, as data: modes, what a target means, and the token bucket of a rate limit. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol, TypeVar

from yurtcore.errors import BadInput, Missing


class Way(StrEnum):
    """One direction of a link, seen from the node."""

    UP = "up"
    """Node to cloud."""
    DOWN = "down"
    """Cloud to node."""


class How(StrEnum):
    """One thing that `cut` can do to a link."""

    BLACKHOLE = "blackhole"
    RESET = "reset"
    DELAY = "delay"
    RATE = "rate"
    ONEWAY = "oneway"


@dataclass(frozen=True, slots=True)
class Mode:
    """The state of one link. The default is a link on which nothing is lost, late or slow."""

    silent: frozenset[Way] = frozenset()
    """Directions in which nothing moves; bytes are held and delivered in order once it ends."""
    resets: bool = False
    """Whether each connection gets a reset, existing and new ones alike."""
    delay_ms: float = 0.0
    """Time that each byte takes in each direction, in milliseconds."""
    rate: int | None = None
    """Bytes a second in each direction, for the whole link; None is unlimited."""

    @property
    def lets_in(self) -> bool:
        """Whether a new connection can be made: a handshake needs both directions."""
        return not self.silent

    def __str__(self) -> str:
        """The words that `yurt status` shows."""
        words = []
        if self.resets:
            words.append("reset")
        if len(self.silent) == len(Way):
            words.append("blackhole")
        elif self.silent:
            words.append(f"oneway {next(iter(self.silent))}")
        if self.delay_ms:
            words.append(f"delay {self.delay_ms:g} ms")
        if self.rate is not None:
            words.append(f"rate {self.rate} B/s")
        return ", ".join(words) or "up"


UP = Mode()
"""A whole link."""


def worsen(mode: Mode, how: str, *, ms: float | None = None, rate: int | None = None, way: str | None = None) -> Mode:
    """The mode after one more affliction; delay and rate add up, a black hole, a reset and one way replace each other.

    Args:
        mode: The link as it is.
        how: A name of `How`.
        ms: The delay of each direction, for `delay`.
        rate: Bytes a second and direction, for `rate`.
        way: The direction that falls silent, `up` or `down`, for `oneway`.

    Raises:
        BadInput: For a way that there is not, or a missing, spare or impossible number.
    """
    needs = {How.DELAY: "ms", How.RATE: "rate", How.ONEWAY: "way"}
    if how not in set(How):
        raise BadInput(f"a link cannot be cut by {how!r}; it knows {', '.join(How)}")
    for name, value in (("ms", ms), ("rate", rate), ("way", way)):
        wanted = needs.get(How(how)) == name
        if wanted and value is None:
            raise BadInput(f"{how} needs {name}")
        if not wanted and value is not None:
            raise BadInput(f"{name} has no meaning for {how}")
    match How(how):
        case How.BLACKHOLE:
            return replace(mode, silent=frozenset(Way), resets=False)
        case How.RESET:
            return replace(mode, silent=frozenset(), resets=True)
        case How.ONEWAY:
            if way not in set(Way):
                raise BadInput(f"a way is up or down, not {way!r}")
            return replace(mode, silent=frozenset({Way(way)}), resets=False)
        case How.DELAY:
            if ms is None or not 0 < ms <= 60_000:
                raise BadInput(f"a delay is above 0 and at most 60000 ms, not {ms}")
            return replace(mode, delay_ms=ms)
        case How.RATE:
            if rate is None or rate < 1:
                raise BadInput(f"a rate is at least 1 byte a second, not {rate}")
            return replace(mode, rate=rate)


class Placed(Protocol):
    """Something with a place: a name of its own, on a node, in a pool."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def node(self) -> str: ...  # noqa: D102
    @property
    def pool(self) -> str: ...  # noqa: D102


T = TypeVar("T", bound=Placed)


def select(lines: Mapping[str, T], target: str | None) -> list[T]:
    """The links that a target means: all for None, else one by its own name, else a node's, `pool/node`, else a pool's.

    Raises:
        Missing: When nothing goes by that name.
    """
    if target is None:
        return list(lines.values())
    if target in lines:
        return [lines[target]]
    pool, _, node = target.rpartition("/")
    found = [one for one in lines.values() if node and one.node == node and (not pool or one.pool == pool)]
    found = found or [one for one in lines.values() if target and one.pool == target]
    if not found:
        raise Missing(f"no link, node or pool of the name {target!r}; there are: {_places(lines.values())}")
    return found


def _places(lines: Iterable[Placed]) -> str:
    """Every name that `select` would take, sorted."""
    names = {name for one in lines for name in (one.name, one.node, one.pool) if name}
    return ", ".join(sorted(names)) or "none"


class Bucket:
    """Tokens for a rate: bytes that may pass now. Knows no clock."""

    def __init__(self, rate: int, now: float) -> None:
        self.rate = rate
        self.quantum = max(1, min(16 * 1024, rate // 20))
        """Bytes handed out at once: 50 ms' worth, so that streams take turns."""
        self._burst = float(max(1500, rate // 20))
        self._tokens = self._burst
        self._filled = now

    def take(self, want: int, now: float) -> int:
        """Take up to `want` bytes, at most one quantum; 0 until a quantum (or all that is wanted) has gathered."""
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self.rate)
        self._filled = now
        want = min(want, self.quantum)
        if self._tokens < want:
            return 0
        self._tokens -= want
        return want

    def refund(self, unused: int) -> None:
        """Put back what was taken and did not pass."""
        self._tokens = min(self._burst, self._tokens + unused)

    def wait(self, want: int) -> float:
        """Seconds from the last `take` until `want` bytes (at most a quantum) are there."""
        return max(0.0, (min(want, self.quantum) - self._tokens) / self.rate)
