"""When to try again: full-jitter exponential backoff. The attempts and the next time are kept in the journal, not here."""

from __future__ import annotations

import random

FIRST = 1.0
"""Seconds; the upper bound of the first wait."""
LONGEST = 300.0
"""Seconds; no wait is longer."""
GIVE_UP_AFTER = 24 * 3600.0
"""Seconds after the first attempt at which a file is given up (and stays listed)."""


def wait_before(attempt: int, draw: random.Random | None = None) -> float:
    """Seconds to wait before attempt number *attempt* + 1 (attempts count from 1), drawn between nothing and a bound that doubles
    with every attempt: those who failed together do not come back together."""
    bound = min(LONGEST, FIRST * 2 ** min(max(attempt, 1) - 1, 16))
    return (draw or random).uniform(0.0, bound)


def in_words(seconds: float) -> str:
    """When that wait is over: `in 12 s`, or `within a second`, never `in 0 s`."""
    return f"in {seconds:.0f} s" if seconds >= 1 else "within a second"
