"""What a chain says: announcements with their numbers, published once the journal has them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from trollmoves import crashing
from trollmoves.bus import Loop
from trollmoves.bus.streaming import Stream
from trollmoves.config.settings import ServerSettings
from trollmoves.journal import Journal, Operation
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import EXTENSION, PROTOCOL, Envelope, sent_again
from trollmoves.queueing.results import ON_ITS_WAY
from trollmoves.server.recent import Recent


class Numbered(NamedTuple):
    """An announcement and its place in the journal."""

    file: int
    position: int
    previous: int
    raw: bytes

    def row(self, topic: str, now: float) -> tuple[Any, ...]:
        """For `add_announcement`."""
        return self.position, self.file, topic, self.previous, self.raw.decode(), now


class Announcer:
    """Composes and publishes for one chain; belongs to the loop."""

    def __init__(self, settings: ServerSettings, request_address: str | None, loop: Loop, journal: Journal, envelope: Envelope,
                 stream: Stream, recent: Recent):
        self.topic = settings.topic
        self.address = request_address
        self.info = settings.info.plain()
        self._loop = loop
        self._sent: list[int] = []
        """Files nobody can ask for, whose announcements are on their way."""
        self._lifetime = settings.delete_after
        self._journal = journal
        self._envelope = envelope
        self._stream = stream
        self._recent = recent

    def compose(self, file: int, kind: str, data: Mapping[str, Any], key: str, size: int | None, mtime_ns: int) -> Numbered:
        """The announcement of *file* with these data. Raises `MalformedMessage` or `UnicodeEncodeError` for what nobody could
        read."""
        position, previous = self._journal.new_position(self.topic)
        extension: dict[str, Any] = {
            "version": PROTOCOL, "epoch": self._journal.epoch, "offset": position, "previous": previous,
            "address": self.address, "key": key, "size": size, "mtime": mtime_ns / 1e9,
        }
        if self._lifetime is not None:
            extension["expires"] = time.time() + self._lifetime
        return Numbered(file, position, previous, self._envelope.encode(self.topic, kind, {**data, EXTENSION: extension}))

    def tell_again(self, announcement: Numbered) -> None:
        """The journal has this announcement of a file that was announced before: publish it."""
        self._stream.publish(announcement.raw, self.topic, announcement.position)

    def tell(self, written: Sequence[tuple[Numbered, tuple[Any, ...]]]) -> None:
        """The journal has these announcements, with their rows of `files`: publish, in the order of their positions."""
        if not written:
            return
        crashing.point("server.announced")
        for announcement, row in written:
            if self.address is not None:
                self._recent.add(announcement.position, row)
            self._stream.publish(announcement.raw, self.topic, announcement.position)
        crashing.point("server.published")
        if self.address is None:
            self._on_their_way([announcement.file for announcement, _ in written])

    def repeat(self, rows: Sequence[Any]) -> None:
        """Publish announcements that nobody can ask for (rows of the journal) and that perhaps were sent before, saying so."""
        for row in rows:
            self._stream.send(sent_again(row["message"].encode(), self._envelope))
        if rows:
            self._on_their_way([row["file"] for row in rows])

    def _on_their_way(self, files: Sequence[int]) -> None:
        if not self._sent:
            self._loop.after(ON_ITS_WAY, self.record)
        self._sent += files

    def record(self) -> None:
        """Note what was sent: a little later, because what a kill catches in the queue has to be sent again."""
        sent, self._sent = self._sent, []
        if sent:
            self._journal.write([_told(sent)])


def _told(files: Sequence[int]) -> Operation:
    """The record that files nobody can ask for were published: there is nothing more to do about them."""
    now = time.time()
    return "step_all", [(State.PUBLISHED, now, step_line(State.PUBLISHED, now), orjson.dumps(list(files)).decode())]
