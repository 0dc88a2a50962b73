"""What people see of a site's facts."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console
from yurtctl import show
from yurtctl.nodes import plan
from yurtctl.record import Site


def text(facts: dict[str, Any], width: int = show.WIDTH) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(show.table(facts))
    return out.getvalue()


def facts(**other: Any) -> dict[str, Any]:
    process = {"name": "hub-n", "pid": 7, "state": "running", "restarts": 2, "addresses": {"plain": "http://x:1"}}
    link = {"name": "hub-n", "node": "n", "pool": "p", "state": "blackhole", "open": 3, "total": 4, "held": 5}
    hub = {"ready": False, "servers": [{"state": "down", "since": 3.7}], "connections": 2, "streams": 9}
    return {
        "state": "/s",
        "phase": "ready",
        "error": None,
        "supervisor": {"pid": 42, "running": True},
        "processes": [process | {"docs": "http://x:1/docs"}],
        "nodes": [{"name": "n", "pool": "p", "ready": False, "pods": {"running": 1, "all": 3}, "hub": hub}],
        "links": [link | {"bytes": {"up": 1234, "down": 5_000_000}}],
        "problems": ["cloud: no answer in 4 s"],
    } | other


def test_every_fact_has_its_words() -> None:
    lines = [line.split() for line in text(facts()).splitlines()]
    assert ["site", "ready", "in", "/s,", "supervisor", "42"] in lines
    assert ["hub-n", "7", "running,", "restarts:", "2", "plain", "http://x:1"] in lines
    assert ["docs", "http://x:1/docs"] in lines
    assert [
        "n",
        "p",
        "NotReady",
        "1/3",
        "running",
        "not",
        "ready",
        "down",
        "for",
        "4",
        "s;",
        "2",
        "connections,",
        "9",
        "streams",
    ] in lines
    assert ["hub-n", "n", "p", "blackhole", "1.2", "KB", "5.0", "MB", "5", "B", "3", "4"] in lines
    assert ["!", "cloud:", "no", "answer", "in", "4", "s"] in lines


def test_what_did_not_answer_is_said_to_be_unknown() -> None:
    node = {"name": "n", "pool": "p", "ready": None, "pods": None, "hub": None}
    shown = text(facts(nodes=[node], links=None, phase="dead", error="why", supervisor={"pid": 1, "running": False}))
    assert "n     p     unknown  unknown  no answer" in shown
    assert "LINK" not in shown
    assert "supervisor" not in shown
    assert "why" in shown


def test_a_narrow_terminal_folds_and_loses_nothing() -> None:
    shown = text(facts(), 60)
    assert max(map(len, shown.splitlines())) <= 60
    assert "http://x:1/docs" in shown
    assert "blackhole" in shown


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KB"),
        (123_456, "123 KB"),
        (9_960_000, "10.0 MB"),
        (3 * 10**15, "3000 TB"),
    ],
)
def test_sizes_have_three_digits_and_a_unit(count: int, words: str) -> None:
    assert show.size(count) == words


def test_the_summary_names_addresses_and_what_to_try() -> None:
    site = Site(phase="ready", server="https://c:1", nodes=plan(2, range(8)))
    words = show.summary(site, "/s", "/s/k", took=12.4, detached=True, default=False)
    for part in ("Ready in 12 s: 2 nodes", "https://c:1", site.nodes[1].control_url + "/docs", "/s/k", "YURT_STATE=/s"):
        assert part in words
    assert "YURT_STATE" not in show.summary(site, "/s", "/s/k", took=1, detached=False, default=True)
