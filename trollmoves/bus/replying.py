"""Answering requests: one ROUTER socket per port. Every byte that comes in is hostile until it was checked."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import zmq

from trollmoves.bus.loop import Loop
from trollmoves.bus.sockets import bound, close
from trollmoves.errors import MalformedMessage
from trollmoves.messages import Envelope, Message, decode

logger = logging.getLogger(__name__)

LARGEST_REQUEST = 2**20
"""Bytes of a request, unless the section says otherwise."""
REQUESTS_PER_TURN = 200


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asked: where to send the one reply. The identity names a connection, never a person."""

    identity: bytes
    address: str
    """IP address of the peer."""


class Replier:
    """Hands over requests and sends replies; belongs to the loop."""

    def __init__(self, loop: Loop, port: int, envelope: Envelope, handle: Callable[[list[tuple[Asker, Message]]], Any], *,
                 address: str = "*", largest: int = LARGEST_REQUEST):
        self._loop = loop
        self._envelope = envelope
        self._handle = handle
        self._largest = largest
        self.malformed = 0
        # A reply that cannot be queued is dropped (its connection is gone, or its reader stopped reading): nobody else waits.
        self._socket, self.port = bound(zmq.ROUTER, address, port, {zmq.MAXMSGSIZE: largest})
        loop.register(self._socket, self._read)

    def reply(self, asker: Asker, raw: bytes) -> None:
        """Send the reply to *asker*; dropped when the connection is gone."""
        try:
            self._socket.send_multipart((asker.identity, b"", raw), zmq.DONTWAIT)
        except zmq.ZMQError as error:
            logger.info("reply to %s could not be queued: %s", asker.address, error)

    def _read(self) -> None:
        requests = []
        for _ in range(REQUESTS_PER_TURN):
            try:
                request = self._receive()
            except zmq.Again:
                break
            if request is not None:
                requests.append(request)
        if requests:
            self._handle(requests)

    def _receive(self) -> tuple[Asker, Message] | None:
        frames = self._socket.recv_multipart(zmq.DONTWAIT, copy=False)
        asker = Asker(frames[0].bytes, _address_of(frames[-1]))
        size = sum(len(frame) for frame in frames)
        if len(frames) != 3 or len(frames[1]) or size > self._largest + 1024:
            self._refuse(asker, "unknown", f"{len(frames)} frames of {size} bytes")
            return None
        try:
            return asker, decode(frames[2].bytes)
        except MalformedMessage as error:
            self._refuse(asker, "error", str(error))
            return None

    def _refuse(self, asker: Asker, kind: str, why: str) -> None:
        self.malformed += 1
        if self.malformed in (1, 10, 100) or self.malformed % 1000 == 0:
            logger.warning("%s sent something that is no request: %s (%d so far)", asker.address, why, self.malformed)
        self.reply(asker, self._envelope.encode("error", kind))

    def close(self, linger: int = 1000) -> None:
        self._loop.unregister(self._socket)
        close(self._socket, linger)


def _address_of(frame: zmq.Frame) -> str:
    try:
        return str(frame.get("Peer-Address"))
    except zmq.ZMQError:  # pragma: no cover - every TCP peer has one
        return ""
