"""Patience with a limit: wait until something holds, never for a fixed time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def eventually(check: Callable[[], Value], seconds: float = 60.0, *, interval: float = 0.05, message: str = "") -> Value:
    """Return the first true value of *check*, asked every *interval* seconds.

    An exception counts as "not yet". When *seconds* have passed it fails with *message* and what *check* said last.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            last: object = check()
            if last:
                return last  # type: ignore[return-value]
            trouble: Exception | AssertionError | None = None
        except Exception as error:
            last, trouble = f"{type(error).__name__}: {error}", error
        if time.monotonic() >= deadline:
            what = message or getattr(check, "__qualname__", "the condition")
            raise AssertionError(f"{what}: not within {seconds:g} seconds; last seen: {last!r}") from trouble
        time.sleep(interval)


def never(check: Callable[[], object], seconds: float = 1.0, *, interval: float = 0.05, message: str = "") -> None:
    """Fail as soon as *check* returns something true within *seconds*. Exceptions pass through."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        seen = check()
        if seen:
            raise AssertionError(f"{message or getattr(check, '__qualname__', 'the condition')}: must not happen, saw {seen!r}")
        time.sleep(interval)
