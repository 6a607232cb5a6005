"""One section of a server: watch -> announce -> serve -> remove. This is the life of a file on one screen.

    watcher (its own thread)  yields arrivals          watchers/
    -> Unpacking              where `compression` or `unpack` is set   unpacking.py
    -> Announcing             journals and publishes   announcing.py, announcer.py (standalone.py where nobody can ask)
    -> Serving                answers who asks         serving.py (one per request port, shared by chains)
       -> Pushing             moves, in a worker       pushing.py
       -> Acknowledging       notes who has it         acknowledging.py
    -> Removing               removes what all have    removing.py

A section that listens is another kind of chain: listening.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from trollmoves.attention.origins import Origin
from trollmoves.bus import Loop
from trollmoves.config.settings import ServerSettings
from trollmoves.journal import Journal
from trollmoves.patterns import Pattern
from trollmoves.server.announcer import Announcer
from trollmoves.server.announcing import Announcing
from trollmoves.server.pushing import Pushing
from trollmoves.server.removing import Removing
from trollmoves.server.transfer import Served
from trollmoves.server.unpacking import Unpacking
from trollmoves.watchers.feeding import Feeding
from trollmoves.workers import Workers


class Chain:
    """A configured section that watches a directory; belongs to the loop."""

    def __init__(self, settings: ServerSettings, announcer: Announcer, journal: Journal, loop: Loop, workers: Workers, *,
                 polling: bool = False, backlog: bool = True, others: Callable[[], Iterable[Removing]] = tuple):
        """*others* are of the sections that are served, this one among them: what they wait for is not removed."""
        assert settings.origin is not None  # sections that listen are another kind of chain
        self.settings = settings
        pattern = Pattern(settings.origin)
        self._journal = journal
        self._loop = loop
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

    def announce_backlog(self) -> None:
        """Announce what was there before we started."""
        self._feeding.scan()

    def announce_again(self, row: Any) -> None:
        """An operator wants a file (a row of `files`) to be announced anew: who gave it up takes it for news."""
        if not self._announcing.announce_again(row):
            self._look_again(row["id"], os.fsdecode(row["path"]))

    def _look_again(self, file: int, path: str) -> bool:
        """The row *file* of the journal is about another file than *path* means by now. Whether that one will be announced."""
        return self._journal.find_one("packed_of", (file,)) is None and self._feeding.look_at(path, least=1)

    def announce_anew(self, rows: list[Any]) -> int:
        """An operator wants those of these files (rows of `files`) that are still there to be announced like new ones."""
        return self._announcing.announce_anew(rows)

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
        self._origin.count_refused()
        self._feeding.check_health(most_restarts)
