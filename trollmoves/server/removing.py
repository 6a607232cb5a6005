"""Remove delivered origins: after `remove_delay`, once all who must confirm have, and only the very file that was delivered.

What a file was unpacked from goes together with it, if origins are removed at all; the unpacked file, being a copy, goes anyhow.
"""

from __future__ import annotations

import logging
import os
import time
from typing import Any

from trollmoves import crashing
from trollmoves.bus import Loop
from trollmoves.config.settings import ServerSettings
from trollmoves.journal import Journal, Operation
from trollmoves.journal.journal import step_line
from trollmoves.server.beneath import announced_file, remove

logger = logging.getLogger(__name__)

EVERY = 1.0
"""Seconds between two looks at what is due."""
SOON = 0.1
AT_ONCE = 200
CONSUMER_KNOWN = 24 * 3600.0
"""Seconds a consumer that was served is waited for; `delete_after` is the backstop for files nobody comes for."""
RETRY = 60.0
"""Seconds between two tries of a removal that failed; never hotter."""


class Removing:
    """Removes the origins of one chain; belongs to the loop."""

    def __init__(self, settings: ServerSettings, roots: tuple[str, ...], journal: Journal, loop: Loop):
        """*roots* are the directories above all files that may be announced."""
        self._chain = settings.name
        self._delay = settings.remove_delay
        self._everyone = settings.delete != "first"
        self._after = settings.delete_after
        self._deletes = settings.delete is not None
        self._unpacks = settings.compression is not None
        self._enabled = settings.removes
        self._roots = roots
        self._journal = journal
        self._loop = loop
        self._open = True
        if self._enabled or self._after is not None:
            loop.after(EVERY, self._again)

    def schedule(self, file: int) -> list[Operation]:
        """The records to write when a consumer has *file*: it is to be removed after the delay."""
        if not self._enabled:
            return []
        return [("add_removal", [(file, self._chain, time.time() + self._delay)])]

    def stop(self) -> None:
        self._open = False

    def _again(self) -> None:
        if not self._open:
            return
        now, more = time.time(), False
        if not self._journal.full and not self._journal.times_to_move:
            more = self._remove_due(now)
            self._remove_aged(now)
        self._loop.after(SOON if more else EVERY, self._again)

    def _remove_due(self, now: float) -> bool:
        """Remove some of what is due; whether there is more."""
        due = self._journal.find("due_removals", (self._chain, now, AT_ONCE))
        consumers = self._consumers(now) if due and self._everyone else []
        for row in due:
            if self._stays(row["file"]):
                self._journal.write([("end_removal", [(row["file"],)])])
            elif any(not self._has(consumer, row["file"]) for consumer in consumers):
                self._journal.write([("delay_removal", [(now + self._delay, row["file"])])])
            else:
                self._remove(row, now, "delivered")
        return len(due) == AT_ONCE

    def _stays(self, file: int) -> bool:
        """Whether it is an origin of a chain that does not remove them."""
        return not self._deletes and not self._packed_of(file)

    def _consumers(self, now: float) -> list[Any]:
        """The primaries of our kind that were served lately; spares and upstream clients are nobody to wait for."""
        return self._journal.find("consumers", (self._chain, now - CONSUMER_KNOWN))

    def _has(self, consumer: Any, file: int) -> bool:
        return self._journal.find_one("delivered_for", (file, consumer["client"], consumer["consumer_group"])) is not None

    def _remove_aged(self, now: float) -> None:
        """`delete_after`: the backstop against a consumer that never comes back."""
        if self._after is not None:
            for row in self._aged(now - self._after):
                self._remove(row, now, "delete_after")

    def _aged(self, before: float) -> list[Any]:
        return self._journal.find("aged_files", (self._chain, before, AT_ONCE))

    def _remove(self, row: Any, now: float, why: str) -> None:
        path = os.fsdecode(row["path"])
        crashing.point("server.removing")
        try:
            removed = self._remove_files(row, everything=self._deletes or why == "delete_after")
            if self._deletes:
                self._remove_packed(row["file"])
        except OSError as error:
            logger.error("%s cannot be removed (%s); tried again in %d s", path, error.strerror, RETRY)
            self._journal.write([("delay_removal", [(now + RETRY, row["file"])])])
            return
        crashing.point("server.removed")
        detail = f"removed ({why})" if removed else "not removed: gone, or another file has its name"
        logger.info("%s %s", path, detail)
        self._journal.write([
            ("note", [{"line": step_line("removed", now, detail=detail), "id": row["file"]}]),
            ("end_removal", [(row["file"],)]), *([("end_packed", [(row["file"],)])] if self._unpacks else []),
        ])

    def _remove_files(self, row: Any, *, everything: bool) -> bool:
        """The files of an announcement; where origins stay, those that are copies."""
        members = self._journal.find("members_of", (row["file"],))
        return any([self._remove_file(member) for member in members or [row] if everything or not members or member["copy"]])

    def _remove_file(self, row: Any) -> bool:
        return remove(self._roots, announced_file(row))

    def _packed_of(self, file: int) -> list[Any]:
        return self._journal.find("packed_of", (file,)) if self._unpacks else []

    def _remove_packed(self, file: int) -> None:
        """Remove what *file* was unpacked from, unless another file that came from it is still there."""
        for row in self._packed_of(file):
            if self._journal.find_one("packed_elsewhere", (row["path"], row["inode"], row["mtime_ns"], file)) is None:
                self._remove_file(row)

