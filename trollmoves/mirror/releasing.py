"""Release: what all consumers have is removed here, and its providers are told, so that they can remove it in their turn.

A file stays on the list of removals until its providers have answered, who announced the very same as well included; so whatever
is killed meanwhile, they are told.
"""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import Any

from trollmoves import crashing
from trollmoves.bus import Loop
from trollmoves.bus.requesters import Named
from trollmoves.client.asking import Asking
from trollmoves.client.doubting import copies_of, fetched_in
from trollmoves.client.telling import is_told
from trollmoves.config.mirrors import MirrorSettings
from trollmoves.journal import Journal, Operation
from trollmoves.journal.audit import in_audit
from trollmoves.journal.journal import step_line
from trollmoves.journal.reader import steps_in
from trollmoves.lifecycle import State
from trollmoves.messages import Message
from trollmoves.mirror.doubting import Doubting
from trollmoves.server.beneath import Announced, announced_file, remove
from trollmoves.server.removing import AGED, RETRY, Leaving, Removing
from trollmoves.server.topics import Topics
from trollmoves.workers import Workers

logger = logging.getLogger(__name__)

TELL_AGAIN = 10.0
"""Seconds after which providers are told again that did not answer; twice as many each time when it was in vain."""
RAREST = 300.0
MOST_TRIES = 2000
"""So they are told for a week. Who never comes back would fill the journal."""


class Releasing(Removing):
    """Removes the copies of one section; belongs to the loop."""

    aged_query = "aged_copies"
    _may_be_no_more = False

    def __init__(self, settings: MirrorSettings, journal: Journal, loop: Loop, workers: Workers, asking: Asking,
                 doubting: Doubting, topics: Topics):
        super().__init__(settings, (), journal, loop, workers, topics=topics)
        self._asking = asking
        self._doubting = doubting
        self._telling: dict[int, tuple[int, set[str]]] = {}
        """By file, how often it was tried before, and the providers that were told and have not answered yet."""
        self._untold: set[int] = set()
        """Those of these files of which a provider did not answer."""
        self._confirmations: dict[Named, list[tuple[int, int, str, str]]] = {}
        """By provider what is confirmed in this turn of the loop: file, position of its announcement, id of our request, and the
        address of the provider."""

    def _stays(self, file: int) -> bool:
        return False  # also where copies are not removed providers are told

    def _due(self, row: Any) -> float | None:
        released = row["tries"] > 0 and not self._journal.find("copies_of", (row["file"],))
        return 0.0 if released else super()._due(row)  # whoever has become a consumer since

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
        if one.why == AGED or (not one.files and one.row["tries"] > MOST_TRIES):  # nobody confirmed it, so neither do we
            self._journal.write([*records, ("end_removal", [(file,)])])
        else:
            wait = min(TELL_AGAIN * 2.0 ** min(one.row["tries"], 10), RAREST)
            self._journal.write([*records, ("delay_removal", [(now + wait, file)])], self._tell, one)

    # Tell the providers.

    def _tell(self, one: Leaving) -> None:
        """Tell its providers; upstream servers that announced it as well only once: they remove what has the name, which may be
        newer content later."""
        file, tries = one.row["file"], one.row["tries"]
        row = self._journal.find_one("file", (file,))
        if row is None or file in self._telling or not self._open:
            return
        again = tries > 0 and not one.files
        flight = self._asking.waiting.flight_of(row)
        flight.checksum = fetched_in(row["steps"]) or ""
        self._doubting.ask_about(flight)
        source, delivered = flight.source, _has_delivered(row)  # else the consumers have it from elsewhere
        told = [other for other in copies_of(flight) if other.announcement.epoch or not again] + ([] if delivered else [source])
        asked = {other.provider for other in told}
        self._telling[file] = tries + 1, asked
        for other in told:
            self._asking.acknowledging.tell(other, partial(self._answered, [(file, other.provider)]))
        if delivered and source.announcement.epoch:  # an upstream server does not wait for us
            asked.add(source.provider)
            if not self._confirmations:
                self._loop.call(self._confirm)
            self._confirmations.setdefault(source.announcement.named, []).append(
                (file, source.announcement.offset, row["request"], source.provider))
        self._end([file])

    def _confirm(self) -> None:
        confirmations, self._confirmations = self._confirmations, {}
        for place, delivered in confirmations.items():
            told = [(file, provider) for file, *_, provider in delivered]
            self._asking.acknowledging.acknowledge(place, [(position, request) for _, position, request, _ in delivered],
                                                   partial(self._answered, told))

    def _answered(self, told: list[tuple[int, str]], reply: Message | None) -> None:
        """Of these files their providers were told."""
        if not is_told(reply):
            self._untold.update(file for file, _ in told)
        for file, provider in told:
            self._telling[file][1].discard(provider)
        self._end([file for file, _ in told])

    def _end(self, files: list[int]) -> None:
        """Of these some have nobody left who is to answer; they stay on the list where one did not."""
        over = {file: self._telling.pop(file)[0] for file in files if not self._telling[file][1]}
        # One that was fetched again meanwhile is released again.
        done = [(file, tries) for file, tries in over.items()
                if file not in self._untold and not self._journal.find("copies_of", (file,))]
        self._untold.difference_update(over)
        if done:
            self._journal.write([("end_told", done)])
        crashing.point("mirror.released")


def _has_delivered(row: Any) -> bool:
    """Whether the provider that was asked last has ever delivered it. Where it has not, it takes no confirmation of a request."""
    return any(state == State.MOVED and peer == row["provider"] for state, _, peer, *_ in steps_in(row["steps"]))
