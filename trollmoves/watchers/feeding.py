"""Feeding: what a chain has of its watcher - arrivals in the loop, as many at a time as it can take, and a watcher that is made
anew when it cannot see files."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from trollmoves.bus import Loop
from trollmoves.errors import TrollmovesError
from trollmoves.patterns import Pattern
from trollmoves.watchers.base import Arrival, Watcher
from trollmoves.watchers.directory import watch

logger = logging.getLogger(__name__)

BATCHES_UNDER_WAY = 4
"""Deliveries of a watcher that may wait for the journal; then the watcher waits, and its files stay in the directory."""
ROOM_WAIT = 0.05
"""Seconds a watcher waits for room before it looks after its own queue."""

LOOK_EVERY = 5.0
"""Seconds between two looks at a file that changes again and again, at least."""

Take = Callable[[Sequence[Arrival], Callable[[], Any]], Any]
"""Takes arrivals, and calls the second when there is room for more."""


class Feeding:
    """Watches for one section; belongs to the loop."""

    def __init__(self, section: str, pattern: Pattern, take: Take, loop: Loop, is_own: Callable[[str], bool],
                 seen: Callable[[str | None], Any], *, polling: bool,
                 interval: float, settle: float, reconcile: float, backlog: bool):
        """Files of which *is_own* is true are those of the journal, and left alone, wherever it was put: to open and close one
        would take SQLite's locks off it, and the next process to read the journal take it for one that nobody uses. *seen* is
        told what keeps the directory from being seen, or None, as often as that is looked at."""
        self._section = section
        self._is_own = is_own
        self._has_seen_own = False
        self._seen = seen
        self._take = take
        self._loop = loop
        self._backlog = backlog
        self._room = threading.BoundedSemaphore(BATCHES_UNDER_WAY)
        self._stopped = threading.Event()
        self._over = False
        """What a watcher finds now that did not end in time is nobody's: its directory did not answer, and may be another's."""
        self._looked: dict[str, float] = {}
        """By path: when it was or will be looked at (monotonic), for the last ones, oldest first."""
        self._failures = 0
        self._has_seen = False
        """Its directory was there once."""
        self._new_watcher: Callable[[], Watcher] = lambda: watch(
            pattern, self._deliver, polling=polling, interval=interval, settle=settle, reconcile=reconcile, backlog=backlog,
            leaves_out=self._leaves_out, on_death=loop.fail)
        self._watcher: Watcher = self._new_watcher()

    def start(self) -> None:
        self._watcher.start()
        trouble = self._watcher.trouble()
        self._has_seen = trouble is None
        self._seen(trouble)

    def scan(self) -> None:
        """Take in what was there before the start, unless that is to be left alone."""
        if self._backlog:
            self._watcher.scan()

    def look_at(self, path: str) -> None:
        """Another file than was taken in has the name *path*, or had a moment ago, and no event may have told of it: its time may
        have been set after it was closed. Take it in, at once where this is the first time in a while."""
        now = time.monotonic()
        while self._looked and next(iter(self._looked.values())) < now - LOOK_EVERY:
            del self._looked[next(iter(self._looked))]
        last = self._looked.get(path)
        if last is None:
            self._looked[path] = now
            self._watcher.look_at(path)
        elif last <= now:  # a file that changes all the time is not announced all the time
            del self._looked[path]
            self._looked[path] = last + LOOK_EVERY
            self._loop.after(last + LOOK_EVERY - now, lambda: self._watcher.look_at(path))

    def stop(self) -> None:
        """Take in nothing more; may be called twice."""
        self._stopped.set()
        self._watcher.stop()
        self._over = True

    def check_health(self, most_restarts: int) -> None:
        """Make the watcher anew when it cannot see files any more; raise when that failed *most_restarts* times in a row (0:
        never). One that has not seen its directory yet, or is not answered by it, goes on waiting for it."""
        trouble = self._watcher.trouble()
        self._seen(trouble)
        if trouble is None:
            self._failures, self._has_seen = 0, True
            return
        if not self._has_seen or self._watcher.hangs:
            logger.error("Error starting chain %s: %s (waiting for it)", self._section, trouble)
            return
        self._failures += 1
        logger.error("Error starting chain %s: %s (try %d)", self._section, trouble, self._failures)
        if most_restarts and self._failures > most_restarts:
            raise TrollmovesError(f"the watch of section [{self._section}] failed {self._failures} times in a row: {trouble}")
        self._watcher.stop()
        self._watcher = self._new_watcher()
        self._watcher.start()
        self.scan()

    def _deliver(self, arrivals: Sequence[Arrival]) -> bool:
        """Called by the watcher's thread: hand over; False when there was no room for a while."""
        if not self._room.acquire(timeout=ROOM_WAIT):
            return self._stopped.is_set()
        if self._over:
            self._room.release()
            return True
        self._loop.call(self._take, arrivals, self._room.release)
        return True

    def _leaves_out(self, path: str) -> bool:
        """Called by the watcher's thread."""
        is_own = self._is_own(path)
        if is_own and not self._has_seen_own:
            self._has_seen_own = True
            logger.warning("[%s] watches the directory that holds the journal, which is left alone: put it elsewhere (--journal)",
                           self._section)
        return is_own
