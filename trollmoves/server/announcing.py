"""Announce: an arrival becomes a row in the journal, and once that is on the disk, a published message."""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from trollmoves import crashing
from trollmoves.attention.origins import Origin
from trollmoves.config.settings import ServerSettings
from trollmoves.errors import MalformedMessage
from trollmoves.journal import Journal, Operation
from trollmoves.journal.covering import covered_by_newer
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import content_key
from trollmoves.patterns import Pattern
from trollmoves.server import standalone
from trollmoves.server.announcer import Announcer, Numbered
from trollmoves.server.returning import remaining, returned
from trollmoves.uris import is_utf8, last_part
from trollmoves.watchers.base import Arrival

logger = logging.getLogger(__name__)


Content = tuple[int, int, int]
"""Size, modification time and inode: what tells a file from the one that had its name before."""
REMOVED = 0
"""In place of the inode of a file that we removed (announced_files in queries.sql)."""


@dataclass(frozen=True, slots=True)
class Fresh:
    """What will be written and told about one new arrival."""

    arrival: Arrival
    announcement: Numbered
    file_row: tuple[Any, ...]
    announcement_row: tuple[Any, ...]
    replaces: bool
    """Other content was announced under its name before."""

    @property
    def file(self) -> int:
        """Its row in the journal."""
        return self.announcement.file


class Announcing:
    """Announces the arrivals of one chain; belongs to the loop."""

    def __init__(self, settings: ServerSettings, pattern: Pattern, announcer: Announcer, journal: Journal, origin: Origin):
        self._settings = settings
        self._pattern = pattern
        self._announcer = announcer
        self._journal = journal
        self._origin = origin
        self._unwritten: dict[bytes, Arrival] = {}
        """Arrivals that are being written: look-ups do not see them yet."""

    def announce(self, arrivals: Sequence[Arrival], then: Callable[[], Any] | None = None) -> None:
        """Journal and publish what is new among *arrivals*; *then* is called when that is done."""
        crashing.point("server.seen")
        known = self.known(arrivals)
        fresh = [item for arrival in arrivals if (item := self._examine(arrival, known)) is not None]
        records = _records(fresh) if fresh else []
        if known and len(fresh) < len(arrivals):
            if self._settings.removes:
                due = time.time() + self._settings.remove_delay
                records += remaining(self._journal, self._settings.name, arrivals, due)
            for row, arrival in returned(self._journal, self._settings.name, arrivals):
                logger.info("%s is there again", arrival.path)
                self.announce_again(row, arrival, "it is there again")
        self._journal.write(records, self._tell, fresh, then)

    def announce_unpacked(self, packed: Arrival, members: Sequence[Arrival], records: Sequence[Operation],
                          then: Callable[[], Any]) -> None:
        """Journal and publish what is new among *members*, unpacked from *packed*, whose path tells their metadata. *records* are
        written in the same transaction."""
        known = self.known(members)
        fresh = [item for member in members if (item := self._examine(member, known, packed.path)) is not None]
        files = [item.file for item in fresh]
        for member in members:
            if known.get(os.fsencode(member.path)) == (member.size, member.mtime_ns, member.inode):
                uid, path = last_part(member.path), os.fsencode(member.path)
                files.append(self._journal.find_one("row_of_path", (self._settings.name, uid, path))["id"])
        origin = (os.fsencode(packed.path), packed.device, packed.inode, packed.size, packed.mtime_ns)
        self._journal.write([
            *_records(fresh),
            ("add_packed", [(file, *origin) for file in files]), *records,
        ], self._tell, fresh, then)

    def announce_known(self, arrival: Arrival, file: int, records: Sequence[Operation], then: Callable[[], Any]) -> None:
        """Publish *arrival*, which has the row *file* in the journal already. *records* are written in the same transaction."""
        found = self._examine(arrival, {}, file=file)
        fresh = [] if found is None else [found]
        self._journal.write([("add_announcement", [item.announcement_row for item in fresh]), *records, covered_by_newer([file])],
                            self._tell, fresh, then)

    def announce_again(self, row: Any, arrival: Arrival, why: str = "again, says an operator") -> None:
        """Publish a file that has a row in the journal, and is still what it was, under a new number."""
        now = time.time()
        found = self._examine(arrival, {}, self._packed_in(row), row["id"], row["key"])
        if found is not None:
            line = step_line(State.ANNOUNCED, now, "", 0, why)
            records: list[Operation] = [("add_announcement", [found.announcement_row]),
                                        ("step", [(State.ANNOUNCED, now, 0, line, row["id"])])]
            self._journal.write(records, self._tell_again, found)

    def announce_anew(self, there: Sequence[tuple[Any, Arrival]]) -> int:
        """Journal and publish files that have rows in the journal, and are still what they were, as if they had just come; how
        many there are. (The rows themselves may be all that is left of what was forgotten, and go on to be.)"""
        fresh = [item for row, arrival in there
                 if (item := self._examine(arrival, {}, self._packed_in(row), key=row["key"])) is not None]
        if fresh:
            self._journal.write(_records(fresh), self._tell, fresh, None)
        return len(fresh)

    def _packed_in(self, row: Any) -> str:
        """The path of what a file was unpacked from; empty for others."""
        packed = self._journal.find_one("packed_of", (row["id"],))
        return os.fsdecode(packed["path"]) if packed is not None else ""

    def _tell_again(self, item: Fresh) -> None:
        self._is_written(item.arrival)
        self._announcer.tell_again(item.announcement)

    def can_announce(self, path: str) -> bool:
        """Whether *path* has a name we can write and metadata we can read."""
        return is_utf8(path) and self._pattern.parse(path) is not None

    def is_unwritten(self, path: str) -> bool:
        """Whether an arrival at *path* is on its way into the journal."""
        return os.fsencode(path) in self._unwritten

    def _tell(self, fresh: list[Fresh], then: Callable[[], Any] | None) -> None:
        """The journal has them: publish, in the order of their positions."""
        for item in fresh:
            self._is_written(item.arrival)
        self._announcer.tell([(item.announcement, item.file_row) for item in fresh])
        if then is not None:
            then()

    def _is_written(self, arrival: Arrival) -> None:
        """Look-ups see *arrival*; what came to its path meanwhile is still being written."""
        path = os.fsencode(arrival.path)
        if self._unwritten.get(path) is arrival:
            del self._unwritten[path]

    def known(self, arrivals: Sequence[Arrival]) -> dict[bytes, Content]:
        """What the journal has of these arrivals: by path, the content that was announced last."""
        names = orjson.dumps([name for name in (last_part(arrival.path) for arrival in arrivals) if is_utf8(name)])
        rows = self._journal.find("announced_files", (self._settings.name, names))
        return {row["path"]: (row["size"], row["mtime_ns"], row["inode"]) for row in rows}

    def _examine(self, arrival: Arrival, known: dict[bytes, Content], named: str = "", file: int = 0,
                 key: str = "") -> Fresh | None:
        """What to announce, or None for what is empty, known, or cannot be announced. Metadata are read from the path *named*
        where it is another one; *file* is the row in the journal where there is one already, *key* what it was announced with."""
        if arrival.size == 0:
            logger.debug("%s is empty: not announced", arrival.path)
            return None
        path = os.fsencode(arrival.path)
        if self._unwritten.get(path) == arrival or known.get(path) == (arrival.size, arrival.mtime_ns, arrival.inode):
            return None
        if known.get(path) == (arrival.size, arrival.mtime_ns, REMOVED) and not has_content(arrival.path):
            return None  # it was seen before we removed it
        fields = self._pattern.parse(named or arrival.path)
        if fields is None:
            if self._origin.refuses(path):
                logger.warning("%r matches the wildcards of origin, but its fields cannot be read: not announced", arrival.path)
            return None
        try:
            fresh = self._composed(arrival, path, fields, file, key, self._before(path) or known.get(path))
        except (UnicodeEncodeError, MalformedMessage) as error:
            if self._origin.refuses(path):
                logger.error("%r cannot be announced (%s): give it a name in UTF-8", path, error)
            return None
        self._unwritten[path] = arrival
        return fresh

    def _before(self, path: bytes) -> Content | None:
        """What is being written of the path."""
        arrival = self._unwritten.get(path)
        return None if arrival is None else (arrival.size, arrival.mtime_ns, arrival.inode)

    def _composed(self, arrival: Arrival, path: bytes, fields: dict[str, Any], file: int, key: str,
                  before: Content | None) -> Fresh:
        topic, uid = self._settings.topic, last_part(arrival.path)
        uid.encode("utf-8")
        file = file or self._journal.new_file()
        if not key:  # a file that only looks like the one before it: consumers would take it for what they have
            looks_alike = before is not None and before[:2] == (arrival.size, arrival.mtime_ns)
            times = (arrival.mtime_ns, file) if looks_alike else (arrival.mtime_ns,)
            key = content_key(topic, (arrival.path,), (arrival.size,), times)
        kind, data = said_of(arrival.path, fields, arrival.members, self._settings, self._announcer.address)
        announcement = self._announcer.compose(file, kind, data, key, arrival.size, arrival.mtime_ns)
        now = time.time()
        row = (file, self._settings.name, uid, key, State.ANNOUNCED, now, step_line(State.ANNOUNCED, now), None, arrival.size,
               path, arrival.device, arrival.inode, arrival.mtime_ns, None, None, None, 0, now)
        return Fresh(arrival, announcement, row, announcement.row(topic, now), before is not None)


