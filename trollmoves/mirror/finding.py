"""Find: copies that the journal does not know, because it was lost, or the process ended before the journal had them.

None is removed for that: it may be the only one left. When its announcement is heard (again) its provider is asked for it as if
somebody wanted it; so it comes into the journal, is served, and goes when the consumers have it or `delete_after` is over. What
nobody announces stays, and the log says so.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from trollmoves.bus import Loop
from trollmoves.client.addressing import Addressing
from trollmoves.client.asking import Asking
from trollmoves.config.mirrors import MirrorSettings
from trollmoves.errors import TrollmovesError
from trollmoves.journal import Journal
from trollmoves.lifecycle import State
from trollmoves.messages import Announcement, decode, read_announcement
from trollmoves.mirror.parts import Store, parts_of
from trollmoves.movers.sessions import Sessions
from trollmoves.workers import Work, Workers

logger = logging.getLogger(__name__)

MOST = 200_000
"""Files of one section that are looked at."""
AT_ONCE = 200


class Finding:
    """Looks for forgotten copies of one section, once; belongs to the loop."""

    def __init__(self, settings: MirrorSettings, store: Store, journal: Journal, loop: Loop, workers: Workers, asking: Asking):
        self._chain = settings.name
        self._seeks = settings.delete is not None and store.root != "/"  # else it is not ours alone what lies there
        self._store = store
        self._addressing = Addressing(settings.front)
        self._journal = journal
        self._loop = loop
        self._workers = workers
        self._asking = asking
        self._unknown: dict[str, int] = {}
        """Paths of copies that the journal does not know, with their sizes."""

    def start(self, then: Callable[[], Any]) -> None:
        """Look for them, and call *then*."""
        if not self._seeks:
            then()
            return
        known = {os.fsdecode(row["path"]) for row in self._journal.find("all_copies")}
        self._workers.submit([Work(("find", self._chain), 1, partial(self._look, known), partial(self._found, then), quick=True)])

    def _look(self, known: set[str], _: Sessions) -> dict[str, int]:
        """In a worker."""
        return {path: size for path, size in _files_below(self._store.root) if path not in known}

    def _found(self, then: Callable[[], Any], outcome: Any) -> None:
        if isinstance(outcome, Exception):
            logger.warning("[%s] it cannot be seen what is in %s: %s", self._chain, self._store.root, outcome)
        else:
            self._unknown = outcome
            if outcome:
                logger.warning("[%s] %d files in %s are not known to the journal, as %s: those that providers announce are "
                               "asked for again, others stay until somebody removes them", self._chain, len(outcome),
                               self._store.root, next(iter(outcome)))
            self._look_up(list(outcome))
        then()

    def _look_up(self, paths: list[str]) -> None:
        """Their announcements may be in the journal already."""
        for path in paths[:AT_ONCE]:
            rows = self._journal.find("files_of", (os.path.basename(path), self._chain))
            if rows and rows[0]["state"] in (State.ANNOUNCED, State.FAILED):
                self.heard(rows[0]["id"], read_announcement(decode(rows[0]["message"].encode())))
        if len(paths) > AT_ONCE:
            self._loop.call(self._look_up, paths[AT_ONCE:])

    def heard(self, file: int, announcement: Announcement) -> None:
        """*file*, which is in the journal, was announced: ask for it where its copy is one of those."""
        if not self._unknown or not announcement.epoch:  # upstream's servers announce nothing twice: this is a new file
            return
        try:
            parts = parts_of(announcement.message.fields)
            directory = self._addressing.place(announcement.message.fields).destination.path
        except TrollmovesError:
            return
        paths = [self._store.path_of(directory, part) for part in parts]
        sizes = [self._unknown.get(path) for path in paths]
        if None in sizes or (len(sizes) == 1 and announcement.size not in (None, sizes[0])):
            return
        for path in paths:
            del self._unknown[path]
        self._asking.fetch(file)


def _files_below(root: str) -> Iterator[tuple[str, int]]:
    """Regular files with their sizes, but hidden ones: those are on their way."""
    count = 0
    for directory, _, names in os.walk(root):
        for name in names:
            path = os.path.join(directory, name)
            if name.startswith(".") or os.path.islink(path):
                continue
            count += 1
            if count > MOST:
                return
            try:
                yield path, os.lstat(path).st_size
            except FileNotFoundError:
                continue
