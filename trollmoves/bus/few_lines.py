"""What happens ever again because of others, such as a request that is refused or a file that fails, must not fill the log."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

from trollmoves.bus.loop import Loop

PERIOD = 60.0
"""Seconds."""
SAID = 100
"""Lines in a period about one address; what is more is counted."""
ADDRESSES = 20
"""That have lines of their own in a period; the others are counted together."""
OTHERS = "others"


class FewLines:
    """Warns, and counts what would be too much; belongs to the loop."""

    def __init__(self, loop: Loop, logger: logging.Logger, what: str, section: str = ""):
        """*what* happens, as in `requests of %s were refused`; in which *section*, if it is in one."""
        self._loop = loop
        self._logger = logger
        self._what = what
        self._where = f"[{section}] " if section else ""
        self._open = True
        self._counts: Counter[str] = Counter()
        loop.after(PERIOD, self._sum_up)

    def close(self) -> None:
        """Nothing more is summed up."""
        self._open = False

    def say(self, address: str, text: str, *arguments: Any, error: Exception | None = None) -> None:
        """Log a warning that has to do with *address*, unless there were too many; with the traceback of *error*, if given."""
        if address not in self._counts and len(self._counts) >= ADDRESSES:
            address = OTHERS
        self._counts[address] += 1
        if self._counts[address] <= SAID:
            self._logger.warning(f"%s{text}", self._where, *arguments, exc_info=error)
        elif self._counts[address] == SAID + 1:
            self._logger.warning(f"%smore {self._what}; the next ones are counted", self._where, address)

    def _sum_up(self) -> None:
        for address, count in self._counts.items():
            if count > SAID:
                self._logger.warning(f"%s%d {self._what} in the last minute", self._where, count, address)
        self._counts.clear()
        if self._open:
            self._loop.after(PERIOD, self._sum_up)
