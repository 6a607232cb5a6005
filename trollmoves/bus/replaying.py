"""Catch-up for subscribers: pages of what was published, from the journal, in order.

A server answers on its request ports. Who serves nothing else (a client, a dispatcher, move_it) has a `ReplayPort`, whose
address its beats tell.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from itertools import takewhile
from typing import Any

from trollmoves.bus.addresses import Reachable
from trollmoves.bus.loop import Loop
from trollmoves.bus.replying import Asker, Replier
from trollmoves.errors import DestinationInvalid, MoveError
from trollmoves.journal import Journal
from trollmoves.messages import EXTENSION, LARGEST_WHOLE, PROTOCOL, Envelope, Message, renewed

logger = logging.getLogger(__name__)

MOST_MESSAGES = 500
"""Messages in one page."""
MOST_BYTES = 256 * 1024
"""Bytes of messages in one page; a page holds at least one message, whatever its size."""
ROWS_LOOKED_AT = 5000
"""Announcements examined for one page, so that a page for a rare topic takes no longer than others."""
MOST_TOPICS = 100


class Replaying:
    """Answers `replay` requests; belongs to the loop."""

    def __init__(self, journal: Journal, envelope: Envelope, chain: str | None = None,
                 moved: Callable[[], Mapping[str, str]] = dict):
        """Of all that the journal has, or of one *chain* that publishes for itself. What is to be asked for elsewhere by now, as
        *moved* says, is told with the new address."""
        self._moved = moved
        self._journal = journal
        self._envelope = envelope
        self._chain = chain

    def answer(self, message: Message) -> bytes:
        """The page of announcements after position `since` whose subjects begin with one of `topics`.

        `to` is how far the page reaches (also through announcements of other topics), `more` whether the journal goes on behind
        it, `truncated` whether some of `topics` between `since` and `oldest` are no longer kept; the last of them is of the time
        `forgotten`. Raises `DestinationInvalid` for a question that makes no sense.
        """
        asked = message.extension
        since, topics = _since(asked), _topics(asked)
        epoch = asked.get("epoch")
        if epoch is not None and epoch != self._journal.epoch:
            since = 0
        newer_than = asked.get("newer_than")
        oldest_time = float(newer_than) if isinstance(newer_than, (int, float)) else 0.0
        # Before the rows: what is committed between the two look-ups is in neither, or in the rows alone.
        committed = int(self._journal.find_one("newest_position", ())[0] or 0)
        rows, ends = self._rows(since)
        messages, to = _page(rows, topics, since, oldest_time)
        moved = self._moved()
        if moved:
            messages = [renewed(text.encode(), moved).decode() for text in messages]
        head = self._journal.head
        forgotten = [row for row in self._journal.find("forgotten_since", (since, self._chain or "", self._chain or ""))
                     if row["subject"].startswith(topics)]
        oldest = 1 + max((row["position"] for row in forgotten), default=since)
        reached = ends and (not rows or to == rows[-1]["position"])
        answer: dict[str, Any] = {
            "version": PROTOCOL, "request": asked.get("request"), "epoch": self._journal.epoch, "to": to,
            "head": head, "oldest": oldest, "more": to < committed and not reached, "truncated": bool(forgotten),
            "forgotten": max((row["time"] for row in forgotten), default=None),
            "messages": messages,
        }
        return self._envelope.encode(message.subject, "replay", {EXTENSION: answer})

    def _rows(self, since: int) -> tuple[list[Any], bool]:
        """What there is after a position, and whether it ends before something that waits to be published: a peer that is told
        of it would think it done, while another one of our group may have to do it."""
        if self._chain is None:
            return self._journal.find("announcements_since", (since, ROWS_LOOKED_AT)), False
        asked = {"chain": self._chain, "position": since, "count": ROWS_LOOKED_AT}
        rows = self._journal.find("announcements_of_chain", asked)
        published = list(takewhile(lambda row: not row["unpublished"], rows))
        return published, len(published) < len(rows)


class ReplayPort:
    """A port where nothing but `replay` and `ping` is answered; belongs to the loop."""

    def __init__(self, port: int, address: str, loop: Loop, journal: Journal, envelope: Envelope, chain: str | None = None):
        """Listen on *port* (0: a free one) of *address* (`*`: of all). Raises `ConfigurationError` when it is taken."""
        self._journal = journal
        self._envelope = envelope
        self._replaying = Replaying(journal, envelope, chain)
        self._replier = Replier(loop, port, envelope, self._handle, address=address)
        self._reachable = Reachable(address, self._replier.port)
        logger.info("what was published can be asked for again at %s", self.address)

    @property
    def address(self) -> str:
        """Where it is asked, for others to be told."""
        return self._reachable.now()

    def _handle(self, requests: list[tuple[Asker, Message]]) -> None:
        for asker, message in requests:
            self._replier.reply(asker, self._answer(message))

    def _answer(self, message: Message) -> bytes:
        request = message.extension.get("request")
        try:
            if message.type == "replay":
                return self._replaying.answer(message)
            if message.type == "ping":
                said = {"version": PROTOCOL, "request": request, "epoch": self._journal.epoch, "head": self._journal.head,
                        "capabilities": ["replay"]}
                return self._envelope.encode(message.subject, "pong", {EXTENSION: said} if message.extension else None)
        except MoveError as error:
            said = {"version": PROTOCOL, "request": request, "code": error.code, "permanent": error.permanent}
            return self._envelope.encode(message.subject, "err", {"error": str(error), EXTENSION: said})
        return self._envelope.encode(message.subject, "unknown")

    def close(self) -> None:
        self._replier.close()


def _page(rows: list[Any], topics: tuple[str, ...], since: int, oldest_time: float) -> tuple[list[str], int]:
    messages: list[str] = []
    size, to = 0, since
    for row in rows:
        wanted = row["message"] is not None and row["time"] >= oldest_time
        if wanted and row["subject"].startswith(topics):
            size += len(row["message"])
            if messages and (size > MOST_BYTES or len(messages) >= MOST_MESSAGES):
                return messages, to
            messages.append(row["message"])
        to = row["position"]
    return messages, to


def _since(asked: dict[str, Any]) -> int:
    since = asked.get("since", 0)
    if type(since) is not int or not 0 <= since <= LARGEST_WHOLE:
        raise DestinationInvalid("replay: since must be a whole number, 0 or more")
    return since


def _topics(asked: dict[str, Any]) -> tuple[str, ...]:
    topics = asked.get("topics", [""])
    if not isinstance(topics, list) or len(topics) > MOST_TOPICS or not all(isinstance(topic, str) for topic in topics):
        raise DestinationInvalid(f"replay: topics must be a list of at most {MOST_TOPICS} texts")
    return tuple(topics)
