"""The pure parts of the bench: medians, ratios, budgets, and the table that people read."""

import json

import pytest

from bench import report
from bench.candidates import FILES, GO_H1, GO_H2, HUB, NGINX
from bench.cases import CASES, FIGURES, Case
from bench.figures import Budget, Row, judge, ratio, summarise
from bench.machine import Busy

TWICE = Budget("16", "rate", 2.0, at_least=True, says="req/s at 16 >= 2.0 x Go h1", peer=GO_H1)
CASE = Case("get", "a GET", "get", (16,), "connections", ("rate", "cpu_us"), budgets=(TWICE,))


def rows(**rates: float) -> dict[str, Row]:
    names = {"hub": HUB, "h1": GO_H1, "h2": GO_H2, "nginx": NGINX}
    return {names[key]: Row({"rate": rate, "cpu_us": 1e6 / rate}, rounds=3) for key, rate in rates.items()}


def test_a_row_is_the_median_of_its_rounds() -> None:
    """One wild round does not move the result."""
    row = summarise([{"rate": 10.0, "p50": 1.0}, {"rate": 11.0, "p50": 2.0}, {"rate": 900.0, "p50": 0.1}], noisy=1)
    assert row == Row({"rate": 11.0, "p50": 1.0}, rounds=3, noisy=1)


def test_a_candidate_that_did_not_run_keeps_its_reason() -> None:
    """Without a sample there are no figures, and the table can say why."""
    assert summarise([], reason="no nginx here") == Row(reason="no nginx here")


def test_a_ratio_is_ours_divided_by_the_peers() -> None:
    """Twice the peer's rate is 2; with no peer or a peer at zero there is no ratio."""
    assert ratio(rows(hub=40.0, h1=20.0), "rate", HUB, GO_H1) == 2.0
    assert ratio(rows(hub=40.0), "rate", HUB, GO_H1) is None
    assert ratio({HUB: Row({"rate": 1.0}), GO_H1: Row({"rate": 0.0})}, "rate", HUB, GO_H1) is None


@pytest.mark.parametrize(("ours", "word"), [(40.0, "met"), (41.0, "met"), (39.9, "NOT met")])
def test_a_budget_against_a_peer_is_judged_by_the_ratio(ours: float, word: str) -> None:
    """The bound itself still counts as met."""
    assert judge(TWICE, {"16": rows(hub=ours, h1=20.0)}, HUB).word == word


@pytest.mark.parametrize(("value", "word"), [(0.6, "met"), (0.61, "NOT met")])
def test_an_upper_bound_is_judged_by_the_figure_itself(value: float, word: str) -> None:
    budget = Budget("50", "cpu_s", 0.6, at_least=False, says="CPU s at 50 <= 0.6")
    assert judge(budget, {"50": {HUB: Row({"cpu_s": value})}}, HUB).word == word


def test_a_budget_without_figures_is_neither_met_nor_missed() -> None:
    """The verdict carries the reason of the candidate that did not run."""
    verdict = judge(TWICE, {"16": {HUB: Row(reason="ended at once"), **rows(h1=20.0)}}, HUB)
    assert (verdict.met, verdict.word, verdict.remark) == (None, "n/a", "ended at once")


def test_a_missed_rate_says_when_the_load_set_the_pace() -> None:
    """A candidate whose core was not full might have done more: the reader is told."""
    mine = Row({"rate": 30.0, "busy": 0.7})
    assert (
        judge(TWICE, {"16": {HUB: mine, **rows(h1=20.0)}}, HUB).remark == "the load sets the pace: our core is 70% busy"
    )


def test_the_table_shows_rows_ratios_and_verdicts() -> None:
    """All that a reader needs is in one block of aligned text."""
    text = report.table(CASE, {"16": {**rows(hub=40000.0, h1=20000.0), NGINX: Row(reason="no nginx here")}})
    assert text.splitlines() == [
        "get: a GET",
        "  connections             req/s  CPU us/req  remark",
        "           16  yurt hub  40,000        25.0",
        "           16  Go h1     20,000        50.0",
        "           16  nginx        n/a         n/a  no nginx here",
        "  ours : Go h1  req/s 2.00, CPU us/req 0.50",
        "  budget req/s at 16 >= 2.0 x Go h1: met (2.00)",
    ]


