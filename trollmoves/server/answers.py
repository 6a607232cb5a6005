"""Answers to those who wait for moves: a message for each, or, to requests that came together, one message for all of a turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trollmoves.bus import Asker, Loop
from trollmoves.errors import MoveError
from trollmoves.movers.base import Receipt
from trollmoves.server.replies import Replies, result, shown, verdict
from trollmoves.server.requests import Waiter


class Answers:
    """Of one request port; belongs to the loop."""

    def __init__(self, loop: Loop, replies: Replies, reply: Callable[[Asker, bytes], Any]):
        self._loop = loop
        self._replies = replies
        self._reply = reply
        self._together: dict[bytes, tuple[Asker, str, list[dict[str, Any]]]] = {}
        """By asker: answers that go out together."""

    def delivered(self, waiter: Waiter, receipts: list[Receipt], named: bool, lease: Mapping[str, Any] | None = None) -> None:
        """The files are at their destination; *named* and *lease* as for `Replies.delivered`."""
        if waiter.grouped:
            self.add(waiter, {**result(waiter.request, receipts), **(lease or {})})
        else:
            self._reply(waiter.asker, self._replies.delivered(waiter.message, waiter.request, receipts, named, lease))

    def state(self, waiter: Waiter, state: str, **more: Any) -> None:
        """How it stands with the request: as for `Replies.state`."""
        if waiter.grouped:
            self.add(waiter, {"request": waiter.request, "state": state, **more})
        else:
            self._reply(waiter.asker, self._replies.state(waiter.message, waiter.request, state, **more))

    def error(self, waiter: Waiter, error: MoveError) -> None:
        """It did not succeed."""
        if waiter.grouped:
            self.add(waiter, {"request": waiter.request, "error": shown(error), **verdict(error)})
        else:
            self._reply(waiter.asker, self._replies.error(waiter.message, error))

    def add(self, waiter: Waiter, answer: dict[str, Any]) -> None:
        """An answer to a grouped request; it goes with the others to the same asker."""
        if not self._together:
            self._loop.call(self.send)
        _, _, answers = self._together.setdefault(waiter.asker.identity, (waiter.asker, waiter.message.subject, []))
        answers.append(answer)

    def send(self) -> None:
        """Send now what goes out together."""
        together, self._together = self._together, {}
        for asker, subject, answers in together.values():
            self._reply(asker, self._replies.results(subject, answers))
