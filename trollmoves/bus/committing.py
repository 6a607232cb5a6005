"""Asking servers whether we may publish what they delivered (see leases.py), many files at a time; and staying in their minds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from trollmoves.bus.loop import Loop
from trollmoves.bus.requesters import Requesters
from trollmoves.bus.requesting import new_request
from trollmoves.messages import EXTENSION, PROTOCOL, Message

COMMIT_TIMEOUT = 20.0
"""Seconds after which a server that does not answer is not waited for: a copy too many, marked as such, is better than none."""
RENEW_EVERY = 5.0
"""Seconds between two words to a server about what was delivered and cannot be published yet."""
AT_ONCE = 500
SHORTEST = 1.0
"""Seconds for which a right to publish is believed to last, at least; ours lasts longer, and who grants one that is over already
would be asked again without a pause."""


class Granted(NamedTuple):
    """What a server says to somebody who is about to publish."""

    state: str
    """`granted`; `held`: another member of the group has the lease; `covered`: one has published; `unknown`: no answer, or the
    server knows nothing of it."""
    valid_until: float = 0.0
    """Monotonic time until which it may be published."""
    fence: int = 0
    maybe_published: bool = False


UNKNOWN = Granted("unknown")


class Asked(NamedTuple):
    """The delivery that is to be published: where from, and for which request."""

    host: str
    port: int
    epoch: str
    position: int
    request: str


class Question(NamedTuple):
    """Whether to publish one delivery."""

    asked: Asked
    fence: int
    answered: Callable[[Granted], Any]


class Committing:
    """Belongs to the loop."""

    def __init__(self, loop: Loop, requesters: Requesters, subject: str, who: Mapping[str, Any]):
        """*subject* is that of our questions; *who* says to servers who we are."""
        self._loop = loop
        self._requesters = requesters
        self._subject = subject
        self._who = who
        self._asking: dict[tuple[str, int, str], list[Question]] = {}
        """By server: what is asked together with the next turn of the loop."""
        self._held: dict[str, Asked] = {}
        """By request: what we have a lease for and cannot publish yet."""
        self._renewing = self._closed = False

    def ask(self, asked: Asked, fence: int, answered: Callable[[Granted], Any]) -> None:
        """Ask whether to publish; *answered* is called once, unless we close. *fence* is the one we were told, 0 if we forgot."""
        if not self._asking:
            self._loop.call(self._send)
        self._asking.setdefault(asked[:3], []).append(Question(asked, fence, answered))

    def hold(self, asked: Asked) -> None:
        """We have the lease, and publish later: keep it."""
        self._held[asked.request] = asked
        if not self._renewing:
            self._renewing = True
            self._loop.after(RENEW_EVERY, self._renew)

    def release(self, request: str) -> None:
        """We need that lease no more."""
        self._held.pop(request, None)

    def close(self) -> None:
        self._closed = True

    def _send(self) -> None:
        asking, self._asking = self._asking, {}
        for place, questions in asking.items():
            for start in range(0, len(questions), AT_ONCE):
                part = questions[start:start + AT_ONCE]
                commits = [(question.asked.position, question.asked.request, question.fence) for question in part]
                self._ask(place, {"commits": commits}, partial(self._answered, part, time.monotonic()))

    def _ask(self, place: tuple[str, int, str], said: Mapping[str, Any], answered: Callable[[Message | None], Any]) -> None:
        if self._closed:
            return
        request, (host, port, epoch) = new_request(), place
        data = {EXTENSION: {"version": PROTOCOL, "request": request, "epoch": epoch, **said, **self._who}}
        self._requesters.ours(host, port, epoch).ask(request, self._subject, "commit", data, answered, COMMIT_TIMEOUT)

    def _answered(self, questions: list[Question], since: float, reply: Message | None) -> None:
        results = reply.extension.get("results") if reply is not None else None
        found = [result for result in results if isinstance(result, dict)] if isinstance(results, list) else []
        said = {str(result.get("request")): result for result in found}
        for question in questions:
            if not self._closed:
                question.answered(_granted(said.get(question.asked.request), since))

    def _renew(self) -> None:
        self._renewing = False
        by_place: dict[tuple[str, int, str], list[tuple[int, str]]] = {}
        for asked in self._held.values():
            by_place.setdefault(asked[:3], []).append((asked.position, asked.request))
        for place, renewals in by_place.items():
            for start in range(0, len(renewals), AT_ONCE):
                self._ask(place, {"renewals": renewals[start:start + AT_ONCE]}, lambda reply: None)
        if self._held and not self._closed:
            self._renewing = True
            self._loop.after(RENEW_EVERY, self._renew)


def _granted(said: Any, asked: float) -> Granted:
    """What a server said of one file, counted from when it was asked."""
    if not isinstance(said, dict) or said.get("state") not in ("granted", "held", "covered"):
        return UNKNOWN
    valid, fence = said.get("valid"), said.get("fence")
    until = asked + max(SHORTEST, valid if isinstance(valid, (int, float)) else 0.0)
    return Granted(str(said["state"]), until, fence if type(fence) is int else 0, said.get("maybe_published") is True)
