"""Answering requests: one ROUTER socket per port. Every byte that comes in is hostile until it was checked."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import zmq

from trollmoves.bus.few_lines import Sparingly
from trollmoves.bus.loop import Loop
from trollmoves.bus.owners import Owners
from trollmoves.bus.sockets import bound, close, descriptor_of, send_frames
from trollmoves.bus.unread import Unread
from trollmoves.errors import MalformedMessage
from trollmoves.messages import Envelope, Message, decode

logger = logging.getLogger(__name__)

LARGEST_REQUEST = 2**20
"""Bytes of a request, unless the section says otherwise."""
REQUESTS_PER_TURN = 200
WEIGHTS = {"replay": 20, "info": 20, "ack": 2}
"""How much of a turn's number a request makes up, where one costs more than others: a ping must not wait for hundreds of them."""
LARGE_REQUEST = 8 * 1024
"""Bytes; a larger request makes up more of a turn."""
MOST_WAITING = 16
"""Requests of one connection that wait here; the rest stays with who sent it. They may all be of the largest size."""
LARGE_REPLY = 1024
"""Bytes; larger replies are only sent to peers that read theirs."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asked: where to send the one reply. The identity names a connection, never a person."""

    identity: bytes
    address: str
    """IP address of the peer."""
    descriptor: int = -1
    """Of its connection, as long as that lasts; -1 when it is not known. Only good for asking how much the peer has not read."""
    stranger: bool | None = False
    """We are root, and the peer is no process of root's on this machine; None when that is not certain."""

    def is_like(self, address: str, stranger: bool | None) -> bool:
        """Whether it has the rights of one with that *address*, which was a *stranger* or not."""
        return self.address == address and self.stranger is stranger


class Replier:
    """Hands over requests and sends replies; belongs to the loop."""

    def __init__(self, loop: Loop, port: int, envelope: Envelope, handle: Callable[[list[tuple[Asker, Message]]], Any], *,
                 address: str = "*", largest: int = LARGEST_REQUEST):
        self._loop = loop
        self._envelope = envelope
        self._handle = handle
        self.malformed, self._unread = Sparingly(logger), Sparingly(logger)
        self._waiting = Unread()
        # A reply that cannot be queued is dropped (its connection is gone, or its reader stopped reading): nobody else waits.
        self._socket, self.port = bound(zmq.ROUTER, address, port, {zmq.MAXMSGSIZE: largest, zmq.RCVHWM: MOST_WAITING})
        loop.register(self._socket, self._read)
        loop.incoming.crowd.ports.add(self.port)
        self._owners = Owners(self._socket, self.port) if os.geteuid() == 0 else None
        if self._owners is not None:
            loop.register(self._owners.events, self._read)

    def reply(self, asker: Asker, raw: bytes) -> None:
        """Send the reply to *asker*; dropped when the connection is gone, or when it is large and the peer does not read."""
        if len(raw) > LARGE_REPLY and not self._waiting.takes(asker.identity, asker.descriptor, len(raw)):
            self._unread.say("%s asks and does not read: no large replies for it", asker.address)
            return
        try:
            send_frames(self._socket, asker.identity, b"", raw)
        except zmq.ZMQError as error:
            self._waiting.forget(asker.identity)
            logger.info("reply to %s could not be queued: %s", asker.address, error)

    def _read(self) -> None:
        requests, room = [], REQUESTS_PER_TURN
        if self._owners is not None:
            self._owners.note()
        while room > 0:
            try:
                request = self._receive()
            except zmq.Again:
                if self._owners is not None:
                    self._owners.drained()
                break
            room -= 1 if request is None else WEIGHTS.get(request[1].type, 1) + len(request[1].raw) // LARGE_REQUEST
            if request is not None:
                requests.append(request)
        if requests:
            self._handle(requests)

    def _receive(self) -> tuple[Asker, Message] | None:
        frames = self._loop.incoming.receive(self._socket)
        address, descriptor = _address_of(frames[-1]), descriptor_of(frames[-1])
        asker = Asker(frames[0].bytes, address, descriptor)
        if self._owners is not None:
            ours = self._owners.is_ours(descriptor, address, asker.identity)
            asker = replace(asker, stranger=None if ours is None else not ours)
        size = sum(len(frame) for frame in frames)
        if len(frames) != 3 or len(frames[1]):  # and ZeroMQ takes no larger frame than is allowed
            self._refuse(asker, "unknown", f"{len(frames)} frames of {size} bytes")
            return None
        try:
            return asker, decode(frames[2].bytes)
        except MalformedMessage as error:
            self._refuse(asker, "error", str(error))
            return None

    def _refuse(self, asker: Asker, kind: str, why: str) -> None:
        self.malformed.say("%s sent something that is no request: %s", asker.address, why)
        self.reply(asker, self._envelope.encode("error", kind))

    def close(self, linger: int = 1000) -> None:
        self._loop.unregister(self._socket)
        self._loop.incoming.crowd.ports.discard(self.port)
        if self._owners is not None:
            self._loop.unregister(self._owners.events)
            self._owners.close()
        close(self._socket, linger)


def _address_of(frame: zmq.Frame) -> str:
    try:
        return str(frame.get("Peer-Address"))
    except zmq.ZMQError:  # pragma: no cover - every TCP peer has one
        return ""
