"""Label selectors: `app=web,tier in (a,b),!old,size>3`.

Grammar, validation and meaning are those of apimachinery's `labels.Parse`; an empty selector matches everything.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, NoReturn, TypeAlias

from yurtcore.errors import BadInput
from yurtcore.wire.integers import int64


class Op(Enum):
    """How a requirement compares; the value is how it is written."""

    EQUALS = "="
    DOUBLE_EQUALS = "=="
    NOT_EQUALS = "!="
    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    ABSENT = "!"
    GREATER = ">"
    LESS = "<"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label; `values` are sorted and without doubles."""

    key: str
    op: Op
    values: tuple[str, ...] = ()


Selector: TypeAlias = tuple[Requirement, ...]

_TOKEN: Final = re.compile(r"[ \t\r\n]*(?P<token>==|!=|[=!(),<>]|[^=!(),<> \t\r\n\0]+)?\0?")
# A zero byte ends the word before it, and the text where a word would begin: so does apimachinery's lexer.
_SYMBOLS: Final = frozenset("=!(),<>")
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?\Z")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*\Z")
_BINARY: Final = {
    op.value: op for op in (Op.EQUALS, Op.DOUBLE_EQUALS, Op.NOT_EQUALS, Op.IN, Op.NOT_IN, Op.GREATER, Op.LESS)
}


def parse(text: str) -> Selector:
    """Read a selector; raises BadInput with the part that is wrong. Requirements come sorted by key."""
    return tuple(sorted(_Parser(text).selector(), key=lambda requirement: requirement.key))


def match(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Tell whether an object with these labels is in the set."""
    return all(_holds(requirement, labels.get(requirement.key)) for requirement in selector)


def write(selector: Selector) -> str:
    """The selector as text; `parse` reads it back to an equal one (if it is sorted by key)."""
    return ",".join(_write(requirement) for requirement in selector)


def _holds(requirement: Requirement, value: str | None) -> bool:
    match requirement.op:
        case Op.EQUALS | Op.DOUBLE_EQUALS | Op.IN:
            return value is not None and value in requirement.values
        case Op.NOT_EQUALS | Op.NOT_IN:
            return value is None or value not in requirement.values
        case Op.EXISTS:
            return value is not None
        case Op.ABSENT:
            return value is None
        case Op.GREATER | Op.LESS:
            left, right = int64(value or ""), int64(requirement.values[0])
            if left is None or right is None:
                return False
            return left > right if requirement.op is Op.GREATER else left < right


def _write(requirement: Requirement) -> str:
    match requirement.op:
        case Op.EXISTS:
            return requirement.key
        case Op.ABSENT:
            return "!" + requirement.key
        case Op.IN | Op.NOT_IN:
            return f"{requirement.key} {requirement.op.value} ({','.join(requirement.values)})"
        case _:
            return f"{requirement.key}{requirement.op.value}{requirement.values[0]}"


class _Parser:
    """Recursive descent over the tokens; "" stands for the end of the text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._at = 0

    def selector(self) -> list[Requirement]:
        found: list[Requirement] = []
        if self._peek() == "":
            return found
        while True:
            found.append(self._requirement())
            word = self._next()
            if word == "":
                return found
            if word != ",":
                self._fail(word, "',' or the end")
            if not self._is_word(self._peek()) and self._peek() != "!":
                self._fail(self._peek(), "a label key after ','")

    def _requirement(self) -> Requirement:
        word = self._next()
        absent = word == "!"
        key = self._next() if absent else word
        if not self._is_word(key):
            self._fail(key, "a label key")
        _check_key(key, self._text)
        if absent:
            return Requirement(key, Op.ABSENT)
        if self._peek() in ("", ","):
            return Requirement(key, Op.EXISTS)
        op = _BINARY.get(word := self._next())
        if op is None:
            self._fail(word, "one of = == != in notin < >")
        values = self._set() if op in (Op.IN, Op.NOT_IN) else {self._value()}
        for value in values:
            _check_value(value, self._text)
        if op in (Op.GREATER, Op.LESS) and any(int64(value) is None for value in values):
            raise BadInput(f"label selector {self._text!r}: {key} {op.value} needs a whole number")
        return Requirement(key, op, tuple(sorted(values)))

    def _value(self) -> str:
        if self._peek() in ("", ","):
            return ""
        word = self._next()
        if not self._is_word(word):
            self._fail(word, "a value")
        return word

    def _set(self) -> set[str]:
        """The values between parentheses; a place left empty stands for the empty value.

        As in the API server, two commas before the end, as in "(a,,)", are one too many.
        """
        if (word := self._next()) != "(":
            self._fail(word, "'('")
        if self._peek() == ")":
            self._next()
            return {""}
        values: set[str] = set()
        while True:
            word = self._next()
            if self._is_word(word):
                values.add(word)
                if self._peek() not in (",", ")"):
                    self._fail(self._peek(), "',' or ')'")
            elif word == ",":
                if not values or self._peek() in (",", ")"):
                    values.add("")
                if self._peek() == ",":
                    self._next()
                    continue
            else:
                self._fail(word, "',' or a value")
            if self._peek() == ")":
                self._next()
                return values

    def _peek(self) -> str:
        return self._tokens[self._at]

    def _next(self) -> str:
        word = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return word

    @staticmethod
    def _is_word(word: str) -> bool:
        return word != "" and word[0] not in _SYMBOLS

    def _fail(self, found: str, expected: str) -> NoReturn:
        raise BadInput(f"label selector {self._text!r}: found {found or 'the end'!r}, expected {expected}")


def _tokens(text: str) -> list[str]:
    found = []
    at = 0
    while (hit := _TOKEN.match(text, at)) and hit["token"]:
        found.append(hit["token"])
        at = hit.end()
    return [*found, ""]


def _check_key(key: str, whole: str) -> None:
    prefix, slash, name = key.rpartition("/")
    good = len(name) <= 63 and _NAME.match(name)
    if slash:
        good = good and len(prefix) <= 253 and _SUBDOMAIN.match(prefix)
    if not good:
        raise BadInput(f"label selector {whole!r}: {key!r} is not a label key")


def _check_value(value: str, whole: str) -> None:
    if value and (len(value) > 63 or not _NAME.match(value)):
        raise BadInput(f"label selector {whole!r}: {value!r} is not a label value")
