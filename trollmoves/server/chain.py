"""One section of a server: watch -> announce -> serve -> remove. This is the life of a file on one screen.

    watcher (its own thread)  yields arrivals          watchers/
    -> Unpacking              where `compression` or `unpack` is set   unpacking.py
    -> Announcing             journals and publishes   announcing.py, announcer.py (standalone.py where nobody can ask)
    -> Serving                answers who asks         serving.py (one per request port, shared by chains)
       -> Pushes              joins, shares, starts   pushes.py
       -> Moves               queued, running, told    moves.py (small_moves.py: in a process of its own; transfer.py: one move)
          -> Pushing          moves, in a worker       pushing.py, movers/
       -> Sharing             who of a group publishes sharing.py
       -> Acknowledging       notes who has it         acknowledging.py
    -> Removing               removes what all have    removing.py (consumers.py: who they are)

A section that listens is another kind of chain: listening.py.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from typing import Any

from trollmoves.attention.origins import Origin
from trollmoves.bus import Loop
from trollmoves.config.settings import ServerSettings
from trollmoves.journal import Journal
from trollmoves.patterns import Pattern
from trollmoves.server.announcer import Announcer
from trollmoves.server.announcing import Announcing, has_content, still
from trollmoves.server.consumers import Consumers
from trollmoves.server.pushing import Pushing
from trollmoves.server.removing import Removing
from trollmoves.server.transfer import Served
from trollmoves.server.unpacking import Unpacking
from trollmoves.watchers.base import Arrival
from trollmoves.watchers.feeding import Feeding
from trollmoves.workers import Work, Workers

logger = logging.getLogger(__name__)


class Chain:
    """A configured section that watches a directory; belongs to the loop."""

    def __init__(self, settings: ServerSettings, announcer: Announcer, journal: Journal, loop: Loop, workers: Workers, *,
                 polling: bool = False, backlog: bool = True, others: Callable[[], Iterable[Consumers]] = tuple):
        """*others* are of all sections, this one among them: what they wait for is not removed."""
        assert settings.origin is not None  # sections that listen are another kind of chain
        self.settings = settings
        pattern = Pattern(settings.origin)
        self._journal = journal
        self._loop = loop
        self._workers = workers
        self.announcer = announcer
        self._origin = Origin(settings.name, journal.alarms)
        self._announcing = Announcing(settings, pattern, announcer, journal, self._origin)
        self._unpacking = Unpacking(settings, pattern.directory, self._announcing, journal, loop, workers)
        plain = settings.compression is None and settings.archives is None
        take = self._announcing.announce if plain else self._unpacking.take
        roots = (pattern.directory,) if settings.working_directory is None else (pattern.directory, settings.working_directory)
        self.served = Served(settings, Pushing(settings, roots), Removing(settings, roots, journal, loop, workers, others),
                             look_again=self._look_again)
        self._feeding = Feeding(settings.name, pattern, take, loop, journal.owns, self._origin.seen, polling=polling,
                                interval=settings.watch_interval, settle=settings.settle, reconcile=settings.reconcile,
                                backlog=backlog)

    @property
    def does(self) -> str:
        """What it does, for the log."""
        return f"watches {self.settings.origin} and announces under {self.settings.topic}"

    def start(self) -> None:
        # After what an earlier chain of this name recorded: what is not in the journal yet would be taken up by nobody.
        self._loop.call(self._journal.write, [], self._unpacking.take_up)
        self._feeding.start()

    def is_at(self, address: str) -> None:
        """Announce from now on that we are asked at *address*."""
        self.announcer.address = address

    def announce_backlog(self) -> None:
        """Announce what was there before we started."""
        self._feeding.scan()

    def announce_again(self, rows: list[Any], then: Callable[[], Any]) -> None:
        """An operator wants files (rows of `files`) to be announced anew: who gave them up takes them for news. *then* is called
        when that is on its way to the journal."""
        def looked(found: list[Arrival | None]) -> None:
            for row, arrival in zip(rows, found, strict=True):
                path = os.fsdecode(row["path"])
                if arrival is not None:
                    self._announcing.announce_again(row, arrival)
                    continue
                logger.error("%s is not announced again: it is gone, or another file has its name, which comes by itself", path)
                self._look_again(row["id"], path)
            then()
        self._look(lambda: [still(row) for row in rows], looked)

    def _look_again(self, file: int, path: str, then: Callable[[bool], Any] = bool) -> None:
        """The row *file* of the journal is about another file than *path* means by now. *then* is told whether that one will be
        announced."""
        def looked(announced: bool) -> None:
            if announced:
                self._feeding.look_at(path)
            then(announced)
        if self._journal.find_one("packed_of", (file,)) is None:
            self._look(lambda: has_content(path), looked)
        else:
            then(False)

    def announce_anew(self, rows: list[Any], then: Callable[[int], Any]) -> None:
        """An operator wants those of these files (rows of `files`) that are still there to be announced like new ones. *then* is
        told how many that are."""
        def looked(found: list[Arrival | None]) -> None:
            there = [(row, arrival) for row, arrival in zip(rows, found, strict=True) if arrival is not None]
            then(self._announcing.announce_anew(there))
        self._look(lambda: [still(row) for row in rows], looked)

    def _look(self, look: Callable[[], Any], looked: Callable[[Any], Any]) -> None:
        """Look at files, in a worker: their directory may not answer."""
        self._workers.submit([Work(("look", self.settings.name), 1, lambda _: look(), looked)])

    def stop_feeding(self) -> None:
        """Take in and remove no more files; requests are still served."""
        self._unpacking.stop()
        self._feeding.stop()
        self.announcer.record()
        self.served.removing.stop()

    def stop(self) -> None:
        """End; may be called twice."""
        self.stop_feeding()

    def check_health(self, most_restarts: int) -> None:
        """Make the watcher anew when it cannot see files; raise when that failed *most_restarts* times in a row (0: never)."""
        self._origin.count_refused(self._workers)
        self._feeding.check_health(most_restarts)
