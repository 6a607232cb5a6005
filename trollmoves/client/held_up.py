"""Held up: files wait because the host where they shall go does not work, or is refused. When are they tried again?

The first that gets there has all others tried at once. So it does not matter which of them are tried until then, and as many as a
day brings must not be tried over and over: that would be all that their provider, who serves others as well, has time for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

RATE = 5.0
"""Files of one provider that are tried again in a second, as long as none gets there."""
LONGEST = 3600.0
"""Seconds; none waits for longer, so that of very many more are tried."""
MOST_PROVIDERS = 1000
HURRY_EVERY = 10.0
"""Seconds between two times that all are tried at once, at least. Twice as many each time when it was in vain: files for a host
that works must not have those for another one tried over and over."""
RAREST = 600.0
SURE_EVERY = 30.0
"""The same, at most, when one got there that had failed before: then it is likely that the host works again."""
GOLDEN = 0.618
"""Steps of this part of a whole are spread evenly over it, however many they are."""


class HeldUp:
    """Of one client chain; belongs to the loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._planned: dict[str, float] = {}
        """By provider that could not reach a host: until when tries are planned."""
        self._share = 0.0
        self._last, self._pause = -math.inf, HURRY_EVERY
        """When all were tried at once last, and for how long not again."""

    def note(self, provider: str) -> None:
        """*provider* could not reach a host."""
        if len(self._planned) >= MOST_PROVIDERS and provider not in self._planned:
            del self._planned[next(iter(self._planned))]
        self._planned.setdefault(provider, 0.0)

    def wait(self, provider: str, seconds: float) -> float:
        """For how long one of its files has to wait: *seconds*, or until its turn has come."""
        self.note(provider)
        now = self._clock()
        turn = max(self._planned[provider], now) + 1 / RATE
        if turn - now > LONGEST:
            self._share = (self._share + GOLDEN) % 1
            return max(seconds, LONGEST * (1 + self._share) / 2)
        self._planned[provider] = turn
        return max(seconds, turn - now)

    def delivered(self, provider: str, *, failed_before: bool) -> bool:
        """*provider* could deliver a file, which may have *failed_before*: whether all that waits for another try there is to be
        tried now. (After a restart much may wait that nobody noted.)"""
        now = self._clock()
        if not (failed_before or provider in self._planned):
            return False
        if now < self._last + (min(self._pause, SURE_EVERY) if failed_before else self._pause):
            return False
        self._planned.pop(provider, None)
        in_vain = now - self._last < 2 * self._pause
        self._pause = min(2 * self._pause, RAREST) if in_vain else HURRY_EVERY
        self._last = now
        return True
