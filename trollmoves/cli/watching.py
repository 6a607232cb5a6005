"""Showing the life of many files: bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

EVERY = 1.0
"""Seconds between two plain lines."""
DUMB = ("", "dumb", "unknown")
"""Terminals that cannot go back to a line: there rich shows bars at the end only."""


class Display(Protocol):
    """Shows how many files have come how far."""

    def show(self, counts: Mapping[str, int], total: int) -> None: ...


class PlainDisplay:
    """One line a second, and one when something is complete; for pipes and logs."""

    def __init__(self) -> None:
        self._last = ""
        self._when = 0.0

    def show(self, counts: Mapping[str, int], total: int) -> None:
        line = "  ".join(f"{step} {count}/{total}" for step, count in counts.items())
        complete = all(count >= total for count in counts.values())
        if line != self._last and (complete or time.monotonic() - self._when >= EVERY):
            print(line, flush=True)
            self._last, self._when = line, time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        sys.stdout.flush()


class BarDisplay:
    """A bar for every step (needs the library rich)."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        self._progress = Progress(TextColumn("{task.description:<12}"), BarColumn(40), MofNCompleteColumn())
        self._bars: dict[str, object] = {}

    def show(self, counts: Mapping[str, int], total: int) -> None:
        for step, count in counts.items():
            if step not in self._bars:
                self._bars[step] = self._progress.add_task(step, total=total)
            self._progress.update(self._bars[step], completed=count, total=total)  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()


def new_display() -> PlainDisplay | BarDisplay:
    """Bars when standard output is a terminal that can redraw them and rich is installed, plain lines otherwise."""
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in DUMB:
        try:
            return BarDisplay()
        except ImportError:
            pass
    return PlainDisplay()
