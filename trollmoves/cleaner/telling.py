"""Tell the world what was removed: one message with the subject `/deletion` and the type `del` for each file."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from trollmoves.bus import Loop, Publisher
from trollmoves.bus.sockets import end_context, message_version
from trollmoves.cleaner.settings import Publishing
from trollmoves.messages import Envelope

NAME = "remover"
"""Under which name servers know this publisher."""
SUBJECT = "/deletion"
HEAD_START = 3.0
"""Seconds that subscribers get to connect before the first message, as upstream gives them."""
LINGER = 2000
"""Milliseconds for the last messages to leave."""
TURN_EVERY = 100
"""Messages between two looks at who subscribed meanwhile."""


class Telling:
    """Publishes deletions; belongs to the thread that made it."""

    def __init__(self, publishing: Publishing):
        """Raises `ConfigurationError` when the port cannot be had."""
        self._loop = Loop()
        self._envelope = Envelope.of_this_process(message_version())
        self._publisher = Publisher(self._loop, publishing.port, address=publishing.address)
        self._count = 0
        nameservers = publishing.nameservers
        if not isinstance(nameservers, bool):
            self._publisher.advertise(NAME, nameservers)

    def wait(self) -> None:
        """Give subscribers the time to connect."""
        deadline = time.monotonic() + HEAD_START
        while (left := deadline - time.monotonic()) > 0:
            self._loop.turn(left)

    def removed(self, path: str) -> None:
        """Say that a file is no more."""
        self._publisher.send(self._envelope.encode(SUBJECT, "del", {"uri": path}))
        self._count += 1
        if self._count % TURN_EVERY == 0:
            self._loop.turn(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._publisher.close(LINGER)
        self._loop.close()
        end_context()
