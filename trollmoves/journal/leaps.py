"""The clock of the machine is set: what was to be done in five seconds is still to be done in five seconds.

Times in the journal are those of the clock, so that they mean something after a restart. When the clock leaps while we run, they
leap with it: nothing is too old all of a sudden, and nothing waits for the clock to be there again. When it was set back while
nobody ran, that is seen by steps that have not been yet; only what waits is moved then, as the clock of now may be the wrong one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from trollmoves.journal.journal import Journal

logger = logging.getLogger(__name__)

LEAP = 5.0
"""Seconds; less is no leap but a clock being kept right, or a busy machine."""


class Leaps:
    """Belongs to the loop."""

    def __init__(self, journal: Journal, tell: Callable[[float], Any], clock: Callable[[], float] = time.time,
                 steady: Callable[[], float] = time.monotonic):
        """*tell* gets the seconds of each leap."""
        self._journal = journal
        self._tell = tell
        self._clock, self._steady = clock, steady
        self._ahead = clock() - steady()
        now = {"now": clock(), "ahead": clock() + LEAP}
        journal.write([("bring_back_files", [now]), ("bring_back_removals", [now])])

    def check(self) -> None:
        """Look whether the clock has leapt since the last look. To be called before anybody compares a time with the clock."""
        ahead = self._clock() - self._steady()
        leap, self._ahead = ahead - self._ahead, ahead
        if abs(leap) >= LEAP:
            logger.warning("the clock was set %s by %.0f s: all that waits is moved with it", "forward" if leap > 0 else "back",
                           abs(leap))
            self._journal.times_to_move += 1
            self._journal.leaps += 1
            moved = ("move_files", "move_removals", "move_copies", "move_transfers", "move_consumers", "move_topics",
                     "move_confirmed")
            self._journal.write([(statement, [{"leap": leap}]) for statement in moved], self._moved)
            self._tell(leap)

    def _moved(self) -> None:
        self._journal.times_to_move -= 1
