"""Layers put together and validated: what a program calls first."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from yurtcore.errors import BadInput
from yurtcore.serve.settings import show
from yurtcore.serve.settings.layers import Given, Names, from_environment, from_file, from_flags
from yurtcore.serve.settings.model import Leaf, leaves

M = TypeVar("M", bound=BaseModel)


def load(
    cls: type[M],
    argv: Sequence[str],
    *,
    env_prefix: str,
    prog: str,
    foreign: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> tuple[M, list[str]]:
    """Settings for a program, and the words after `--`.

    `argv` is without the program's name. `foreign` names flags of other implementations that are not here, with the
    reason and what to do instead. `environ` defaults to the process's. Ends the process (SystemExit) with code 0 after
    --help, --version or --print-config, and with code 2 after one line on stderr when an input is wrong.
    """
    try:
        return parse(cls, argv, env_prefix=env_prefix, prog=prog, foreign=foreign, environ=environ)
    except BadInput as err:
        print(f"{prog}: {err.why}", file=sys.stderr)  # noqa: T201  before logging is set up
        raise SystemExit(2) from None


def parse(
    cls: type[M],
    argv: Sequence[str],
    *,
    env_prefix: str,
    prog: str,
    foreign: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> tuple[M, list[str]]:
    """As `load`, but a wrong input raises BadInput."""
    env_prefix = env_prefix.rstrip("_") + "_"
    environ = os.environ if environ is None else environ
    names = Names(leaves(cls), foreign or {})
    flags = from_flags(argv, names)
    if "help" in flags.commands:
        _say(show.help_text(prog, " ".join((cls.__doc__ or "").split()), names.leaves, env_prefix))
    if "version" in flags.commands:
        _say(f"{prog} {_version(cls)}")
    given: list[Given] = []
    if config := flags.config or environ.get(env_prefix + "CONFIG"):
        given += from_file(config, _read(config), names)
    given += [*from_environment(environ, env_prefix, names), *flags.given]
    last = {one.leaf.path: one for one in given}
    settings = _validated(cls, last, names, env_prefix)
    if "print-config" in flags.commands:
        origins = {path: one.origin for path, one in last.items()}
        _say(show.config_text(settings, names.leaves, origins))
    return settings, flags.rest


def _validated(cls: type[M], given: Mapping[tuple[str, ...], Given], names: Names, env_prefix: str) -> M:
    tree: dict[str, Any] = {}
    for leaf in names.leaves:
        branch = tree
        for key in leaf.keys[:-1]:  # a slice is there even if nothing of it was given
            branch = branch.setdefault(key, {})
        if one := given.get(leaf.path):
            branch[leaf.keys[-1]] = _raw(one)
    try:
        return cls.model_validate(tree)
    except ValidationError as err:
        problems = err.errors(include_url=False, include_context=False)
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise BadInput(_explain(problems[0], given, names, env_prefix) + more) from None


def _raw(one: Given) -> Any:
    """A list may be written as one text with commas; blanks around its parts do not count."""
    if one.leaf.is_list and isinstance(one.value, str):
        return [part.strip() for part in one.value.split(",") if part.strip()]
    return one.value


def _explain(problem: ErrorDetails, given: Mapping[tuple[str, ...], Given], names: Names, env_prefix: str) -> str:
    leaf = _leaf_at(problem["loc"], names)
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if leaf is None:
        return message
    if problem["type"] == "missing":
        return f"--{leaf.flag} is required; give it, or set {env_prefix}{leaf.variable}"
    one = given.get(leaf.path)
    value = "" if one is None or leaf.is_secret else f"={show.literal(one.value, leaf)}"
    origin = f" (from {one.origin})" if one is not None and not one.origin.startswith("flag") else ""
    return f"--{leaf.flag}{value}: {message[:1].lower()}{message[1:]}{origin}"


def _leaf_at(loc: tuple[int | str, ...], names: Names) -> Leaf | None:
    return next((leaf for leaf in names.leaves if loc[: len(leaf.keys)] == leaf.keys), None)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as err:
        raise BadInput(f"cannot read --config {path}: {err.strerror or err}") from err


def _version(cls: type[BaseModel]) -> str:
    """Version of the distribution that the model's package belongs to."""
    from importlib import metadata  # noqa: PLC0415  costs more than the rest of this module and is rarely asked for

    package = cls.__module__.partition(".")[0]
    try:
        return metadata.version(package.replace("_", "-"))
    except metadata.PackageNotFoundError:
        return metadata.version("yurtcore")


def _say(text: str) -> None:
    print(text)  # noqa: T201  asked for by the person
    raise SystemExit(0)
