"""Introduce: a provider of ours is told who we are and what we listen to before it is asked for anything.

It waits for us with the files of a topic from when it was told that we listen to it; a client that gets one more may have to
wait, or go away, before it asks for the first file of that.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from trollmoves.bus.catching_up import CatchUp
from trollmoves.messages import Message

AGAIN = 3 * 3600.0
"""Seconds after which it is told again, asked for files or not: who goes by our name may listen to less."""


class Introducing:
    """Of one chain to one provider; belongs to the loop."""

    def __init__(self, who: Mapping[str, Any], subject: str, provider: CatchUp):
        """*who* says who we are. *subject* is that of our messages."""
        self._who = who
        self._subject = subject
        self._provider = provider
        self._told: tuple[Any, Any] = None, None
        """The journal and the start of the process that was told."""
        self._when = -math.inf
        self._asking = False

    def beat(self, said: Mapping[str, Any]) -> None:
        """A heartbeat of the provider came, and says this in our extension."""
        process = said.get("epoch"), said.get("started")
        if said and not self._asking and (process != self._told or time.monotonic() - self._when > AGAIN):
            self._asking = self._provider.ask("ping", self._subject, self._who, partial(self._answered, process))

    def _answered(self, process: tuple[Any, Any], reply: Message | None) -> None:
        """It knows, or is told again with its next heartbeat."""
        self._asking = False
        if reply is not None and reply.type == "pong":
            self._told, self._when = process, time.monotonic()
