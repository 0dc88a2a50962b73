"""Which of the sets that are kept answers a question, and what it says."""

from collections.abc import Iterable

from yurt_hub.domain.kept import sets
from yurt_hub.domain.kept.coverage import Coverage
from yurt_hub.domain.kept.facts import Absent, Found, Unknown
from yurt_hub.domain.kept.objects import Key
from yurt_hub.domain.kept.sets import SetKey


def candidates(kept: Iterable[Coverage], asked: SetKey, identity: str) -> list[Coverage]:
    """Those that contain `asked` and that `identity` may read, the one known up to the highest version first."""
    found = [
        coverage
        for coverage in kept
        if identity in coverage.callers and not coverage.torn and sets.contains(coverage.key, asked)
    ]
    return sorted(found, key=lambda one: (-one.version, one.key != asked, len(one.members), one.id))


def get(kept: Iterable[Coverage], asked: SetKey, key: Key, identity: str) -> Found | Absent | Unknown:
    """What is known of one object: the set that is known up to the highest version says, whether it has it or not."""
    kept = list(kept)
    best: tuple[int, int, int] = (-1, 0, 0)
    answer: Found | Absent | None = None
    for coverage in kept:
        if identity not in coverage.callers:
            continue
        obj = coverage.members.get(key)
        says: Found | Absent
        if obj is not None and key not in coverage.gone:
            rank, says = (coverage.version, 1, obj.version), Found(obj, coverage)
        elif not coverage.torn and sets.contains(coverage.key, asked):
            rank, says = (max(coverage.version, coverage.gone.get(key, 0)), 0, 0), Absent(coverage)
        else:
            continue
        if rank > best:
            best, answer = rank, says
    return answer or Unknown(missing(kept, asked, identity))


def missing(kept: Iterable[Coverage], asked: SetKey, identity: str) -> str:
    """Why none of them answers, for a person."""
    kept = list(kept)
    what = sets.describe(asked)
    if not kept:
        return f"nothing is kept of {what}"
    containing = [one for one in kept if sets.contains(one.key, asked)]
    if any(one.torn and identity in one.callers for one in containing):
        return f"what was kept of {what} is damaged"
    if any(identity not in one.callers for one in containing):
        return f"{what} is kept, but this caller was not seen to be allowed to read it"
    return f"{what} is not within any set that is kept"
