"""What a settings model is made of, and the list of values (leaves) that its fields come to.

A field `node_name` is the flag `--node-name`, the file key `node-name` (or `node_name`) and the variable
`PREFIX_NODE_NAME`. A field whose type is another `Settings` is a slice: its fields are `--slice-field`, a table
`[slice]` in the file and `PREFIX_SLICE__FIELD`, unless they carry a `Flag` of their own.
"""

import types
import typing
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

from yurtcore.wire import duration


class Settings(BaseModel):
    """Base of a program's settings and of their slices: frozen, unknown fields refused, field docstrings kept."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


@dataclass(frozen=True, slots=True)
class Flag:
    """Metadata for a field whose flag is not its name: `Annotated[str, Flag("server-addr")]`."""

    name: str


class _GoDuration:
    """Marks seconds that people read and write as Go durations."""


def _seconds(value: Any) -> Any:
    return duration.parse_go(value) if isinstance(value, str) else value


Duration = Annotated[float, BeforeValidator(_seconds), _GoDuration()]
"""Seconds; written "40s" or "1m30s" in flags, variables and files (a number in a file is seconds)."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One value: where it sits in the model, how it is named outside, and how its text is read."""

    path: tuple[str, ...]
    keys: tuple[str, ...]
    """The path as the model's validation names it (aliases)."""
    flag: str
    variable: str
    """Name of the environment variable without the program's prefix."""
    info: FieldInfo
    is_bool: bool
    is_list: bool
    is_secret: bool
    is_duration: bool

    @property
    def doc(self) -> str:
        """The field's docstring on one line."""
        return " ".join((self.info.description or "").split())


def leaves(cls: type[BaseModel]) -> list[Leaf]:
    """All values of the model in the order of its fields."""
    return list(_walk(cls, (), ()))


def _walk(cls: type[BaseModel], path: tuple[str, ...], keys: tuple[str, ...]) -> Iterator[Leaf]:
    for name, info in cls.model_fields.items():
        key = info.validation_alias if isinstance(info.validation_alias, str) else (info.alias or name)
        here, here_keys = (*path, name), (*keys, key)
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from _walk(info.annotation, here, here_keys)
            continue
        own = next((meta.name for meta in info.metadata if isinstance(meta, Flag)), None) or (
            key if key != name else None
        )
        flag = own or "-".join(here).replace("_", "-")
        kinds = _kinds(info.annotation)
        yield Leaf(
            path=here,
            keys=here_keys,
            flag=flag,
            variable=flag.replace("-", "_").upper() if own else "__".join(here).upper(),
            info=info,
            is_bool=bool in kinds,
            is_list=any(isinstance(kind, type) and _is_list(kind) for kind in kinds),
            is_secret=SecretStr in kinds or SecretBytes in kinds,
            is_duration=any(isinstance(meta, _GoDuration) for meta in _metadata(info)),
        )


def _kinds(annotation: Any) -> set[Any]:
    """The plain types that an annotation allows: unions are opened, parameters of generics dropped."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return {kind for part in get_args(annotation) for kind in _kinds(part)}
    return {origin or annotation}


def _metadata(info: FieldInfo) -> Iterator[Any]:
    """Metadata of the field and of the parts of a union (`Duration | None`)."""
    yield from info.metadata
    for part in get_args(info.annotation):
        if get_origin(part) is Annotated:
            yield from get_args(part)[1:]


def _is_list(kind: type) -> bool:
    return issubclass(kind, Sequence | AbstractSet) and not issubclass(kind, str | bytes)
