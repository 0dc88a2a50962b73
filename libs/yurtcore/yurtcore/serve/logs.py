"""Logs: structlog events and the records of libraries through one renderer, one line each.

Events are named noun.verb with fields (`log.info("link.changed", url=url, now="down")`). Values under keys that speak
of credentials are masked on the way out.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, Literal, TextIO

import structlog

MASK: Final = "********"
_SECRET_KEY: Final = re.compile(r"token|authorization|passw|secret|credential|private.?key", re.IGNORECASE)
_BEARER: Final = re.compile(r"(?i)\b(bearer|basic)\s+[-A-Za-z0-9._~+/=]{8,}")
_QUIET: Final = ("asyncio", "aiohttp", "uvicorn", "hpack", "h2")
"""Libraries whose chatter below warning would drown ours (and could show bodies)."""

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["json", "text"]


def set_up(level: str = "info", fmt: str = "json", *, stream: TextIO | None = None) -> None:
    """Route structlog and the standard library's logging to `stream` (default stderr) as JSON or as text.

    May be called again; the last call wins.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, mask, *_renderer(fmt)],
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_level(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def set_level(level: str) -> None:
    """Change the level of the running process: debug, info, warning or error."""
    logging.getLogger().setLevel(level.upper())


def level() -> str:
    """The level in force."""
    return logging.getLevelName(logging.getLogger().level).lower()


def mask(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Processor: hide values under secret-looking keys, at any depth, and credentials inside texts."""
    for key, value in event.items():
        event[key] = _masked(key, value)
    return event


def _masked(key: str, value: Any) -> Any:
    if _SECRET_KEY.search(key) and value and not isinstance(value, bool | int | float):
        return MASK
    if isinstance(value, str):
        return _BEARER.sub(rf"\1 {MASK}", value)
    if isinstance(value, Mapping):
        return {name: _masked(str(name), inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_masked("", inner) for inner in value]
    return value


def _renderer(fmt: str) -> list[Any]:
    if fmt == "text":
        return [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)]
    return [
        structlog.processors.dict_tracebacks,
        structlog.processors.EventRenamer("event"),
        structlog.processors.JSONRenderer(default=str),
    ]
