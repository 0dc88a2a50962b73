"""Turns rows into a table for a terminal and into JSON with stable keys."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.candidates import HUB, NAMES, PEERS
from bench.cases import FIGURES, Case
from bench.figures import Row, Rows, Verdict, judge, ratio

BEGIN, END = "<!-- results: written by `python -m bench --publish` -->\n", "<!-- end of results -->\n"


def table(case: Case, points: Mapping[str, Rows]) -> str:
    """The case as text: rows, then ours divided by each peer's, then the budgets."""
    out = [f"{case.key}: {case.title}", *_grid(_cells(case, points))]
    out += [f"  ours : {NAMES[peer]:<6} {line}" for peer in PEERS if (line := _ratios(case, points, peer))]
    out += [f"  budget {_told(verdict)}" for verdict in verdicts(case, points)]
    return "\n".join(out)


def verdicts(case: Case, points: Mapping[str, Rows]) -> list[Verdict]:
    """All budgets of a case."""
    return [judge(budget, points, HUB) for budget in case.budgets]


def _told(verdict: Verdict) -> str:
    value = "" if verdict.value is None else f" ({verdict.value:{'.2f' if verdict.value >= 0.1 else '.4f'}})"
    remark = f" - {verdict.remark}" if verdict.remark else ""
    return f"{verdict.says}: {verdict.word}{value}{remark}"


def _cells(case: Case, points: Mapping[str, Rows]) -> Iterable[Sequence[str]]:
    yield [case.unit or "", "", *(FIGURES[key].heading for key in case.shown), "remark"]
    for point, rows in points.items():
        for name, row in rows.items():
            shown = [FIGURES[key].form.format(row.figures[key]) if key in row.figures else "n/a" for key in case.shown]
            yield [point if case.unit else "", NAMES[name], *shown, _remark(row)]


def _remark(row: Row) -> str:
    words = [row.reason] if row.reason else []
    if row.noisy:
        words.append(f"noisy {row.noisy}/{row.rounds}")
    return "; ".join(words)


def _ratios(case: Case, points: Mapping[str, Rows], peer: str) -> str:
    parts = []
    for key in case.shown:
        if not FIGURES[key].compared:
            continue
        found = [ratio(rows, key, HUB, peer) for rows in points.values()]
        if any(value is not None for value in found):
            values = "/".join("-" if value is None else f"{value:.2f}" for value in found)
            parts.append(f"{FIGURES[key].heading} {values}")
    return ", ".join(parts)


def _grid(rows: Iterable[Sequence[str]]) -> list[str]:
    """Columns as wide as their widest cell: names to the left, numbers to the right, remarks free."""
    lines = list(rows)
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    out = []
    for line in lines:
        middle = (cell.rjust(width) for cell, width in zip(line[2:-1], widths[2:-1], strict=True))
        out.append("  ".join(["", line[0].rjust(widths[0]), line[1].ljust(widths[1]), *middle, line[-1]]).rstrip())
    return out


def as_json(case: Case, points: Mapping[str, Rows], about: Mapping[str, Any]) -> dict[str, Any]:
    """The case for a program: medians by point and candidate, ratios, budgets, and what was measured where."""
    return {
        "case": case.key,
        "title": case.title,
        **about,
        "points": {
            point: {
                name: {"rounds": row.rounds, "noisy": row.noisy, "reason": row.reason, **_rounded(row.figures)}
                for name, row in rows.items()
            }
            for point, rows in points.items()
        },
        "ratios": {
            point: {
                key: _rounded({peer: value for peer in PEERS if (value := ratio(rows, key, HUB, peer)) is not None})
                for key in case.shown
                if FIGURES[key].compared
            }
            for point, rows in points.items()
        },
        "budgets": [
            {"says": one.says, "value": one.value, "met": one.met, "remark": one.remark}
            for one in verdicts(case, points)
        ],
    }


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {key: float(f"{value:.4g}") for key, value in figures.items()}


def published(page: str, tables: Sequence[str], about: Mapping[str, Any]) -> str:
    """The page with these tables in the place of those between its two marks; raises ValueError without marks."""
    head, tail = page[: page.index(BEGIN)], page[page.index(END) :]
    machine, versions, pace = about["machine"], about["versions"], about["pace"]
    told = (
        f"{about['date'][:10]}, {machine['cpu']}, {machine['cores']} cores, kernel {machine['kernel']}; "
        f"{', '.join(f'{name} {version}' for name, version in versions.items() if version)}; "
        f"{pace['rounds']} rounds of {pace['seconds']:g} s."
    )
    return "".join([head, BEGIN, f"\n{told}\n\n", *(f"```text\n{table}\n```\n\n" for table in tables), tail])
