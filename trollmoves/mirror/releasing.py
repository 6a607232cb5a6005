"""Release: what all consumers have is removed here, and its providers are told, so that they can remove it in their turn.

A file stays on the list of removals until its provider has answered; so whatever is killed meanwhile, the provider is told.
"""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import Any

import orjson

from trollmoves import crashing
from trollmoves.bus import Loop
from trollmoves.bus.requesters import Named
from trollmoves.client.asking import Asking
from trollmoves.client.doubting import fetched_in
from trollmoves.client.telling import is_told
from trollmoves.config.mirrors import MirrorSettings
from trollmoves.journal import Journal, Operation
from trollmoves.journal.audit import in_audit
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import Message
from trollmoves.mirror.doubting import Doubting
from trollmoves.server.beneath import Announced, announced_file, remove
from trollmoves.server.removing import AGED, RETRY, Leaving, Removing
from trollmoves.workers import Workers

logger = logging.getLogger(__name__)

TELL_AGAIN = 10.0
"""Seconds after which a provider is told again that did not answer."""


class Releasing(Removing):
    """Removes the copies of one section; belongs to the loop."""

    aged_query = "aged_copies"
    _may_be_no_more = False

    def __init__(self, settings: MirrorSettings, journal: Journal, loop: Loop, workers: Workers, asking: Asking,
                 doubting: Doubting):
        super().__init__(settings, (), journal, loop, workers)
        self._asking = asking
        self._doubting = doubting
        self._telling: set[int] = set()
        """Files whose providers were told and have not answered yet."""
        self._confirmations: dict[Named, list[tuple[int, int, str]]] = {}
        """By provider what is confirmed in this turn of the loop: file, position of its announcement, id of our request."""

    def _stays(self, file: int) -> bool:
        return False  # also where copies are not removed providers are told

    def _files_of(self, row: Any, why: str) -> list[Announced]:
        return [announced_file(copy) for copy in self._journal.find("copies_of", (row["file"],))]

    def _remove(self, leaving: Leaving, needed: set[str]) -> int:
        crashing.point("mirror.releasing")
        goes = self._deletes or leaving.why == AGED
        removed = sum([remove((os.path.dirname(copy.path),), copy) for copy in leaving.files]) if goes else 0
        crashing.point("mirror.removed")
        return removed

    def _record(self, tried: list[tuple[Leaving, int | OSError]], now: float) -> None:
        for one, outcome in tried:
            file: int = one.row["file"]
            if isinstance(outcome, OSError):
                path = one.files[0].path if one.files else one.row["identity"]
                noted = self._journal.audit.not_removed(self._chain, path, str(outcome), one.row["tries"] + 1)
                logger.error("[%s] a copy cannot be removed (%s); tried again in %d s%s", self._chain, outcome, RETRY, noted)
                self._journal.write([("add_removal", [(file, self._chain, now)]), ("delay_removal", [(now + RETRY, file)])])
            elif self._files_of(one.row, one.why) == one.files:  # else it was fetched again meanwhile, and is released again
                self._released(one, outcome, now)

    def _released(self, one: Leaving, removed: int, now: float) -> None:
        file: int = one.row["file"]
        records: list[Operation] = [("end_copies", [(file,)])] if one.files else []
        if one.files:
            detail = f"{removed} of {len(one.files)} copies removed ({one.why})"
            if removed:
                logger.info("[%s] %s: %s%s", self._chain, one.row["identity"], detail,
                            in_audit(self._audit_removal(one, one.files[0].path)))
            records.append(("note", [{"line": step_line("removed", now, detail=detail), "id": file}]))
        if one.why == AGED:  # nobody confirmed it, so neither do we
            self._journal.write([*records, ("end_removal", [(file,)])])
        else:
            self._journal.write([*records, ("delay_removal", [(now + TELL_AGAIN, file)])], self._tell, file)

    # Tell the providers.

    def _tell(self, file: int) -> None:
        row = self._journal.find_one("file", (file,))
        if row is None or file in self._telling or not self._open:
            return
        flight = self._asking.waiting.flight_of(row)
        flight.checksum = fetched_in(row["steps"]) or ""
        self._telling.add(file)
        announcement, acknowledging = flight.source.announcement, self._asking.acknowledging
        self._doubting.ask_about(flight)
        acknowledging.tell_others(flight)
        if not _has_delivered(row):  # the consumers have it from elsewhere
            acknowledging.tell(flight.source, partial(self._answered, [file]))
        elif announcement.epoch:
            if not self._confirmations:
                self._loop.call(self._confirm)
            self._confirmations.setdefault(announcement.named, []).append((file, announcement.offset, row["request"]))
        else:  # an upstream server does not wait for us
            self._end([file])

    def _confirm(self) -> None:
        confirmations, self._confirmations = self._confirmations, {}
        for place, delivered in confirmations.items():
            files = [file for file, _, _ in delivered]
            self._asking.acknowledging.acknowledge(place, [(position, request) for _, position, request in delivered],
                                                   partial(self._answered, files))

    def _answered(self, files: list[int], reply: Message | None) -> None:
        if not is_told(reply):  # they are still on the list
            self._telling.difference_update(files)
        else:
            self._end(files)

    def _end(self, files: list[int]) -> None:
        self._telling.difference_update(files)
        # One that was fetched again meanwhile is released again.
        done = [(file,) for file in files if not self._journal.find("copies_of", (file,))]
        if done:
            self._journal.write([("end_removal", done)])
        crashing.point("mirror.released")


def _has_delivered(row: Any) -> bool:
    """Whether the provider that was asked last has ever delivered it. Where it has not, it takes no confirmation of a request."""
    steps = map(orjson.loads, row["steps"].splitlines())
    return any(state == State.MOVED and peer == row["provider"] for state, _, peer, *_ in steps)
