"""Catch-up: notice what one provider published and we did not get, and ask for it.

ZeroMQ drops what a slow or absent subscriber does not take. A provider that speaks our extension numbers its announcements, tells
with each the number of the one before under the same subject, and with each heartbeat how far it is; what is missing is asked for
from its journal, in pages, the next one when the last is in ours. The cursor is the position up to which nothing is missing.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

from trollmoves.bus.loop import Loop
from trollmoves.bus.requesting import Requesters, new_request
from trollmoves.errors import MalformedMessage
from trollmoves.messages import EXTENSION, LARGEST_WHOLE, PROTOCOL, Announcement, Message, decode
from trollmoves.uris import parse_endpoint

logger = logging.getLogger(__name__)

PAGE_TIMEOUT = 30.0
"""Seconds after which a page that did not come is asked for again."""
RETRY = 5.0
"""Seconds before a question that led to nothing is asked again."""
SUBJECTS_KEPT = 10_000

Page = Callable[[list[Message], str, int, Callable[[], Any]], Any]
"""Gets the messages of a page, the epoch and the cursor behind it, and what to call when both are journaled."""


class CatchUp:
    """Follows one provider for one chain; belongs to the loop."""

    def __init__(self, loop: Loop, requesters: Requesters, provider: str, topics: Sequence[str], client: str, *,
                 cursor: tuple[str, int] | None, past: float, page: Page, moved_on: Callable[[str, int], Any],
                 restarted: Callable[[str], Any], alarm: Callable[[str], Any]):
        """*cursor* is the epoch and position kept from before, *past* how many seconds of history a new client asks for.

        *moved_on* is told of a new cursor that needs no page, *restarted* the address of a provider that began anew, *alarm* of a
        gap that cannot be closed.
        """
        self._loop = loop
        self._requesters = requesters
        self._provider = provider
        self._topics = list(topics)
        self._client = client
        self._epoch, self._position = cursor or ("", 0)
        self._new = cursor is None
        self._past = past
        self._page = page
        self._moved_on = moved_on
        self._restarted = restarted
        self._alarm = alarm
        self._seen: dict[str, int] = {}
        self._wanted = 0
        """The position up to which something is known to be missing."""
        self._address: tuple[str, int] | None = None
        self._started: Any = None
        self._asking = False
        self._closed = False
        self._newer_than = 0.0

    def announced(self, announcement: Announcement) -> None:
        """An announcement came by itself."""
        if not announcement.epoch:
            return
        self._address = announcement.host, announcement.port
        if announcement.epoch != self._epoch:
            self._new_epoch(announcement.epoch, announcement.offset - 1)
        subject = announcement.message.subject
        if announcement.previous > max(self._position, self._seen.get(subject, 0)):
            self._want(announcement.previous)
        if len(self._seen) >= SUBJECTS_KEPT:
            self._seen.clear()  # costs a replay of what came since the last beat, no more
        self._seen[subject] = max(announcement.offset, self._seen.get(subject, 0))

    def beat(self, message: Message) -> None:
        """A heartbeat of the provider came."""
        said = message.extension
        epoch, head, since = said.get("epoch"), said.get("head"), said.get("since")
        if not isinstance(epoch, str) or not _is_position(head) or not _is_position(since):
            return
        self._note_start(said)
        if epoch != self._epoch:
            self._new_epoch(epoch, head)
        if head <= self._position:
            return
        if self._wanted > self._position or not self._is_complete(said.get("heads"), since):
            self._want(head)
        elif not self._asking:
            self._position = head
            self._moved_on(epoch, head)

    def _is_complete(self, heads: Any, since: int) -> bool:
        """Whether everything up to the head of this beat is here."""
        if not isinstance(heads, dict) or since > self._position or not all(map(_is_position, heads.values())):
            return False
        return all(self._seen.get(subject, 0) >= position for subject, position in heads.items()
                   if any(subject.startswith(topic) for topic in self._topics))

    def _note_start(self, said: dict[str, Any]) -> None:
        try:
            self._address = parse_endpoint(said.get("address"))
        except ValueError:
            return
        started, self._started = self._started, said.get("started")
        if started is not None and started != self._started:
            self._restarted(str(said["address"]))

    def _new_epoch(self, epoch: str, head: int) -> None:
        """The provider's journal is one we have never seen: its positions begin anew."""
        logger.info("%s has a journal that is new to us", self._provider)
        skip = self._new and self._past == 0
        if self._new and 0 < self._past < math.inf:
            self._newer_than = time.time() - self._past
        self._epoch, self._position, self._new = epoch, (head if skip else 0), False
        self._seen.clear()
        self._wanted = 0
        if not skip and head > 0:
            self._want(head)

    def _want(self, position: int) -> None:
        self._wanted = max(self._wanted, position)
        self._ask()

    def _ask(self) -> None:
        if self._asking or self._closed or self._address is None or self._wanted <= self._position:
            return
        self._asking = True
        request = new_request()
        logger.info("%s: asking for what was announced after %d (it is at %d)", self._provider, self._position, self._wanted)
        question = {"version": PROTOCOL, "request": request, "client": self._client, "epoch": self._epoch,
                    "since": self._position, "topics": self._topics, "newer_than": self._newer_than}
        subject = self._topics[0] or "/"
        self._requesters.ours(*self._address).ask(request, subject, "replay", {EXTENSION: question}, self._answered, PAGE_TIMEOUT)

    def _answered(self, reply: Message | None) -> None:
        self._asking = False
        if self._closed:
            return
        said = reply.extension if reply is not None and reply.type == "replay" else {}
        epoch, to, raws = said.get("epoch"), said.get("to"), said.get("messages")
        if not isinstance(epoch, str) or not _is_position(to) or not isinstance(raws, list):
            logger.warning("%s did not answer the question for what was missed; asking again", self._provider)
            self._loop.after(RETRY, self._ask)
            return
        if epoch != self._epoch:
            self._epoch, self._position = epoch, 0
        if said.get("truncated") and self._position > 0:
            self._alarm(f"{self._provider} no longer has what it announced between {self._position} and {said.get('oldest')}: "
                        "those files may be missing here")
        self._asking = True  # until the page is journaled
        self._page(_decoded(raws), epoch, to, lambda: self._page_done(to, bool(said.get("more"))))

    def _page_done(self, to: int, more: bool) -> None:
        self._asking = False
        if to > self._position:
            self._position = to
            if more:
                self._wanted = max(self._wanted, to + 1)
            self._ask()
        elif more:  # a page that leads nowhere, and the same would come again: no hurry
            self._loop.after(RETRY, self._ask)
        else:
            self._wanted = self._position  # there is nothing behind what we have

    def close(self) -> None:
        self._closed = True


def _is_position(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= LARGEST_WHOLE


def _decoded(raws: list[Any]) -> list[Message]:
    messages = []
    for raw in raws:
        try:
            messages.append(decode(str(raw).encode()))
        except MalformedMessage as error:
            logger.warning("a replayed message cannot be read: %s", error)
    return messages
