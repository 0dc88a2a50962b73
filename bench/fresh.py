"""Runs that begin with the candidate's start: what it takes, what it holds then, what its first list costs."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from bench import machine
from bench.candidates import Bench, Running, caller, new_folder, running, started, upstream
from bench.cases import SERVICES, TEN_PODS, Case
from bench.figures import Sample
from bench.process import Child, RunError, load

IDLE_SETTLE = 1.0


def idle(bench: Bench, case: Case, _point: int, name: str, token: Path | None) -> Sample:
    """Start, and memory a second later."""
    with running(bench, name, secure_upstream=case.secure_upstream, token=token) as candidate:
        time.sleep(IDLE_SETTLE)
        return {**_held(candidate), "start_ms": candidate.start_ms}


def memory(bench: Bench, case: Case, point: int, name: str, token: Path | None) -> Sample:
    """Memory with a big set kept and many watches of it open."""
    with running(bench, name, secure_upstream=case.secure_upstream, token=token) as candidate:
        time.sleep(IDLE_SETTLE)
        command = caller(bench, "hold", candidate.plain, token)
        command += ["-kept", "-watchers", str(point), "-pids", str(candidate.child.pid)]
        log = bench.scratch / f"hold-{time.monotonic_ns()}.log"
        with Child(command, core=bench.load_core, log=log, speaks=True) as holder:
            if json.loads(holder.first_line())["open"] != point:
                raise RunError("not all watches are open")
            time.sleep(IDLE_SETTLE)
            return _held(candidate)


def _held(candidate: Running) -> Sample:
    held = machine.memory(candidate.child.pid)
    opened = candidate.upstream.stats()["open"]
    return {"rss_mib": held.rss, "pss_mib": held.pss, "peak_mib": held.peak, "connections": opened}


def keep(bench: Bench, case: Case, _point: int, name: str, token: Path | None) -> Sample:
    """The long list, kept three times."""
    with running(bench, name, secure_upstream=case.secure_upstream, token=token) as candidate:
        time.sleep(IDLE_SETTLE)
        command = caller(bench, "keep", candidate.plain, token)
        command += ["-kept", "-pids", str(candidate.child.pid), "-control", candidate.upstream.control]
        found = load(command, core=bench.load_core, deadline=90)
        held = machine.memory(candidate.child.pid)
    return {
        **{f"{turn}_list_ms": found[f"{turn}_cpu_s"] * 1e3 for turn in ("first", "changed", "same")},
        "took_ms": found["first_ms"], "rss_mib": held.rss, "peak_mib": held.peak,
    }  # fmt: skip


def start(bench: Bench, case: Case, _point: int, name: str, token: Path | None) -> Sample:
    """Keep pods and services, be killed, and start again with the cloud gone."""
    folder = new_folder(bench, name)
    with upstream(bench, folder) as cloud:
        with started(
            bench, name, folder, cloud, secure_upstream=case.secure_upstream, token=token
        ) as candidate:  # fmt: skip
            for path in (TEN_PODS, SERVICES):
                command = [*caller(bench, "list", candidate.plain, token), "-kept", "-seconds", "0", "-path", path]
                load([*command, "-pids", str(candidate.child.pid), "-settle"], core=bench.load_core, deadline=60)
            cloud.go_dark()
            candidate.child.process.kill()
        first = ("-kept", "-stored", "-path", TEN_PODS)
        with started(
            bench, name, folder, cloud, secure_upstream=case.secure_upstream, token=token, first=first
        ) as candidate:
            _all_there(bench, candidate, token)
            return {"start_ms": candidate.start_ms, "rss_mib": machine.memory(candidate.child.pid).rss}


def _all_there(bench: Bench, candidate: Running, token: Path | None) -> None:
    """A start that forgot the services would be a quick one."""
    command = [*caller(bench, "list", candidate.plain, token), "-kept", "-seconds", "0", "-path", SERVICES]
    if load(command, core=bench.load_core, deadline=30)["errors"]:
        raise RunError("the services were not kept")


FRESH: Mapping[str, Callable[[Bench, Case, int, str, Path | None], Sample]] = {
    "idle": idle, "memory": memory, "keep": keep, "start": start,
}  # fmt: skip
