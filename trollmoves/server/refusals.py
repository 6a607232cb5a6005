"""What the log says of requests that were refused or failed: strangers can make many, and must not fill the disk with them."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

from trollmoves.bus import Loop

logger = logging.getLogger(__name__)

PERIOD = 60.0
"""Seconds."""
SAID = 100
"""Lines in a period about the requests of one address; what is more is counted."""
ADDRESSES = 20
"""That have lines of their own in a period; the others are counted together."""
OTHERS = "others"


class Refusals:
    """Belongs to the loop."""

    def __init__(self, loop: Loop):
        self._loop = loop
        self._open = True
        self._counts: Counter[str] = Counter()
        loop.after(PERIOD, self._sum_up)

    def close(self) -> None:
        """Nothing more is summed up."""
        self._open = False

    def say(self, address: str, text: str, *arguments: Any, error: Exception | None = None) -> None:
        """Log a warning about a request of *address*, unless there were too many; with the traceback of *error*, if given."""
        if address not in self._counts and len(self._counts) >= ADDRESSES:
            address = OTHERS
        self._counts[address] += 1
        if self._counts[address] <= SAID:
            logger.warning(text, *arguments, exc_info=error)
        elif self._counts[address] == SAID + 1:
            logger.warning("more requests of %s were refused or failed; the next ones are counted", address)

    def _sum_up(self) -> None:
        for address, count in self._counts.items():
            if count > SAID:
                logger.warning("%d requests of %s were refused or failed in the last minute", count, address)
        self._counts.clear()
        if self._open:
            self._loop.after(PERIOD, self._sum_up)
