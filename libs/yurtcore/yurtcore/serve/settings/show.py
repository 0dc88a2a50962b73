"""Settings as text: `--help` and `--print-config`."""

import json
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from yurtcore.serve.settings.model import Leaf
from yurtcore.wire.duration import format_go

MASK = "********"


def help_text(prog: str, about: str, leaves: Sequence[Leaf], env_prefix: str) -> str:
    """Every flag with its default and what its docstring says."""
    lines = [f"Usage: {prog} [flags]", ""]
    if about:
        lines += [about, ""]
    lines.append("Flags:")
    for leaf in leaves:
        lines.append(f"  --{leaf.flag}{'' if leaf.is_bool else ' ' + _placeholder(leaf)}{_default(leaf)}")
        if leaf.doc:
            lines.append(f"        {leaf.doc}")
    lines += [
        "  --config FILE",
        "        TOML file with the same names as keys.",
        "  --print-config",
        "        Print every value with its origin, secrets masked, and exit.",
        "  --version, --help",
        "",
        f"Each flag is also the variable {env_prefix}NAME. Flags win over variables, variables over the file.",
    ]
    return "\n".join(lines)


def config_text(model: BaseModel, leaves: Sequence[Leaf], origins: Mapping[tuple[str, ...], str]) -> str:
    """Every value as a TOML file with the origin as a comment."""
    rows = []
    for leaf in leaves:
        value: Any = model
        for name in leaf.path:
            value = getattr(value, name)
        text = f"{leaf.flag} = {literal(value, leaf)}" if value is not None else f"# {leaf.flag} is not set"
        rows.append((text, origins.get(leaf.path, "default")))
    width = min(60, max((len(text) for text, _ in rows), default=0))
    return "\n".join(f"{text:<{width}}  # {origin}" for text, origin in rows)


def literal(value: Any, leaf: Leaf) -> str:
    """A value as TOML writes it; secrets are masked."""
    if leaf.is_secret:
        return json.dumps(MASK)
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return "true" if value else "false"
    if leaf.is_duration and isinstance(value, int | float):
        return json.dumps(format_go(value), ensure_ascii=False)
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return f"[{', '.join(literal(item, leaf) for item in items)}]"
    return json.dumps(str(value), ensure_ascii=False)


def _default(leaf: Leaf) -> str:
    if leaf.info.is_required():
        return "  (required)"
    value = leaf.info.get_default(call_default_factory=False)
    if value is None or value is PydanticUndefined or value in ("", (), []):
        return ""
    return f"  (default {literal(value, leaf)})"


def _placeholder(leaf: Leaf) -> str:
    return "DURATION" if leaf.is_duration else "A,B,…" if leaf.is_list else "VALUE"
