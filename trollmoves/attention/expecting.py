"""Expect: follows what the sections of a process expect, by what the journal says was announced (or, by a client, published)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from trollmoves.attention.expected import Following, Late, following
from trollmoves.config.expectations import Expectation
from trollmoves.errors import MalformedMessage
from trollmoves.journal import Journal
from trollmoves.journal.alarms import LATE
from trollmoves.messages import decode, identity_of

logger = logging.getLogger(__name__)

AT_ONCE = 1000
"""Announcements read in one look, so that the past of a day holds up nobody."""
ABSENCE = 5.0
"""Seconds: a process that did not look for so long was stopped meanwhile, and has to take in what came."""


class Expecting:
    """Belongs to the loop."""

    def __init__(self, journal: Journal, clock: Callable[[], float] = time.time):
        self._journal = journal
        self._clock = clock
        self._sections: dict[str, Section] = {}
        self._looked = clock()

    def follow(self, wanted: Mapping[str, tuple[Expectation, ...]], kept: Collection[str] = ()) -> None:
        """From now on these are expected, by section; those *kept* expect what they did."""
        for chain in [chain for chain in self._sections if chain not in kept]:
            if self._sections[chain].expectations != wanted.get(chain, ()):
                del self._sections[chain]
        for chain, expectations in wanted.items():
            if expectations and chain not in self._sections:
                self._sections[chain] = Section(chain, expectations, self._journal, self._clock())
        expected = {(chain, one.text) for chain, section in self._sections.items() for one in section.expectations}
        self._forget_others(expected)

    def _forget_others(self, expected: Collection[tuple[str, str]]) -> None:
        rows = self._journal.find("expectations")
        gone = [(row["chain"], row["text"]) for row in rows if (row["chain"], row["text"]) not in expected]
        if gone:
            self._journal.write([("end_expectation", gone)])
        for alarm in self._journal.alarms.open(LATE):
            if not any(alarm.chain == chain and alarm.about in (text, f"{text} of {alarm.about.rpartition(' of ')[2]}")
                       for chain, text in expected):
                self._journal.alarms.clear(alarm.chain, LATE, alarm.about, "it is expected no more")

    def clock_leapt(self, seconds: float) -> None:
        """The clock was set."""
        self._looked += seconds
        for section in self._sections.values():
            section.clock_leapt(seconds)

    def look(self) -> None:
        """Take in what came, and say what did not."""
        now = self._clock()
        absent = now - self._looked > ABSENCE
        self._looked = now
        for section in self._sections.values():
            section.look(now, absent=absent)


class Section:
    """The expectations of one section."""

    def __init__(self, chain: str, expectations: tuple[Expectation, ...], journal: Journal, now: float):
        self.chain = chain
        self.expectations = expectations
        self._journal = journal
        self._following = [following(one, since) for one, since in zip(expectations, self._since(now), strict=True)]
        abouts = {row["about"]: row["is_open"] == 1 for row in journal.find("alarms_of", (chain, LATE))}
        for one in self._following:
            one.known(abouts)
        self._position = position_at(journal, now - max(one.reaches_back() for one in self._following))
        self._calm_until = [now + one.calm for one in self._following]
        self._told: set[str] = set()
        """Statements of which was told that a file is nothing to them: to one with a slip no file ever is something."""

    def _since(self, now: float) -> Iterable[float]:
        """When each was first expected. A journal that had to forget what came since then knows only of later times."""
        known = {row["text"]: row["since"] for row in self._journal.find("expectations") if row["chain"] == self.chain}
        new = [(self.chain, one.text, now) for one in self.expectations if one.text not in known]
        if new:
            self._journal.write([("add_expectation", new)])
        forgotten = self._journal.find_one("forgotten_until", (self.chain,))["time"] or 0.0
        return [max(known.get(one.text, now), forgotten) for one in self.expectations]

    def clock_leapt(self, seconds: float) -> None:
        self._calm_until = [when + seconds for when in self._calm_until]
        for one in self._following:
            one.clock_leapt(seconds)

    def look(self, now: float, *, absent: bool) -> None:
        rows = self._journal.find("announcements_of_chain",
                                  {"chain": self.chain, "position": self._position, "count": AT_ONCE})
        for row in rows:
            self._came(row)
        if absent:
            self._calm_until = [now + one.calm for one in self._following]
        if len(rows) < AT_ONCE:
            for one, calm_until in zip(self._following, self._calm_until, strict=True):
                self._judge(one, now, calm=now < calm_until)

    def _came(self, row: Any) -> None:
        self._position = row["position"]
        if row["chain"] != self.chain:
            return
        try:
            fields = decode(row["message"].encode()).fields
        except MalformedMessage as error:
            logger.error("[%s] the journal has an announcement that cannot be read: %s", self.chain, error)
            return
        for one in self._following:
            one.came(fields, row["time"])
            lacking, about = one.lacks(fields), one.expectation.text
            if lacking and about not in self._told:
                self._told.add(about)
                logger.warning("[%s] expect: %s has not %s, and so is nothing to %s (further ones are not named)",
                               self.chain, identity_of(fields), lacking, about)

    def _judge(self, one: Following, now: float, *, calm: bool) -> None:
        alarms = self._journal.alarms
        if calm:
            return
        for verdict in one.judge(now):
            if isinstance(verdict, Late):
                if verdict.again and not alarms.is_open(self.chain, LATE, verdict.about):
                    continue  # an operator has dismissed it
                alarms.raise_(self.chain, LATE, verdict.about, verdict.text)
            else:
                alarms.clear(self.chain, LATE, verdict.about, verdict.text)


def position_at(journal: Journal, when: float) -> int:
    """A position before everything that was announced since *when*, found in a few steps: positions go with time."""
    low, high = 0, journal.head + 1
    while low < high:
        middle = (low + high) // 2
        row = journal.find_one("announcement_from", (middle,))
        if row is None or row["time"] >= when:
            high = middle
        else:
            low = max(middle + 1, row["position"])
    return max(0, low - 1)
