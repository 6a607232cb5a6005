"""Relay: what is heard in front is announced behind, under our address and numbers. Journaled first, published then.

One row of the journal has both: the announcement that was heard, with its provider, and the place where it stands in ours.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from trollmoves import crashing
from trollmoves.bus import Loop
from trollmoves.bus.few_lines import Sparingly
from trollmoves.bus.streaming import Stream
from trollmoves.client.asking import Asking
from trollmoves.client.deciding import Known, may_differ
from trollmoves.client.flight import Flight, Source
from trollmoves.client.ledger import Ledger
from trollmoves.config.mirrors import MirrorSettings
from trollmoves.errors import DestinationInvalid
from trollmoves.journal import Journal, Operation
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import EXTENSION, PROTOCOL, Announcement, Envelope, Message, decode, read_announcement, uris_of
from trollmoves.mirror.doubting import Doubting, is_decided, is_left
from trollmoves.mirror.parts import parts_of
from trollmoves.patterns import Pattern
from trollmoves.server.recent import Recent
from trollmoves.server.requests import announced_path

logger = logging.getLogger(__name__)

MOST_MIRRORS = 8
"""Mirrors an announcement may have passed through."""
TOLD = ("key", "size", "mtime", "expires")
"""What our extension says of the content, which every mirror hands on."""
AT_ONCE = 200
LOOK_AGAIN = 0.02


class Fresh(NamedTuple):
    """What will be published when the journal has it."""

    file: int
    identity: str
    subject: str
    position: int
    raw: bytes
    heard: Announcement
    row: tuple[Any, ...]
    """As it stands in the journal; empty for one that waited for its `delay`."""


class Relaying:
    """Announces what one section hears; belongs to the loop."""

    def __init__(self, settings: MirrorSettings, mirror: str, address: str, ledger: Ledger, journal: Journal, loop: Loop,
                 envelope: Envelope, stream: Stream, recent: Recent, asking: Asking, told: Callable[[int, Announcement], Any],
                 doubting: Doubting):
        """*mirror* names us among all mirrors, *address* is where clients send their requests; *told* is called with what was
        announced."""
        self._settings = settings
        self._mirror = mirror
        self.address = address
        self._ledger = ledger
        self._journal = journal
        self._loop = loop
        self._envelope = envelope
        self._stream = stream
        self._recent = recent
        self._asking = asking
        self._names = names_of(settings)
        self._told = told
        self._doubting = doubting
        self._noted: list[Fresh] = []
        """What was heard in this turn of the loop; position 0 where it is announced later."""
        self._depths: dict[int, int] = {}
        """Of files that are being written: through how many mirrors their announcement came."""
        self._delayed: deque[tuple[float, int]] = deque()
        """When (monotonic) which file is to be announced."""
        self._refused, self._drops = Sparingly(logger), Sparingly(logger, logging.INFO)
        self.dropped = self._dropped_before()
        """Announcements that had been here before, or had passed through too many mirrors."""
        self._open = True

    def start(self) -> None:
        """Take up what waited for its `delay` when the last process ended."""
        for row in self._journal.find("files_in_state", (self._settings.name, State.SEEN)):
            self._delay(row["created"], row["id"])

    def stop(self) -> None:
        """Announce nothing more that waits for its `delay`."""
        self._open = False

    # What is heard.

    def is_welcome(self, announcement: Announcement) -> bool:
        passed = via(announcement.message)
        if self._mirror in passed or len(passed) > MOST_MIRRORS:
            self._drop(announcement, passed)
            return False
        try:
            parts = parts_of(announcement.message.fields)
        except DestinationInvalid as error:
            self._refused.say("[%s] %s of %s is not mirrored: %s", self._settings.name, announcement.identity,
                              announcement.address, error)
            return False
        return all(fnmatchcase(part.name, self._names) for part in parts)

    def begin(self, source: Source, before: int) -> None:
        if self._doubting.begins_anew(before, source):
            return
        announcement, now, file = source.announcement, time.time(), self._journal.new_file()
        state = State.SEEN if self._settings.delay else State.ANNOUNCED
        message = announcement.message
        path = announced_path(uris_of(message.fields))
        row = (file, self._settings.name, announcement.identity, announcement.key, state, now,
               step_line(state, now, source.provider), None, announcement.size, path, None, None, None, source.provider,
               message.raw.decode(), None, 0, now)
        if self._settings.delay:
            fresh, record = Fresh(file, announcement.identity, message.subject, 0, b"", announcement, row), None
        else:
            fresh, record = self._composed(file, announcement, now, row)
        self._ledger.add("add_file", row)
        if record is not None:
            self._ledger.add("add_announcement", record)
        self._ledger.remember(announcement.identity, file, Known.of(state, announcement))
        self._depths[file] = len(via(message))
        self._noted.append(fresh)

    def committing(self, then: Callable[[], Any] | None) -> Callable[[], Any]:
        fresh, self._noted = self._noted, []

        def committed() -> None:
            self.tell(fresh)
            if then is not None:
                then()
        return committed

    def also_from(self, file: int, source: Source) -> None:
        """One more to ask, if it is not farther from where the file comes from than the first: mirrors that are as near as we are
        or nearer never wait for us, so that they never wait for each other in a circle. What may be other content than what we
        have had is asked for on condition."""
        row = self._doubting.row_of(file, source)
        file = file if row is None else row["id"]
        if row is not None and self._doubting.takes(row, source):
            return
        known = self._ledger.versions(source.announcement.identity).get(file) if row is None else None
        key = row["key"] if row is not None else known.key if known is not None else ""
        differs = may_differ(key, source.announcement.key)
        if len(via(source.announcement.message)) > self._depth_of(file):
            if differs:
                self._doubting.put_off(row, source)
            return
        self._ledger.add("add_source", (file, source.provider, source.announcement.message.raw.decode()))
        self._asking.add_source(file, source)
        released, decided = self._journal.find_one("is_released", (file,)) is not None, row is not None and is_decided(row)
        if (differs and (released or decided)) or (decided and is_left(row)):
            self._doubting.leave(row, source.provider)
        elif released and source.announcement.epoch:  # its providers are told once more
            self._ledger.add("add_removal", (file, self._settings.name, time.time()))
            self._ledger.add("delay_removal", (time.time(), file))
        elif released or decided:
            self._asking.acknowledging.tell(source)

    def again(self, file: int, source: Source) -> None:
        """Its provider has again what it did not have when a client asked, to whom it was refused for good: others may have it
        since, but that one asks only when it is announced again."""
        announcement = source.announcement
        known = self._ledger.versions(announcement.identity).get(file)
        if known is not None and known.epoch == announcement.epoch and known.offset < announcement.offset:
            self.is_there_again(file, announcement)

    def is_there_again(self, file: int, announcement: Announcement) -> None:
        """We have it, or can have it: have those ask for it to whom it was refused for good."""
        if self._journal.find_one("is_refused", (file,)) is None:
            return
        now = time.time()
        fresh, record = self._composed(file, announcement, now, ())
        line = step_line(State.ANNOUNCED, now, detail="it is there again")
        self._journal.write([("add_announcement", [record]), ("note", [{"line": line, "id": file}])], self.tell, [fresh])

    def _depth_of(self, file: int) -> int:
        if file in self._depths:
            return self._depths[file]
        row = self._journal.find_one("file", (file,))
        return 0 if row is None else len(via(decode(row["message"].encode())))

    # What is announced.

    def tell(self, fresh: list[Fresh]) -> None:
        """The journal has them: publish, in the order of their positions."""
        if not fresh:
            return
        crashing.point("mirror.announced")
        for item in fresh:
            self._depths.pop(item.file, None)
            self._ledger.forget(item.identity, item.file)
            if not item.position:
                self._delay(item.row[-1], item.file)
                continue
            if item.row:
                self._recent.add(item.position, item.row)
            self._stream.publish(item.raw, item.subject, item.position)
            self._told(item.file, item.heard)
        crashing.point("mirror.published")

    def _composed(self, file: int, announcement: Announcement, now: float, row: tuple[Any, ...]) -> tuple[Fresh, tuple[Any, ...]]:
        """Our announcement of what was heard, and its row for the journal."""
        heard = announcement.message
        position, previous = self._journal.new_position(heard.subject)
        told = {name: heard.extension[name] for name in TOLD if announcement.epoch and name in heard.extension}
        extension = {**told, "version": PROTOCOL, "epoch": self._journal.epoch, "offset": position, "previous": previous,
                     "address": self.address, "via": [*via(heard), self._mirror]}
        data = {**heard.fields, "request_address": self.address, EXTENSION: extension}
        raw = self._envelope.encode(heard.subject, heard.type, data)
        return (Fresh(file, announcement.identity, heard.subject, position, raw, announcement, row),
                (position, file, heard.subject, previous, raw.decode(), now))

    def announced_late(self, flight: Flight, now: float) -> tuple[Fresh, list[Operation]]:
        """Our announcement of *flight*, which was fetched unannounced and is other content than what was fetched before; and what
        is to be written."""
        announcement = flight.source.announcement
        fresh, record = self._composed(flight.id, announcement, now, ())
        path = announced_path(uris_of(announcement.message.fields))
        row = (now, flight.identity, announcement.key, announcement.size, path, None, None, None,
               step_line(State.ANNOUNCED, now), flight.id)
        return fresh, [("announce_heard", [row]), ("add_announcement", [record])]

    def _delay(self, heard: float, file: int) -> None:
        """Announce *file* when its `delay` is over."""
        wait = min(max(0.0, heard + self._settings.delay - time.time()), self._settings.delay)
        self._delayed.append((time.monotonic() + wait, file))
        if len(self._delayed) == 1:
            self._loop.after(wait, self._announce_due)

    def _announce_due(self) -> None:
        """Announce what has waited for its `delay`."""
        if not self._open:
            return
        now, steady = time.time(), time.monotonic()
        fresh: list[Fresh] = []
        records: list[tuple[Any, ...]] = []
        steps: list[tuple[Any, ...]] = []
        while self._delayed and self._delayed[0][0] <= steady and len(fresh) < AT_ONCE:
            row = self._journal.find_one("file", (self._delayed.popleft()[1],))
            if row is not None and row["state"] == State.SEEN:
                announcement = read_announcement(decode(row["message"].encode()))
                item, record = self._composed(row["id"], announcement, now, ())
                fresh.append(item)
                records.append(record)
                steps.append((State.ANNOUNCED, now, 0, step_line(State.ANNOUNCED, now), row["id"]))
        if fresh:
            self._journal.write([("add_announcement", records), ("step", steps)], self.tell, fresh)
        if self._delayed:
            self._loop.after(max(LOOK_AGAIN, self._delayed[0][0] - steady), self._announce_due)

    # What comes back.

    def _dropped_before(self) -> int:
        row = self._journal.find_one("meta", (self._meta,))
        return 0 if row is None else int(row["value"])

    @property
    def _meta(self) -> str:
        return f"dropped:{self._settings.name}"

    def _drop(self, announcement: Announcement, passed: list[str]) -> None:
        self.dropped += 1
        self._ledger.add("put_meta", (self._meta, str(self.dropped)))
        why = "it has been here before" if self._mirror in passed else f"it has passed through {len(passed)} mirrors"
        self._drops.say("[%s] %s of %s is not mirrored: %s (%d so far)", self._settings.name, announcement.identity,
                        announcement.address, why, self.dropped)


def via(message: Message) -> list[str]:
    """The mirrors that an announcement has passed through, the first one first."""
    found = message.extension.get("via")
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def names_of(settings: MirrorSettings) -> str:
    """The names that `origin` lets through, with wildcards."""
    return os.path.basename(Pattern(settings.origin).glob) if settings.origin else "*"
