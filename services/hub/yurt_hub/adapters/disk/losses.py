"""The note in a log about what it lacks: keys whose values were given up, until the owner has taken it in.

A log that was repaired looks whole. Without the note a crash right after the repair, or a repair by a person, would let
a set pass for complete that is not.
"""

import json
from collections.abc import Iterable
from typing import Final

LOST: Final = "!lost"
"""Key of the note; no key of the owner's begins like this."""
MOST_LOST: Final = 10_000
"""Keys that a note names; when there are more, one that nobody knows stands for them."""


def note(keys: Iterable[str], nameless: int) -> bytes:
    """The note's value: these keys, and how many more that nobody knows."""
    named = sorted(keys)
    if len(named) > MOST_LOST:
        named, nameless = [], nameless + 1
    return json.dumps({"keys": named, "nameless": nameless}).encode()


def read_note(value: bytes) -> tuple[frozenset[str], int]:
    """The keys and the number that `note` was given."""
    told = json.loads(value)
    return frozenset(told["keys"]), int(told["nameless"])
