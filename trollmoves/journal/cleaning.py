"""Keeping the journal bounded: finished files beyond the retention go, a little at a time.

A file that is still at its origin stays known for as long as it is there (forgotten, it would be announced again), but only what
tells it apart is kept: its announcements, its transfers and its history go. Who was served lately is remembered all the same.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from trollmoves.journal.reader import Reader
from trollmoves.lifecycle import CONSUMER_KNOWN, TOPIC_KNOWN

if TYPE_CHECKING:
    from trollmoves.journal.journal import Journal
    from trollmoves.journal.writer import Operation

logger = logging.getLogger(__name__)

EVERY = 60.0
"""Seconds."""
SOON = 0.2
AT_ONCE = 2000
"""Rows removed in one transaction: a commit must stay short, moves wait for it."""
LOOK_AGAIN = 3600.0
"""Seconds between two looks whether an expired file is still at its origin."""

InWorker = Callable[[Callable[[], Any], Callable[[Any], Any], str], Any]
"""Runs the first elsewhere, and calls the second with what it returned or raised, in the loop. What is about the origins of a
chain (the third; else empty) may take for ever, and holds up no other."""


class Clock(Protocol):
    """What runs something later."""

    def after(self, seconds: float, function: Callable[[], Any]) -> Any: ...


class Cleaning:
    """Removes announcements and finished files that are older than the retention, or more than it allows."""

    def __init__(self, journal: Journal, clock: Clock, limits_of: Callable[[str], tuple[float, int]], in_worker: InWorker,
                 told: Callable[[set[int]], Any] = bool):
        """*limits_of* tells the retention of a chain: seconds, and number of files. The journal and origins are looked at by
        *in_worker*: a large journal, or a network file system, may take its time. *told* is told which files are forgotten."""
        self._told = told
        self._looking: set[str] = set()
        """Chains whose origins are being looked at, or of which the journal does not know yet what is forgotten."""
        self._journal = journal
        self._clock = clock
        self._limits_of = limits_of
        self._in_worker = in_worker

    def start(self) -> None:
        self._clock.after(EVERY, self._again)

    def _again(self) -> None:
        now = time.time()
        self._journal.write([*self._journal.alarms.forget(), ("forget_consumers", [(now - CONSUMER_KNOWN,)]),
                             ("forget_topics", [(now - TOPIC_KNOWN,)])])
        self._in_worker(self._chains, self._found, "")

    def _found(self, chains: Sequence[str] | Exception) -> None:
        if isinstance(chains, Exception):
            logger.error("the journal cannot be cleaned: %r", chains)
            chains = []
        self._clean(chains, EVERY)

    def _clean(self, chains: Sequence[str], again: float | None) -> None:
        """Clean one chain after the other. Whether files are still at their origins is looked at apart for each: of one that does
        not answer nothing is forgotten, and the others go on."""
        if not chains or self._journal.times_to_move:
            if again is not None:
                self._clock.after(again, self._again)
            return
        chain, leaps = chains[0], self._journal.leaps

        def found(portion: Any) -> None:
            if isinstance(portion, Exception):
                logger.error("[%s] cannot be cleaned: %r", chain, portion)
            elif portion:
                self._looking.add(chain)
                self._in_worker(lambda: {row["id"] for row in portion if _is_there(row)},
                                partial(self._looked, chain, leaps, portion), chain)
            self._clean(chains[1:], again)

        if chain in self._looking:
            self._clean(chains[1:], again)
        else:
            self._in_worker(partial(self._look, chain, *self._limits_of(chain), time.time()), found, "")

    def _looked(self, chain: str, leaps: int, portion: list[Any], there: Any) -> None:
        records: list[Operation] = []
        if isinstance(there, Exception):
            logger.error("[%s] cannot be cleaned: %r", chain, there)
        elif leaps == self._journal.leaps:  # else it may only have seemed to be old
            records = self._forgetting(portion, there)
        self._journal.write(records, self._forgotten, chain, bool(records) and len(portion) >= AT_ONCE)

    def _forgotten(self, chain: str, more: bool) -> None:
        """The journal shows them no more."""
        self._looking.discard(chain)
        if more:
            self._clock.after(SOON, lambda: self._clean([chain], None))

    # In a worker: whole tables are gone through.

    def _chains(self) -> list[str]:
        with Reader(self._journal.path) as reader:
            return [row["chain"] for row in reader.find("chains")]

    def _look(self, chain: str, seconds: float, count: int, now: float) -> list[Any]:
        """What is expired, or is to be looked at again."""
        with Reader(self._journal.path) as reader:
            return (reader.find("expired_files", (chain, now - seconds, chain, count, AT_ONCE))
                    or reader.find("kept_files", (chain, now, AT_ONCE)))

    def _forgetting(self, portion: list[Any], there: set[int]) -> list[Operation]:
        """The records that forget these, or (as they are *there* still) all but what tells them apart."""
        look_again = time.time() + LOOK_AGAIN
        ids = [(row["id"],) for row in portion]
        every = json.dumps([row["id"] for row in portion])
        self._told({row["id"] for row in portion})
        gone = [(row["id"],) for row in portion if row["id"] not in there]
        return [
            ("put_meta", [("position", str(self._journal.head))]),  # none is given out twice, though its announcement is gone
            ("end_removal", gone), ("note_forgotten", [(every,)]), ("bound_forgotten", [()]),
            ("remove_announcements_of", [(every,)]), ("note_consumers", [(every,)]), ("remove_transfers_of", ids),
            ("keep_file", [(look_again, file) for file in there]), ("remove_file", gone),
        ]


def _is_there(row: Any) -> bool:
    """Whether the very file that was announced is still at its origin. When that cannot be seen, it is."""
    if row["path"] is None:
        return False
    try:
        status = os.lstat(row["path"])
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return (status.st_size, status.st_mtime_ns) == (row["size"], row["mtime_ns"])
