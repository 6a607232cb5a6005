"""An alarm for each chain while it has files that were given up: nobody will do anything about them but an operator."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from trollmoves.journal import Journal
from trollmoves.journal.alarms import DEAD_LETTERS
from trollmoves.journal.audit import GIVEN_UP
from trollmoves.journal.reader import last_failure

ABOUT = "files"
TOLD_EVERY = 60.0
"""Seconds between two changes of the number in an alarm when it grows and grows: each is a line in the log and a message, and all
that was given up is counted for it. The first changes are told sooner."""
SOON = 1.0
MOST_RECORDED = 100
"""Records of one chain that are made at a time."""
MOST_LOOKED_AT = 10_000
"""What is more is counted, up to so many."""


class DeadLetters:
    """Belongs to the loop."""

    def __init__(self, journal: Journal, clock: Callable[[], float] = time.monotonic):
        self._journal = journal
        self._clock = clock
        self._seen: dict[str, tuple[int, float]] = {}
        """By chain: how many were given up, and when the last one was."""
        self._told, self._pause = -math.inf, SOON
        self._recorded = float(journal.audit.last_of(GIVEN_UP).get("at", 0.0))
        """When the last one was given up of which there is a record."""

    def look(self) -> None:
        """Raise and clear alarms as the journal says."""
        seen = {row["chain"]: (row["count"], row["latest"]) for row in self._journal.find("given_up_counts")}
        if seen == self._seen or (self._are_only_more(seen) and self._clock() - self._told < self._pause):
            return
        now = self._clock()
        self._pause = SOON if now - self._told > 2 * TOLD_EVERY else min(2 * self._pause, TOLD_EVERY)
        self._told, self._seen = now, seen
        found = {row["chain"]: row["count"] for row in self._journal.find("dead_letters")}
        for chain in found:
            self._record(chain)
        self._recorded = max((latest for _, latest in seen.values()), default=0.0)
        for chain, count in found.items():
            last = self._journal.find_one("dead_letters_of", (chain, 1))
            if last is not None:  # else it is dealt with since they were counted, and the next look finds that
                self._journal.alarms.raise_(chain, DEAD_LETTERS, ABOUT, _text(last, count))
        for chain in [alarm.chain for alarm in self._journal.alarms.open(DEAD_LETTERS) if alarm.chain not in found]:
            self._journal.alarms.clear(chain, DEAD_LETTERS, ABOUT, "none is left")

    def _record(self, chain: str) -> None:
        """A record of each that was given up since the last look; of many the last ones."""
        since = min(self._recorded, time.time())  # the clock may have been set back
        new = self._journal.find("dead_letters_since", (chain, since, MOST_LOOKED_AT))
        if len(new) > MOST_RECORDED:
            more = f"{'at least ' if len(new) == MOST_LOOKED_AT else ''}{len(new) - MOST_RECORDED}"
            self._journal.audit.record(GIVEN_UP, chain, at=new[MOST_RECORDED]["time"], more=more)
        for row in reversed(new[:MOST_RECORDED]):
            self._journal.audit.record(GIVEN_UP, chain, uid=row["identity"], key=row["key"], at=row["time"], heard=row["created"],
                                       attempts=row["attempt"], why=last_failure(row["steps"]))

    def _are_only_more(self, seen: dict[str, tuple[int, float]]) -> bool:
        """Whether nothing but their number has changed."""
        return seen.keys() == self._seen.keys() and all(seen[chain][0] >= count for chain, (count, _) in self._seen.items())


def _text(last: Any, count: int) -> str:
    which = "1 file is given up" if count == 1 else f"{count} files are given up, the last one"
    return f"{which}: {last['identity']}: {last_failure(last['steps'])}; `trollmoves failed` says more"
