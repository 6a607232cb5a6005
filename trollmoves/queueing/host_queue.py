"""The queue of one host of one section: how many of its files may be under way, and whether it is worth trying now.

The files themselves wait in the journal. A host that cannot be used is left alone for a while, then tried with a single file.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from trollmoves.errors import (
    ConnectionLost,
    DestinationFull,
    LoginRefused,
    MissingLibrary,
    MoveError,
    PermanentError,
    Refused,
    Stalled,
    Unreachable,
)
from trollmoves.movers.circuits import OPENS_AFTER, PROBE_EVERY, HostLeftAlone
from trollmoves.movers.retrying import LONGEST, wait_before

OF_THE_HOST = (Unreachable, ConnectionLost, Stalled, DestinationFull, LoginRefused, MissingLibrary)
"""Errors that other files for the same host would meet as well."""
UNTIL_SOMEBODY_ACTS = (LoginRefused, MissingLibrary)
"""Permanent by themselves; but a file is no worse for it, so it waits for the operator."""
LOCAL_ROOM = 64


class HostQueue:
    """Belongs to the loop."""

    def __init__(self, limit: int, *, is_local: bool, clock: Callable[[], float] = time.monotonic):
        """*limit* is how many moves may run at a time."""
        self.in_flight: set[int] = set()
        """Ids of the files handed to a worker."""
        self._clock = clock
        self.failures = 0
        """In a row."""
        self._refusals = 0
        """The same, of files that it did not take."""
        self._closed_until = 0.0
        self.error = ""
        """What the host failed with last."""
        self.change(limit, is_local=is_local)

    def change(self, limit: int, *, is_local: bool) -> None:
        """Settings were changed: what failed before may work now."""
        self._room = LOCAL_ROOM if is_local else 2 * limit
        self.limit = limit
        self.reopen()

    def reopen(self) -> None:
        """What failed before may work now."""
        self.failures, self._closed_until = 0, 0.0

    @property
    def room(self) -> int:
        """How many files to take now. Not one by one: each time costs a query."""
        if self.failures:
            return 0 if self.in_flight or self._clock() < self._closed_until else 1
        return self._room - len(self.in_flight) if len(self.in_flight) <= self._room // 2 else 0

    def succeeded(self) -> bool:
        """A file got there. True when the host had failed before: then those that wait need wait no longer."""
        recovered, self.failures, self._refusals = self.failures > 0, 0, 0
        return recovered

    def failed(self, error: MoveError) -> bool:
        """A file did not. True when it is the host's fault, and it is left alone from now on."""
        self._refusals += isinstance(error, Refused)
        if not isinstance(error, OF_THE_HOST):
            return False
        now = self._clock()
        if now < self._closed_until:
            return False  # one that was under way when another had failed already
        self.failures += 1
        self.error = str(error)
        self._closed_until = now + self._pause(error)
        return True

    def _pause(self, error: MoveError) -> float:
        if isinstance(error, UNTIL_SOMEBODY_ACTS):
            return LONGEST
        if isinstance(error, HostLeftAlone):
            return error.retry_after  # it was not even tried, and will be then
        return PROBE_EVERY if self.failures >= OPENS_AFTER else wait_before(self.failures)

    def is_locked(self, error: MoveError) -> bool:
        """Whether nothing gets there, as *error* and those before it say, until somebody acts."""
        return isinstance(error, UNTIL_SOMEBODY_ACTS) or (isinstance(error, Refused) and self._refusals >= OPENS_AFTER)

    @property
    def is_probing(self) -> bool:
        """Whether the host failed so often that any file may serve to find out whether it works again."""
        return self.failures >= OPENS_AFTER


def wait_after(error: MoveError, attempt: int) -> float | None:
    """Seconds until the file is tried again; None when that would change nothing."""
    if isinstance(error, UNTIL_SOMEBODY_ACTS):
        return LONGEST
    return None if isinstance(error, PermanentError) and not isinstance(error, Refused) else wait_before(attempt)
