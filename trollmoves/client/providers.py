"""Whom to ask: the providers that answer and have room, and which of several comes first."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence

from trollmoves.client.flight import Flight, Source

REST = 60.0
"""Seconds for which a provider that did not answer is asked nothing, unless it is heard of before."""
MOST_PROVIDERS = 100
"""Asked at a time; an announcement may name any address, and sockets are not endless."""


class Providers:
    """What one client chain knows of those it may ask; belongs to the loop."""

    def __init__(self, most: int, order: Sequence[str]):
        """At *most* so many files are asked for at a time of each. *order* is that of `lease_servers`."""
        self._most = most
        self._order = order
        self._in_flight: Counter[str] = Counter()
        """By provider: how many of its files were asked for and not answered yet, by weight."""
        self._proven: dict[str, None] = {}
        """Those that delivered something, as many as are asked at a time, the latest ones last. They need not wait for others
        that an announcement names and nobody has heard of."""
        self._resting: dict[str, float] = {}
        """Providers that did not answer, and until when (monotonic) nothing is asked of them."""
        self._open = True

    def close(self) -> None:
        """Nobody has room for anything new."""
        self._open = False

    def took_off(self, provider: str, weight: int = 1) -> None:
        """A file more is asked for; one of which much is to be kept in memory counts for several."""
        self._in_flight[provider] += weight

    def landed(self, provider: str, weight: int = 1) -> None:
        """A file less is."""
        self._in_flight[provider] -= weight
        if self._in_flight[provider] <= 0:
            del self._in_flight[provider]

    @property
    def in_flight(self) -> int:
        """How much is asked for, of all together."""
        return self._in_flight.total()

    def room(self, provider: str) -> int:
        """How many files more *provider* may be asked for; 0 while it does not answer."""
        if not self._open or self.is_resting(provider):
            return 0
        if len(self._in_flight) >= MOST_PROVIDERS and provider not in self._in_flight and provider not in self._proven:
            return 0
        return self._most - self._in_flight[provider]

    def delivered(self, provider: str) -> None:
        """*provider* delivered something."""
        self._proven.pop(provider, None)
        self._proven[provider] = None
        if len(self._proven) > MOST_PROVIDERS:
            del self._proven[next(iter(self._proven))]

    def best_first(self, providers: Iterable[str]) -> list[str]:
        """Those before others that have delivered something: an announcement may name any address, and finding out that nobody
        answers there takes long."""
        return sorted(providers, key=lambda provider: provider not in self._proven)

    # Those that do not answer.

    def rest(self, provider: str) -> None:
        """*provider* did not answer."""
        now = time.monotonic()
        self._resting = {known: until for known, until in self._resting.items() if until > now}
        self._resting[provider] = now + REST

    def is_resting(self, provider: str) -> bool:
        """Whether *provider* did not answer lately."""
        return provider in self._resting and self._resting[provider] > time.monotonic()

    def wake(self, *, address: str = "", host: str = "") -> None:
        """A provider, or any on a host, was heard of: it may be asked again."""
        if self._resting:
            self._resting = {known: until for known, until in self._resting.items()
                             if known != address and host_part(known) != host}

    def wake_all(self) -> None:
        """Every provider may be asked again."""
        self._resting.clear()

    # Of several servers that announce the same files one decides who publishes, for all members of a group.

    def first_of(self, flight: Flight, source: Source) -> Source:
        """Of those that could be asked the one that all members of the group ask; *source* is one of them."""
        if not self._order:
            return source
        others = (other for name, other in flight.sources.items() if name not in flight.tried and not self.is_resting(name))
        return min((source, *others), key=lambda one: self.rank(one.provider))

    def decide_alike(self, one: str, other: str) -> bool:
        """Whether all members of the group have the same server decide about what these two providers announce."""
        return one == other or bool(self._order)

    def rank(self, provider: str) -> int:
        """The place of *provider* among `lease_servers`."""
        return self._order.index(provider) if provider in self._order else len(self._order)

    def is_preferred(self, provider: str) -> bool:
        """Whether no other server could be the one that decides who publishes what *provider* announced."""
        return not any(self.rank(other) < self.rank(provider) and not self.is_resting(other) for other in self._order)


def host_part(address: str) -> str:
    return address.rpartition(":")[0]
