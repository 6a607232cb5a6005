"""Who is heard in two ways is heard once."""

from __future__ import annotations

from collections import OrderedDict

from trollmoves.messages import Message, digest_of

KEPT = 10_000
"""Digests of messages heard last."""


class Once:
    """Knows the publications that came lately; belongs to the loop."""

    def __init__(self) -> None:
        self._heard: OrderedDict[bytes, None] = OrderedDict()

    def is_news(self, message: Message) -> bool:
        """Whether *message* comes for the first time."""
        digest = digest_of(message)
        if digest in self._heard:
            return False
        self._heard[digest] = None
        if len(self._heard) > KEPT:
            self._heard.popitem(last=False)
        return True
