"""Doubt: what another provider announces under the name of a file that was fetched, with another key, may be new content.

It gets a row of its own, and its provider is asked for it at once, on condition that it is other content than what was fetched.
If so, it comes here and is announced then; else its provider has been told so. Until the first is fetched there is nothing to
compare with, and the other provider is one more to ask for it.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from trollmoves.client.asking import Asking
from trollmoves.client.deciding import Known, may_differ
from trollmoves.client.doubting import SAME, fetched_in, in_doubt, is_in_doubt, may_be_else, new_row
from trollmoves.client.flight import Flight, Source
from trollmoves.client.ledger import Ledger
from trollmoves.journal import Journal
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State

logger = logging.getLogger(__name__)

LEFT = "may be other content, and is left where it is"


class Doubting:
    """Of one section; belongs to the loop."""

    def __init__(self, chain: str, ledger: Ledger, journal: Journal, asking: Asking):
        self._chain = chain
        self._ledger = ledger
        self._journal = journal
        self._asking = asking

    def ask_about(self, flight: Flight) -> None:
        """Ask for what others announced of *flight*, which was fetched and is in the journal, with other keys."""
        row, doubtful = self._journal.find_one("file", (flight.id,)), in_doubt(flight)
        if row is None or not doubtful:
            return
        known = {version.key for version in self._ledger.versions(flight.identity).values()}
        for source in doubtful:
            if source.announcement.key in known:
                continue
            if fetched_in(row["steps"]):
                self._begin(source)
            else:
                self.leave(row, source)
        self._asking.commit()

    def row_of(self, file: int, source: Source) -> Any:
        """The row of the journal that an announcement, which seems to speak of *file*, is about: where that is a copy, perhaps
        what it is a copy of, whose provider has a new journal. None while it is being written."""
        row, key = self._journal.find_one("file", (file,)), source.announcement.key
        if row is None or not is_decided(row) or not may_differ(row["key"], key):
            return row
        versions = self._ledger.versions(source.announcement.identity)
        same = max((other for other, known in versions.items() if known.key == key), default=file)
        return self._journal.find_one("file", (same,))

    def takes(self, row: Any, source: Source) -> bool:
        """Whether what *source* has, which seems to be that of *row*, is asked for on condition. The caller commits that."""
        decided, fetched = is_decided(row), bool(fetched_in(row["steps"]))
        if may_be_else(row["key"], source.announcement.key, told=fetched):
            doubtful = decided or fetched
        else:
            doubtful = decided and f'"{SAME}"' not in row["steps"]
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

    def leave(self, row: Any, source: Source) -> None:
        """Say, once, that nobody can find out what *source* has: our consumers have the other content from elsewhere, or it was
        fetched when there was no other provider."""
        if f"{source.provider} {LEFT}" in row["steps"]:
            return
        logger.warning("[%s] %s of %s %s: there is nothing here to compare it with", self._chain, row["identity"],
                       source.provider, LEFT)
        line = step_line("left", time.time(), detail=f"{source.provider} {LEFT}")
        self._journal.write([("note", [{"line": line, "id": row["id"]}])])

    def _begin(self, source: Source) -> None:
        announcement, now = source.announcement, time.time()
        flight = Flight(self._journal.new_file(), self._chain, announcement.identity, now, source, {source.provider: source},
                        doubtful=True)
        self._asking.begin(flight, now=False)
        self._ledger.add("add_file", new_row(flight, State.ANNOUNCED, now))
        self._ledger.remember(flight.identity, flight.id, Known.of(State.ANNOUNCED, announcement))


def is_decided(row: Any) -> bool:
    """Whether *row* of the journal, which was never announced, was found to be nothing new."""
    return row["path"] is None and row["state"] == State.COVERED
