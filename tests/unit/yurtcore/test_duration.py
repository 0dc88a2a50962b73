"""Durations are Go's."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yurtcore.errors import BadInput
from yurtcore.wire.duration import format_go, parse_go

ROWS = [json.loads(line) for line in (Path(__file__).parent / "golden" / "durations.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: repr(row["text"]))
def test_a_duration_means_what_it_means_to_go(row: dict[str, Any]) -> None:
    if row.get("bad"):
        with pytest.raises(BadInput, match="duration"):
            parse_go(row["text"])
    else:
        assert math.isclose(parse_go(row["text"]), row["s"], rel_tol=1e-12)
        if abs(row["s"]) < 1e6:  # above, nanoseconds do not fit into a float
            assert format_go(row["s"]) == row["text_back"]


@given(st.integers(-(10**15), 10**15))
def test_a_written_duration_reads_back_to_the_nanosecond(nanos: int) -> None:
    assert round(parse_go(format_go(nanos / 10**9)) * 10**9) == nanos


@given(st.text())
@example("9" * 5000 + "s")
@example("0." + "9" * 5000 + "s")
def test_any_text_is_a_duration_or_bad_input(text: str) -> None:
    try:
        seconds = parse_go(text)
    except BadInput as err:
        assert "\n" not in err.why  # noqa: PT017  both outcomes are right
    else:
        assert math.isfinite(seconds)


def test_a_number_without_unit_is_told_how_to_write_it() -> None:
    with pytest.raises(BadInput, match="write it like 40s"):
        parse_go("40")
