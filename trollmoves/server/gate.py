"""A gate in front of a directory: not all who want something of it may wait when it does not answer.

Whoever waits there, in a call that nothing ends, holds a place of those for a host, which others need. So only some go in at a
time, and none while one of them has been there for long.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from trollmoves.errors import Busy

WITHIN = 2.0
"""Seconds in which a directory answers, or else is taken for hanging."""
RETRY = 10.0
"""Seconds after which may be asked again for what is in one that hangs."""


class Gate:
    """For workers."""

    def __init__(self, what: str):
        """*what* is behind it, for errors."""
        self._what = what
        self._condition = threading.Condition()
        self._inside: dict[object, float] = {}
        """Who is there, and since when (monotonic)."""

    @contextmanager
    def passed(self, most: int) -> Iterator[None]:
        """Go in, when fewer than *most* are there. Raises `Busy` when it hangs."""
        me = object()
        with self._condition:
            while self._inside:
                left = min(self._inside.values()) + WITHIN - time.monotonic()
                if left <= 0:
                    raise Busy(f"{self._what} does not answer", RETRY)
                if len(self._inside) < most:
                    break
                self._condition.wait(left)
            self._inside[me] = time.monotonic()
        try:
            yield
        finally:
            with self._condition:
                del self._inside[me]
                self._condition.notify_all()
