"""Alarms of a section that watches a directory: it cannot be seen, or what is in it cannot be taken in."""

from __future__ import annotations

import os

from trollmoves.journal.alarms import BLIND, REFUSED, Alarms
from trollmoves.workers import Work, Workers

ABOUT = "origin"
MOST = 1000
"""Refused files that are remembered; of more nothing is said but that there are."""


class Origin:
    """Of one section; belongs to the loop."""

    def __init__(self, section: str, alarms: Alarms):
        self._section = section
        self._alarms = alarms
        self._refused: dict[bytes, None] = {}
        self._is_looking = False

    def seen(self, trouble: str | None) -> None:
        """The directory was looked at, and this is what is wrong with it: an alarm until nothing is."""
        if trouble is None:
            self._alarms.clear(self._section, BLIND, ABOUT, "it is watched")
        else:
            self._alarms.raise_(self._section, BLIND, ABOUT, f"nothing can come in: {trouble}")

    def refuses(self, path: bytes) -> bool:
        """Note that the file at *path* cannot be taken in; whether that is to be said in the log: once for each."""
        if path in self._refused or len(self._refused) >= MOST:
            return False
        self._refused[path] = None
        return True

    def count_refused(self, workers: Workers) -> None:
        """Raise an alarm for the refused files that are still there, with their number, or end it; when they were looked at, in a
        worker: the directory may not answer."""
        refused = list(self._refused)
        if not refused:
            self._looked(set())
        elif not self._is_looking:
            self._is_looking = True
            workers.submit([Work(("refused", self._section), 1, lambda _: list(filter(os.path.lexists, refused)),
                                 lambda there: self._looked(set(refused).difference(there)))])

    def _looked(self, gone: set[bytes]) -> None:
        self._is_looking = False
        for path in gone:
            self._refused.pop(path, None)
        if not self._refused:
            self._alarms.clear(self._section, REFUSED, ABOUT, "none is there any more")
            return
        count, last = len(self._refused), next(reversed(self._refused))
        more = "at least " if count == MOST else ""
        self._alarms.raise_(self._section, REFUSED, ABOUT, f"{more}{count} file(s) match origin and cannot be taken in, because "
                            f"of their names; the last one: {os.fsdecode(last)!r} (the log has a reason for each)")
