"""Files that may still be in writing, because no event told that they were closed."""

from __future__ import annotations

import os
import stat
import time
from collections import OrderedDict
from dataclasses import dataclass

from trollmoves.watchers.scanning import Outbox, Pace, status_of
from trollmoves.watchers.writing import status_at_rest

LONGEST = 300.0
"""Seconds to wait for the end of writing, where nothing is looked for again (`reconcile = 0`)."""


@dataclass(slots=True)
class _Waiting:
    due: float
    since: float
    """Unchanged since then."""
    signature: tuple[int, int, int]
    will_close: bool
    """It was created under our eyes: mostly a close event will come."""


class Settling:
    """Holds files back until they have not changed for `settle` seconds. All wait equally long: their order is that of time."""

    def __init__(self, outbox: Outbox, pace: Pace):
        self._outbox, self._pace = outbox, pace
        self._longest = pace.reconcile or LONGEST
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()

    def is_needed(self, path: str, status: os.stat_result) -> bool:
        """Whether a file that was come across may be in writing: it waits already, or changed a short while ago or in future."""
        return path in self._waiting or time.time() - max(status.st_mtime, status.st_ctime) < self._pace.settle

    def is_written_slowly(self, path: str, status: os.stat_result) -> bool:
        """Whether a file that has not changed for a while is open for writing. Not for ever: who keeps it open may be done."""
        unchanged = time.time() - max(status.st_mtime, status.st_ctime)
        return unchanged < self._longest and status_at_rest(path, status) is None

    def holds(self, path: str) -> bool:
        """Whether it waits."""
        return path in self._waiting

    def add(self, path: str, status: os.stat_result, *, will_close: bool) -> None:
        """Wait for a regular file; one that was created just now takes the place of another of its name."""
        if not stat.S_ISREG(status.st_mode) or (path in self._waiting and not will_close):
            return
        now = time.monotonic()
        self._waiting[path] = _Waiting(now + self._pace.settle, now, _signature(status), will_close)
        self._waiting.move_to_end(path)

    def discard(self, path: str) -> None:
        """It was closed: no need to wait."""
        self._waiting.pop(path, None)

    def expect_no_close_events(self) -> None:
        """Some may have been lost."""
        for waiting in self._waiting.values():
            waiting.will_close = False

    def next_due(self) -> float:
        """When to look again, by the monotonic clock."""
        return next(iter(self._waiting.values())).due if self._waiting else float("inf")

    def look_again(self, now: float) -> None:
        """Put the files that have settled into the outbox."""
        while self._waiting and self.next_due() <= now:
            path, waiting = self._waiting.popitem(last=False)
            status = status_of(path)
            if status is None:
                continue
            if _signature(status) != waiting.signature:
                self._waiting[path] = _Waiting(now + self._pace.settle, now, _signature(status), waiting.will_close)
            elif self._is_in_writing(path, status, waiting, now):
                waiting.due = now + self._pace.settle
                self._waiting[path] = waiting
            else:
                self._outbox.add(path, status)

    def _is_in_writing(self, path: str, status: os.stat_result, waiting: _Waiting, now: float) -> bool:
        """Whether to wait on: for a close event, but not of a link, which changes ctime only and is never closed; and while it is
        known to be open for writing. Not for ever."""
        if now - waiting.since >= self._longest:
            return False
        if waiting.will_close and status.st_nlink == 1 and status.st_ctime_ns <= status.st_mtime_ns:
            return True
        return status_at_rest(path, status) is None


def _signature(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns
