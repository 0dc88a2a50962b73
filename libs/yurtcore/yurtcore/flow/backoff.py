"""How long to wait before the next attempt; pure, the caller draws the chance."""


def backoff(attempt: int, *, base: float, cap: float, jitter: float) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 0).

    Doubles from `base` up to `cap`, then is scaled to between half and all of it by `jitter` in [0, 1), so that many
    clients that failed together do not come back together.
    """
    return min(cap, base * 2.0 ** min(max(attempt, 0), 32)) * (0.5 + jitter / 2)
