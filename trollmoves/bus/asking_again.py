"""Asking again, on purpose: all that a publisher of ours published in a time, whether it came or not."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

from trollmoves.bus.few_lines import Sparingly
from trollmoves.bus.loop import Loop
from trollmoves.errors import MalformedMessage
from trollmoves.messages import LARGEST_WHOLE, Message, decode

logger = logging.getLogger(__name__)

RETRY = 5.0
"""Seconds before a question that led to nothing is asked again."""

Answered = Callable[[Message | None], Any]
Ask = Callable[[str, dict[str, Any], Answered], Any]
"""Asks for a page: the subject of the question, what it says, and what gets the answer (None: there was none in time)."""


class AskingAgain:
    """Has one past after the other told again; belongs to the loop."""

    def __init__(self, name: str, loop: Loop, ask: Ask, take: Callable[[list[Message], Callable[[], Any]], Any]):
        """*take* gets the messages of a page, and what to call when they are journaled."""
        self._name = name
        self._loop = loop
        self._ask = ask
        self._take = take
        self._refused = Sparingly(logger)

    def begin(self, newer_than: float, topics: Sequence[str], ended: Callable[[], Any]) -> None:
        """All since a time (epoch seconds) under *topics*; *ended* is called when all is journaled."""
        logger.info("%s: asking again for all since %s", self._name, stamp(newer_than))
        self._next(newer_than, list(topics) or [""], 0, ended)

    def _next(self, newer_than: float, topics: list[str], since: int, ended: Callable[[], Any]) -> None:
        def answered(reply: Message | None) -> None:
            said = reply.extension if reply is not None and reply.type == "replay" else {}
            to, raws = said.get("to"), said.get("messages")
            if not is_position(to) or not isinstance(raws, list):
                logger.warning("%s did not answer the question for the past; asking again", self._name)
                self._loop.after(RETRY, lambda: self._next(newer_than, topics, since, ended))
                return
            onward = bool(said.get("more")) and to > since
            self._take(decoded(raws, self._refused),
                       lambda: self._next(newer_than, topics, to, ended) if onward else self._end(ended))
        self._ask(topics[0] or "/", {"since": since, "topics": topics, "newer_than": newer_than}, answered)

    def _end(self, ended: Callable[[], Any]) -> None:
        logger.info("%s: all that was asked for again is here", self._name)
        ended()


class Countdown:
    """Calls *then* when `one_ended` was called *count* times; never where there are none."""

    def __init__(self, count: int, then: Callable[[], Any]):
        self._left = count
        self._then = then

    def one_ended(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._then()


def within(topics: Sequence[str], heard: Sequence[str]) -> list[str]:
    """What is both under *topics* (none: everything) and under those that are *heard*. All are beginnings of subjects."""
    pairs = [(topic, own) for topic in topics or [""] for own in heard]
    return list(dict.fromkeys(max(topic, own, key=len) for topic, own in pairs if topic.startswith(own) or own.startswith(topic)))


def is_position(value: Any) -> TypeGuard[int]:
    """Whether a peer said a position."""
    return type(value) is int and 0 <= value <= LARGEST_WHOLE


def stamp(when: float) -> str:
    """A time as a person reads it; a peer may give any number for one."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))
    except (ValueError, OverflowError, OSError):
        return "no time there is"


def decoded(raws: list[Any], refused: Sparingly) -> list[Message]:
    """The messages of a page; one that cannot be read is *refused*."""
    messages = []
    for raw in raws:
        try:
            messages.append(decode(str(raw).encode()))
        except MalformedMessage as error:
            refused.say("a replayed message cannot be read: %s", error)
    return messages
