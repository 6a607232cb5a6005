"""Results: the messages about files that were delivered. Journaled before they are sent, so that a restart sends them again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from trollmoves import crashing
from trollmoves.errors import MalformedMessage
from trollmoves.journal import Journal
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import EXTENSION, PROTOCOL, Envelope, Message, decode

logger = logging.getLogger(__name__)


class Results:
    """Belongs to the loop."""

    def __init__(self, role: str, journal: Journal, envelope: Envelope, send: Callable[[bytes], Any]):
        self._role = role
        self._journal = journal
        self._envelope = envelope
        self.send = send
        """Sends a message that stands in no journal."""

    def publish(self, file: int, raw: bytes) -> None:
        """Send what the journal has as the publication of *file*."""
        self.send(raw)
        crashing.point(f"{self._role}.published")
        now = time.time()
        self._journal.write([("step_all", [(State.PUBLISHED, now, step_line(State.PUBLISHED, now), f"[{file}]")])])

    def publish_again(self) -> None:
        """What was journaled before the last stop, and perhaps sent."""
        for chain in [row["chain"] for row in self._journal.find("chains")]:
            for row in self._journal.find("unpublished", (chain,)):
                try:
                    self.publish(row["file"], sent_again(self._envelope, decode(row["message"].encode())))
                except MalformedMessage as error:
                    logger.error("a result in the journal cannot be published: %s", error)


def sent_again(envelope: Envelope, message: Message) -> bytes:
    """A message that was perhaps sent before, saying so."""
    return envelope.encode(message.subject, message.type,
                           {**message.fields, EXTENSION: {"version": PROTOCOL, "redelivered": True}})
