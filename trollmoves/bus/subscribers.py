"""How much the subscribers of a publisher subscribe to.

ZeroMQ keeps a node in memory for each letter of each subscription, and has no limit of its own: so a connection of an address
that subscribes to more than anybody needs is cut off.
"""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass, field

import zmq

from trollmoves.bus.sockets import descriptor_of, held

logger = logging.getLogger(__name__)

MOST_LETTERS = 256 * 1024
"""Bytes of subscriptions of one address, all its connections together: some thousands of topics."""
MOST_ADDRESSES = 1000
MOST_CONNECTIONS = 1000
"""Of one address. Beyond either those that have gone are forgotten."""

Connection = tuple[int, tuple[str, int]]
"""Descriptor of a connection, and where it leads: descriptors are used again."""


@dataclass(slots=True)
class Address:
    """What one address has subscribed to."""

    connections: dict[Connection, int] = field(default_factory=dict)
    """Bytes of the subscriptions of each."""

    def forget_closed(self) -> None:
        for connection in [known for known in self.connections if _peer_of(known[0]) != known[1]]:
            del self.connections[connection]


class Subscribers:
    """Belongs to the loop."""

    def __init__(self, port: int, most: int = MOST_LETTERS):
        self._port = port
        self._most = most
        self._addresses: dict[str, Address] = {}
        self._cut = 0

    def __len__(self) -> int:
        """How many connections are remembered."""
        return sum(len(address.connections) for address in self._addresses.values())

    def count(self, frame: zmq.Frame) -> None:
        """Take note of a subscription, or of one that was ended; cut off who has too many."""
        descriptor = descriptor_of(frame)
        peer = _peer_of(descriptor)
        if peer is None:  # the connection is gone, and its subscriptions with it
            return
        address = self._addresses.setdefault(peer[0], Address())
        connection = descriptor, peer
        change = len(frame) if frame.bytes[:1] == b"\x01" else -len(frame)
        address.connections[connection] = max(0, address.connections.get(connection, 0) + change)
        if len(address.connections) > MOST_CONNECTIONS or sum(address.connections.values()) > self._most:
            address.forget_closed()
            if sum(address.connections.values()) > self._most:
                self._cut_off(connection)
        if len(self._addresses) > MOST_ADDRESSES:
            self._forget_closed()

    def _cut_off(self, connection: Connection) -> None:
        descriptor, peer = connection
        self._cut += 1
        if self._cut in (1, 10, 100) or self._cut % 1000 == 0:
            logger.warning("%s has subscribed to more than %d bytes of topics on port %d and is cut off (%d so far)", peer[0],
                           self._most, self._port, self._cut)
        try:
            with held(descriptor) as copy:
                if copy.getpeername()[:2] == peer:
                    copy.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it went by itself

    def _forget_closed(self) -> None:
        for name, address in list(self._addresses.items()):
            address.forget_closed()
            if not address.connections:
                del self._addresses[name]


def _peer_of(descriptor: int) -> tuple[str, int] | None:
    """Where a connection leads; None when it is none, or not any more."""
    if descriptor < 0:
        return None
    try:
        with held(descriptor) as copy:
            host, port = copy.getpeername()[:2]
    except (OSError, ValueError):
        return None
    return str(host), int(port)
