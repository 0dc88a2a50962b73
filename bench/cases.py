"""The cases as data: what is asked, of whom, at which points, which figures are shown and which budgets apply."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench.candidates import GO_H1, GO_H2, HUB, NGINX
from bench.figures import Budget

THREE_KB = "/api/v1/nodes/n1"
EVERYBODY = (HUB, GO_H1, GO_H2, NGINX)
EVENTS, EVENT_BYTES = 800, 8192


@dataclass(frozen=True, slots=True)
class Figure:
    """A column: its heading, how it is printed, and whether a ratio between candidates says something."""

    heading: str
    form: str
    compared: bool = False


FIGURES: Mapping[str, Figure] = {
    "rate": Figure("req/s", "{:,.0f}", compared=True),
    "mb_s": Figure("MB/s", "{:,.0f}"),
    "mb_per_cpu_s": Figure("MB/CPU s", "{:,.0f}", compared=True),
    "cpu_us": Figure("CPU us/req", "{:.1f}", compared=True),
    "cpu_s": Figure("CPU s", "{:.3f}", compared=True),
    "event_us": Figure("us/event", "{:.1f}"),
    "cpu_ms": Figure("CPU ms", "{:.1f}", compared=True),
    "system": Figure("in kernel", "{:.0%}"),
    "p50_ms": Figure("p50 ms", "{:.3f}", compared=True),
    "p99_ms": Figure("p99 ms", "{:.3f}"),
    "busy": Figure("core busy", "{:.0%}"),
    "peak_mib": Figure("peak MiB", "{:.1f}", compared=True),
    "rss_mib": Figure("RSS MiB", "{:.1f}", compared=True),
    "pss_mib": Figure("PSS MiB", "{:.1f}"),
    "start_ms": Figure("start ms", "{:.0f}", compared=True),
    "connections": Figure("connections", "{:.0f}", compared=True),
    "handshakes": Figure("handshakes", "{:.0f}"),
    "kilobytes": Figure("kB", "{:.1f}", compared=True),
    "seconds": Figure("s", "{:.2f}"),
    "refused": Figure("errors seen", "{:.0f}"),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One family of measurements: the same candidates and question, at several points (connections, watches)."""

    key: str
    title: str
    kind: str
    points: tuple[int, ...]
    unit: str
    shown: tuple[str, ...]
    budgets: tuple[Budget, ...] = ()
    candidates: tuple[str, ...] = EVERYBODY
    path: str | None = None
    secure_upstream: bool = True
    secure_local: bool = False
    token: bool = True


GET = ("rate", "p50_ms", "p99_ms", "cpu_us", "system", "busy", "peak_mib", "connections")
LIST = ("mb_s", "mb_per_cpu_s", "cpu_ms", "system", "p50_ms", "busy", "peak_mib")
WATCH = ("cpu_s", "event_us", "system", "p50_ms", "p99_ms", "busy", "peak_mib", "connections")

REWATCH = ("connections", "handshakes", "kilobytes", "cpu_ms", "seconds", "refused")


def _times(point: int, figure: str, bound: float, peer: str, *, at_least: bool) -> Budget:
    name = {GO_H1: "Go h1", GO_H2: "Go h2", NGINX: "nginx"}[peer]
    sign, what = (">=" if at_least else "<="), FIGURES[figure].heading
    return Budget(str(point), figure, bound, at_least, f"{what} at {point} {sign} {bound} x {name}", peer)


CASES: tuple[Case, ...] = (
    Case(
        "get-tls", "2 KB GET, plain local side, TLS to the cloud", "get", (1, 16, 64), "connections", GET,
        budgets=(
            *(_times(16, "rate", 2.0, peer, at_least=True) for peer in (GO_H1, GO_H2)),
            *(_times(64, "rate", 2.8, peer, at_least=True) for peer in (GO_H1, GO_H2)),
            *(_times(point, "cpu_us", 1.3, NGINX, at_least=False) for point in (16, 64)),
        ),
    ),
    Case(
        "get-tls-certificate", "the same without a token: upstream connections carry the node's certificate", "get",
        (16,), "connections", GET, token=False,
    ),
    Case(
        "get-tls-both", "2 KB GET, TLS on both sides", "get", (1, 16, 64), "connections", GET, secure_local=True,
        budgets=tuple(_times(point, "rate", 1.5, peer, at_least=True) for point in (16, 64) for peer in (GO_H1, GO_H2)),
    ),
    Case(
        "get-3k", "3 KB GET (chunked by the API server), plain local side, TLS to the cloud", "get", (16, 64),
        "connections", GET, path=THREE_KB,
    ),
    Case(
        "list-tls", "10 MB list of 5,000 objects forwarded, TLS to the cloud", "list", (1,), "connection", LIST,
        budgets=tuple(_times(1, "mb_per_cpu_s", 1.1, peer, at_least=True) for peer in (GO_H1, GO_H2)),
    ),
    Case(
        "list-plain", "the same list without TLS (the hub always uses TLS)", "list", (1,), "connection", LIST,
        candidates=(GO_H1, NGINX), secure_upstream=False,
        budgets=(_times(1, "mb_per_cpu_s", 1.3, GO_H1, at_least=True),),
    ),
    Case(
        "watch", "800 events of 8 KB, 400 a second, to each watcher", "watch", (1, 10, 50), "watchers", WATCH,
        budgets=(
            Budget("50", "cpu_s", 0.6, at_least=False, says="CPU s at 50 <= 0.6"),
            *(_times(50, "cpu_s", 0.6, peer, at_least=False) for peer in (GO_H1, GO_H2)),
        ),
    ),
    Case(
        "rewatch", "watches opened again after all upstream connections were reset, as the node (bytes both ways)",
        "rewatch", (40,), "watches", REWATCH, token=False,
        budgets=(
            Budget("40", "connections", 8, at_least=False, says="connections <= 8"),
            Budget("40", "kilobytes", 25, at_least=False, says="bytes <= 25 kB"),
        ),
    ),
    Case(
        "token-rewatch", "the same by callers who each send an 890 byte token", "rewatch", (40,), "watches", REWATCH,
    ),
    Case(
        "idle", "start to the first right answer, memory a second later", "idle", (0,), "", (
            "start_ms", "rss_mib", "pss_mib", "connections",
        ),
        budgets=(Budget("0", "rss_mib", 85, at_least=False, says="RSS <= 85 MiB (stretch: 60)"),),
    ),
)  # fmt: skip
