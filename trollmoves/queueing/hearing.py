"""Hearing: what messages ask for is in the journal before anything is done for it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from trollmoves import crashing
from trollmoves.bus.once import Once
from trollmoves.bus.subscribing import Subscribing
from trollmoves.errors import MalformedMessage
from trollmoves.journal import Journal
from trollmoves.messages import Message

logger = logging.getLogger(__name__)

MUCH, LITTLE = 2000, 200
"""Groups of records that wait for the disk: no more messages are taken in above the first number, until below the second."""

Rows = Iterable[tuple[Any, ...]]


class Hearing:
    """Belongs to the loop."""

    def __init__(self, role: str, journal: Journal, rows_of: Callable[[Message], Rows], journaled: Callable[[set[str]], Any]):
        """*rows_of* says what to write (as `add_file` takes it) of a message; *journaled* is told the chains that got rows."""
        self._role = role
        self._journal = journal
        self._rows_of = rows_of
        self._told = journaled
        self._once = Once()
        self.subscribing: Subscribing | None = None
        """Paused while the disk does not follow."""

    def received(self, messages: list[Message]) -> None:
        """Take in messages."""
        rows = [row for message in messages if self._once.is_news(message.raw) for row in self._rows(message)]
        if not rows:
            return
        crashing.point(f"{self._role}.heard")
        self._journal.write([("add_file", rows)], self._journaled, {row[1] for row in rows})
        if self._journal.waiting > MUCH and self.subscribing is not None:
            self.subscribing.pause()

    def close(self) -> None:
        """Hear no more."""
        if self.subscribing is not None:
            self.subscribing.close()

    def _rows(self, message: Message) -> list[tuple[Any, ...]]:
        try:
            return list(self._rows_of(message))
        except MalformedMessage as error:
            logger.warning("%s %s from %s is not used: %s", message.subject, message.type, message.sender, error)
        except Exception:  # whatever we overlooked: a message must not stop those that come after it
            logger.exception("%s %s from %s is not used", message.subject, message.type, message.sender)
        return []

    def _journaled(self, chains: set[str]) -> None:
        crashing.point(f"{self._role}.journaled")
        if self.subscribing is not None and self._journal.waiting < LITTLE:
            self.subscribing.resume()
        self._told(chains)
