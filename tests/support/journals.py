"""A journal without a loop: what is to be called is called by the thread that writes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trollmoves.journal import Journal


def opened(path: Path) -> Journal:
    def call_all(calls: list[tuple[Callable[..., Any], tuple[Any, ...]]]) -> None:
        for function, arguments in calls:
            function(*arguments)
    return Journal(path, call_all, lambda error: print(error))


def committed(journal: Journal) -> None:
    """Return when all that *journal* was given is written."""
    done = threading.Event()
    journal.write([], done.set)
    assert done.wait(60)
