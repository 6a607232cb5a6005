"""Results: the messages about files that were delivered. Journaled before they are sent, so that a restart sends them again."""

from __future__ import annotations

import logging
import time

import orjson

from trollmoves import crashing
from trollmoves.bus import Loop
from trollmoves.bus.streaming import Stream
from trollmoves.errors import MalformedMessage
from trollmoves.journal import Journal
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import EXTENSION, PROTOCOL, Envelope, decode, sent_again

logger = logging.getLogger(__name__)


ON_ITS_WAY = 0.25
"""Seconds a message gets to leave the process before the journal counts it as published."""


class Results:
    """Belongs to the loop."""

    def __init__(self, role: str, loop: Loop, journal: Journal, envelope: Envelope, stream: Stream):
        self._stream = stream
        self._role = role
        self._loop = loop
        self._sent: list[int] = []
        """Files whose messages are on their way."""
        self._journal = journal
        self._envelope = envelope
        self.send = stream.send
        """Sends a message that stands in no journal."""

    def numbered(self, raw: bytes, position: int, previous: int) -> bytes:
        """A publication with the number that it has in the journal, for those who ask for what they missed."""
        message = decode(raw)
        said = {"version": PROTOCOL, "epoch": self._journal.epoch, "offset": position, "previous": previous}
        return self._envelope.encode(message.subject, message.type, {**message.fields, EXTENSION: said})

    def publish(self, file: int, raw: bytes) -> None:
        """Send what the journal has as the publication of *file*."""
        message = decode(raw)
        if "offset" in message.extension:
            self._stream.publish(raw, message.subject, message.extension["offset"])
        else:
            self.send(raw)
        crashing.point(f"{self._role}.published")
        if not self._sent:
            self._loop.after(ON_ITS_WAY, self._record)
        self._sent.append(file)

    @property
    def on_their_way(self) -> int:
        """How many messages were sent and are not recorded as published."""
        return len(self._sent)

    def _record(self) -> None:
        """A queue in memory is not the network: a process that is killed now has said what was sent a while ago."""
        now, files = time.time(), orjson.dumps(self._sent).decode()
        self._sent = []
        self._journal.write([("step_all", [(State.PUBLISHED, now, step_line(State.PUBLISHED, now), files)])])

    def publish_again(self) -> None:
        """What was journaled before the last stop, and perhaps sent."""
        for chain in [row["chain"] for row in self._journal.find("chains")]:
            for row in self._journal.find("unpublished", (chain, 0, -1)):
                try:
                    self.publish(row["file"], sent_again(row["message"].encode(), self._envelope))
                except MalformedMessage as error:
                    logger.error("a result in the journal cannot be published: %s", error)
