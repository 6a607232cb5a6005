"""Asking a provider that speaks our extension: many requests in flight, each answered once or given up.

It repeats the id of the request in its reply, so one DEALER socket carries all requests; a request that got lost is sent again
with the same id, which the peer recognises.
"""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import zmq

from trollmoves.bus.few_lines import Sparingly
from trollmoves.bus.loop import Loop
from trollmoves.bus.names import Whereabouts
from trollmoves.bus.sockets import (
    Socket,
    close,
    connected_or_none,
    connections_of,
    count_waiting,
    end_connections_of,
    send_frames,
)
from trollmoves.errors import MalformedMessage
from trollmoves.messages import EXTENSION, PROTOCOL, Envelope, Message, decode

logger = logging.getLogger(__name__)

Answered = Callable[[Message | None], Any]
"""Gets the reply, or None when the request is given up."""

Progress = Callable[[Mapping[str, Any]], Any]
"""Gets what a provider says of a request whose outcome is yet to come."""

REPLIES_PER_TURN = 200
SILENCE = 45.0
"""Seconds without any reply after which a provider is taken for dead. After a third of it a request that is not answered is sent
again, under the same id: a peer holds back no reply for that long."""
WAIT = 10.0
"""Seconds a peer may hold back a reply before it says `pending`."""
RESTARTS = 5.0
"""Seconds between two times that a provider is believed to have been started anew, at least: anybody may say so of it, and what
it was about to answer is lost with the connection."""
SOONEST = 1.0
"""Seconds from a question to the next one about the same request, at least."""
LINGER = 1000
"""Milliseconds for the last words to a provider to leave."""
WAITING = ("moving", "held")
"""What a peer says of a request whose outcome is yet to come: bytes move, or another member of the group has it."""
PUSHES = "pushes"
"""Key in the extension of a message with many requests: pairs of a position and the id of a request."""
MOST_POLLED = 500
ID_BYTES = 18
IDS_AT_ONCE = 64


@dataclass(slots=True)
class Outstanding:
    """A request that was sent and not answered yet."""

    subject: str
    raw: bytes
    answered: Answered
    deadline: float | None
    """Monotonic time at which it is given up; None: never while the peer lives."""
    message: Message | None = None
    """What a grouped request is about."""
    progress: Progress | None = None
    """Told what the peer says of a request that takes long."""
    polling: bool = field(default=False)
    """The peer said `pending`; its id is enough to ask again."""
    poll_due: bool = field(default=False)
    """It will be, soon: what the peer says meanwhile is nothing new."""
    since: float = field(default_factory=time.monotonic)
    """Monotonic time at which it was sent (again), or asked about."""
    asked: float = field(default_factory=time.monotonic)
    """The same, without repeats: an answer may be to the first of them."""


def new_request() -> str:
    """An id for a request that no one has used before, nor can guess, not even who knows others of this process: by its id a
    request is confirmed and cancelled."""
    return f"r:{secrets.token_hex(ID_BYTES)}"


def new_requests() -> Iterator[str]:
    """Such ids without end: the system is asked for chance for many at a time, and each bit of it is used once."""
    while True:
        chance = secrets.token_hex(ID_BYTES * IDS_AT_ONCE)
        for start in range(0, len(chance), 2 * ID_BYTES):
            yield "r:" + chance[start:start + 2 * ID_BYTES]


