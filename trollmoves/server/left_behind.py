"""Remove what is left on this machine of moves that nobody makes any more, and of archives that nobody unpacks.

A move that is killed, or cut off while it may be resumed, leaves its temporary file, which the next attempt finds. When there is
none (another server delivered the file meanwhile, the client is gone), nobody else would remove it. In the same way who is killed
while it unpacks leaves a hidden directory.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import orjson

from trollmoves.bus import Loop
from trollmoves.errors import MoveError
from trollmoves.journal import Journal
from trollmoves.journal.reader import Reader
from trollmoves.movers.moving import RESUME_FROM
from trollmoves.movers.sessions import Sessions
from trollmoves.server.beneath import Announced
from trollmoves.server.pushing import Member, Push, Pushing
from trollmoves.server.replies import shown
from trollmoves.server.transfer import Served
from trollmoves.unpacking import remove_leftovers
from trollmoves.uris import parse_destination
from trollmoves.workers import Work, Workers

logger = logging.getLogger(__name__)

EVERY = 3600.0
"""Seconds between two looks."""
OLD = 24 * 3600.0
"""Seconds since the last attempt, after which clients make no other one."""
AT_ONCE = 100


class LeftBehind:
    """Of all sections of a server; belongs to the loop."""

    def __init__(self, sections: Callable[[], Mapping[str, Served]], journal: Journal, loop: Loop, workers: Workers):
        """*sections* tells those that are served, by name."""
        self._sections = sections
        self._journal = journal
        self._loop = loop
        self._workers = workers

    def start(self) -> None:
        """Look soon, and then again and again."""
        self._loop.every(EVERY, self.look)
        self._loop.call(self.look)

    def look(self) -> None:
        """Have some of it removed, one after the other. What cannot be is tried again the next time."""
        sections = dict(self._sections())
        self._workers.submit([Work(("left behind",), 1, partial(self._remove_some, sections), self._removed, far=True)])

    def _remove_some(self, sections: Mapping[str, Served], sessions: Sessions) -> list[Any]:
        """In a worker: the rows of the journal of which nothing is left."""
        for served in sections.values():
            if served.settings.compression is not None or served.settings.archives is not None:
                _remove_unpacked(served.pushing.roots)
        with Reader(self._journal.path) as reader:
            asked = time.time() - OLD, orjson.dumps(list(sections)).decode(), RESUME_FROM, AT_ONCE
            return [row for row in reader.find("left_behind", asked)
                    if _is_removed(row, _push(row, reader), sections[row["chain"]].pushing, sessions)]

    def _removed(self, outcome: list[Any] | Exception) -> None:
        if isinstance(outcome, Exception):
            logger.error("what moves have left at their destinations cannot be removed: %r", outcome)
        elif outcome:
            self._journal.write([("end_left_behind", [(row["file"], row["transfer"], row["time"]) for row in outcome])])


def _remove_unpacked(directories: Iterable[str]) -> None:
    for directory in directories:
        with suppress(OSError):  # it may not be there yet
            remove_leftovers(directory, OLD)


def _is_removed(row: Any, push: Push, pushing: Pushing, sessions: Sessions) -> bool:
    """Whether nothing is left, or what is left will never be reached. (Who asked for a move to another host gave the login for
    it, which nobody keeps: trying without would look like an attack to that host.)"""
    if not push.destination.is_local:
        return True
    try:
        pushing.remove_unfinished(push, sessions)
    except MoveError as error:
        logger.info("[%s] what a move to %s has left cannot be removed: %s", row["chain"], row["destination"], shown(error))
        return error.permanent
    return True


def _push(row: Any, reader: Reader) -> Push:
    """The request a row was about, as far as it tells where its files were to go."""
    files = reader.find("members_of", (row["file"],))
    members = [(file["path"], file["relative"]) for file in files] or [(row["path"], None)]
    return Push(row["transfer"], tuple(Member(Announced(os.fsdecode(path), 0, 0, 0, 0), relative) for path, relative in members),
                parse_destination(row["destination"]), (), row["peer"], row["attempt"], None)
