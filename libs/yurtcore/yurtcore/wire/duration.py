"""Durations as Go writes them ("1h2m3.5s"), in seconds."""

import re
from fractions import Fraction
from typing import Final

from yurtcore.errors import BadInput

_UNITS: Final = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),
    "μs": Fraction(1, 10**6),  # the Greek letter, which Go accepts too
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([^0-9.]+)", re.ASCII)
_LIMIT: Final = Fraction(2**63, 10**9)
"""Go holds a duration in 64 bits of nanoseconds, about 292 years."""
_LENGTH: Final = 100
"""Characters; a longer text is no duration that a person wrote."""


def parse_go(text: str) -> float:
    """Seconds; raises BadInput for anything that Go's `time.ParseDuration` refuses, such as a number without unit."""
    sign, body = (-1, text[1:]) if text[:1] == "-" else (1, text.removeprefix("+"))
    if body == "0":
        return 0.0
    if not 0 < len(body) <= _LENGTH:
        raise _not_a_duration(text)
    total, at = Fraction(0), 0
    while at < len(body):
        part = _PART.match(body, at)
        if part is None or part[2] not in _UNITS:
            raise _not_a_duration(text)
        total += Fraction(part[1].rstrip(".")) * _UNITS[part[2]]
        at = part.end()
    if total > _LIMIT or (total == _LIMIT and sign > 0):
        raise BadInput(f"{text!r} is longer than a duration can be (292 years)")
    return float(sign * total)


def format_go(seconds: float) -> str:
    """The text of Go's `Duration.String`, rounded to nanoseconds."""
    nanos = round(abs(seconds) * 10**9)
    sign = "-" if seconds < 0 and nanos else ""
    if nanos == 0:
        return "0s"
    if nanos < 10**9:
        for unit, size in (("ns", 1), ("µs", 10**3), ("ms", 10**6)):
            if nanos < size * 1000:
                return f"{sign}{_decimal(nanos, size)}{unit}"
    minutes, rest = divmod(nanos, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, 10**9)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    if hours:
        text = f"{hours}h{text}"
    return sign + text


def _decimal(nanos: int, size: int) -> str:
    whole, rest = divmod(nanos, size)
    if not rest:
        return str(whole)
    return f"{whole}.{str(rest).rjust(len(str(size)) - 1, '0').rstrip('0')}"


def _not_a_duration(text: str) -> BadInput:
    return BadInput(f"{text[:_LENGTH]!r} is not a duration; write it like 40s, 1m30s or 500ms")
