"""Pure arithmetic of the bench: medians of rounds, ratios between candidates, budgets and their verdicts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

Sample = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Row:
    """What one candidate did at one point of a case: medians of its rounds, or the reason for having none."""

    figures: Mapping[str, float] = field(default_factory=dict)
    rounds: int = 0
    noisy: int = 0
    reason: str | None = None


Rows = Mapping[str, Row]
"""Rows of one point by candidate."""


def summarise(samples: Sequence[Sample], *, noisy: int = 0, reason: str | None = None) -> Row:
    """Medians figure by figure; `noisy` rounds are those that ran beside others' work in spite of repeats."""
    if not samples:
        return Row(reason=reason or "not measured")
    keys = samples[0].keys()
    return Row({key: median(one[key] for one in samples) for key in keys}, len(samples), noisy, reason)


def ratio(rows: Rows, figure: str, ours: str, peer: str) -> float | None:
    """Ours divided by the peer's; None where one of them is missing or the peer's is zero."""
    mine = rows.get(ours, Row()).figures.get(figure)
    theirs = rows.get(peer, Row()).figures.get(figure)
    return mine / theirs if mine is not None and theirs else None


@dataclass(frozen=True, slots=True)
class Budget:
    """A bound on one figure at one point: absolute, or as a multiple of a peer's figure in the same run."""

    point: str
    figure: str
    bound: float
    at_least: bool
    says: str
    peer: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a budget; `met` is None when there is nothing to compare."""

    says: str
    value: float | None
    met: bool | None
    remark: str = ""

    @property
    def word(self) -> str:
        return {True: "met", False: "NOT met", None: "n/a"}[self.met]


SATURATED = 0.95
"""Share of its core from which on a candidate, and not the load, sets the pace."""


def judge(budget: Budget, points: Mapping[str, Rows], ours: str) -> Verdict:
    """Compare a budget with what was measured."""
    rows = points.get(budget.point, {})
    mine = rows.get(ours, Row())
    value = ratio(rows, budget.figure, ours, budget.peer) if budget.peer else mine.figures.get(budget.figure)
    if value is None:
        return Verdict(budget.says, None, None, mine.reason or "")
    met = value >= budget.bound if budget.at_least else value <= budget.bound
    busy = mine.figures.get("busy", 1.0)
    paced = not met and budget.figure == "rate" and busy < SATURATED
    return Verdict(budget.says, value, met, f"the load sets the pace: our core is {busy:.0%} busy" if paced else "")
