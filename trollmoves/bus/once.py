"""Who is heard in two ways is heard once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

KEPT = 10_000
"""Digests of messages heard last."""


class Once:
    """Knows the messages that came lately, letter by letter; belongs to the loop."""

    def __init__(self) -> None:
        self._heard: OrderedDict[bytes, None] = OrderedDict()

    def is_news(self, raw: bytes) -> bool:
        """Whether *raw* comes for the first time."""
        digest = hashlib.sha256(raw).digest()
        if digest in self._heard:
            return False
        self._heard[digest] = None
        if len(self._heard) > KEPT:
            self._heard.popitem(last=False)
        return True
