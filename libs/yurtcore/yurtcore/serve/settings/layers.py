"""The three layers over the defaults, each read into (leaf, raw value, origin)."""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from yurtcore.errors import BadInput
from yurtcore.serve.settings.model import Leaf

_SERVICE_LINK: Final = re.compile(r"SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?")
"""Variables that Kubernetes sets in pods for a Service of the program's name (`YURT_HUB_SERVICE_HOST`): not ours."""


@dataclass(frozen=True, slots=True)
class Given:
    """One value that a layer gave."""

    leaf: Leaf
    value: Any
    origin: str
    """Which layer and under which name, for people: "flag --node-name"."""


@dataclass(slots=True)
class Flags:
    """What a command line came to."""

    given: list[Given] = field(default_factory=list)
    commands: set[str] = field(default_factory=set)
    """Which of help, version and print-config were asked for."""
    config: str | None = None
    rest: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Names:
    """How outside names find leaves, and what to say about names that are not ours."""

    leaves: Sequence[Leaf]
    foreign: Mapping[str, str]
    """Flags of other implementations → why they are not here and what to do instead."""

    def find(self, name: str, written: str, *, hint: str = "see --help") -> Leaf:
        """The leaf with this flag name; raises BadInput naming it as the person wrote it."""
        for leaf in self.leaves:
            if name in (leaf.flag, "-".join(leaf.path).replace("_", "-")):
                return leaf
        if name in self.foreign:
            raise BadInput(f"{written} is not supported: {self.foreign[name]}")
        near = difflib.get_close_matches(name, [leaf.flag for leaf in self.leaves], n=1)
        raise BadInput(f"{written} is not known; " + (f"did you mean {_like(written, near[0])}?" if near else hint))


def from_flags(argv: Sequence[str], names: Names) -> Flags:
    """Read `--name value`, `--name=value`, `--switch`, `--switch=false`; what follows `--` is the rest."""
    out = Flags()
    lists: dict[str, list[str]] = {}
    words = iter(argv)
    for word in words:
        if word == "--":
            out.rest = list(words)
            break
        if not word.startswith("-") or word == "-":
            raise BadInput(f"{word!r} is not expected here; flags begin with --, a switch is set by --flag=false")
        name, equals, value = word.lstrip("-").partition("=")
        written = word.partition("=")[0]
        if name in ("help", "h", "version", "print-config") and not equals:
            out.commands.add("help" if name == "h" else name)
            continue
        if not word.startswith("--"):
            raise BadInput(f"{written} is not known; flags begin with two dashes, see --help")
        leaf = None if name == "config" else names.find(name, written)
        if not equals:
            value = "true" if leaf is not None and leaf.is_bool else _value_after(words, written)
        if leaf is None:
            out.config = value
        elif leaf.is_list:
            lists.setdefault(leaf.flag, []).append(value)
            out.given.append(Given(leaf, ",".join(lists[leaf.flag]), f"flag {written}"))
        else:
            out.given.append(Given(leaf, value, f"flag {written}"))
    return out


def from_environment(environ: Mapping[str, str], prefix: str, names: Names) -> Iterator[Given]:
    """Read all variables that begin with `prefix` (ending in "_"); the one for --config is the caller's."""
    by_variable = {leaf.variable: leaf for leaf in names.leaves}
    for key in sorted(environ):
        name = key.removeprefix(prefix)
        if name in (key, "CONFIG"):
            continue
        leaf = by_variable.get(name)
        if leaf is None:
            if _SERVICE_LINK.fullmatch(name):
                continue
            leaf = names.find(name.lower().replace("_", "-"), f"environment variable {key}", hint="unset it")
            raise BadInput(f"environment variable {key} is not known; did you mean {prefix}{leaf.variable}?")
        yield Given(leaf, environ[key], f"environment {key}")


def from_file(path: str, data: bytes, names: Names) -> Iterator[Given]:
    """Read a TOML file: keys are flag names or field names, slices may be tables."""
    try:
        tree = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise BadInput(f"{path} is not a TOML file: {' '.join(str(err).split())}") from err
    for keys, value in _flat(tree, ()):
        leaf = names.find("-".join(keys).replace("_", "-"), f"{'.'.join(keys)} in {path}", hint="remove it")
        yield Given(leaf, value, f"file {path}")


def _value_after(words: Iterator[str], written: str) -> str:
    value = next(words, None)
    if value is None:
        raise BadInput(f"{written} needs a value: {written}=VALUE")
    return value


def _flat(tree: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, (*above, key))
        else:
            yield (*above, key), value


def _like(written: str, flag: str) -> str:
    return f"--{flag}" if written.startswith("-") else flag
