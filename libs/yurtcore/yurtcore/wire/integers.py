"""Integers as Kubernetes reads them: Go's `strconv.ParseInt(text, 10, 64)`."""

import re
from typing import Final

_INTEGER: Final = re.compile(r"([+-]?)0*([0-9]{1,19})", re.ASCII)
_RANGE: Final = range(-(2**63), 2**63)


def int64(text: str) -> int | None:
    """The number, or None for anything that is not a decimal integer of 64 bits with sign."""
    found = _INTEGER.fullmatch(text)
    value = int(found[1] + found[2]) if found else None
    return value if value is not None and value in _RANGE else None
