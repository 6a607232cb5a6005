"""Asking an upstream server: a few requests in flight, each answered once or given up.

It repeats nothing in its error replies, so each request to it has a connection to itself (a lane) and is never sent twice while
the server lives: it would move the file again. A ping on another connection tells a busy server from a dead one.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import zmq

from trollmoves.bus.loop import Loop
from trollmoves.bus.names import Whereabouts
from trollmoves.bus.requesting import Answered
from trollmoves.bus.sockets import Socket, close, connected_or_none
from trollmoves.errors import MalformedMessage
from trollmoves.messages import Envelope, Message, decode

logger = logging.getLogger(__name__)

LANES = 8
"""Requests in flight to one upstream server."""
LONGEST_MOVE = 600.0
"""Seconds an upstream server that still answers pings may take for one move."""
PATIENCE = 15.0
"""Seconds without an answer to a ping after which a server counts as dead."""


class Request(NamedTuple):
    """A request that is to be sent."""

    raw: bytes
    answered: Answered
    timeout: float
    """Seconds it may take."""
    since: float
    """Monotonic time when it came."""


@dataclass(slots=True)
class Lane:
    """One connection to an upstream server, and what was asked on it."""

    socket: Socket
    answered: Answered
    given_up: float
    """Monotonic time after which no answer is expected any more."""
    asked: float
    timeout: float
    in_turn: bool
    """No other one like this is under way."""


class Lanes:
    """Requests to one upstream server; belongs to the loop."""

    def __init__(self, loop: Loop, envelope: Envelope, host: str, port: int, most: int = LANES,
                 patience: float = PATIENCE):
        self._loop = loop
        self._envelope = envelope
        self._place = host, port
        self._most = most
        self._patience = patience
        self._queue: deque[Request] = deque()
        self._in_turn: deque[Request] = deque()
        """Those that are sent one after the other."""
        self._where = Whereabouts(loop.names, host, self._fill)
        self._lanes: list[Lane] = []
        self._pinging: tuple[Socket, float] | None = None

    def __len__(self) -> int:
        return len(self._queue) + len(self._in_turn) + len(self._lanes)

    def ask(self, subject: str, kind: str, data: Mapping[str, Any], answered: Answered, timeout: float, *,
            in_turn: bool = False) -> None:
        """Send a request when a lane is free. It is given up *timeout* seconds after it was sent if the server is dead by then,
        and after ten minutes in any case. Those that are *in_turn* are sent one after the other."""
        queue = self._in_turn if in_turn else self._queue
        queue.append(Request(self._envelope.encode(subject, kind, data), answered, timeout, time.monotonic()))
        self._fill()

    def _fill(self) -> None:
        while len(self._lanes) < self._most and self._where.address is not None:
            in_turn = bool(self._in_turn) and not any(lane.in_turn for lane in self._lanes)
            queue = self._in_turn if in_turn else self._queue
            if not queue:
                return
            request, now = queue.popleft(), time.monotonic()
            socket = connected_or_none(self._where.address, self._place[1])
            if socket is None:
                self._loop.call(request.answered, None)
                continue
            lane = Lane(socket, request.answered, now + max(request.timeout, LONGEST_MOVE), now, request.timeout, in_turn)
            self._lanes.append(lane)
            self._loop.register(socket, partial(self._read, lane))
            socket.send_multipart((b"", request.raw))

    def _read(self, lane: Lane) -> None:
        try:
            frames = self._loop.incoming.receive(lane.socket)
        except zmq.Again:
            return
        try:
            reply: Message | None = decode(frames[-1].bytes)
        except MalformedMessage as error:
            logger.warning("%s:%d replied with something that is no message: %s", *self._place, error)
            reply = None
        self._finish(lane, reply)

    def _finish(self, lane: Lane, reply: Message | None) -> None:
        self._lanes.remove(lane)
        self._loop.unregister(lane.socket)
        close(lane.socket)
        lane.answered(reply)
        self._fill()

    def sweep(self) -> None:
        """Ping while something is late; give up what is later than a living server may be."""
        now = time.monotonic()
        for queue in (self._queue, self._in_turn):
            while self._where.address is None and queue and now - queue[0].since > queue[0].timeout:
                queue.popleft().answered(None)  # nobody knows where that server is
        late = [lane for lane in self._lanes if now - lane.asked > lane.timeout]
        if not late:
            self._end_ping()
            return
        dead = self._ping_failed(now)
        if dead:  # what waits need not find that out one by one, nor become ever more
            queued = [*self._queue, *self._in_turn]
            self._queue.clear()
            self._in_turn.clear()
            for request in queued:
                request.answered(None)
        for lane in late:
            if dead or now > lane.given_up:
                self._finish(lane, None)

    def _ping_failed(self, now: float) -> bool:
        if self._pinging is None:
            socket = connected_or_none(self._where.address, self._place[1])
            if socket is not None:
                self._loop.register(socket, lambda: self._ponged(socket))
                socket.send_multipart((b"", self._envelope.encode("/ping", "ping")))
                self._pinging = socket, now
            return False
        return now - self._pinging[1] > self._patience

    def _ponged(self, socket: Socket) -> None:
        try:
            self._loop.incoming.receive(socket)
        except zmq.Again:
            return
        self._end_ping()

    def _end_ping(self) -> None:
        if self._pinging is not None:
            self._loop.unregister(self._pinging[0])
            close(self._pinging[0])
            self._pinging = None

    def close(self) -> None:
        self._where.close()
        self._end_ping()
        for lane in self._lanes:
            self._loop.unregister(lane.socket)
            close(lane.socket)
        self._lanes.clear()
        self._queue.clear()
        self._in_turn.clear()
