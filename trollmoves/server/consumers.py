"""Consumers: whom a section waits for before a delivered file may go, by what its option `delete` says, and who has confirmed."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from trollmoves.bus.addresses import same_address
from trollmoves.config.settings import ServerSettings
from trollmoves.journal import Journal
from trollmoves.lifecycle import CONSUMER_KNOWN, State
from trollmoves.patterns import Pattern
from trollmoves.server.long_reads import LongReads
from trollmoves.server.renamed import places_taken
from trollmoves.server.requests import Consumer
from trollmoves.server.topics import Key, Topics
from trollmoves.uris import is_address

logger = logging.getLogger(__name__)

LAST = 30.0
"""Seconds between two looks at who was served lately, for which all deliveries in the journal are gone through; who is served
meanwhile is known at once."""
FORCED = 10.0
"""Seconds, at least, between two looks when names become many: the journal has written by then who was served before."""
MOST_SERVED = 1000
"""Names of consumers that are kept until the next look; anybody may give himself ever new ones."""
LACKING_TOLD = 600.0
"""Seconds since the last confirmation of a file, after which it is told who has not confirmed it."""
MOST_TOLD = 100
BEGINNING = 60.0
"""Seconds in which a section takes in what was there before it began; others that are ahead do not remove it meanwhile."""


class Consumers:
    """Of one section; belongs to the loop."""

    def __init__(self, settings: ServerSettings, journal: Journal, reads: LongReads, others: Callable[[], Iterable[Consumers]],
                 *, served: bool = True, topics: Topics | None = None):
        """*others* are of all sections, which may have announced the same files. One that cannot be *served* yet has announced
        nothing of what is there now. *topics*, where files have different subjects, knows who listens to which."""
        self._section = settings.name
        self._who = "all" if settings.delete is None else settings.delete
        self._pattern = None if settings.origin is None else Pattern(settings.origin)
        self._journal = journal
        self._reads = reads
        self._others = others
        self._is_served = served
        self._topics = topics
        self._known: set[Key] = set()
        """Those that are waited for."""
        self._served: set[Key] = set()
        self._served_before: set[Key] = set()
        """Those that were served since the journal was looked into for that, or between the two last looks: it may not have said
        so yet."""
        self._looked = -math.inf
        """When (monotonic) it was looked into."""
        self._is_looking = False
        """A worker looks."""
        self._before = places_taken(journal, settings.name)
        """Other names of the section, under which files may have been confirmed."""
        self._told: set[str] = set()
        """Those of whom was told that they have not confirmed something."""
        self._next_telling = 0.0
        self._began = time.monotonic()

    def serve(self, consumer: Consumer) -> None:
        """Somebody has got a file."""
        if consumer.group and not consumer.spare:
            self._served.add((consumer.client, consumer.group))
            if len(self._served) > MOST_SERVED:
                self._know_anew(FORCED)

    def elsewhere(self) -> list[Consumers]:
        """Those of other sections, where there is anybody to wait for."""
        return [other for other in self._others() if other is not self and other.are_any()]

    def are_any(self) -> bool:
        """Whether there is anybody to wait for."""
        return self._who not in ("all", "first") or bool(self._consumers())

    def may_know(self, consumer: Consumer) -> bool:
        """Whether an ack of a file that several sections announced may be meant for this one. Where the first suffices nobody
        speaks for the consumers of another section."""
        return self._who != "first" or any(group == consumer.group for _, group in self._consumers())

    def wait_for(self, origin: Any) -> bool:
        """Whether *origin* (name and content in a row of the journal) was announced here as well, or will be, and somebody has
        not confirmed it; of content that was announced several times any confirmation counts. What the journal keeps only to
        know it by nobody comes for."""
        path = os.fsdecode(origin["path"])
        known = self._announced(os.path.basename(path), self._section, origin)
        if not known:
            return self._is_behind() and self._pattern is not None and self._pattern.matches(path)
        rows = [row for row in known if row["state"] != State.COVERED and row["steps"]]
        confirmed = [one for row in rows for one in self.confirmations(row["id"], row)]
        return bool(rows) and not (confirmed and self._suffice(confirmed))

    def _is_behind(self) -> bool:
        """Whether it may not have announced yet what is there."""
        return not self._is_served or time.monotonic() - self._began < BEGINNING

    def confirmed_at(self, row: Any) -> float | None:
        """When (epoch seconds) the last of those confirmed a file that are waited for; None as long as one has not."""
        confirmed = self.confirmations(row["file"], row)
        if not confirmed or not self._suffice(confirmed, self._subject_of(row["file"])):
            return None
        when = [float(one["time"]) for one in confirmed]
        return min(when) if self._who == "first" else max(when)

    def confirmations(self, file: int, origin: Any) -> list[Any]:
        """Who has *file*, of this *origin*, by its own row of the journal or that of the section under another name; unless that
        is the name of another one by now, which has consumers of its own."""
        files = [file]
        for section in self._before - {other._section for other in self._others()} if self._before else ():
            files += [row["id"] for row in self._announced(origin["identity"], section, origin)]
        return [one for each in files for one in self._journal.find("confirmations", (each,))]

    def _announced(self, name: str, section: str, origin: Any) -> list[Any]:
        """What *section* announced under that name of the very file that *origin* is."""
        return self._journal.find("same_origin", (name, section, origin["inode"], origin["size"], origin["mtime_ns"]))

    def _suffice(self, confirmed: list[Any], subject: str | None = None) -> bool:
        return self._who == "first" or not self._lacking(confirmed, subject)

    def _lacking(self, confirmed: list[Any], subject: str | None) -> list[str]:
        """The names of those who are waited for with a file under *subject* (None: it is not known), and have not *confirmed*."""
        if self._who == "all":
            consumers = self._consumers()
            return [key[0] for key in sorted(consumers) if not any(_stands_for(row, key) for row in confirmed)
                    and (self._topics is None or self._topics.may_listen(key, subject))]
        return [name for name in self._who if not any(_is_named(row, name) for row in confirmed)]

    def _subject_of(self, file: int) -> str | None:
        """What *file* was announced under, where that makes a difference and is known."""
        row = None if self._topics is None or self._who != "all" else self._journal.find_one("subject_heard", (file,))
        return None if row is None else str(row["subject"])

    def tell_lacking(self, row: Any, now: float) -> None:
        """Name those who have a file stay for long that others have confirmed: a name with a slip is nobody's."""
        if self._who == "first" or now - row["created"] < LACKING_TOLD or time.monotonic() < self._next_telling:
            return
        confirmed = self.confirmations(row["file"], row)
        if not confirmed or now - max(float(one["time"]) for one in confirmed) < LACKING_TOLD:
            return
        told = self._told.copy()
        for name in self._lacking(confirmed, self._subject_of(row["file"]))[:MOST_TOLD - len(told)]:
            if name not in told:
                self._told.add(name)
                logger.warning("[%s] %s stays, and so may others: %s has not confirmed it (the same is not said again)",
                               self._section, row["identity"], name)
        if self._told == told:  # all that wait may wait for the same
            self._next_telling = time.monotonic() + LACKING_TOLD

    def _consumers(self) -> set[Key]:
        """The primaries of our kind that were served lately; spares and upstream clients are nobody to wait for."""
        self._know_anew(LAST)
        return self._known | self._served

    def _know_anew(self, lasts: float) -> None:
        """Have it looked who was served lately if the last look, which *lasts* so many seconds, was longer ago. The first one is
        waited for: nothing is removed before."""
        asked: tuple[str, tuple[Any, ...]] = ("consumers", (self._section, time.time() - CONSUMER_KNOWN))
        if self._looked == -math.inf:
            self._know(self._journal.find(*asked))
        elif time.monotonic() - self._looked > lasts and not self._is_looking:
            self._is_looking = True
            self._reads.find(*asked, self._know)

    def _know(self, rows: list[Any] | None) -> None:
        """These were served lately, says the journal; None when it cannot say."""
        self._is_looking, self._looked = False, time.monotonic()
        if rows is not None:
            known = {(row["client"], row["consumer_group"]) for row in rows}
            self._known = known | self._served | self._served_before
            self._served_before, self._served = self._served, set()


def _stands_for(row: Any, consumer: Key) -> bool:
    """Whether a confirmation counts for *consumer*: its own, or its spare's. Anybody may give himself its name; the name of its
    group may be known to its members alone."""
    client, group = consumer
    return bool(row["consumer_group"] == group and (row["client"] == client or row["spare"]))


def _is_named(row: Any, name: str) -> bool:
    """Whether a confirmation is of the client *name*: `section@host`, or an address, which no client can give itself."""
    if is_address(name):
        return same_address(name, row["peer"])
    return name in (row["peer"], row["client"], row["client"].rpartition("/")[0])
