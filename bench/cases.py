"""The cases as data: what is asked, of whom, at which points, which figures are shown and which budgets apply."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench.candidates import FILES, GO_H1, GO_H2, HUB, NAMES, NGINX, RAW_FILES
from bench.figures import Budget

THREE_KB = "/api/v1/nodes/n1"
EVERYBODY = (HUB, GO_H1, GO_H2, NGINX)
TEN_PODS = "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1"
SERVICES = "/api/v1/services"
BUSY = "/api/v1/namespaces/busy/pods"
EVENTS = 800
DARK = (HUB, FILES, RAW_FILES)


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
    "first_ms": Figure("first byte ms", "{:.2f}", compared=True),
    "first_list_ms": Figure("CPU ms, new", "{:.1f}", compared=True),
    "changed_list_ms": Figure("all changed", "{:.1f}", compared=True),
    "same_list_ms": Figure("unchanged", "{:.1f}", compared=True),
    "took_ms": Figure("client's ms", "{:.1f}"),
    "cpu_share": Figure("CPU", "{:.1%}", compared=True),
    "disk_mb_s": Figure("disk MB/s", "{:.2f}", compared=True),
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
    kept: bool = False
    """Asked as a kubelet: a hub keeps the answers. Otherwise as kubectl, whose answers are forwarded alone."""
    dark: bool = False
    """The list of 5,000 objects was kept, and the cloud has gone."""


LIST_DARK = ("first_ms", "p50_ms", "mb_s", "cpu_ms", "system", "peak_mib")
GET = ("rate", "p50_ms", "p99_ms", "cpu_us", "system", "busy", "peak_mib", "connections")
LIST = ("mb_s", "mb_per_cpu_s", "cpu_ms", "system", "p50_ms", "busy", "peak_mib")
KEEP = ("first_list_ms", "changed_list_ms", "same_list_ms", "took_ms", "rss_mib", "peak_mib")
WATCH = ("cpu_s", "event_us", "system", "p50_ms", "p99_ms", "busy", "peak_mib", "connections")

REWATCH = ("connections", "handshakes", "kilobytes", "cpu_ms", "seconds", "refused")


def _times(point: int, figure: str, bound: float, peer: str, *, at_least: bool) -> Budget:
    sign, what = (">=" if at_least else "<="), FIGURES[figure].heading
    return Budget(str(point), figure, bound, at_least, f"{what} at {point} {sign} {bound} x {NAMES[peer]}", peer)


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
        "get-tls-both", "2 KB GET, TLS on both sides", "get", (16, 64), "connections", GET, secure_local=True,
        budgets=tuple(_times(point, "rate", 1.5, peer, at_least=True) for point in (16, 64) for peer in (GO_H1, GO_H2)),
    ),
    Case(
        "get-tls-kept", "2 KB GET of a kubelet, whose answers are kept, TLS to the cloud", "get", (16, 64),
        "connections", GET, token=False, kept=True,
        budgets=(
            *(_times(16, "rate", 2.0, peer, at_least=True) for peer in (GO_H1, GO_H2)),
            *(_times(64, "rate", 2.8, peer, at_least=True) for peer in (GO_H1, GO_H2)),
            *(_times(point, "cpu_us", 1.3, NGINX, at_least=False) for point in (16, 64)),
        ),
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
        "watch-kept", "the same to kubelets' watches, which share one of the hub's own", "watch", (1, 50),
        "watchers", WATCH, token=False, kept=True,
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
    Case(
        "memory", "1,000 slices of 50 endpoints kept, and so many watches of them", "memory", (50,), "watches",
        ("rss_mib", "pss_mib", "peak_mib", "connections"), token=False, kept=True, candidates=(HUB, GO_H1, FILES),
        budgets=(Budget("50", "rss_mib", 115, at_least=False, says="RSS <= 115 MiB (stretch: 80)"),),
    ),
    Case(
        "list-kept", "10 MB list of 5,000 objects forwarded and kept: new, all objects changed, unchanged", "keep",
        (0,), "", KEEP, token=False, kept=True, candidates=(HUB, GO_H1, FILES),
        budgets=(Budget("0", "first_list_ms", 120, at_least=False, says="CPU of a new list <= 120 ms"),),
    ),
    Case(
        "updates", "so many updates of 2 KB a second through one watch of 1,000 objects, kept", "updates", (1000,),
        "updates/s", ("cpu_share", "disk_mb_s", "p50_ms", "p99_ms", "rss_mib"), token=False, kept=True, path=BUSY,
        candidates=(HUB, GO_H1, FILES),
    ),
    Case(
        "lease", "the node's Lease renewed, 100 times a second", "lease", (1,), "connection",
        ("p50_ms", "p99_ms", "cpu_us"), token=False, kept=True,
        budgets=(Budget("1", "p99_ms", 0.3, at_least=False, says="p99 < 0.3 ms"),),
    ),
    Case(
        "list-dark", "list of 5,000 kept objects (10 MB) without the cloud", "list", (1,), "connection", LIST_DARK,
        token=False, kept=True, dark=True, candidates=DARK,
        budgets=(
            Budget("1", "cpu_ms", 8, at_least=False, says="produced (and sent) in <= 8 ms of CPU"),
            Budget("1", "p50_ms", 1 / 40, at_least=False, says="read by the client in <= 1/40 of Go files", peer=FILES),
        ),
    ),
    Case(
        "get-dark", "2 KB GET of a kept object without the cloud", "get", (16,), "connections",
        ("rate", "p50_ms", "p99_ms", "cpu_us", "system", "busy"), token=False, kept=True, dark=True, candidates=DARK,
    ),
    Case(
        "start-dark", "start without the cloud to the first right answer: 10 pods and 1,000 services were kept",
        "start", (0,), "", ("start_ms", "rss_mib"), token=False, kept=True, candidates=(HUB, FILES),
        budgets=(Budget("0", "start_ms", 1000, at_least=False, says="first answer < 1 s"),),
    ),
)  # fmt: skip
