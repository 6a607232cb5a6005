"""What an upstream server announced while we did not listen: it cannot tell again, but it lists its last 2,256 names on request.

They are compared with what we have when it is first heard after a start, or after it was silent. What is not here cannot be asked
for (a name is no address), so an alarm says which files they are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import orjson

from trollmoves.bus import Loop, Requesters
from trollmoves.journal import Journal
from trollmoves.messages import Announcement, Message

logger = logging.getLogger(__name__)

MOST_NAMES = 2256
"""That an upstream server remembers."""
ON_THE_WAY = 10.0
"""Seconds for announcements that are on their way while the names are told."""
SHOWN = 10

Alarm = Callable[[str, str], Any]


class UpstreamPast:
    """Of the upstream servers of one client chain; belongs to the loop."""

    def __init__(self, chain: str, topic: str, patience: float, journal: Journal, loop: Loop, requesters: Requesters,
                 alarm: Alarm):
        """*patience* is the seconds to wait for an answer; *alarm* gets what an alarm is about and its text."""
        self._chain = chain
        self._topic = topic
        self._patience = patience
        self._journal = journal
        self._loop = loop
        self._requesters = requesters
        self._alarm = alarm
        self._asked: set[str] = set()
        self._open = True

    def heard(self, announcement: Announcement) -> None:
        """An announcement without our extension came, and is not in the journal yet."""
        address = announcement.address
        if address in self._asked or len(announcement.uids) != 1:
            return
        self._asked.add(address)
        if self._journal.find_one("any_of_provider", (self._chain, address)) is None:
            return  # what it announced before we knew it was never ours to miss
        lanes = self._requesters.upstream(announcement.host, announcement.port)
        lanes.ask(self._topic or "/", "info", {"max_count": MOST_NAMES}, lambda reply: self._answered(address, reply),
                  self._patience)

    def listen_again(self) -> None:
        """A provider was silent and is heard again: perhaps it said something meanwhile."""
        self._asked.clear()

    def close(self) -> None:
        self._open = False

    def _answered(self, address: str, reply: Message | None) -> None:
        names = reply.fields.get("files") if reply is not None and reply.type == "info" else None
        if not isinstance(names, list):
            logger.warning("[%s] the upstream server %s does not tell what it announced while we did not listen: files may be "
                           "missing", self._chain, address)
            return
        uids = list(dict.fromkeys(str(name).rpartition("/")[2] for name in names[:MOST_NAMES]))  # some are announced twice
        self._loop.after(ON_THE_WAY, lambda: self._compare(address, uids))

    def _compare(self, address: str, uids: list[str]) -> None:
        """Newest first: what is missing is newer than the oldest one that we know."""
        if not self._open:
            return
        known = {row["identity"] for row in self._journal.find("known_files", (self._chain, orjson.dumps(uids)))}
        oldest = max((number for number, uid in enumerate(uids) if uid in known), default=len(uids))
        missing = [uid for uid in uids[:oldest] if uid not in known]
        if not missing:
            logger.info("[%s] nothing is missing of what the upstream server %s announced last", self._chain, address)
            return
        count = f"{len(missing)} files" if known else f"at least {len(missing)} files"
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        self._alarm(f"{address} {missing[0]}", f"{count} that {address} announced while we did not listen are not here: "
                    f"{', '.join(missing[:SHOWN])}{more}. An upstream server cannot tell them again; have them sent anew there")
