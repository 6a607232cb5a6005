"""Read in the journal what takes long: a worker goes through all of it. With a million files it takes some tenths of a second,
from a disk some seconds."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from trollmoves.journal import Journal
from trollmoves.journal.reader import Reader
from trollmoves.workers import Work, Workers

logger = logging.getLogger(__name__)


class LongReads:
    """Of one section; belongs to the loop."""

    def __init__(self, section: str, journal: Journal, workers: Workers):
        self._section = section
        self._journal = journal
        self._workers = workers

    def find(self, query: str, parameters: tuple[Any, ...], found: Callable[[Any], Any]) -> None:
        """Call *found* with the rows; with None when that failed, or the clock was set meanwhile."""
        leaps = self._journal.leaps

        def read(outcome: Any) -> None:
            if isinstance(outcome, Exception):
                logger.error("[%s] what is to be removed cannot be found out: %r", self._section, outcome)
            found(None if isinstance(outcome, Exception) or leaps != self._journal.leaps else outcome)
        self._workers.submit([Work((query, self._section), 1, lambda _: self._rows(query, parameters), read)])

    def _rows(self, query: str, parameters: tuple[Any, ...]) -> list[Any]:
        with Reader(self._journal.path) as reader:
            return reader.find(query, parameters)
