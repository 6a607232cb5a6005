"""After the machine went down uncleanly: look again at what was delivered last without an fsync, and repeat what did not last.

A delivered file is fsynced before the reply only when its origin will be deleted. Otherwise the last ones before a power loss may
be gone or empty, although they were confirmed; their origins are still here.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from typing import Any

from trollmoves.errors import OriginGone
from trollmoves.journal import Journal
from trollmoves.movers.base import Receipt
from trollmoves.movers.moving import ignore
from trollmoves.server.beneath import announced_file
from trollmoves.server.pushing import Member, Push, Pushing
from trollmoves.uris import parse_destination
from trollmoves.workers import Work, Workers

logger = logging.getLogger(__name__)

LAST_MINUTES = 5 * 60.0
"""Seconds before the last record of the journal: what is older the kernel had written out by itself."""


def synced(seconds: float) -> bool:
    """Have the kernel write out everything, and wait so long for it; whether it did."""
    thread = threading.Thread(target=os.sync, name="sync", daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


class Verifying:
    """Checks the last local deliveries of one chain once; belongs to the loop."""

    def __init__(self, chain: str, pushing: Pushing, journal: Journal, workers: Workers):
        self._chain = chain
        self._pushing = pushing
        self._journal = journal
        self._workers = workers

    def start(self) -> None:
        """Queue a look at each; what differs is delivered again, and the journal keeps an alarm."""
        rows = self._journal.find("delivered_last", (self._chain, LAST_MINUTES, self._chain))
        local = [row for row in rows if parse_destination(row["destination"]).is_local]
        if local:
            logger.warning("[%s] the machine went down uncleanly: looking again at the last %d deliveries",
                           self._chain, len(local))
        self._workers.submit([self._work(row) for row in local])

    def _work(self, row: Any) -> Work:
        destination = parse_destination(row["destination"])
        file = announced_file(row)
        announced = self._journal.find("members_of", (row["file"],))
        members = tuple(Member(announced_file(member), member["relative"]) for member in announced) or (Member(file, None),)
        push = Push(row["transfer"], members, destination, (), row["peer"], row["attempt"] + 1)
        return Work(destination.address[:3], self._pushing.limit(destination),
                    lambda sessions: self._pushing.push(push, sessions, ignore), lambda outcome: self._seen(file.path, outcome))

    def _seen(self, path: str, outcome: Sequence[Receipt] | Exception) -> None:
        if isinstance(outcome, OriginGone):
            logger.info("[%s] %s is gone here: its delivery cannot be compared", self._chain, path)
        elif isinstance(outcome, Exception):
            self._journal.alarm(self._chain, f"{path}, delivered before the machine went down, cannot be verified: {outcome}")
        elif any(receipt.copied for receipt in outcome):
            self._journal.alarm(self._chain, f"{path} had not survived the power loss at its destination: delivered again")
