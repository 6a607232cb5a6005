"""A publisher's numbered stream: it remembers what was sent last under each subject, and says so in its heartbeats.

Beats have upstream's form; their extension tells subscribers what they should have seen, so that even the loss of the last
message is noticed: `epoch` of the journal; `head`, up to which all was sent; `since`, the head at the beat before; `heads`, for
each subject published after `since` the position of its last message; `address`, where to ask for a replay; `started`, when the
process began.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from trollmoves.bus.loop import Loop
from trollmoves.bus.publishing import Publisher
from trollmoves.messages import EXTENSION, PROTOCOL, Envelope

INTERVAL = 5.0
"""Seconds between two beats."""
ADVERTISED = 30
"""Seconds said to be between two beats; upstream's monitors take it as the longest."""
MOST_SUBJECTS = 200
SOON = 0.05


class Stream:
    """Publishes numbered messages and beats; belongs to the loop."""

    def __init__(self, name: str, loop: Loop, epoch: str, head: int, envelope: Envelope, publisher: Publisher,
                 address: Callable[[], str | None], more: Callable[[], Mapping[str, Any]] = dict,
                 unsent: Callable[[], int | None] = lambda: None):
        """*head* is the last position in the journal; *address* tells where replays are answered, if anywhere; what *more* tells
        is added to each beat. *unsent* tells the first position whose message is still to be sent; later ones may have been.
        Whoever subscribes is told at once where we are, if *publisher* tells nobody else of it."""
        self._more = more
        self._subject = "/heartbeat/" + "_".join(name.split())  # white space ends a subject, and a section's name may have some
        self._loop = loop
        self._epoch = epoch
        self._envelope = envelope
        self._publisher = publisher
        self._address = address
        self._started = time.time()
        self._head = self._since = head
        self._unsent = unsent
        self._told = 0
        """The head in the last beat."""
        self._heads: dict[str, int] = {}
        self._soon = self._closed = False
        publisher.subscribed_by(lambda topic: self.beat_soon())
        loop.after(1.0, self._again)

    @property
    def is_heard(self) -> bool:
        """Whether anybody listens: notices that nobody would get need not be made."""
        return self._publisher.is_heard

    def publish(self, raw: bytes, subject: str, position: int) -> None:
        """Send a message that stands in the journal at *position*."""
        self._publisher.send(raw)
        if position > self._told:  # not one that is sent again
            self._head = max(self._head, position)
            self._heads[subject] = max(self._heads.get(subject, 0), position)

    def send(self, raw: bytes) -> None:
        """Send a message that has no number (a notice, or one sent again)."""
        self._publisher.send(raw)

    def beat_soon(self) -> None:
        """Somebody has just subscribed: let it know where we are."""
        if not self._soon:
            self._soon = True
            self._loop.after(SOON, self._beat)

    def _again(self) -> None:
        if not self._closed:
            self._beat()
            self._loop.after(INTERVAL, self._again)

    def _beat(self) -> None:
        self._soon = False
        if self._closed:
            return
        unsent = self._unsent()
        self._told = max(self._told, self._head if unsent is None else min(self._head, unsent - 1))
        extension: dict[str, Any] = {
            "version": PROTOCOL, "epoch": self._epoch, "head": self._told, "since": self._since, "started": self._started,
            "address": self._address(), **self._more(),
        }
        if len(self._heads) <= MOST_SUBJECTS:
            extension["heads"] = self._heads
        self._publisher.send(self._envelope.encode(self._subject, "beat", {"min_interval": ADVERTISED, EXTENSION: extension}))
        self._since = max(self._since, self._told)  # at the start all that is in the journal was sent by somebody else
        self._heads = {subject: position for subject, position in self._heads.items() if position > self._told}

    def close(self) -> None:
        """No more beats, and the socket goes."""
        self._closed = True
        self._publisher.close()


class Unheard(Stream):
    """The stream of one who publishes nothing."""

    def __init__(self) -> None:
        """No socket, and no beats."""

    @property
    def is_heard(self) -> bool:
        return False

    def publish(self, raw: bytes, subject: str, position: int) -> None:
        pass

    def send(self, raw: bytes) -> None:
        pass

    def beat_soon(self) -> None:
        pass

    def close(self) -> None:
        pass
