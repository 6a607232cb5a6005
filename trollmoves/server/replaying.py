"""Catch-up for subscribers: pages of what was announced, from the journal, in order."""

from __future__ import annotations

import time
from typing import Any

from trollmoves.errors import DestinationInvalid
from trollmoves.journal import Journal
from trollmoves.messages import EXTENSION, LARGEST_WHOLE, PROTOCOL, Envelope, Message

MOST_MESSAGES = 500
"""Messages in one page."""
MOST_BYTES = 256 * 1024
"""Bytes of messages in one page; a page holds at least one message, whatever its size."""
ROWS_LOOKED_AT = 5000
"""Announcements examined for one page, so that a page for a rare topic takes no longer than others."""
MOST_TOPICS = 100


class Replaying:
    """Answers `replay` requests; belongs to the loop."""

    def __init__(self, journal: Journal, envelope: Envelope):
        self._journal = journal
        self._envelope = envelope

    def answer(self, message: Message) -> bytes:
        """The page of announcements after position `since` whose subjects begin with one of `topics`.

        `to` is how far the page reaches (also through announcements of other topics), `more` whether the journal goes on behind
        it, `truncated` whether announcements between `since` and `oldest` are no longer kept.
        """
        asked = message.extension
        since, topics = _since(asked), _topics(asked)
        epoch = asked.get("epoch")
        if epoch is not None and epoch != self._journal.epoch:
            since = 0
        newer_than = asked.get("newer_than")
        oldest_time = float(newer_than) if isinstance(newer_than, (int, float)) else 0.0
        rows = self._journal.find("announcements_since", (since, ROWS_LOOKED_AT))
        messages, to = _page(rows, topics, since, oldest_time)
        head = self._journal.head
        committed = int(self._journal.find_one("newest_position", ())[0] or 0)
        oldest = int(self._journal.find_one("oldest_position", ())[0] or head + 1)
        if not rows or (to == rows[-1]["position"] and len(rows) < ROWS_LOOKED_AT):
            # Positions that were given out but never written (a process that died) will never come.
            to = max(to, committed)
        answer: dict[str, Any] = {
            "version": PROTOCOL, "request": asked.get("request"), "epoch": self._journal.epoch, "from": since, "to": to,
            "head": head, "oldest": oldest, "more": to < committed, "truncated": since < oldest - 1,
            "messages": messages, "time": time.time(),
        }
        return self._envelope.encode(message.subject, "replay", {EXTENSION: answer})


def _page(rows: list[Any], topics: list[str], since: int, oldest_time: float) -> tuple[list[str], int]:
    messages: list[str] = []
    size, to = 0, since
    for row in rows:
        if row["time"] >= oldest_time and any(row["subject"].startswith(topic) for topic in topics):
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


def _topics(asked: dict[str, Any]) -> list[str]:
    topics = asked.get("topics", [""])
    if not isinstance(topics, list) or len(topics) > MOST_TOPICS or not all(isinstance(topic, str) for topic in topics):
        raise DestinationInvalid(f"replay: topics must be a list of at most {MOST_TOPICS} texts")
    return topics
