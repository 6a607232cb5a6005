"""Confirming: telling servers, many files at a time, that what they delivered is published; again and again until they say so."""

from __future__ import annotations

import time
from functools import partial
from itertools import islice

from trollmoves import crashing
from trollmoves.bus.loop import Loop
from trollmoves.bus.requesters import Named, Requesters
from trollmoves.bus.requesting import new_request
from trollmoves.messages import EXTENSION, PROTOCOL, Message

CONFIRM_EVERY = 0.2
"""Seconds between two confirmations to one server."""
AT_ONCE = 500
TIMEOUT = 60.0
AGAIN = 10.0
"""Seconds before a confirmation that led to nothing is made again."""
MOST_KEPT = 100_000
"""Files that may wait to be confirmed to one server; of more it is not told, and keeps them until `delete_after`."""

Delivery = tuple[int, str]
"""Position of the announcement, and id of the request."""


class Confirming:
    """Belongs to the loop."""

    def __init__(self, loop: Loop, requesters: Requesters, subject: str):
        """*subject* is that of our messages."""
        self._loop = loop
        self._requesters = requesters
        self._subject = subject
        self._waiting: dict[Named, dict[Delivery, float]] = {}
        """What is to be said, and when it was published."""
        self._said: dict[str, dict[Delivery, float]] = {}
        """By the id of our message: what was said and not answered yet."""
        self._sending: set[Named] = set()
        self._closed = False
        self.settled = 0
        """How many were confirmed."""

    def __len__(self) -> int:
        """How many are to be confirmed."""
        return sum(map(len, (*self._waiting.values(), *self._said.values())))

    def add(self, place: Named, position: int, request: str, published: float) -> None:
        """What was delivered for *request* is published, since a time."""
        waiting = self._waiting.setdefault(place, {})
        waiting[position, request] = published
        if len(waiting) > MOST_KEPT:
            del waiting[next(iter(waiting))]
        self._send_soon(place, CONFIRM_EVERY)

    def oldest(self) -> float:
        """Everything that was published before this time is confirmed."""
        return min((when for group in (*self._waiting.values(), *self._said.values()) for when in group.values()),
                   default=time.time())

    def clock_leapt(self, seconds: float) -> None:
        """The clock was set: the journal has these times moved with it."""
        for group in (*self._waiting.values(), *self._said.values()):
            for delivery in group:
                group[delivery] += seconds

    def flush(self) -> None:
        """Say now what waits to be said."""
        for place in list(self._waiting):
            self._send(place)

    def close(self) -> None:
        self._closed = True

    def _send_soon(self, place: Named, seconds: float) -> None:
        if place not in self._sending:
            self._sending.add(place)
            self._loop.after(seconds, lambda: self._send(place))

    def _send(self, place: Named) -> None:
        self._sending.discard(place)
        waiting = [] if self._closed else list(self._waiting.pop(place, {}).items())
        for start in range(0, len(waiting), AT_ONCE):
            request, part = new_request(), dict(waiting[start:start + AT_ONCE])
            self._said[request] = part
            data = {EXTENSION: {"version": PROTOCOL, "request": request, "requests": list(part)}}
            answered = partial(self._answered, place, request)
            self._requesters.ours(*place).ask(request, self._subject, "ack", data, answered, TIMEOUT)
            crashing.point("client.confirmed")

    def _answered(self, place: Named, request: str, reply: Message | None) -> None:
        said = self._said.pop(request, {})
        if reply is not None and reply.type == "ack":
            self.settled += len(said)
            return
        if not self._closed:
            waiting = self._waiting.setdefault(place, {})
            waiting.update(islice(said.items(), max(0, MOST_KEPT - len(waiting))))
            self._send_soon(place, AGAIN)
