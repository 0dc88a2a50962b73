"""Telling a person how far it is: a line for each step, with a spinner on a terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.status import Status


class Tell(Protocol):
    """Hears what is under way."""

    def step(self, text: str) -> None:
        """A step begins; the one before has ended."""
        ...

    def note(self, text: str) -> None:
        """Something worth a line, beside the steps."""
        ...


class Progress:
    """Steps on stderr, while in `with`; an error that leaves it marks the step at which it happened."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._spinner: Status | None = None
        self._text: str | None = None
        self._since = 0.0

    def __enter__(self) -> Self:
        """Nothing is shown before the first step."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The last step has ended, well or not."""
        self.finish(well=err is None)

    def step(self, text: str) -> None:
        """Show what begins now."""
        self.finish()
        self._text, self._since = text, time.monotonic()
        if self._console.is_terminal:
            self._spinner = self._console.status(text)
            self._spinner.start()

    def note(self, text: str) -> None:
        """Show a line; on a terminal, what comes during a step takes the spinner's place."""
        if self._spinner is not None:
            self._spinner.update(f"{self._text}: {text}")
        else:
            self._line(text)

    def finish(self, *, well: bool = True) -> None:
        """End the step that is under way."""
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None
        if self._text is not None:
            mark = "[green]✓[/]" if well else "[red]✗[/]"
            took = f"{time.monotonic() - self._since:.1f} s"
            self._line(f"{mark} {self._text} ({took})" if self._console.is_terminal else f"{self._text}: {took}")
            self._text = None

    def _line(self, text: str) -> None:
        if self._console.is_terminal:
            self._console.print(text)
        else:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()
