"""Logs of a site's processes: the last lines of one or all, and what comes."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from yurtcore.errors import Missing

from yurtctl.folder import Folder

BLOCK = 64 * 1024
LOOK = 0.2
"""Seconds between looks for new lines."""


def choose(folder: Folder, process: str | None) -> dict[str, Path]:
    """The logs that are meant, by name: one process's, or everybody's.

    Raises:
        Missing: When there is no such process.
    """
    known = {one.name: Path(one.log) for one in folder.read().processes} | {"supervisor": folder.log}
    if process is None:
        return {name: log for name, log in known.items() if log.exists()}
    if process not in known:
        raise Missing(f"no process of the name {process!r}; there are: {', '.join(known)}")
    return {process: known[process]}


def tail(log: Path, count: int, block: int = BLOCK) -> list[str]:
    """The last lines; an absent file has none."""
    if count <= 0:
        return []
    try:
        with log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            text = b""
            while end > 0 and text.count(b"\n") <= count:
                start = max(0, end - block)
                file.seek(start)
                text = file.read(end - start) + text
                end = start
    except FileNotFoundError:
        return []
    return [line.decode(errors="replace") for line in text.splitlines()[-count:]]


def follow(logs: dict[str, Path], more: Callable[[], bool]) -> Iterator[tuple[str, str]]:
    """New whole lines as they come, by name, while `more` says so; a file that was cut starts afresh."""
    places = {name: _length(log) for name, log in logs.items()}
    rests = dict.fromkeys(logs, b"")
    while more():
        news: deque[tuple[str, str]] = deque()
        for name, log in logs.items():
            length = _length(log)
            if length < places[name]:
                places[name], rests[name] = 0, b""
            if length > places[name]:
                with log.open("rb") as file:
                    file.seek(places[name])
                    fresh = file.read(length - places[name])
                places[name] += len(fresh)
                *lines, rests[name] = (rests[name] + fresh).split(b"\n")
                news += [(name, line.decode(errors="replace")) for line in lines]
        yield from news
        if not news:
            time.sleep(LOOK)


def _length(log: Path) -> int:
    try:
        return log.stat().st_size
    except FileNotFoundError:
        return 0
