"""Runs a case: every candidate once in each round, so that a drift of the machine meets all of them alike."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import machine
from bench.candidates import Bench, Running, caller, running
from bench.cases import EVENT_BYTES, EVENTS, Case
from bench.figures import Row, Rows, Sample, summarise
from bench.process import RunError, load

EVENTS_PER_SECOND = 400.0
TOO_NOISY = 0.15
"""Share of a core that others may use before a run is repeated."""
IDLE_SETTLE = 1.0


@dataclass(frozen=True)
class Pace:
    """How long and how often: rounds, seconds of each run, repeats of a run that others disturbed."""

    rounds: int = 3
    seconds: float = 2.0
    repeats: int = 2


@dataclass(slots=True)
class _Tally:
    samples: list[Sample]
    noisy: int = 0
    reason: str | None = None


Say = Callable[[str], None]


def measure(bench: Bench, case: Case, pace: Pace, *, token: Path, only: Iterable[str], say: Say) -> Mapping[str, Rows]:
    """All points of a case; a candidate that fails keeps its reason and the others go on."""
    names = [name for name in case.candidates if name in set(only)]
    if case.kind == "idle":
        return {"0": _idle(bench, case, pace, names, token)}
    tallies: dict[tuple[str, str], _Tally] = defaultdict(lambda: _Tally([]))
    with ExitStack() as shed:
        alive: dict[str, Running] = {}
        for name in names:
            try:
                alive[name] = shed.enter_context(
                    running(bench, name, secure_upstream=case.secure_upstream, token=token if case.token else None)
                )
            except RunError as err:
                say(f"  {name}: {err}")
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
    command = caller(bench, case.kind, address, token, tls=case.secure_local)
    if case.path:
        command += ["-path", case.path]
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
        "cpu_us": found["cpu_s"] / count * 1e6, **_shares(found, candidate),
    }  # fmt: skip


def _list(bench: Bench, case: Case, pace: Pace, point: int, candidate: Running, token: Path | None) -> Sample:
    found = _load(bench, case, candidate, token, "-conns", point, "-seconds", pace.seconds, deadline=pace.seconds + 60)
    megabytes = found["bytes"] / 1e6
    return {
        "mb_s": megabytes / found["seconds"], "mb_per_cpu_s": megabytes / max(found["cpu_s"], 1e-6),
        "cpu_ms": found["cpu_s"] / found["requests"] * 1e3, "p50_ms": found["p50_ms"], **_shares(found, candidate),
    }  # fmt: skip


def _watch(bench: Bench, case: Case, _pace: Pace, point: int, candidate: Running, token: Path | None) -> Sample:
    candidate.upstream.settle()
    found = _load(
        bench, case, candidate, token, "-watchers", point, "-events", EVENTS, "-size", EVENT_BYTES,
        "-rate", EVENTS_PER_SECOND, "-control", candidate.upstream.control, deadline=120,
    )  # fmt: skip
    return {
        "cpu_s": found["cpu_s"], "event_us": found["cpu_s"] / (EVENTS * point) * 1e6,
        "p50_ms": found["p50_ms"], "p99_ms": found["p99_ms"], **_shares(found, candidate),
    }  # fmt: skip


def _shares(found: Mapping[str, float], candidate: Running) -> Sample:
    split = found["user_s"] + found["system_s"]
    return {
        "busy": found["cpu_s"] / found["seconds"],
        "system": found["system_s"] / split if split else 0.0,
        "peak_mib": machine.memory(candidate.child.pid).peak,
        "connections": found.get("connections") or candidate.upstream.stats()["open"],
    }


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


def _idle(bench: Bench, case: Case, pace: Pace, names: Iterable[str], token: Path) -> Rows:
    tallies = {name: _Tally([]) for name in names}
    for _ in range(pace.rounds):
        for name, tally in tallies.items():
            before = machine.busy([])
            try:
                with running(bench, name, secure_upstream=case.secure_upstream, token=token) as candidate:
                    time.sleep(IDLE_SETTLE)
                    held = machine.memory(candidate.child.pid)
                    opened = candidate.upstream.stats()["open"]
                    foreign = machine.busy([candidate.child.pid, candidate.upstream.child.pid]).foreign_since(before)
                    tally.samples.append({
                        "start_ms": candidate.start_ms, "rss_mib": held.rss, "pss_mib": held.pss,
                        "connections": opened, "foreign": foreign,
                    })  # fmt: skip
                    tally.noisy += foreign > TOO_NOISY
            except RunError as err:
                tally.reason = str(err)
    return {name: _row(tally) for name, tally in tallies.items()}


RUNS: Mapping[str, Callable[[Bench, Case, Pace, int, Running, Path | None], Sample]] = {
    "get": _get, "list": _list, "watch": _watch, "rewatch": _rewatch,
}  # fmt: skip
