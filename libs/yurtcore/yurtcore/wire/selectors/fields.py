"""Field selectors: `metadata.name=a,status.phase!=Running`; in values a backslash stands before `,` `=` and itself.

An empty selector matches everything. Which fields a kind knows is the caller's business: a field that is not given
counts as "", as in the API server.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from yurtcore.errors import BadInput


@dataclass(frozen=True, slots=True)
class Term:
    """One comparison: the field's text equals `value`, or (`negated`) does not."""

    field: str
    value: str
    negated: bool = False


Selector: TypeAlias = tuple[Term, ...]


def parse(text: str) -> Selector:
    """Read a selector; raises BadInput with the part that is wrong. Terms come sorted as the API server sorts them."""
    terms = (_term(part, text) for part in sorted(_split(text)) if part)
    return tuple(term for term in terms if term.field or term.value)  # "=" and "!=" alone say nothing


def match(selector: Selector, values: Mapping[str, str]) -> bool:
    """Tell whether an object with these field values is in the set."""
    return all((values.get(term.field, "") == term.value) is not term.negated for term in selector)


def exact(selector: Selector, field: str) -> str | None:
    """The value that the selector demands of `field`, if it demands one."""
    return next((term.value for term in selector if term.field == field and not term.negated), None)


def write(selector: Selector) -> str:
    """The selector as text; `parse` reads the same terms back (sorted)."""
    return ",".join(f"{term.field}{'!=' if term.negated else '='}{escape(term.value)}" for term in selector)


def escape(value: str) -> str:
    """A literal as it is written in a selector's value."""
    return value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")


def _split(text: str) -> Iterator[str]:
    start, escaped = 0, False
    for at, char in enumerate(text):
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == ",":
            yield text[start:at]
            start = at + 1
    yield text[start:]


def _term(part: str, whole: str) -> Term:
    at = next((i for i, char in enumerate(part) if char == "=" or part.startswith("!=", i)), -1)
    if at < 0:
        raise BadInput(f"field selector {whole!r}: {part!r} has no =, == or !=")
    negated = part[at] == "!"
    size = 2 if negated or part.startswith("==", at) else 1
    return Term(part[:at], _unescape(part[at + size :], whole), negated)


def _unescape(value: str, whole: str) -> str:
    if not any(char in value for char in "\\,="):
        return value
    out, escaped = [], False
    for char in value:
        if escaped:
            if char not in "\\,=":
                raise BadInput(f"field selector {whole!r}: \\{char} is not an escape; only \\\\ \\, and \\= are")
            out.append(char)
            escaped = False
        elif char == "\\":
            escaped = True
        elif char in ",=":
            raise BadInput(f"field selector {whole!r}: write \\{char} for {char} inside a value")
        else:
            out.append(char)
    if escaped:
        raise BadInput(f"field selector {whole!r}: ends in the middle of an escape")
    return "".join(out)
