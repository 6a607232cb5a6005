"""The loop: one per process, in the main thread. It owns sockets, deadlines and the state of the role; it never blocks."""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import zmq

from trollmoves.bus.inbox import Call, Inbox
from trollmoves.bus.incoming import Incoming
from trollmoves.bus.names import Names

logger = logging.getLogger(__name__)

CALLS_PER_TURN = 500
SWITCH_INTERVAL = 0.002
"""Seconds a thread may keep the interpreter: the loop gives it up at every send, and must not wait 5 ms to get it back."""
LONGEST_POLL = 60.0
"""Seconds."""
UNHURRIED, GRAIN, EARLY = 0.5, 0.25, 0.01
"""Seconds. Deadlines that are UNHURRIED away lie on multiples of a GRAIN (up to a grain later, or EARLY before): so what is done
every second is done in two or three turns, not in six, and in each turn of an idle process all its sockets are asked (a third of
its processor time). EARLY keeps what is done again and again from slipping by a grain each time."""


class Deadline:
    """A call at a time; `cancel` it while it waits."""

    __slots__ = ("function", "when")

    def __init__(self, when: float, function: Callable[[], Any] | None):
        self.when = when
        self.function = function

    def cancel(self) -> None:
        self.function = None


class Loop:
    """Polls sockets, the inbox and the deadlines, and calls who is concerned."""

    def __init__(self) -> None:
        self._poller = zmq.Poller()
        self._inbox = Inbox()
        self._handlers: dict[Any, Callable[[], Any]] = {}
        self._deadlines: list[tuple[float, int, Deadline]] = []
        self._count = itertools.count()
        self._running = False
        self._failure: BaseException | None = None
        self.first: Callable[[], Any] | None = None
        """Called in every turn before anything else is done in it; has to be quick."""
        self.names = Names(self.call, self.after)
        self.incoming = Incoming()
        self._poller.register(self._inbox.fileno(), zmq.POLLIN)
        self._handlers[self._inbox.fileno()] = self._inbox.read

    def register(self, socket: Any, handler: Callable[[], Any]) -> None:
        """Have *handler* called whenever *socket* can be read."""
        self._poller.register(socket, zmq.POLLIN)
        self._handlers[socket] = handler

    def unregister(self, socket: Any) -> None:
        if self._handlers.pop(socket, None) is not None:
            self._poller.unregister(socket)

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Have *function* called in the loop, soon. Any thread may do this."""
        self._inbox.put(function, *arguments)

    def call_all(self, calls: Iterable[Call]) -> None:
        self._inbox.put_all(calls)

    def after(self, seconds: float, function: Callable[[], Any]) -> Deadline:
        """Have *function* called in about *seconds*. Only from the loop."""
        when = time.monotonic() + seconds
        deadline = Deadline(when if seconds < UNHURRIED else math.ceil((when - EARLY) / GRAIN) * GRAIN, function)
        heapq.heappush(self._deadlines, (deadline.when, next(self._count), deadline))
        return deadline

    def every(self, seconds: float, function: Callable[[], Any]) -> None:
        """Have *function* called every *seconds*, for as long as the loop runs."""
        def again() -> None:
            self.after(seconds, again)
            function()
        self.after(seconds, again)

    def look_at_incoming(self) -> None:
        """Cut off peers that send more than can be taken in, or are too many, again and again from now on."""
        self.after(self.incoming.look(), self.look_at_incoming)

    def fail(self, error: BaseException) -> None:
        """End the loop with an error: a thread died, or a promise cannot be kept. Any thread may do this."""
        self._failure = self._failure or error
        self.stop()

    def stop(self) -> None:
        """End `run` after the current turn. Any thread may do this."""
        self._inbox.put(self._end)

    def _end(self) -> None:
        self._running = False

    def run(self) -> None:
        """Work until `stop`. Raises what `fail` was given."""
        sys.setswitchinterval(SWITCH_INTERVAL)
        self._running = True
        while self._running:
            self.turn(LONGEST_POLL)
        if self._failure is not None:
            raise self._failure

    def turn(self, longest: float) -> None:
        """Wait for something to do, at most *longest* seconds, and do it."""
        ready = self._poller.poll(int(self._wait(longest) * 1000) if self._inbox.wait() else 0)
        self._inbox.waited()
        if self.first is not None:
            self.first()
        for socket, _ in ready:
            handler = self._handlers.get(socket)
            if handler is not None:
                handler()
        for function, arguments in self._inbox.take(CALLS_PER_TURN):
            function(*arguments)
        self._run_due()

    def _wait(self, longest: float) -> float:
        if not self._deadlines:
            return longest
        return min(longest, max(0.0, self._deadlines[0][0] - time.monotonic() + 0.001))

    def _run_due(self) -> None:
        now = time.monotonic()
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline = heapq.heappop(self._deadlines)[2]
            if deadline.function is not None:
                deadline.function()

    def close(self) -> None:
        self._inbox.close()
