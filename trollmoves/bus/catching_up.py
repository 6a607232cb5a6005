"""Catch-up: notice what one publisher of ours published and we did not get, and ask for it.

ZeroMQ drops what a slow or absent subscriber does not take. A publisher that speaks our extension numbers what it publishes,
tells with each message the number of the one before under the same subject, and with each heartbeat how far it is and where it
answers; what is missing is asked for from its journal, in pages, the next one when the last is in ours. The cursor is the
position up to which nothing is missing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard

from trollmoves.bus.asking_again import RETRY, AskingAgain, decoded, is_position, stamp, within
from trollmoves.bus.few_lines import Sparingly
from trollmoves.bus.loop import Loop
from trollmoves.bus.requesters import Requesters
from trollmoves.bus.requesting import new_request
from trollmoves.messages import EXTENSION, LARGEST_WHOLE, PROTOCOL, Announcement, Message
from trollmoves.uris import parse_endpoint

logger = logging.getLogger(__name__)

PAGE_TIMEOUT = 30.0
"""Seconds after which a page that did not come is asked for again."""
SUBJECTS_KEPT = 10_000
GAPS_TOGETHER = 60.0
"""Seconds within which further gaps of a publisher wait to be one alarm: who tells of ever new ones fills no disk with alarms."""
LONGEST = 500
"""Characters of an epoch, and of the subject of beats, which the journal keeps; ours have some twenty."""

Page = Callable[[list[Message], str, int, Callable[[], Any]], Any]
"""Gets the messages of a page, the epoch and the cursor behind it, and what to call when both are journaled."""


Alarm = Callable[[str, str], Any]
"""Gets what a gap that cannot be closed is about (the same for the same gap), and what to say of it."""


class CatchUp:
    """Follows one publisher for one chain; belongs to the loop."""

    def __init__(self, loop: Loop, requesters: Requesters, provider: str, topics: Sequence[str], *,
                 cursor: tuple[str, int] | None, past: float, page: Page, moved_on: Callable[[str, int], Any],
                 restarted: Callable[[str], Any], alarm: Alarm,
                 position_in: Callable[[str, str], int | None] = lambda epoch, stream: None, host: str | None = None,
                 patience: float = PAGE_TIMEOUT):
        """*cursor* is the epoch and position kept from before, *past* how many seconds of history a new client asks for. With 0
        that is what a publisher has published since it began, if that was after we began to listen: others may hear it first.

        *moved_on* is told of a new cursor that needs no page, *restarted* the address of a provider that began anew, *alarm* of a
        gap that cannot be closed. *position_in* knows how far a stream (the subject of its beats) of a journal (named by its
        epoch) was followed at another address. *host* is where the publisher was found: tried with the port it tells when the
        address it tells does not answer within *patience* seconds.
        """
        self._loop = loop
        self._requesters = requesters
        self._provider = provider
        self._topics = list(topics)
        self._epoch, self._position = cursor or ("", 0)
        self._new = cursor is None
        self._past: float | None = past
        self._began = time.monotonic()
        """When we began to listen."""
        self._page = page
        self._moved_on = moved_on
        self._restarted = restarted
        self._alarm = alarm
        self._refused, self._told = Sparingly(logger), Sparingly(logger, logging.INFO)
        self._seen: dict[str, int] = {}
        self._wanted = 0
        """The position up to which something is known to be missing."""
        self._address: tuple[str, int] | None = None
        self._started: Any = None
        self._asking = False
        self._closed = False
        self._newer_than = 0.0
        """Since when (epoch seconds) a new client asks, the first time: by our clock, which may not be the publisher's."""
        self._position_in = position_in
        self._host = host
        self._patience = patience
        self._elsewhere = False
        """The address that was told did not answer: it is that of *host* that is tried."""
        self.stream = ""
        """The subject of the beats; empty before the first."""
        self._first = False
        """What comes is the past of a journal that is new to us: what it no longer has was never ours to miss."""
        self._gap: tuple[int, int, Any] | None = None
        """One to tell of: the positions between which all is missing, and of when the last of it was."""
        self._gap_told: int | None = None
        """Where the one ended that was told of lately."""
        self._again: list[tuple[float, list[str], Callable[[], Any]]] = []
        """What shall be asked for again when it is known where: what is newer than a time, its topics, and whom to tell."""
        self._asking_again = AskingAgain(provider, loop, self._ask_for_page,
                                         lambda messages, then: page(messages, self._epoch, self._position, then))

    @property
    def topics(self) -> list[str]:
        return self._topics

    @topics.setter
    def topics(self, topics: Sequence[str]) -> None:
        self._topics = list(topics)

    def leave_past(self) -> None:
        """What was published before it was heard first is not asked for."""
        self._past = None

    def announced(self, announcement: Announcement) -> None:
        """An announcement came by itself."""
        if not announcement.epoch or not _can_be_kept(announcement.epoch):
            return
        self._address = announcement.host, announcement.port
        if announcement.epoch != self._epoch:
            self._new_epoch(announcement.epoch, announcement.offset - 1)
        self._came(announcement.message.subject, announcement.offset, announcement.previous)

    def published(self, message: Message) -> None:
        """Another message came by itself. Its number counts when it is of the journal that is followed: relays copy what they do
        not know."""
        said = message.extension
        offset, previous = said.get("offset"), said.get("previous")
        if said.get("epoch") == self._epoch and is_position(offset) and is_position(previous):
            self._came(message.subject, offset, previous)

    def _came(self, subject: str, offset: int, previous: int) -> None:
        if previous > max(self._position, self._seen.get(subject, 0)):
            self._want(previous)
        if len(self._seen) >= SUBJECTS_KEPT:
            self._seen.clear()  # costs a replay of what came since the last beat, no more
        self._seen[subject] = max(offset, self._seen.get(subject, 0))

    def beat(self, message: Message) -> None:
        """A heartbeat of the provider came."""
        said = message.extension
        epoch, head, since = said.get("epoch"), said.get("head"), said.get("since")
        if not _can_be_kept(epoch) or not _can_be_kept(message.subject) or not is_position(head) or not is_position(since):
            return
        self.stream = message.subject
        self._note_start(said)
        if epoch != self._epoch:
            self._new_epoch(epoch, head)
        if self._address is not None:
            self._begin_again()
        if head <= self._position:
            return
        if self._wanted > self._position or not self._is_complete(said.get("heads"), since):
            self._want(head)
        else:
            self._position = head
            self._moved_on(epoch, head)

    def _is_complete(self, heads: Any, since: int) -> bool:
        """Whether everything up to the head of this beat is here."""
        if not isinstance(heads, dict) or since > self._position or not all(map(is_position, heads.values())):
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
        known = self._position_in(epoch, self.stream)
        if known is not None:
            self._epoch, self._position, self._new, self._wanted = epoch, known, False, 0
            self._seen.clear()
            self._want(head)
            return
        self._told.say("%s has a journal that is new to us", self._provider)
        since = self._wanted_since() if self._new else self._newer_than
        self._newer_than = since or 0.0
        self._epoch, self._position, self._new = epoch, (head if since is None else 0), False
        self._seen.clear()
        self._wanted = 0
        self._first = head > 0 and since is not None
        if not self._first:
            self._newer_than = 0.0
            self._moved_on(epoch, self._position)  # from now on nothing is left out, also when we end at once
        else:
            self._want(head)

    def _wanted_since(self) -> float | None:
        """Since when (epoch seconds) a new client wants all that was published; None: from now on."""
        if self._past is None or self._past > 0:
            return None if self._past is None else max(0.0, time.time() - self._past)
        began, started = time.time() - (time.monotonic() - self._began), self._started
        return float(started) if isinstance(started, (int, float)) and began < started < LARGEST_WHOLE else None

    def _want(self, position: int) -> None:
        self._wanted = max(self._wanted, position)
        self._ask()

    def _ask(self) -> None:
        if self._asking or self._closed or self._address is None or self._wanted <= self._position:
            return
        self._asking = True
        self._told.say("%s: asking for what was announced after %d (it is at %d)", self._provider, self._position, self._wanted)
        question = {"epoch": self._epoch, "since": self._position, "topics": self._topics, "newer_than": self._newer_than}
        self._ask_for_page((self._topics or [""])[0] or "/", question, self._answered)

    def _ask_for_page(self, subject: str, question: dict[str, Any], answered: Callable[[Message | None], Any]) -> None:
        self.ask("replay", subject, question, answered)

    def ask(self, kind: str, subject: str, question: Mapping[str, Any], answered: Callable[[Message | None], Any]) -> bool:
        """Ask where the publisher says, or where it was found; False when that is not known. *answered* gets the reply, or None
        when there is none in time."""
        if self._closed or self._address is None:
            return False
        request = new_request()
        said = {"version": PROTOCOL, "request": request, **question}
        host, port = self._address
        elsewhere = self._elsewhere
        place = self._host if elsewhere and self._host else host, port

        def heard(reply: Message | None) -> None:
            if reply is None:
                self._elsewhere = not elsewhere  # several questions may have got no answer there
            if not self._closed:
                answered(reply)
        self._requesters.ours(*place, self._epoch).ask(request, subject, kind, {EXTENSION: said}, heard, self._patience)
        return True

    def _answered(self, reply: Message | None) -> None:
        self._asking = False
        said = reply.extension if reply is not None and reply.type == "replay" else {}
        epoch, to, raws = said.get("epoch"), said.get("to"), said.get("messages")
        if not _can_be_kept(epoch) or not is_position(to) or not isinstance(raws, list):
            logger.warning("%s did not answer the question for what was missed; asking again", self._provider)
            self._loop.after(RETRY, self._ask)
            return
        if epoch != self._epoch:
            self._epoch, self._position, self._wanted, self._first = epoch, 0, 0, True
            self._seen.clear()
        if said.get("truncated") and not self._first:
            self._missed(said.get("oldest"), said.get("forgotten"))
        self._asking = True  # until the page is journaled
        self._page(decoded(raws, self._refused), epoch, to, lambda: self._page_done(epoch, to, bool(said.get("more"))))

    def _missed(self, oldest: Any, forgotten: Any) -> None:
        """What was published before *oldest* cannot be had any more."""
        until = oldest if is_position(oldest) else 0
        if until != self._gap_told:
            self._gap = self._position if self._gap is None else self._gap[0], until, forgotten
        if self._gap_told is None:
            self._tell_gap()

    def _tell_gap(self) -> None:
        gap, self._gap = self._gap, None
        self._gap_told = None if gap is None else gap[1]
        if gap is None:
            return
        since, until, when = gap
        time_of = f" (the last of it was of {stamp(when)})" if isinstance(when, (int, float)) else ""
        self._alarm(f"{self._provider} {self._epoch} {until}",
                    f"{self._provider} no longer has all it published after number {since} and before {until}{time_of}: those "
                    "files may be missing here; `trollmoves retry --since` there announces anew what it still has")
        self._loop.after(GAPS_TOGETHER, self._tell_gap)

    def again(self, newer_than: float, topics: Sequence[str], ended: Callable[[], Any] = lambda: None) -> None:
        """Ask for all that was published since a time (epoch seconds) under *topics*, or all that are heard, whether it came or
        not; when it is known where. What is not heard is not asked for either. *ended* is called when all is journaled."""
        wanted = within(topics, self._topics)
        if not wanted:
            ended()
            return
        self._again.append((newer_than, wanted, ended))
        if self._address is not None and self._epoch:
            self._begin_again()

    def _begin_again(self) -> None:
        wanted, self._again = self._again, []
        for newer_than, topics, ended in wanted:
            self._asking_again.begin(newer_than, topics, ended)

    def _page_done(self, epoch: str, to: int, more: bool) -> None:
        self._asking = False
        if epoch != self._epoch:  # a new journal was heard of meanwhile: the page says nothing of that one
            self._ask()
        elif to > self._position:
            self._position = to
            if more:
                self._wanted = max(self._wanted, to + 1)
            else:
                self._first_is_over()
            self._ask()
        elif more:  # a page that leads nowhere, and the same would come again: no hurry
            self._loop.after(RETRY, self._ask)
        else:
            self._first_is_over()  # what is wanted may be on its way to us: it is asked for again when a beat tells more

    def _first_is_over(self) -> None:
        """All that a new client asks for is here: from now on nothing is left out."""
        self._first, self._newer_than = False, 0.0

    def close(self) -> None:
        if not self._closed:
            self._tell_gap()
        self._closed = True


def _can_be_kept(name: Any) -> TypeGuard[str]:
    """Whether it is a name, and not so long that somebody wants to fill our disk with it."""
    return isinstance(name, str) and len(name) <= LONGEST
