"""Tell others: who announced the very file that another provider delivered is told that we have it, until it says so.

The journal knows what they announced. So all that is kept here is who did not answer, and about which file first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from trollmoves.bus import Loop
from trollmoves.bus.requesting import Answered
from trollmoves.client.doubting import checksum_in, may_be_else
from trollmoves.client.flight import Source
from trollmoves.journal import Journal
from trollmoves.messages import Message, decode, read_announcement

AGAIN = 10.0
"""Seconds before a provider that did not answer is told again, of one file; twice as many each time when it was in vain."""
RAREST = 300.0
AT_ONCE = 100
"""Files of which a provider is told when it has answered again."""
BEFORE = 10.0
"""Seconds between the time that the journal has of what is finished and the one at which others are told, at most."""


@dataclass(slots=True)
class Behind:
    """A provider that has not heard of all that we have."""

    file: int
    """The next of them."""
    since: float
    """When (epoch seconds) the first of them came to its end."""
    portion: int
    pause: float
    outstanding: int = 0
    answered: bool = True
    failed: bool = False
    """Of the last portion not all was answered, or it could not take note of all."""
    refused: set[int] = field(default_factory=set)
    """Of which it could not take note, though it answers. They keep no others waiting: they are told again after those."""
    again: set[int] = field(default_factory=set)
    before: int = 0
    """Of what is before this one it is only told what is told again."""


class Telling:
    """Of one client chain; belongs to the loop."""

    def __init__(self, chain: str, journal: Journal, loop: Loop, tell: Callable[[Source, Answered], Any]):
        """*tell* tells a provider once."""
        self._chain = chain
        self._journal = journal
        self._loop = loop
        self._tell = tell
        self._asked: dict[tuple[int, str], float] = {}
        """By file and provider, who was told and has not answered yet: since when."""
        self._behind: dict[str, Behind] = {}
        self._closed = False
        self.settled = 0
        """How many answers there were."""

    def start(self, since: float) -> None:
        """Tell of what has come to its end since a time: the last process perhaps did not."""
        for row in self._journal.find("untold_providers", (self._chain, since - BEFORE)):
            self._behind[row["provider"]] = Behind(row["file"], since, AT_ONCE, AGAIN)
            self._go_on(row["provider"])

    def tell(self, file: int, source: Source) -> None:
        """Tell who announced *file*, which is in the journal. An upstream server is told once: it removes what has the name,
        which may be newer content later."""
        if not source.announcement.epoch:
            self._tell(source, _ignore)
            return
        self._asked[file, source.provider] = time.time()
        self._tell(source, partial(self._answered, file, source.provider))

    def oldest(self) -> float:
        """Of everything that came to its end before this time others were told."""
        return min((*self._asked.values(), *(behind.since for behind in self._behind.values())), default=time.time())

    def clock_leapt(self, seconds: float) -> None:
        """The clock was set: the journal has its times moved with it."""
        for asked in self._asked:
            self._asked[asked] += seconds
        for behind in self._behind.values():
            behind.since += seconds

    def close(self) -> None:
        self._closed = True

    def _answered(self, file: int, provider: str, reply: Message | None) -> None:
        since = self._asked.pop((file, provider), time.time())
        if is_told(reply):
            self.settled += 1
            return
        row = self._journal.find_one("file", (file,))
        if row is not None:  # it may have come to its end long before it was told, while the journal was full
            since = min(since, row["time"])
        if provider in self._behind:
            behind = self._behind[provider]
            behind.since = min(behind.since, since)
            if reply is None:
                behind.file = min(behind.file, file)
                behind.again.add(file)
            else:
                behind.refused.add(file)
        else:
            self._behind[provider] = Behind(file, since, 1, AGAIN)
            self._loop.after(AGAIN, lambda: self._go_on(provider))

    def _go_on(self, provider: str) -> None:
        """Tell it of the next portion."""
        behind = self._behind[provider]
        if self._closed:
            return
        rows = self._journal.find("untold", (behind.file, provider, self._chain, behind.since - BEFORE, behind.portion))
        if not rows and behind.refused:
            behind.before, behind.file = behind.file, min(behind.refused)
            behind.again, behind.refused = behind.refused, set()
            self._loop.after(RAREST, lambda: self._go_on(provider))
            return
        if not rows:
            del self._behind[provider]
            return
        behind.file, behind.answered, behind.failed = rows[-1]["file"] + 1, True, False
        told = [(row["file"], announcement) for row in rows
                if (row["file"] >= behind.before or row["file"] in behind.again)
                and (announcement := read_announcement(decode(row["message"].encode()))).epoch
                and not may_be_else(row["key"], announcement.key, told=bool(checksum_in(row["steps"])))]
        behind.outstanding = len(told)
        for file, announcement in told:
            self._asked[file, provider] = behind.since
            self._tell(Source(provider, announcement), partial(self._answered_again, file, provider))
        if not told:
            self._loop.call(self._go_on, provider)

    def _answered_again(self, file: int, provider: str, reply: Message | None) -> None:
        self._answered(file, provider, reply)
        behind = self._behind[provider]
        behind.outstanding -= 1
        behind.answered &= reply is not None
        behind.failed |= not is_told(reply)
        if behind.outstanding:
            return
        behind.portion = AT_ONCE if behind.answered else 1
        behind.pause = min(2 * behind.pause, RAREST) if behind.failed else AGAIN
        self._loop.after(behind.pause if behind.failed else 0.0, lambda: self._go_on(provider))


def is_told(reply: Message | None) -> bool:
    """Whether a provider has taken note, or never will; it may be unable to for a while, as when its journal is full."""
    return reply is not None and reply.extension.get("permanent") is not False


def _ignore(reply: Message | None) -> None:
    """Nothing more can be done."""
