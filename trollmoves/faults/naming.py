"""Names for files that a pattern takes, each another one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from string import Formatter
from typing import Any

from trollmoves.errors import ConfigurationError
from trollmoves.patterns import Pattern

BEGINNING = datetime(2026, 1, 1)
STEPS = (("%f", timedelta(milliseconds=1)), ("%S", timedelta(seconds=1)), ("%M", timedelta(minutes=1)),
         ("%H", timedelta(hours=1)), ("%d", timedelta(days=1)), ("%j", timedelta(days=1)), ("%m", timedelta(days=31)))
"""The finest part of a date, and how far two dates must be apart to differ in it."""


def names_for(pattern: Pattern, count: int) -> list[str]:
    """Paths that *pattern* takes, whose last parts differ. Raises `ConfigurationError` when there are not so many."""
    found: dict[str, str] = {}
    for path in islice(_candidates(pattern), 2 * count + 1000):
        found.setdefault(path.rpartition("/")[2], path)
        if len(found) == count:
            return list(found.values())
    raise ConfigurationError(f"{pattern.text}: only {len(found)} different file names fit; ask for fewer files (--files)")


def _candidates(pattern: Pattern) -> Iterator[str]:
    specs = {name: spec or "" for _, name, spec, _ in Formatter().parse(pattern.text) if name}
    number = 0
    while True:
        path = pattern.compose({name: _value(spec, number) for name, spec in specs.items()})
        if pattern.parse(path) is None or not pattern.matches(path):
            raise ConfigurationError(f"{pattern.text}: no file name can be made up for it ({path} does not fit)")
        yield path
        number += 1


def _value(spec: str, number: int) -> Any:
    """Something that fits a format, different for each *number* as far as there is room."""
    if "%" in spec:
        return BEGINNING + number * next((step for part, step in STEPS if part in spec), timedelta(days=366))
    width = int((re.findall(r"\d+", spec) or ["0"])[0])
    if spec.endswith(("d", "x", "X", "o", "b")):
        return number % 8 ** (width or 6)
    if spec.endswith(("f", "e", "g")):
        places = int((re.findall(r"\.(\d+)", spec) or ["6"])[0])
        return float(number % 10 ** max(1, (width or 12) - places - 1))
    text = f"{number:05}"
    return text[-width:].rjust(width, "0") if width else f"v{text}"
