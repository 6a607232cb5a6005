"""How many bytes a second go to one host, for all threads of a process together.

Bytes that go to a host take their time on that host's clock, and whoever sends waits until it has passed, without holding any
lock. Nothing is saved up while nobody sends, so the limit is never exceeded for a moment either. Sections that limit the same
host share its clock; the bytes of sections without a limit do not count.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

PERIOD = 0.25
"""Seconds that the bytes handed over at once may take: short enough for every time limit, also that of a server."""
MOST_HOSTS = 1000
"""More are forgotten when they are idle."""


class Bandwidth:
    """The limits of all sections and the clocks of all hosts; for any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._changed = threading.Condition()
        self._rates: dict[str, int] = {}
        self._free: dict[str, float] = {}
        """By host: when all bytes have passed that were handed over so far."""

    def limit(self, section: str, rate: int | None) -> None:
        """From now on, and also for what runs, *section* sends *rate* bytes a second to a host; None: as fast as it can."""
        with self._changed:
            if rate == self._rates.get(section):
                return
            if rate is None:
                del self._rates[section]
            else:
                self._rates[section] = rate
            self._free.clear()
            self._changed.notify_all()

    def rate(self, section: str) -> int | None:
        """Bytes a second; None without a limit."""
        return self._rates.get(section)

    def wait_for(self, section: str, host: str, count: int) -> None:
        """Return when *count* more bytes may have gone to *host*, or when the limit of *section* changes."""
        if section not in self._rates:
            return
        with self._changed:
            rate = self._rates.get(section)
            if rate is None:
                return
            now = self._clock()
            if len(self._free) > MOST_HOSTS:
                self._free = {host: free for host, free in self._free.items() if free > now}
            free = max(now, self._free.get(host, now)) + count / rate
            self._free[host] = free
            self._changed.wait_for(lambda: self._rates.get(section) != rate, free - now)
            _of_thread.waited = waited_here() + self._clock() - now


_of_thread = threading.local()


def waited_here() -> float:
    """Seconds that this thread has waited for limits so far: who judges how fast a move is leaves them out."""
    return float(getattr(_of_thread, "waited", 0.0))


@cache
def of_this_process() -> Bandwidth:
    """The one that all sections of a process share."""
    return Bandwidth()


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a session may send. Sessions ask before they hand bytes over, so that a pause is no stall."""

    bandwidth: Bandwidth
    section: str
    host: str

    def at_once(self, most: int) -> int:
        """How many bytes to hand over at a time: *most*, or fewer where that would take long; asked anew for each time."""
        rate = self.bandwidth.rate(self.section)
        return most if rate is None else max(1, min(most, int(rate * PERIOD)))

    def wait_for(self, count: int) -> None:
        """Return when *count* more bytes may go."""
        self.bandwidth.wait_for(self.section, self.host, count)
