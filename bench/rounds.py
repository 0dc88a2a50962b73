"""Runs a case: every candidate once in each round, so that a drift of the machine meets all of them alike."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import machine
from bench.candidates import HUB, Bench, Running, caller, first_answer, running
from bench.cases import EVENTS, Case
from bench.figures import Row, Rows, Sample, summarise
from bench.fresh import FRESH
from bench.process import RunError, load

EVENTS_PER_SECOND = 400.0
SETTLE = 1.5
"""Seconds that a candidate gets to find out that the cloud has gone."""
LONGER = 4
"""How much longer runs are that count few events."""
UPDATED = 1000
"""Objects that updates are told of in turn."""
TOO_NOISY = 0.15
"""Share of a core that others may use before a run is repeated."""


@dataclass(frozen=True)
class Pace:
    """How long and how often: rounds, seconds of each run, repeats of a run that others disturbed."""

    rounds: int = 3
    seconds: float = 1.0
    repeats: int = 1


@dataclass(slots=True)
class _Tally:
    samples: list[Sample]
    noisy: int = 0
    reason: str | None = None


Say = Callable[[str], None]


def measure(bench: Bench, case: Case, pace: Pace, *, token: Path, only: Iterable[str], say: Say) -> Mapping[str, Rows]:
    """All points of a case; a candidate that fails keeps its reason and the others go on."""
    names = [name for name in case.candidates if name in set(only)]
    if case.kind in FRESH:
        return {str(point): _fresh(bench, case, pace, point, names, token) for point in case.points}
    tallies: dict[tuple[str, str], _Tally] = defaultdict(lambda: _Tally([]))
    with ExitStack() as shed:
        alive: dict[str, Running] = {}
        for name in names:
            try:
                alive[name] = shed.enter_context(
                    running(bench, name, secure_upstream=case.secure_upstream, token=token if case.token else None)
                )
                if case.dark:
                    _into_the_dark(bench, alive[name])
            except RunError as err:
                say(f"  {name}: {err}")
                alive.pop(name, None)
                for point in case.points:
                    tallies[str(point), name].reason = str(err)
        for point in case.points:
            for turn in range(pace.rounds):
                for name, candidate in alive.items():
                    tally = tallies[str(point), name]
                    if tally.reason is None:
                        _turn(bench, case, pace, point, candidate, alive.values(), token, tally)
                say(f"  {case.key} {point} {case.unit}: round {turn + 1} of {pace.rounds}")
    return {
        str(point): {name: _row(tallies[str(point), name]) for name in names} for point in case.points
    }  # fmt: skip


def _row(tally: _Tally) -> Row:
    return summarise(tally.samples, noisy=tally.noisy, reason=tally.reason)


def _turn(
    bench: Bench, case: Case, pace: Pace, point: int, candidate: Running,
    everybody: Iterable[Running], token: Path, tally: _Tally,
) -> None:  # fmt: skip
    """One run, repeated while others use the machine; the quietest attempt counts."""
    pids = [pid for one in everybody for pid in (one.child.pid, one.upstream.child.pid)]
    attempts: list[tuple[float, Sample]] = []
    try:
        for _ in range(1 + pace.repeats):
            before = machine.busy(pids)
            sample = RUNS[case.kind](bench, case, pace, point, candidate, token if case.token else None)
            attempts.append((machine.busy(pids).foreign_since(before), sample))
            if attempts[-1][0] <= TOO_NOISY:
                break
    except RunError as err:
        tally.reason = f"{err}; {candidate.child.last_words()}"
        return
    foreign, sample = min(attempts, key=lambda attempt: attempt[0])
    tally.samples.append({**sample, "foreign": foreign})
    tally.noisy += foreign > TOO_NOISY


def _load(
    bench: Bench, case: Case, candidate: Running, token: Path | None, *words: object, deadline: float
) -> dict[str, float]:
    address = candidate.secure if case.secure_local else candidate.plain
    command = caller(bench, WORDS.get(case.kind, case.kind), address, token, tls=case.secure_local)
    if case.path:
        command += ["-path", case.path]
    if case.kept:
        command.append("-kept")
    command += ["-pids", str(candidate.child.pid), *map(str, words)]
    machine.forget_peak(candidate.child.pid)
    found = load(command, core=bench.load_core, deadline=deadline)
    if found["errors"]:
        raise RunError(f"{found['errors']} errors in the load: {found.get('error', '')}")
    return found


def _get(bench: Bench, case: Case, pace: Pace, point: int, candidate: Running, token: Path | None) -> Sample:
    found = _load(bench, case, candidate, token, "-conns", point, "-seconds", pace.seconds, deadline=pace.seconds + 30)
    count = max(found["requests"], 1)
    return {
        "rate": found["requests"] / found["seconds"], "p50_ms": found["p50_ms"], "p99_ms": found["p99_ms"],
        "cpu_us": found["cpu_s"] / count * 1e6, **_shares(case, found, candidate),
    }  # fmt: skip


def _list(bench: Bench, case: Case, pace: Pace, point: int, candidate: Running, token: Path | None) -> Sample:
    found = _load(bench, case, candidate, token, "-conns", point, "-seconds", pace.seconds, deadline=pace.seconds + 60)
    megabytes = found["bytes"] / 1e6
    return {
        "mb_s": megabytes / found["seconds"], "mb_per_cpu_s": megabytes / max(found["cpu_s"], 1e-6),
        "cpu_ms": found["cpu_s"] / found["requests"] * 1e3, "p50_ms": found["p50_ms"],
        "first_ms": found["first_ms"], **_shares(case, found, candidate),
    }  # fmt: skip


def _watch(bench: Bench, case: Case, _pace: Pace, point: int, candidate: Running, token: Path | None) -> Sample:
    shared = _shared(case, candidate)
    candidate.upstream.settle(shared)
    found = _load(
        bench, case, candidate, token, "-watchers", point, "-upstream", shared or point, "-events", EVENTS,
        "-rate", EVENTS_PER_SECOND, "-control", candidate.upstream.control, deadline=120,
    )  # fmt: skip
    return {
        "cpu_s": found["cpu_s"], "event_us": found["cpu_s"] / (EVENTS * point) * 1e6,
        "p50_ms": found["p50_ms"], "p99_ms": found["p99_ms"], **_shares(case, found, candidate),
    }  # fmt: skip


def _shared(case: Case, candidate: Running) -> int:
    """Watches that a candidate holds for all its callers together, and goes on to hold; 0 if it shares none."""
    return int(case.kept and candidate.name == HUB)


def _updates(bench: Bench, case: Case, pace: Pace, point: int, candidate: Running, token: Path | None) -> Sample:
    candidate.upstream.settle(_shared(case, candidate))
    written = machine.written(candidate.child.pid)
    seconds = LONGER * pace.seconds
    found = _load(
        bench, case, candidate, token, "-watchers", 1, "-events", int(point * seconds), "-rate", point, "-settle",
        "-objects", UPDATED, "-control", candidate.upstream.control, deadline=seconds + 90,
    )  # fmt: skip
    disk = machine.written(candidate.child.pid) - written
    return {
        "cpu_share": found["cpu_s"] / found["seconds"], "disk_mb_s": disk / found["seconds"] / 1e6,
        "p50_ms": found["p50_ms"], "p99_ms": found["p99_ms"], "rss_mib": machine.memory(candidate.child.pid).rss,
    }  # fmt: skip


def _lease(bench: Bench, case: Case, pace: Pace, _point: int, candidate: Running, token: Path | None) -> Sample:
    seconds = LONGER * pace.seconds
    found = _load(bench, case, candidate, token, "-seconds", seconds, deadline=seconds + 30)
    return {
        "p50_ms": found["p50_ms"], "p99_ms": found["p99_ms"], "cpu_us": found["cpu_s"] / found["requests"] * 1e6,
    }  # fmt: skip


def _shares(case: Case, found: Mapping[str, float], candidate: Running) -> Sample:
    split = found["user_s"] + found["system_s"]
    return {
        "busy": found["cpu_s"] / found["seconds"],
        "system": found["system_s"] / split if split else 0.0,
        "peak_mib": machine.memory(candidate.child.pid).peak,
        "connections": 0 if case.dark else found.get("connections") or candidate.upstream.stats()["open"],
    }


def _into_the_dark(bench: Bench, candidate: Running) -> None:
    """Have a candidate keep the long list, take the cloud away, and wait until it answers by itself."""
    asks = [*caller(bench, "list", candidate.plain, None), "-kept", "-pids", str(candidate.child.pid)]
    load([*asks, "-seconds", "0", "-settle"], core=bench.load_core, deadline=60)
    candidate.upstream.go_dark()
    asks = [*caller(bench, "first", candidate.plain, None), "-kept", "-stored"]
    first_answer(candidate.child, asks, core=bench.load_core)
    time.sleep(SETTLE)


def _rewatch(bench: Bench, case: Case, _pace: Pace, point: int, candidate: Running, token: Path | None) -> Sample:
    candidate.upstream.settle()
    found = _load(
        bench, case, candidate, token, "-watchers", point, "-control", candidate.upstream.control, deadline=120
    )
    after: Mapping[str, float] = found["after"]  # type: ignore[assignment]  # the one nested object of a load's answer
    return {
        "connections": after["connections"], "handshakes": after["handshakes"],
        "kilobytes": (after["bytes_in"] + after["bytes_out"]) / 1e3,
        "cpu_ms": found["cpu_s"] * 1e3, "seconds": found["seconds"], "refused": found["refused"],
    }  # fmt: skip


def _fresh(bench: Bench, case: Case, pace: Pace, point: int, names: Iterable[str], token: Path) -> Rows:
    """A kind of run that begins with the candidate's start."""
    tallies = {name: _Tally([]) for name in names}
    for _ in range(pace.rounds):
        for name, tally in tallies.items():
            before = machine.busy([])
            try:
                sample = FRESH[case.kind](bench, case, point, name, token if case.token else None)
            except RunError as err:
                tally.reason = str(err)
                continue
            foreign = machine.busy([]).foreign_since(before)
            tally.samples.append({**sample, "foreign": foreign})
            tally.noisy += foreign > TOO_NOISY
    return {name: _row(tally) for name, tally in tallies.items()}


RUNS: Mapping[str, Callable[[Bench, Case, Pace, int, Running, Path | None], Sample]] = {
    "get": _get, "list": _list, "watch": _watch, "rewatch": _rewatch, "updates": _updates, "lease": _lease,
}  # fmt: skip
WORDS: Mapping[str, str] = {"updates": "watch"}
"""The load's command, where it is not called as the kind of case."""
