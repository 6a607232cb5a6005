"""What consumers listen to, as they tell with their requests: those are waited for with a file that listen to its subject.

It counts for longer than a consumer is known, and what is told is added to what was told: one that listens to less by now, or
another one that goes by the same name, takes nothing away. Wherever something is not known a consumer listens to everything.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from trollmoves.bus.topics import EVERYTHING, MOST_TOPICS
from trollmoves.journal import Journal
from trollmoves.lifecycle import TOPIC_KNOWN
from trollmoves.server.requests import Consumer

NOTED_AGAIN = 3600.0
"""Seconds after which is noted that the same was told again."""
MOST_KEPT = 10_000
"""Topics of all consumers together; anybody may give himself ever new names. Beyond it everybody listens to everything, until
these are so old that they do not count."""
LOOK_AGAIN = 60.0

Key = tuple[str, str]
"""Client and group. Any spare may confirm for any primary of its group, so what one of them tells is told for all: without a
name."""


class Topics:
    """Of all sections of one program, at whose publisher consumers listen; belongs to the loop."""

    def __init__(self, journal: Journal, clock: Callable[[], float] = time.monotonic):
        self._journal = journal
        self._clock = clock
        self._told: dict[Key, dict[str, float]] = {}
        """By consumer and topic: when that was noted; by *clock*, as the other one may be set."""
        self._all_until = -math.inf
        """Until when everybody listens to everything."""
        self._looked = -math.inf
        """When it was looked last for what does not count any more."""
        now, wall = clock(), time.time()
        rows = journal.find("topics_told", (wall - TOPIC_KNOWN, MOST_KEPT))
        for row in rows:
            age = max(0.0, wall - row["time"])
            self._told.setdefault((row["client"], row["consumer_group"]), {})[row["topic"]] = now - age
        if len(rows) > MOST_KEPT - MOST_TOPICS:  # there may have been no room for more
            self._all_until = now + TOPIC_KNOWN

    def hear(self, consumer: Consumer, topics: Sequence[str]) -> None:
        """Somebody, who asks for something, listens to these."""
        if not consumer.group:  # an upstream client, which is nobody to wait for
            return
        key, now = ("" if consumer.spare else consumer.client, consumer.group), self._clock()
        known = self._of(key, now)
        if len(known.keys() | topics) > MOST_TOPICS:
            topics = (EVERYTHING,)
        if all(now - known.get(topic, -math.inf) <= NOTED_AGAIN for topic in topics):
            return
        if self._has_room(len(set(topics) - known.keys()), now):
            self._told[key] = known | dict.fromkeys(topics, now)
            self._journal.write([("note_topics", [(*key, topic, time.time()) for topic in topics])])

    def _has_room(self, count: int, now: float) -> bool:
        """Whether so many more can be kept. As long as they would count that are not, nobody goes by what is kept."""
        if self._count + count > MOST_KEPT and now - self._looked > LOOK_AGAIN:
            self._looked = now
            self._told = {key: left for key in self._told if (left := self._of(key, now))}
        if self._count + count > MOST_KEPT:
            self._all_until = now + TOPIC_KNOWN
            return False
        return True

    @property
    def _count(self) -> int:
        return sum(map(len, self._told.values()))

    def may_listen(self, key: Key, subject: str | None) -> bool:
        """Whether a primary listens to *subject*, as far as is known of it, or one of its spares."""
        now = self._clock()
        own = self._of(key, now)
        if subject is None or not own or now < self._all_until:
            return True
        return subject.startswith((*own, *self._of(("", key[1]), now)))

    def _of(self, key: Key, now: float) -> dict[str, float]:
        """What was told not too long ago."""
        return {topic: noted for topic, noted in self._told.get(key, {}).items() if now - noted < TOPIC_KNOWN}