class Requester:
    """Requests to one provider that speaks our extension; belongs to the loop."""

    def __init__(self, loop: Loop, envelope: Envelope, host: str, port: int, silence: float = SILENCE):
        self._loop = loop
        self._envelope = envelope
        self._place = host, port
        self._silence = silence
        self._outstanding: dict[str, Outstanding] = {}
        self._heard = self._repeated = time.monotonic()
        self._restarted = -math.inf
        self.malformed = Sparingly(logger)
        self._socket: Socket | None = None
        self._connections: Socket | None = None
        self._connected = False
        self._linger = 0
        self._where = Whereabouts(loop.names, host, self.repeat)
        self._to_poll: list[str] = []
        """Grouped requests of which is asked, all at once, how they stand; and (below) those that the peer does not know."""
        self._unknown: list[str] = []
        self._connect()

    def __len__(self) -> int:
        """How many requests are in flight."""
        return len(self._outstanding)

    def ask(self, request: str, subject: str, kind: str, data: Mapping[str, Any], answered: Answered,
            timeout: float | None = None, progress: Progress | None = None) -> None:
        """Send a request whose extension carries the id *request*; *answered* is called once, from the loop; *progress* whenever
        the provider says that it is under way.

        With a *timeout* (seconds) the request is given up then; without, when the provider has been silent for 45 seconds.
        """
        raw = self._envelope.encode(subject, kind, data)
        if not self._outstanding:
            self._heard = time.monotonic()
        deadline = None if timeout is None else time.monotonic() + timeout
        self._outstanding[request] = Outstanding(subject, raw, answered, deadline, progress=progress)
        self._send(raw)

    def ask_group(self, subject: str, kind: str, data: Mapping[str, Any],
                  requests: Mapping[str, tuple[Message, Answered, Progress | None]]) -> None:
        """Many requests in one message, whose extension lists them in `pushes`: pairs of a position and an id. Each is answered
        by itself, as if it had been asked with the message given for it."""
        raw = self._envelope.encode(subject, kind, data)
        if not self._outstanding:
            self._heard = time.monotonic()
        for request, (message, answered, progress) in requests.items():
            self._outstanding[request] = Outstanding(subject, raw, answered, None, message, progress)
        self._send(raw)

    def cancel(self, subject: str, requests: Sequence[str]) -> None:
        """Nobody wants any more what was asked for in *requests*. Said once: a provider that does not hear it does too much."""
        for start in range(0, len(requests), MOST_POLLED):
            said = {"version": PROTOCOL, "request": new_request(), "requests": requests[start:start + MOST_POLLED]}
            self._send(self._envelope.encode(subject, "cancel", {EXTENSION: said}))
        self._linger = LINGER

    def sweep(self) -> None:
        """Give up what is over its time, and everything when the provider has been silent for too long. What it did not answer
        while it answered others got lost on the way."""
        now = time.monotonic()
        for request, waiting in list(self._outstanding.items()):
            if waiting.deadline is not None and waiting.deadline <= now:
                del self._outstanding[request]
                waiting.answered(None)
        if not self._outstanding:
            return
        lost = self._silence / 3
        if now - self._heard > self._silence:
            self._give_up()
        elif now - max(self._heard, self._repeated) > lost:
            heard = self._heard
            self.repeat()
            self._heard = heard  # it is no less silent for that
        else:
            self._send_again([request for request, waiting in self._outstanding.items()
                              if waiting.deadline is None and now - waiting.since > lost])

    def _give_up(self) -> None:
        """The provider is dead, or hangs: who asked decides what next. A request of the same id may be made again."""
        outstanding, self._outstanding = self._outstanding, {}
        logger.warning("%s:%d has not answered for %d s: connecting anew; requests given up: %d",
                       *self._place, self._silence, len(outstanding))
        self._where.try_another()
        self.repeat()
        for waiting in outstanding.values():
            waiting.answered(None)

    def move(self, host: str, port: int) -> None:
        """The provider is at another address by now: all that is outstanding is asked there, at once."""
        if (host, port) != self._place:
            logger.info("%s:%d is asked at %s:%d from now on; requests repeated: %d", *self._place, host, port,
                        len(self._outstanding))
            self._where.close()
            self._place, self._where = (host, port), Whereabouts(self._loop.names, host, self.repeat)
            self.repeat()

    def repeat(self) -> None:
        """Send everything that is outstanding again, on a new connection: the provider was restarted, is silent, or has moved."""
        self._heard = self._repeated = time.monotonic()
        self._disconnect()
        self._connect()
        self._send_again(self._outstanding)

    def restarted(self) -> None:
        """Somebody says that the provider was started anew. Where that is not believed, what got lost is repeated by `sweep`."""
        now = time.monotonic()
        if now - self._restarted >= RESTARTS:
            self._restarted = now
            self.repeat()

    def _send_again(self, requests: Iterable[str]) -> None:
        """Of a group only these *requests*: others of it are over, and what they asked for may have been had by another since."""
        groups: dict[bytes, list[str]] = {}
        for request in requests:
            waiting = self._outstanding[request]
            waiting.since = time.monotonic()
            if waiting.message is None:
                self._send(waiting.raw)
            else:
                groups.setdefault(waiting.raw, []).append(request)
        for raw, left in groups.items():
            self._send(self._part_of(raw, set(left)))

    def _part_of(self, raw: bytes, requests: Container[str]) -> bytes:
        """The message *raw* of a group, with only some of its *requests*."""
        group = decode(raw)
        pushes = [push for push in group.extension[PUSHES] if push[1] in requests]
        return self._envelope.encode(group.subject, group.type, {**group.fields, EXTENSION: {**group.extension, PUSHES: pushes}})

    def _send(self, raw: bytes) -> None:
        if self._socket is None:
            self._connect()
        if self._socket is None:
            return
        try:
            send_frames(self._socket, b"", raw)
        except zmq.Again:  # the queue is full; the sweep repeats it
            logger.debug("the queue to %s:%d is full", *self._place)

    def _connect(self) -> None:
        socket = connected_or_none(self._where.address, self._place[1])
        if socket is None:
            return
        try:
            self._connections, self._connected = connections_of(socket), False
        except zmq.ZMQError as error:  # no descriptor is left
            logger.warning("cannot connect to %s:%d: %s", *self._place, error)
            close(socket)
            return
        self._socket = socket
        self._loop.register(socket, self._read)
        self._loop.register(self._connections, self._has_connected)

    def _has_connected(self) -> None:
        """Connected; when that is not the first time, what was on its way over the connection that was lost may be lost too."""
        assert self._connections is not None
        again, self._connected = count_waiting(self._connections) > (0 if self._connected else 1), True
        if again and self._outstanding:
            logger.debug("connected to %s:%d again: %d requests are repeated", *self._place, len(self._outstanding))
            self._send_again([request for request, waiting in self._outstanding.items() if waiting.deadline is None])

    def _disconnect(self) -> None:
        if self._socket is not None:
            if self._connections is not None:
                self._loop.unregister(self._connections)
                end_connections_of(self._socket)
                self._connections = None
            self._loop.unregister(self._socket)
            close(self._socket, self._linger)
            self._socket = None

    def _read(self) -> None:
        for _ in range(REPLIES_PER_TURN):
            if self._socket is None:  # an answer made us disconnect
                return
            try:
                frames = self._loop.incoming.receive(self._socket)
            except zmq.Again:
                return
            self._heard = time.monotonic()
            try:
                self._dispatch(decode(frames[-1].bytes))
            except MalformedMessage as error:
                self.malformed.say("%s:%d replied with something that is no message: %s", *self._place, error)

    def _dispatch(self, reply: Message) -> None:
        results = reply.extension.get("results")
        if reply.type == "results" and isinstance(results, list):
            for result in results:
                self._dispatch_result(reply, result)
            return
        request = reply.extension.get("request")
        waiting = self._outstanding.get(request) if isinstance(request, str) else None
        if waiting is None:
            logger.debug("reply to nothing we asked: %s %s", reply.subject, reply.type)
        elif self._is_final(str(request), waiting, reply.extension):
            del self._outstanding[str(request)]
            if "valid" in reply.extension:
                reply = reply._replace(data={**reply.fields, EXTENSION: _valid_from(waiting.asked, reply.extension)})
            waiting.answered(reply)

    def _dispatch_result(self, reply: Message, result: Any) -> None:
        """One of many answers that came together, made into the reply it would have been alone."""
        request = result.get("request") if isinstance(result, dict) else None
        waiting = self._outstanding.get(request) if isinstance(request, str) else None
        if waiting is None or waiting.message is None or not self._is_final(str(request), waiting, result):
            return
        del self._outstanding[str(request)]
        asked, said = waiting.message, _valid_from(waiting.asked, result)
        match result.get("state"):
            case "delivered":
                kind, data = asked.type, {**asked.fields, EXTENSION: said}
            case "covered":
                kind, data = "covered", {EXTENSION: said}
            case _:
                kind, data = "err", {"error": str(result.get("error")), EXTENSION: said}
        waiting.answered(Message(asked.subject, kind, reply.sender, reply.time, reply.version, data, b""))

    def _is_final(self, request: str, waiting: Outstanding, said: Mapping[str, Any]) -> bool:
        """Whether what the peer said of a request is its outcome; else it is asked again how it stands."""
        if said.get("state") in WAITING:
            if waiting.poll_due:
                return False
            if waiting.progress is not None:
                waiting.progress(said)
            early = waiting.asked + SOONEST - time.monotonic()
            if early > 0:
                waiting.poll_due = True
                self._loop.after(early, partial(self._poll, request, waiting))
            else:
                self._poll(request, waiting)
            return False
        if waiting.polling and said.get("code") == "unknown_request":
            waiting.polling = False
            if not self._unknown:
                self._loop.call(self._send_unknown)
            self._unknown.append(request)
            return False
        return True

    def _send_unknown(self) -> None:
        unknown, self._unknown = self._unknown, []
        self._send_again([request for request in unknown if request in self._outstanding])

    def _poll(self, request: str, waiting: Outstanding) -> None:
        """The move takes long, or somebody else has it: ask for the outcome by the request's id alone."""
        waiting.poll_due = False
        if self._outstanding.get(request) is not waiting:
            return
        waiting.polling = True
        waiting.since = waiting.asked = time.monotonic()
        if waiting.message is None:
            question = {EXTENSION: {"version": PROTOCOL, "request": request}}
            self._send(self._envelope.encode(waiting.subject, "status", question))
            return
        if not self._to_poll:
            self._loop.call(self._send_polls)
        self._to_poll.append(request)

    def _send_polls(self) -> None:
        polls, self._to_poll = self._to_poll, []
        for start in range(0, len(polls), MOST_POLLED):
            part = polls[start:start + MOST_POLLED]
            waiting = self._outstanding.get(part[0])
            question = {EXTENSION: {"version": PROTOCOL, "requests": part}}
            self._send(self._envelope.encode(waiting.subject if waiting else "/", "status", question))

    def close(self) -> None:
        self._where.close()
        self._disconnect()


def _valid_from(asked: float, said: dict[str, Any]) -> dict[str, Any]:
    """A right that ends ends by our clock, and is counted from when we asked: an answer may have been long on its way, or we may
    have been stopped before we read it."""
    valid = said.get("valid")
    return {**said, "valid_until": asked + valid} if isinstance(valid, (int, float)) else said
