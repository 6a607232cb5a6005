"""Remove what is at all its destinations: the original with `delete`, and always the copy it was unpacked to. With `delete` both
stay when a destination could not even tell the size of what arrived, and when none has it because all were dismissed. What was
unpacked goes with the last of its members.

What is to be removed stands in the journal from the first moment on, for a time that never comes; when the last destination has
the file, that time becomes now. Only the very file that was moved is removed, never another one of its name.
"""

from __future__ import annotations

import logging
import os
import time
from typing import Any

import orjson

from trollmoves import crashing
from trollmoves.bus import Loop
from trollmoves.config.moves import MoveSettings
from trollmoves.journal import Journal, Operation
from trollmoves.journal.audit import in_audit
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.movers.sessions import Sessions
from trollmoves.server.beneath import NOT_REMOVED, Announced, announced_file, keep_removed, remove
from trollmoves.workers import Work, Workers

logger = logging.getLogger(__name__)

WHEN_ALL_HAVE_IT = 1e12
"""Seconds since 1970; a time that never comes."""
AT_ONCE = 200
RETRY = 60.0
"""Seconds between two tries of a removal that failed."""
EVERY = 5.0
DELIVERED = frozenset((State.PUBLISHING, State.PUBLISHED))
SETTLED = DELIVERED | {State.COVERED}
"""Covered is also what an operator dismissed: an original goes only when somebody has it."""


class Removing:
    """Of one section; belongs to the loop."""

    def __init__(self, settings: MoveSettings, roots: tuple[str, ...], journal: Journal, loop: Loop, workers: Workers):
        """*roots* are the directories above all files that may come."""
        self._chain = settings.name
        self._deletes = settings.delete
        self._roots = roots
        self._journal = journal
        self._loop = loop
        self._workers = workers
        self._busy: set[int] = set()
        self._open = False

    @property
    def under_way(self) -> int:
        return len(self._busy)

    def start(self) -> None:
        """Take up what an earlier process left."""
        self._open = True
        released = {"now": time.time(), "chain": self._chain, "deletes": self._deletes}
        self._journal.write([("release_removals", [released])], self._remove_due)
        self._loop.after(EVERY, self._again)

    def stop(self) -> None:
        self._open = False

    def settled(self, row: Any) -> None:
        """Something happened to *row*: perhaps it was the last destination that had to have the file."""
        rows = self._siblings(row)
        states = {sibling["state"] for sibling in rows}
        if states <= SETTLED and (states & DELIVERED or not self._deletes):
            files = orjson.dumps([sibling["id"] for sibling in rows]).decode()
            if self._deletes and self._journal.find_one("any_unverified", (files,)) is not None:
                logger.warning("%s stays: a destination does not say what arrived there", os.fsdecode(row["path"]))
                return
            crashing.point("move_it.everywhere")
            self._journal.write([("hasten_removals", [(time.time(), files)])], self._remove_due)

    def _siblings(self, row: Any) -> list[Any]:
        """The rows of what *row* is about: one for each destination."""
        content = (row["identity"], self._chain, row["path"], row["inode"], row["size"], row["mtime_ns"])
        return self._journal.find("siblings", content)

    def _again(self) -> None:
        if self._open:
            self._remove_due()
            self._loop.after(EVERY, self._again)

    def _remove_due(self) -> None:
        """Remove some of what is due; what becomes due meanwhile goes together afterwards, with one wait for the disk."""
        if self._busy or self._journal.full:
            return
        due = self._journal.find("due_removals", (self._chain, time.time(), AT_ONCE))
        if due:
            self._busy.update(row["file"] for row in due)
            self._workers.submit([self._work(due)])

    def _work(self, due: list[Any]) -> Work:
        leaving = orjson.dumps([sibling["id"] for row in due for sibling in self._siblings(row)]).decode()
        doomed = [self._doomed(row, leaving) for row in due]

        def run(_: Sessions) -> list[list[str] | OSError]:
            outcomes = [self._remove(files) for files in doomed]
            keep_removed(self._roots, [announced.path for files in doomed for announced in files])
            return outcomes
        return Work(("remove", self._chain), 1, run, lambda outcome: self._removed(due, outcome))

    def _doomed(self, row: Any, leaving: str) -> list[Announced]:
        """What was unpacked is a copy of ours, and goes; an original goes with `delete`, an archive when no member needs it but
        those that are *leaving*."""
        packed = self._journal.find("packed_of", (row["file"],))
        if not self._deletes:
            return [announced_file(row)] if packed else []
        return [announced_file(row), *(announced_file(found) for found in packed if not self._is_needed(found, leaving))]

    def _is_needed(self, packed: Any, leaving: str) -> bool:
        elsewhere = (packed["path"], packed["inode"], packed["mtime_ns"], leaving)
        return self._journal.find_one("packed_elsewhere", elsewhere) is not None

    def _remove(self, files: list[Announced]) -> list[str] | OSError:
        """The paths that were removed, or what prevents it."""
        crashing.point("move_it.removing")
        try:
            return [announced.path for announced in files if remove(self._roots, announced)]
        except OSError as error:
            return error

    def _removed(self, due: list[Any], outcomes: list[list[str] | OSError] | Exception) -> None:
        crashing.point("move_it.removed")
        each = [outcomes] * len(due) if isinstance(outcomes, Exception) else outcomes
        records = [record for row, outcome in zip(due, each, strict=True) for record in self._records(row, outcome, time.time())]
        self._journal.write(records, self._done)

    def _records(self, row: Any, outcome: list[str] | Exception, now: float) -> list[Operation]:
        path = os.fsdecode(row["path"])
        if isinstance(outcome, Exception):
            logger.error("%s cannot be removed (%s); tried again in %d s%s", path, outcome, RETRY,
                         self._journal.audit.not_removed(self._chain, path, str(outcome), row["tries"] + 1))
            return [("delay_removal", [(now + RETRY, row["file"])])]
        detail = f"removed {', '.join(outcome)}" if outcome else NOT_REMOVED
        siblings, number = self._siblings(row), 0
        if outcome:
            places = ", ".join(sibling["provider"] or "this machine" for sibling in siblings if sibling["state"] in DELIVERED)
            number = self._journal.audit.removed(self._chain, row, path, detail, places)
        logger.info("[%s] %s%s", self._chain, detail if outcome else f"{path} {detail}", in_audit(number))
        return [("note", [{"line": step_line("removed", now, detail=detail), "id": row["file"]}]),
                ("end_removal", [(row["file"],)]), ("end_packed", [(sibling["id"],) for sibling in siblings])]

    def _done(self) -> None:
        self._busy.clear()
        self._remove_due()
