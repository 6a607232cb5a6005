"""Keeping the journal bounded: finished files beyond the retention go, a little at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from trollmoves.journal.journal import Journal

EVERY = 60.0
"""Seconds."""
AT_ONCE = 2000
"""Rows removed in one transaction: a commit must stay short, moves wait for it."""


class Clock(Protocol):
    """What runs something later."""

    def after(self, seconds: float, function: Callable[[], Any]) -> Any: ...


class Cleaning:
    """Removes announcements and finished files that are older than the retention, or more than it allows."""

    def __init__(self, journal: Journal, clock: Clock, limits_of: Callable[[str], tuple[float, int]]):
        """*limits_of* tells the retention of a chain: seconds, and number of files."""
        self._journal = journal
        self._clock = clock
        self._limits_of = limits_of

    def start(self) -> None:
        self._clock.after(EVERY, self._again)

    def _again(self) -> None:
        again = EVERY
        if not self._journal.full:
            for row in self._journal.find("chains"):
                if self._clean(row["chain"]):
                    again = 0.2
        self._clock.after(again, self._again)

    def _clean(self, chain: str) -> bool:
        """Remove one portion; whether there may be more."""
        seconds, count = self._limits_of(chain)
        oldest_kept = time.time() - seconds
        portion = self._journal.find("expired_files", (chain, oldest_kept, chain, count, AT_ONCE))
        if not portion:
            return False
        ids = [(row["id"],) for row in portion]
        self._journal.write([
            ("keep_position", [(str(self._journal.head),)]),
            ("remove_announcements_of", ids), ("remove_transfers_of", ids), ("remove_file", ids),
        ])
        return len(portion) == AT_ONCE
