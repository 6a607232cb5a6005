"""Doubt: what another provider announces under the name of a file that was fetched, with another key, may be new content.

It gets a row of its own, and its provider is asked for it at once, on condition that it is other content than what was fetched.
If so, it comes here and is announced then; else its provider has been told so. Until the first is fetched there is nothing to
compare with, and the other provider is one more to ask for it; or what it has is put off, where it is a mirror that is farther
away, which is not asked in the place of others (relaying.py).
"""

from __future__ import annotations

import logging
import time
from typing import Any

from trollmoves.client.asking import Asking
from trollmoves.client.deciding import EXPIRES_AFTER, Known, may_differ
from trollmoves.client.doubting import SAME, fetched_in, in_doubt, is_in_doubt, may_be_else, new_row
from trollmoves.client.flight import Flight, Source
from trollmoves.client.ledger import Ledger
from trollmoves.journal import Journal
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import decode

logger = logging.getLogger(__name__)

LEFT = "may be other content, and is left where it is"


class Doubting:
    """Of one section; belongs to the loop."""

    def __init__(self, chain: str, ledger: Ledger, journal: Journal, asking: Asking, *, several: bool):
        """*several*: there is more than one provider."""
        self._chain = chain
        self._several = several
        self._ledger = ledger
        self._journal = journal
        self._asking = asking

    def ask_about(self, flight: Flight) -> None:
        """Ask for what others announced of *flight*, which was fetched and is in the journal, with other keys."""
        row = self._journal.find_one("file", (flight.id,)) if self._several else None
        if row is None:
            return
        doubtful, fetched = in_doubt(flight), fetched_in(row["steps"])
        known = {version.key for version in self._ledger.versions(flight.identity).values()} if doubtful else ()
        for source in doubtful:
            if source.announcement.key in known:
                continue
            if fetched:
                self._begin(source)
            else:
                self.leave(row, source.provider)
        for other in self._put_off(row):
            if fetched:
                self._ledger.step(other["id"], State.ANNOUNCED, time.time(), 0, "can be compared")
            else:
                self.leave(row, other["provider"])
                self._ledger.step(other["id"], State.COVERED, None, 0, f"it {LEFT}")
        self._asking.commit()

    def cannot_be_had(self, file: int) -> None:
        """Nobody can deliver *file* any more: ask for what was to be compared with it, which may be a copy."""
        row = self._journal.find_one("file", (file,)) if self._several else None
        for other in self._put_off(row) if row is not None else ():
            self._ledger.step(other["id"], State.ANNOUNCED, time.time(), 0, "the other content cannot be had")
        self._asking.commit()

    def put_off(self, row: Any, source: Source) -> None:
        """Ask for what *source* has when there is something to compare it with, a day later at the latest; *row* is what it may
        be a copy of, None while that is being written. The caller commits that."""
        if row is None or (fetched_in(row["steps"]) is None and self._journal.find_one("is_released", (row["id"],)) is None):
            self._begin(source, EXPIRES_AFTER)
        else:
            self.leave(row, source.provider)

    def _put_off(self, row: Any) -> list[Any]:
        """What waits to be compared with *row*."""
        waiting = [other for other in self._journal.find("files_of", (row["identity"], self._chain)) if is_put_off(other)]
        return [other for other in waiting if _subject_of(other) == _subject_of(row)]

    def row_of(self, file: int, source: Source) -> Any:
        """The row of the journal that an announcement, which seems to speak of *file*, is about: where that is a copy, perhaps
        what it is a copy of, whose provider has a new journal. None while it is being written."""
        row, key = self._journal.find_one("file", (file,)), source.announcement.key
        if row is None or not (is_decided(row) or is_put_off(row)) or not may_differ(row["key"], key):
            return row
        versions = self._ledger.versions(source.announcement.identity)
        if is_put_off(row):
            subject = source.announcement.message.subject
            announced = (self._journal.find_one("file", (other,)) for other in sorted(versions, reverse=True)
                         if other < file and versions[other].subject == subject)
            return next((other for other in announced if other is not None and other["path"] is not None), row)
        same = max((other for other, known in versions.items() if known.key == key), default=file)
        return self._journal.find_one("file", (same,))

    def takes(self, row: Any, source: Source) -> bool:
        """Whether what *source* has, which seems to be that of *row*, is asked for on condition. The caller commits that."""
        decided, fetched = is_decided(row), bool(fetched_in(row["steps"]))
        if may_be_else(row["key"], source.announcement.key, told=fetched):
            doubtful = decided or fetched
        else:
            doubtful = decided and f'"{SAME}"' not in row["steps"] and not is_left(row)
        if doubtful:
            self._begin(source)
        return doubtful

    def begins_anew(self, file: int, source: Source) -> bool:
        """Whether what *source* announces, which is not under way, was given up as *file* before it was compared: then that is
        tried again. The caller commits that."""
        row = self._journal.find_one("file", (file,)) if file else None
        anew = row is not None and row["key"] == source.announcement.key and row["path"] is None and is_in_doubt(row["steps"])
        if anew:
            self._begin(source)
        return anew

    def leave(self, row: Any, provider: str) -> None:
        """Say, once, that nobody can find out what *provider* has: our consumers have the other content from elsewhere, or it was
        fetched when there was no other provider."""
        if f"{provider} {LEFT}" in row["steps"]:
            return
        logger.warning("[%s] %s of %s %s: there is nothing here to compare it with", self._chain, row["identity"], provider, LEFT)
        line = step_line("left", time.time(), detail=f"{provider} {LEFT}")
        self._journal.write([("note", [{"line": line, "id": row["id"]}])])

    def _begin(self, source: Source, wait: float = 0.0) -> None:
        announcement, now = source.announcement, time.time()
        flight = Flight(self._journal.new_file(), self._chain, announcement.identity, now, source, {source.provider: source},
                        doubtful=True)
        self._asking.begin(flight, now=False)
        self._ledger.add("add_file", new_row(flight, State.ANNOUNCED, now + wait))
        self._ledger.remember(flight.identity, flight.id, Known.of(State.ANNOUNCED, announcement))


def _subject_of(row: Any) -> str:
    return decode(row["message"].encode()).subject


def is_decided(row: Any) -> bool:
    """Whether *row* of the journal, which was never announced, was found to be nothing new."""
    return row["path"] is None and row["state"] == State.COVERED


def is_left(row: Any) -> bool:
    """Whether *row* of the journal, which is decided, could not be compared with anything."""
    return f'"it {LEFT}"' in row["steps"]


def is_put_off(row: Any) -> bool:
    """Whether *row* of the journal waits for something that it can be compared with."""
    return bool(row["path"] is None and row["state"] == State.ANNOUNCED and row["request"] is None and row["due"] is not None
                and row["due"] > time.time())
