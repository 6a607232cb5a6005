"""Listening: one SUB socket per provider, connected for ever."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import zmq

from trollmoves.bus.few_lines import Sparingly
from trollmoves.bus.loop import Loop
from trollmoves.bus.names import Whereabouts
from trollmoves.bus.sockets import NOW, Socket, close, connected, descriptor_of
from trollmoves.errors import MalformedMessage
from trollmoves.messages import MAGIC, Message, decode

logger = logging.getLogger(__name__)

MESSAGES_PER_TURN = 200
BYTES_PER_TURN = 4 * 2**20
"""No more messages are taken in one turn when they come to so much."""
LARGEST = 2 * 2**20
"""Bytes of a message: with more it could not be asked about, and would have too many parts besides."""


class Listener:
    """Hands over what one provider publishes under some topics; belongs to the loop."""

    def __init__(self, loop: Loop, host: str, port: int, topics: Iterable[str], received: Callable[[list[Message]], Any]):
        """*received* gets lists of up to 200 messages, in the order of publication."""
        self.host = host
        self.port = port
        self.topics = tuple(topics)
        self.malformed = Sparingly(logger)
        self._loop = loop
        self._received = received
        self._paused = False
        self._where = Whereabouts(loop.names, host, self._connect_anew)
        self._socket: Socket | None = None
        self._connect()

    def _connect(self) -> None:
        """Now, or as soon as it is known where."""
        if self._where.address is None:
            return
        socket = self._socket = connected(zmq.SUB, self._where.address, self.port)
        for topic in self.topics:
            socket.setsockopt(zmq.SUBSCRIBE, (MAGIC + topic).encode())
        if not self._paused:
            self._loop.register(socket, self._read)

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._loop.unregister(self._socket)
            close(self._socket)
            self._socket = None

    def _read(self) -> None:
        assert self._socket is not None
        messages, frame, taken, size = [], None, 0, 0
        while taken < MESSAGES_PER_TURN and size < BYTES_PER_TURN:
            try:
                frame = self._socket.recv(NOW, copy=False)
            except zmq.Again:
                break
            raw = frame.bytes
            taken, size = taken + 1, size + len(raw)
            try:
                messages.append(_decoded(raw))
            except MalformedMessage as error:
                self._refuse(raw, error)
        if frame is not None:
            self._loop.incoming.took(descriptor_of(frame), size, taken)
        if messages:
            self._received(messages)

    def _refuse(self, raw: bytes, error: MalformedMessage) -> None:
        self.malformed.say("%s:%d published something that is no message (%s): %r", self.host, self.port, error, raw[:60])

    def change_topics(self, topics: Iterable[str]) -> None:
        """From now on hear these; nothing of those that stay is missed."""
        before, self.topics = self.topics, tuple(topics)
        if self._socket is None:
            return
        for topic in set(self.topics) - set(before):
            self._socket.setsockopt(zmq.SUBSCRIBE, (MAGIC + topic).encode())
        for topic in set(before) - set(self.topics):
            self._socket.setsockopt(zmq.UNSUBSCRIBE, (MAGIC + topic).encode())

    def pause(self) -> None:
        """Let messages wait in the queue."""
        self._note_paused(True)
        if self._socket is not None:
            self._loop.unregister(self._socket)

    def _note_paused(self, paused: bool) -> None:
        self._loop.incoming.paused += paused - self._paused
        self._paused = paused

    def resume(self) -> None:
        self._note_paused(False)
        if self._socket is not None:
            self._loop.unregister(self._socket)
            self._loop.register(self._socket, self._read)

    def reconnect(self) -> None:
        """Give up the connection and make another, for when a provider has been silent for too long."""
        self._where.try_another()
        self._connect_anew()

    def _connect_anew(self) -> None:
        self._disconnect()
        try:
            self._connect()
        except zmq.ZMQError as error:
            logger.warning("cannot connect to %s:%d: %s", self.host, self.port, error)

    def close(self) -> None:
        self._where.close()
        self._disconnect()
        self._note_paused(False)


def _decoded(raw: bytes) -> Message:
    if len(raw) > LARGEST:
        raise MalformedMessage(f"is of {len(raw)} bytes, and {LARGEST} are the most")
    return decode(raw)


@contextmanager
def overheard(host: str, port: int) -> Iterator[Callable[[], list[Message]]]:
    """For somebody without a loop: a function that gives what a publisher has sent since the last call."""
    socket = connected(zmq.SUB, host, port)
    socket.setsockopt(zmq.SUBSCRIBE, MAGIC.encode())

    def heard() -> list[Message]:
        messages = []
        while socket.poll(0):
            messages.append(decode(socket.recv(NOW)))
        return messages

    try:
        yield heard
    finally:
        close(socket)
