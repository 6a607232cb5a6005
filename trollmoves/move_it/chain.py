"""One section of move_it: watch -> (unpack) -> journal -> move to every destination -> publish -> remove.

    watcher (its own thread)  yields arrivals            watchers/
    -> Unpacking              where `compression` is set  server/unpacking.py
    -> Intake                 a row for each destination  intake.py
    -> Moving                 host by host, in workers    moving.py, queueing/
    -> Removing               what is at all destinations removing.py
"""

from __future__ import annotations

from trollmoves.attention.origins import Origin
from trollmoves.bus import Loop
from trollmoves.config.moves import MoveSettings
from trollmoves.journal import Journal
from trollmoves.messages import Envelope
from trollmoves.move_it.intake import Intake
from trollmoves.move_it.moving import Moving
from trollmoves.move_it.removing import Removing
from trollmoves.patterns import Pattern
from trollmoves.server.unpacking import Unpacking
from trollmoves.watchers.feeding import Feeding
from trollmoves.workers import Workers


class Chain:
    """A configured section that runs; belongs to the loop."""

    def __init__(self, settings: MoveSettings, journal: Journal, loop: Loop, envelope: Envelope, workers: Workers,
                 moving: Moving, *, polling: bool, backlog: bool):
        """*moving* may be that of an earlier chain of this name, with moves under way."""
        self.settings = settings
        self.moving = moving
        self._loop = loop
        self._journal = journal
        self._workers = workers
        pattern = Pattern(settings.origin)
        roots = (pattern.directory,) if settings.working_directory is None else (pattern.directory, settings.working_directory)
        self.removing = Removing(settings, roots, journal, loop, workers)
        moving.configure(settings, roots, self.removing.settled, self._look_again)
        self._origin = Origin(settings.name, journal.alarms)
        intake = Intake(settings, pattern, journal, envelope, moving, self._origin)
        self._unpacking = Unpacking(settings, pattern.directory, intake, journal, loop, workers)
        take = intake.announce if settings.compression is None else self._unpacking.take
        self._feeding = Feeding(settings.name, pattern, take, loop, journal.owns, self._origin.seen, polling=polling,
                                interval=settings.watch_interval, settle=settings.settle, reconcile=settings.reconcile,
                                backlog=backlog)

    def start(self) -> None:
        # After what an earlier chain of this name recorded: what is not in the journal yet would be taken up by nobody.
        self._loop.call(self._journal.write, [], self._unpacking.take_up)
        self._feeding.start()
        self._feeding.scan()
        self.removing.start()

    def _look_again(self, file: int, path: str) -> None:
        """The row *file* of the journal is about another file than *path* means by now."""
        if self._journal.find_one("packed_of", (file,)) is None:
            self._feeding.look_at(path)

    def stop_feeding(self) -> None:
        """Take in no more files and begin no more moves."""
        self._unpacking.stop()
        self._feeding.stop()
        self.moving.close()

    def stop(self) -> None:
        """End; may be called twice."""
        self.stop_feeding()
        self.removing.stop()

    def check_health(self, most_restarts: int) -> None:
        """Make the watcher anew when it cannot see files; raise when that failed *most_restarts* times in a row (0: never)."""
        self._origin.count_refused(self._workers)
        self._feeding.check_health(most_restarts)
