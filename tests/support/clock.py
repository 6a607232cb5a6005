"""A clock that moves only when told."""

from __future__ import annotations


class Clock:
    """Seconds, as `time.time` would give them; call it or ask `now()`."""

    def __init__(self, now: float = 1_800_000_000.0):
        self._now = float(now)

    def now(self) -> float:
        """The present, in seconds."""
        return self._now

    __call__ = now

    def advance(self, seconds: float) -> float:
        """Let *seconds* pass (a negative number is a clock set back) and return the new present."""
        self._now += seconds
        return self._now

    def set(self, now: float) -> None:
        """Make it *now*."""
        self._now = float(now)
