"""Counting stays cheap and bounded."""

from hypothesis import given
from hypothesis import strategies as st
from yurt_hub.domain.traffic import BOUNDS, MAX_RESOURCES, MAX_SERIES, OTHER, Histogram, Traffic


def test_answers_are_counted_by_verb_resource_and_code() -> None:
    traffic = Traffic()
    traffic.count("get", "pods", 200)
    traffic.count("get", "pods", 200)
    traffic.count("get", "pods", 404)
    assert dict(traffic.requests) == {("get", "pods", 200): 2, ("get", "pods", 404): 1}


def test_names_that_callers_invent_do_not_grow_the_table() -> None:
    """However many resource names and codes come, the number of series is bounded and no answer is lost."""
    traffic = Traffic()
    for n in range(5000):
        traffic.count("get", f"things{n}", 200 + n % 300)
    assert len(traffic.requests) <= MAX_SERIES + 20
    assert len({resource for _, resource, _ in traffic.requests}) <= MAX_RESOURCES + 1
    assert any(resource == OTHER for _, resource, _ in traffic.requests)
    assert sum(traffic.requests.values()) == 5000


@given(st.lists(st.floats(0, 100)))
def test_a_histogram_keeps_every_duration(durations: list[float]) -> None:
    seen = Histogram()
    for seconds in durations:
        seen.observe(seconds)
    buckets = seen.cumulated()
    assert [bound for bound, _ in buckets] == [*map(str, BOUNDS), "+Inf"]
    assert buckets[-1][1] == len(durations)
    for bound, count in buckets[:-1]:
        assert count == sum(seconds <= float(bound) for seconds in durations)
