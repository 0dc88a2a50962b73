"""Ages, as kubectl prints them."""

import json
from pathlib import Path

import pytest
from yurt_hub.domain.kept import ages

GOLDEN = [json.loads(line) for line in (Path(__file__).parent / "golden" / "ages.jsonl").read_text().splitlines()]
"""What apimachinery's `duration.HumanDuration` says of seconds."""


@pytest.mark.parametrize(("seconds", "text"), GOLDEN)
def test_durations_read_as_apimachinery_writes_them(seconds: float, text: str) -> None:
    assert ages.human(seconds) == text


@pytest.mark.parametrize(
    ("timestamp", "text"),
    [("2026-01-01T00:00:00Z", "2m"), ("2026-01-01T00:01:59.5Z", "0s"), ("", "<unknown>"), ("soon", "<unknown>")],
)
def test_an_age_counts_from_a_timestamp(timestamp: str, text: str) -> None:
    assert ages.since(timestamp, 1767225720.0) == text
