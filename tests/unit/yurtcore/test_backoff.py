"""Waits grow, stay bounded and spread."""

from hypothesis import given
from hypothesis import strategies as st
from yurtcore.flow.backoff import backoff

JITTER = st.floats(0, 1, exclude_max=True)


@given(st.integers(-1, 10**6), JITTER)
def test_a_wait_lies_between_half_and_all_of_the_full_delay(attempt: int, jitter: float) -> None:
    full = min(30.0, 0.5 * 2.0 ** min(max(attempt, 0), 32))
    assert full / 2 <= backoff(attempt, base=0.5, cap=30.0, jitter=jitter) <= full


@given(st.integers(0, 100), JITTER)
def test_a_later_attempt_waits_no_less_with_equal_luck(attempt: int, jitter: float) -> None:
    assert backoff(attempt, base=0.1, cap=60, jitter=jitter) <= backoff(attempt + 1, base=0.1, cap=60, jitter=jitter)
