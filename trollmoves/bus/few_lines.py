"""What happens ever again because of others, such as a request that is refused or a file that fails, must not fill the log.

`Sparingly` is for one thing; `FewLines` tells who brings it about apart, and sums up by itself, for the audit too.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

PERIOD = 60.0
"""Seconds."""
SAID = 100
"""Lines in a period about one address; what is more is counted."""
ADDRESSES = 20
"""That have lines of their own in a period; the others are counted together."""
OTHERS = "others"


class Later(Protocol):
    """What we need of the loop, which says few lines itself."""

    def after(self, seconds: float, function: Callable[[], Any]) -> Any: ...


def _nothing_more(address: str, count: int) -> str:
    return ""


class Sparingly:
    """Tells of one thing that strangers bring about, and counts what would be too much. It asks for no loop, so how much that was
    is told with the first line of a later period."""

    def __init__(self, logger: logging.Logger, level: int = logging.WARNING):
        self._logger = logger
        self._level = level
        self._since = time.monotonic()
        self._count = 0
        self.times = 0
        """How often it has happened in all."""

    def say(self, text: str, *arguments: Any, error: Exception | None = None) -> None:
        """Log it, unless there were too many; with the traceback of *error*, if given."""
        now, more = time.monotonic(), ""
        if now - self._since >= PERIOD:
            more = f" (and {self._count - SAID} more before)" if self._count > SAID else ""
            self._since, self._count = now, 0
        self._count += 1
        self.times += 1
        if self._count <= SAID:
            self._logger.log(self._level, f"{text}%s", *arguments, more, exc_info=error)
        elif self._count == SAID + 1:
            self._logger.log(self._level, f"{text} (the next ones like this are counted)", *arguments)


class FewLines:
    """Warns, and counts what would be too much; belongs to the loop."""

    def __init__(self, loop: Later, logger: logging.Logger, what: str, section: str = "",
                 counted: Callable[[str, int], str] = _nothing_more):
        """*what* happens, as in `requests of %s were refused`; in which *section*, if it is in one. *counted* is told of how many
        more there were in a period, and adds to the line."""
        self._counted = counted
        self._loop = loop
        self._logger = logger
        self._what = what
        self._where = f"[{section}] " if section else ""
        self._open = True
        self._counts: Counter[str] = Counter()
        loop.after(PERIOD, self._sum_up)

    def close(self) -> None:
        """Sum up now, and no more; who is told of that is let go."""
        self._open = False
        self._sum_up()
        self._counted = _nothing_more

    def say(self, address: str, text: str, *arguments: Any, error: Exception | None = None,
            record: Callable[[], str] = str) -> None:
        """Log a warning that has to do with *address*, unless there were too many; with the traceback of *error*, if given.
        *record* is called for what is logged, and adds to the line."""
        if address not in self._counts and len(self._counts) >= ADDRESSES:
            address = OTHERS
        self._counts[address] += 1
        if self._counts[address] <= SAID:
            self._logger.warning(f"%s{text}%s", self._where, *arguments, record(), exc_info=error)
        elif self._counts[address] == SAID + 1:
            self._logger.warning(f"%smore {self._what}; the next ones are counted", self._where, address)

    def _sum_up(self) -> None:
        for address, count in self._counts.items():
            if count > SAID:
                self._logger.warning(f"%s%d {self._what} in the last minute%s", self._where, count, address,
                                     self._counted(address, count - SAID))
        self._counts.clear()
        if self._open:
            self._loop.after(PERIOD, self._sum_up)
