"""Heartbeats in upstream's form: they say that a publisher is there, and nothing more."""

from __future__ import annotations

from typing import Any

from trollmoves.bus import Loop, Publisher
from trollmoves.messages import Envelope

INTERVAL = 30.0
"""Seconds between two beats."""
FIRST = 1.0


class Beats:
    """Belongs to the loop."""

    def __init__(self, name: str, loop: Loop, envelope: Envelope, publisher: Publisher):
        self._subject = f"/heartbeat/{name}"
        self._loop = loop
        self._envelope = envelope
        self._publisher = publisher
        self._open = True
        loop.after(FIRST, self._again)

    def close(self) -> None:
        self._open = False

    def _again(self) -> None:
        if self._open:
            data: dict[str, Any] = {"min_interval": int(INTERVAL)}
            self._publisher.send(self._envelope.encode(self._subject, "beat", data))
            self._loop.after(INTERVAL, self._again)
