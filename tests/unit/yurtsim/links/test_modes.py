"""Links as data: what a cut means, whom a target means, and how a rate is kept."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yurtcore.errors import BadInput, Missing
from yurtsim.links import UP, Mode, Way
from yurtsim.links.modes import Bucket, select, worsen


@dataclass(frozen=True)
class Place:
    name: str
    node: str = ""
    pool: str = ""


LINES = {
    one.name: one
    for one in (
        Place("a1-hub", "n1", "pool-a"),
        Place("a1-bus", "n1", "pool-a"),
        Place("a2-hub", "n2", "pool-a"),
        Place("b-hub", "n3", "pool-b"),
        Place("lone"),
    )
}


@pytest.mark.parametrize(
    ("target", "names"),
    [
        (None, list(LINES)),
        ("a1-bus", ["a1-bus"]),
        ("n1", ["a1-hub", "a1-bus"]),
        ("pool-a", ["a1-hub", "a1-bus", "a2-hub"]),
        ("pool-a/n2", ["a2-hub"]),
        ("pool-b", ["b-hub"]),
    ],
)
def test_a_target_means_all_or_a_link_or_a_node_or_a_pool(target: str | None, names: list[str]) -> None:
    assert [one.name for one in select(LINES, target)] == names


@pytest.mark.parametrize("target", ["pool-c", "pool-b/n1", "", "/"])
def test_a_target_that_is_not_there_is_refused_with_what_is(target: str) -> None:
    with pytest.raises(Missing, match=r"a1-hub, .*pool-a"):
        select(LINES, target)


def test_delay_and_rate_add_up_and_cuts_replace_each_other() -> None:
    slow = worsen(worsen(UP, "delay", ms=50), "rate", rate=1000)
    dark = worsen(slow, "blackhole")
    assert str(slow) == "delay 50 ms, rate 1000 B/s"
    assert str(dark) == "blackhole, delay 50 ms, rate 1000 B/s"
    assert str(worsen(dark, "reset")) == "reset, delay 50 ms, rate 1000 B/s"
    assert worsen(worsen(UP, "reset"), "oneway", way="up") == Mode(silent=frozenset({Way.UP}))
    assert str(UP) == "up"
    assert UP.lets_in
    assert not worsen(UP, "oneway", way="down").lets_in


@pytest.mark.parametrize(
    ("how", "numbers"),
    [
        ("explode", {}),
        ("delay", {}),
        ("delay", {"ms": 0}),
        ("delay", {"ms": 60_001}),
        ("rate", {"rate": 0}),
        ("rate", {}),
        ("oneway", {"way": "left"}),
        ("oneway", {}),
        ("blackhole", {"ms": 5}),
        ("reset", {"rate": 5}),
        ("delay", {"ms": 5, "way": "up"}),
    ],
)
def test_a_cut_that_makes_no_sense_is_bad_input(how: str, numbers: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        worsen(UP, how, **numbers)  # type: ignore[arg-type]


@given(
    rate=st.integers(200, 10_000_000),
    steps=st.lists(st.tuples(st.floats(0, 0.3), st.integers(1, 300_000)), min_size=1, max_size=60),
)
def test_a_bucket_never_gives_more_than_the_rate_and_its_burst(rate: int, steps: list[tuple[float, int]]) -> None:
    now, given_out = 0.0, 0
    bucket = Bucket(rate, now)
    for pause, want in steps:
        now += pause
        given_out += bucket.take(want, now)
        assert given_out <= now * rate + max(1500, rate / 20) + 1


@given(rate=st.integers(200, 10_000_000))
def test_whoever_asks_after_the_wait_gets_the_whole_rate(rate: int) -> None:
    bucket, now, got = Bucket(rate, 0.0), 0.0, 0
    while now < 10:
        now += bucket.wait(bucket.quantum) + 1e-9
        got += bucket.take(1 << 20, now)
    assert 0.95 * 10 * rate <= got <= 1.1 * 10 * rate + 3000


def test_what_was_not_used_can_be_taken_again() -> None:
    bucket = Bucket(20_000, 0.0)
    assert bucket.take(1000, 0.0) == 1000
    assert bucket.take(1000, 0.0) == 0
    bucket.refund(600)
    assert bucket.take(600, 0.0) == 600
