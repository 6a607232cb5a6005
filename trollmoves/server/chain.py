"""One section of a server: watch -> announce -> serve -> remove. This is the life of a file on one screen.

    watcher (its own thread)  yields arrivals          watchers/
    -> Unpacking              where `compression` or `unpack` is set   unpacking.py
    -> Announcing             journals and publishes   announcing.py, announcer.py (standalone.py where nobody can ask)
    -> Serving                answers who asks         serving.py (one per request port, shared by chains)
       -> Pushing             moves, in a worker       pushing.py
    -> Removing               removes what all have    removing.py

A section that listens is another kind of chain: listening.py.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from trollmoves.bus import Loop
from trollmoves.config.settings import ServerSettings
from trollmoves.errors import TrollmovesError
from trollmoves.journal import Journal
from trollmoves.patterns import Pattern
from trollmoves.server.announcer import Announcer
from trollmoves.server.announcing import Announcing
from trollmoves.server.moves import Served
from trollmoves.server.pushing import Pushing
from trollmoves.server.removing import Removing
from trollmoves.server.unpacking import Unpacking
from trollmoves.watchers.base import Arrival, Watcher
from trollmoves.watchers.directory import watch
from trollmoves.workers import Workers

logger = logging.getLogger(__name__)

BATCHES_UNDER_WAY = 4
"""Deliveries of a watcher that may wait for the journal; then the watcher waits, and its files stay in the directory."""


class Chain:
    """A configured section that watches a directory; belongs to the loop."""

    def __init__(self, settings: ServerSettings, announcer: Announcer, journal: Journal, loop: Loop, workers: Workers, *,
                 polling: bool = False, backlog: bool = True):
        assert settings.origin is not None  # sections that listen are another kind of chain
        self.settings = settings
        self.restarts = 0
        pattern = Pattern(settings.origin)
        self._pattern = pattern
        self._journal = journal
        self._loop = loop
        self._polling = polling
        self._backlog = backlog
        self._room = threading.BoundedSemaphore(BATCHES_UNDER_WAY)
        self._stopped = threading.Event()
        self.announcer = announcer
        self._announcing = Announcing(settings, pattern, announcer, journal)
        self._unpacking = Unpacking(settings, pattern.directory, self._announcing, journal, loop, workers)
        plain = settings.compression is None and settings.archives is None
        self._take = self._announcing.announce if plain else self._unpacking.take
        roots = (pattern.directory,) if settings.working_directory is None else (pattern.directory, settings.working_directory)
        self.served = Served(settings, Pushing(settings, roots), Removing(settings, roots, journal, loop))
        self._watcher = self._new_watcher()

    @property
    def does(self) -> str:
        """What it does, for the log."""
        return f"watches {self.settings.origin} and announces under {self.settings.topic}"

    def start(self) -> None:
        # After what an earlier chain of this name recorded: what is not in the journal yet would be taken up by nobody.
        self._loop.call(self._journal.write, [], self._unpacking.take_up)
        self._watcher.start()

    def announce_backlog(self) -> None:
        """Announce what was there before we started."""
        if self._backlog:
            self._watcher.scan()

    def stop_feeding(self) -> None:
        """Take in no more files; requests are still served."""
        self._stopped.set()
        self._unpacking.stop()
        self._watcher.stop()

    def stop(self) -> None:
        """End; may be called twice."""
        self.stop_feeding()
        self.served.removing.stop()

    def check_health(self, most_restarts: int) -> None:
        """Make the watcher anew when it cannot see files; raise when that failed *most_restarts* times in a row (0: never)."""
        trouble = self._watcher.trouble()
        if trouble is None:
            self.restarts = 0
            return
        self.restarts += 1
        logger.error("Error starting chain %s: %s (try %d)", self.settings.name, trouble, self.restarts)
        if most_restarts and self.restarts > most_restarts:
            raise TrollmovesError(f"the watch of section [{self.settings.name}] failed {self.restarts} times in a row: {trouble}")
        self._watcher.stop()
        self._watcher = self._new_watcher()
        self._watcher.start()
        self.announce_backlog()

    def _new_watcher(self) -> Watcher:
        settings = self.settings
        return watch(self._pattern, self._deliver, polling=self._polling, interval=settings.watch_interval,
                     settle=settings.settle, reconcile=settings.reconcile, backlog=self._backlog, on_death=self._loop.fail)

    def _deliver(self, arrivals: Sequence[Arrival]) -> None:
        """Called by the watcher's thread: hand over, or wait for room."""
        while not self._room.acquire(timeout=0.2):
            if self._stopped.is_set():
                return
        self._loop.call(self._take, arrivals, self._room.release)
