"""Intake: an arrival becomes a row in the journal for each destination; once that is on the disk, the moves begin.

It has the place of a server's `Announcing`, so that files are unpacked before it in the same way.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from trollmoves import crashing
from trollmoves.attention.origins import Origin
from trollmoves.config.moves import MoveSettings
from trollmoves.errors import MalformedMessage
from trollmoves.journal import Journal, Operation
from trollmoves.journal.covering import covered_by_newer
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import Envelope, content_key
from trollmoves.move_it.moving import Moving
from trollmoves.move_it.removing import WHEN_ALL_HAVE_IT
from trollmoves.patterns import Pattern
from trollmoves.server.returning import remaining, returned
from trollmoves.uris import is_utf8
from trollmoves.watchers.base import Arrival

logger = logging.getLogger(__name__)

Content = tuple[int, int, int]
"""Size, modification time and inode."""
Then = Callable[[], Any] | None


class Intake:
    """Of one section; belongs to the loop."""

    def __init__(self, settings: MoveSettings, pattern: Pattern, journal: Journal, envelope: Envelope, moving: Moving,
                 origin: Origin):
        self._settings = settings
        self._pattern = pattern
        self._journal = journal
        self._envelope = envelope
        self._moving = moving
        self._origin = origin
        self._unwritten: dict[bytes, Arrival] = {}
        """Arrivals that are being written: look-ups do not see them yet."""

    # As `Unpacking` wants it.

    def announce(self, arrivals: Sequence[Arrival], then: Then = None) -> None:
        """Journal what is new among *arrivals*; *then* is called when that is done."""
        crashing.point("move_it.seen")
        known = self.known(arrivals)
        newest = {arrival.path: arrival for arrival in arrivals}  # a watcher may say the same twice at once
        fresh = [arrival for arrival in newest.values()
                 if self._is_new(arrival, known) and self.can_announce(arrival.path, say=True)]
        records = [record for arrival in fresh
                   for record in self._records(arrival, arrival.path, replaces=os.fsencode(arrival.path) in known)]
        back = self._records_of_returned(arrivals) if known and len(fresh) < len(newest) else []
        self._write(fresh, [*records, *back], then, pumps=bool(fresh or back))

    def announce_unpacked(self, packed: Arrival, members: Sequence[Arrival], records: Sequence[Operation],
                          then: Callable[[], Any]) -> None:
        """Journal what is new among *members*, unpacked from *packed*, whose path tells their metadata."""
        known = self.known(members)
        fresh = [member for member in members if self._is_new(member, known)]
        origin = (os.fsencode(packed.path), packed.device, packed.inode, packed.size, packed.mtime_ns)
        made = [record for member in fresh for record in self._records(member, packed.path, origin)]
        moved = [row for member in members if member not in fresh for row in self._rows_of(member)]
        if moved:  # the watcher saw what came out before we said so
            made += [("add_packed", [(row["id"], *origin) for row in moved]),
                     ("add_removal", [(moved[0]["id"], self._settings.name, WHEN_ALL_HAVE_IT)])]
        self._write(fresh, [*made, *records], lambda: (then(), *map(self._moving.settled, moved[:1])))

    def _rows_of(self, member: Arrival) -> list[Any]:
        content = (os.path.basename(member.path), self._settings.name, os.fsencode(member.path), member.inode, member.size,
                   member.mtime_ns)
        return self._journal.find("siblings", content)

    def announce_known(self, arrival: Arrival, file: int, records: Sequence[Operation], then: Callable[[], Any]) -> None:
        """Journal *arrival*, which has the row *file* already and is moved as it is."""
        now = time.time()
        line = step_line(State.COVERED, now, detail="moved as it is")
        covered: Operation = ("step", [(State.COVERED, now, 0, line, file)])
        self._write([arrival], [*self._records(arrival, arrival.path), *records, covered], then)

    def can_announce(self, path: str, *, say: bool = False) -> bool:
        """Whether *path* has a name we can write and metadata we can read."""
        if not is_utf8(path):
            if say and self._origin.refuses(os.fsencode(path)):
                logger.error("%r cannot be moved: give it a name in UTF-8", os.fsencode(path))
            return False
        if self._pattern.parse(path) is None:
            if say and self._origin.refuses(os.fsencode(path)):
                logger.warning("%r matches the wildcards of origin, but its fields cannot be read: not moved", path)
            return False
        return True

    def is_unwritten(self, path: str) -> bool:
        """Whether an arrival at *path* is on its way into the journal."""
        return os.fsencode(path) in self._unwritten

    def known(self, arrivals: Sequence[Arrival]) -> dict[bytes, Content]:
        """What the journal has of these arrivals: by path, the content that came last."""
        names = [name for name in (os.path.basename(arrival.path) for arrival in arrivals) if is_utf8(name)]
        rows = self._journal.find("announced_files", (self._settings.name, orjson.dumps(names)))
        return {row["path"]: (row["size"], row["mtime_ns"], row["inode"]) for row in rows}

    # Ours.

    def _is_new(self, arrival: Arrival, known: dict[bytes, Content]) -> bool:
        path = os.fsencode(arrival.path)
        return self._unwritten.get(path) != arrival and known.get(path) != (arrival.size, arrival.mtime_ns, arrival.inode)

    def _records_of_returned(self, arrivals: Sequence[Arrival]) -> list[Operation]:
        """What to write of those that were away when they should have been moved, or removed, and are there again."""
        now = time.time()
        records = remaining(self._journal, self._settings.name, arrivals, now) if self._settings.delete else []
        back = returned(self._journal, self._settings.name, arrivals)
        if back:
            line = step_line(State.FAILED, now, detail="it is there again")
            records.append(("revive", [{"id": row["id"], "now": now, "line": line} for row, _ in back]))
        return records

    def _records(self, arrival: Arrival, named: str, packed: tuple[Any, ...] | None = None, *,
                 replaces: bool = False) -> list[Operation]:
        """What to write of *arrival*, with the metadata in the path *named*: a row for each destination, and what is to be
        removed when all of them have it. Where it *replaces* other content, that need not be moved any more."""
        name, path = os.path.basename(arrival.path), os.fsencode(arrival.path)
        fields = {**self._settings.info.plain(), **(self._pattern.parse(named) or {}), "uri": named, "uid": name}
        try:
            message = self._envelope.encode(self._settings.topic or "/", "file", fields).decode()
        except (MalformedMessage, UnicodeEncodeError) as error:
            if self._origin.refuses(path):
                logger.error("%r cannot be moved: %s", path, error)
            return []
        key = content_key(self._settings.name, (arrival.path,), (arrival.size,), (arrival.mtime_ns,))
        now = time.time()
        rows = [(self._journal.new_file(), self._settings.name, name, key, State.ANNOUNCED, now,
                 step_line(State.ANNOUNCED, now, detail=f"for {label}"), now, arrival.size, path, arrival.device, arrival.inode,
                 arrival.mtime_ns, place, message, label, 0, now) for label, place in self._moving.places.items()]
        records: list[Operation] = [("add_file", rows)]
        if packed is not None:
            records.append(("add_packed", [(row[0], *packed) for row in rows]))
        if self._settings.delete or packed is not None:
            records.append(("add_removal", [(rows[0][0], self._settings.name, WHEN_ALL_HAVE_IT)]))
        if replaces:
            records.append(covered_by_newer([rows[0][0]]))
        return records

    def _write(self, fresh: Sequence[Arrival], records: Sequence[Operation], then: Then, *, pumps: bool = True) -> None:
        self._unwritten.update((os.fsencode(arrival.path), arrival) for arrival in fresh)
        self._journal.write(list(records), self._written, fresh, then, pumps)

    def _written(self, fresh: Sequence[Arrival], then: Then, pumps: bool) -> None:
        if fresh:
            crashing.point("move_it.journaled")
        for arrival in fresh:
            self._unwritten.pop(os.fsencode(arrival.path), None)
        if then is not None:
            then()
        if pumps:
            self._moving.pump()
