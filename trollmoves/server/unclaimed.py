"""What `delete_after` removed although nobody ever got it: said in the log, and an alarm of the section counts it."""

from __future__ import annotations

import logging
import math
import time

from trollmoves.journal import Journal
from trollmoves.journal.alarms import UNCLAIMED

logger = logging.getLogger(__name__)

ABOUT = "delete_after"
TOLD_EVERY = 60.0
"""Seconds between two changes of the number in the alarm, at least: each is a message."""
OVER_AFTER = 86400.0
"""Seconds without another such file after which the alarm is over."""
WAITING = ("announced", "requested", "moving", "failed")


class Unclaimed:
    """Of one section; belongs to the loop."""

    def __init__(self, section: str, journal: Journal):
        self._section = section
        self._journal = journal
        row = journal.find_one("meta", (self._name,))
        self._count = 0 if row is None else int(row["value"])
        """Since the alarm is open."""
        self._last = ""
        self._to_tell = False
        self._latest, self._told = time.monotonic(), -math.inf

    @property
    def _name(self) -> str:
        return f"unclaimed:{self._section}"

    def removed(self, file: int, path: str) -> None:
        """The *file* at *path* was removed because of its age."""
        row = self._journal.find_one("file", (file,))
        if row is None or row["state"] not in WAITING or self._journal.find_one("was_delivered", (file,)) is not None:
            return
        logger.warning("%s was removed (delete_after), and nobody ever got it", path)
        if not self._to_tell and not self._journal.alarms.is_open(self._section, UNCLAIMED, ABOUT):
            self._count, self._told = 0, -math.inf
        self._count, self._last, self._to_tell, self._latest = self._count + 1, path, True, time.monotonic()

    def look(self, *, at_once: bool = False) -> None:
        """Raise the alarm for what was removed meanwhile, or end it."""
        now = time.monotonic()
        if self._to_tell and (at_once or now - self._told > TOLD_EVERY):
            self._to_tell, self._told = False, now
            self._journal.write([("put_meta", [(self._name, str(self._count))])])
            text = f"{self._count} file(s) were removed (delete_after), and nobody ever got them; the last one: {self._last!r}"
            self._journal.alarms.raise_(self._section, UNCLAIMED, ABOUT, text)
        elif now - self._latest > OVER_AFTER:
            self._journal.alarms.clear(self._section, UNCLAIMED, ABOUT, "no other one for a day")