def _records(fresh: Sequence[Fresh]) -> list[Operation]:
    """What the journal gets of new arrivals."""
    replacing = [item.file for item in fresh if item.replaces]
    return [("add_file", [item.file_row for item in fresh]), ("add_announcement", [item.announcement_row for item in fresh]),
            *([covered_by_newer(replacing)] if replacing else [])]


def still(row: Any) -> Arrival | None:
    """The file of a row of the journal, if it is there and the same."""
    try:
        status = os.lstat(row["path"])
    except OSError:
        return None
    if (status.st_size, status.st_mtime_ns, status.st_ino) != (row["size"], row["mtime_ns"], row["inode"]):
        return None
    return Arrival(os.fsdecode(row["path"]), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def has_content(path: str) -> bool:
    """Whether there is something to announce."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size > 0


def said_of(path: str, fields: Mapping[str, Any], members: Sequence[str], settings: ServerSettings,
            address: str | None) -> tuple[str, dict[str, Any]]:
    """Type and data of the announcement of a file: the *address* to ask for it, or else how to fetch it."""
    metadata = {**settings.info.plain(), **fields}
    if address is not None:
        return "file", {**metadata, "uri": path, "uid": last_part(path), "request_address": address}
    kind, data = standalone.described(path, settings.archives, members)
    return kind, data | {name: value for name, value in metadata.items() if name not in standalone.OWN}
