"""`python -m bench`: measures, prints a table for each case and writes `bench/results/<case>.json`."""

import argparse
import base64
import hashlib
import json
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from yurtcore.errors import BadInput

from bench import build, machine, nginx, report
from bench.candidates import NAMES, NGINX, Bench
from bench.cases import CASES, Case
from bench.rounds import Pace, measure

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
PACKAGES = ("yurt-hub", "uvloop", "aiofastnet", "httptools", "h2")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cases that were asked for; 2 when the machine lacks something that cannot be had."""
    asked = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    cases = [case for case in CASES if not asked.only or any(case.key.startswith(word) for word in asked.only)]
    if not cases:
        print(
            f"bench: no case begins with {' or '.join(asked.only)}: {', '.join(case.key for case in CASES)}",
            file=sys.stderr,
        )
        return 2
    pace = Pace(1, 1.0, 0) if asked.quick else Pace(asked.rounds, asked.seconds, asked.repeats)
    try:
        peer = build.benchpeer()
    except BadInput as err:
        print(f"bench: {err}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="yurt-bench-") as folder:
        bench = _prepare(peer, Path(folder), wanted=asked.candidates)
        about = _about(peer, bench, pace)
        tables = _run(bench, cases, pace, asked, about=about)
    if asked.publish:
        PAGE.write_text(report.published(PAGE.read_text(), tables, about))
    return 0


def _run(
    bench: Bench, cases: Sequence[Case], pace: Pace, asked: argparse.Namespace, about: dict[str, Any]
) -> list[str]:
    token = bench.scratch / "token"
    token.write_text(_token())
    asked.results.mkdir(parents=True, exist_ok=True)
    tables = []
    for case in cases:
        began = time.monotonic()
        points = measure(bench, case, pace, token=token, only=asked.candidates, say=_progress)
        tables.append(report.table(case, points))
        print(f"{tables[-1]}\n  ({time.monotonic() - began:.0f} s)\n", flush=True)
        found = report.as_json(case, points, about)
        (asked.results / f"{case.key}.json").write_text(json.dumps(found, indent=1) + "\n")
    return tables


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of one second, no repeats")
    parser.add_argument("--rounds", type=int, default=Pace.rounds)
    parser.add_argument("--seconds", type=float, default=Pace.seconds, help="measured time of a run")
    parser.add_argument("--repeats", type=int, default=Pace.repeats, help="of a run that others disturbed")
    parser.add_argument("--only", nargs="+", default=[], metavar="CASE", help="cases by the beginning of their names")
    parser.add_argument("--candidates", nargs="+", default=list(NAMES), choices=list(NAMES))
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--publish", action="store_true", help="put the tables into docs/benchmarks.md")
    return parser


def _prepare(peer: build.Peer, scratch: Path, *, wanted: Sequence[str]) -> Bench:
    pki = scratch / "pki"
    pki.mkdir()
    subprocess.run([str(peer.path), "pki", "-dir", str(pki)], check=True, timeout=30)
    found, reason = None, "not asked for"
    if NGINX in wanted:
        try:
            found = nginx.find()
        except nginx.NoNginxError as err:
            reason = str(err)
    proxy_core, load_core = machine.cores()
    return Bench(peer.path, pki, scratch, proxy_core, load_core, found, reason)


def _token() -> str:
    """890 bytes in the form of a service account's token; the stand-in takes any."""
    noise = b"".join(hashlib.sha512(bytes([i])).digest() for i in range(12))
    text = base64.urlsafe_b64encode(noise).decode().rstrip("=")
    return f"{text[:40]}.{text[40:546]}.{text[546:888]}"


def _about(peer: build.Peer, bench: Bench, pace: Pace) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.facts(),
        "cores": {"proxy": bench.proxy_core, "load_and_upstream": bench.load_core},
        "pace": {"rounds": pace.rounds, "seconds": pace.seconds, "repeats": pace.repeats},
        "versions": {
            "python": platform.python_version(),
            "go": peer.go,
            "nginx": bench.nginx.version if bench.nginx else None,
            "commit": _commit(),
            **{name: _version(name) for name in PACKAGES},
        },
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=RESULTS.parent, capture_output=True, text=True, check=False, timeout=10,
    )  # fmt: skip
    return done.stdout.strip() or None


sys.exit(main())