def test_a_small_ratio_is_told_with_enough_digits() -> None:
    """A fortieth is not read as "0.03", which might be more or less."""
    budget = Budget("1", "p50_ms", 1 / 40, at_least=False, says="p50 <= 1/40 x Go files", peer=FILES)
    case = Case("list-dark", "a list", "list", (1,), "connection", ("p50_ms",), budgets=(budget,))
    points = {"1": {HUB: Row({"p50_ms": 7.6}, rounds=3), FILES: Row({"p50_ms": 346.0}, rounds=3)}}
    assert report.table(case, points).splitlines()[-2:] == [
        "  ours : Go files p50 ms 0.02",
        "  budget p50 <= 1/40 x Go files: met (0.0220)",
    ]


def test_noise_is_marked_in_the_row() -> None:
    points = {"16": {HUB: Row({"rate": 1.0, "cpu_us": 1.0}, rounds=3, noisy=2)}}
    assert "noisy 2/3" in report.table(CASE, points)


def test_json_has_the_same_keys_for_every_case() -> None:
    """Programs read results of any case alike; what was not measured is there with its reason."""
    found = json.loads(json.dumps(report.as_json(CASE, {"16": rows(hub=40.0, h1=20.0)}, {"date": "d"})))
    assert set(found) == {"case", "title", "date", "points", "ratios", "budgets"}
    assert found["points"]["16"][HUB] == {"rounds": 3, "noisy": 0, "reason": None, "rate": 40.0, "cpu_us": 25000.0}
    assert found["ratios"] == {"16": {"rate": {GO_H1: 2.0}, "cpu_us": {GO_H1: 0.5}}}
    assert found["budgets"] == [{"says": TWICE.says, "value": 2.0, "met": True, "remark": ""}]


def test_published_tables_replace_the_former_ones() -> None:
    """What people wrote around the marks stays, and publishing again changes nothing else."""
    about = {
        "date": "2026-11-25T10:00:00+00:00",
        "machine": {"cpu": "a CPU", "cores": 2, "kernel": "6.1"},
        "versions": {"go": "go1.26", "nginx": None},
        "pace": {"rounds": 3, "seconds": 2.0},
    }
    page = f"# Words\n{report.BEGIN}old\n{report.END}more words\n"
    once = report.published(page, ["a table"], about)
    assert once.startswith(
        f"# Words\n{report.BEGIN}\n2026-11-25, a CPU, 2 cores, kernel 6.1; go go1.26; 3 rounds of 2 s."
    )
    assert "```text\na table\n```" in once
    assert "old" not in once
    assert once.endswith(f"{report.END}more words\n")
    assert report.published(once, ["a table"], about) == once


def test_only_who_asks_as_a_kubelet_is_kept() -> None:
    """A case about what the store gives or takes would measure a bare forward, if it were not kept."""
    about_the_store = {case.key for case in CASES if case.dark or case.kind in ("keep", "memory", "start", "updates")}
    assert about_the_store
    assert about_the_store <= {case.key for case in CASES if case.kept}
    assert not any(case.kept for case in CASES if case.key in ("get-tls", "list-tls", "watch", "rewatch"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.key)
def test_every_case_shows_known_figures_and_judges_at_its_own_points(case: Case) -> None:
    """A budget that names a point or a figure that is not measured would never be judged."""
    assert set(case.shown) <= set(FIGURES)
    points = {str(point) for point in case.points}
    assert all(budget.point in points and budget.figure in case.shown for budget in case.budgets)
    assert all(budget.peer in (None, *case.candidates) for budget in case.budgets)


def test_foreign_work_is_what_the_run_did_not_do_itself() -> None:
    """Half a core of others over two seconds is 0.5, whatever the run itself used; never less than nothing."""
    before = Busy(at=10.0, all=100.0, own=50.0)
    assert Busy(at=12.0, all=104.0, own=53.0).foreign_since(before) == 0.5
    assert Busy(at=12.0, all=103.0, own=53.2).foreign_since(before) == 0.0
