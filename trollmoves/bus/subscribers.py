"""How much the subscribers of a publisher subscribe to.

ZeroMQ keeps a node in memory for each letter of each subscription, and has no limit of its own: so a connection of a host
that subscribes to more than anybody needs is cut off.
"""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass, field

import zmq

from trollmoves.bus.addresses import is_own_address
from trollmoves.bus.few_lines import Sparingly
from trollmoves.bus.sockets import descriptor_of, held

logger = logging.getLogger(__name__)

MOST_LETTERS = 256 * 1024
"""Bytes of subscriptions of one host, all its connections together: some thousands of topics."""
MOST_IN_ALL = 2**20
"""Bytes of subscriptions of all hosts: each takes some 50 bytes of memory. Beyond it those go that have most."""
LEFT = 0.75
"""What share of that stays then, so that it does not happen with each further subscription."""
MOST_HOSTS = 1000
MOST_CONNECTIONS = 1000
"""Of one host. Beyond either those that have gone are forgotten."""

Connection = tuple[int, tuple[str, int]]
"""Descriptor of a connection, and where it leads: descriptors are used again."""


@dataclass(slots=True)
class Host:
    """What one host has subscribed to."""

    connections: dict[Connection, int] = field(default_factory=dict)
    """Bytes of the subscriptions of each."""

    @property
    def letters(self) -> int:
        return sum(self.connections.values())

    def forget_closed(self) -> None:
        for connection in [known for known in self.connections if _peer_of(known[0]) != known[1]]:
            del self.connections[connection]


class Subscribers:
    """Belongs to the loop."""

    def __init__(self, port: int, most: int = MOST_LETTERS, most_in_all: int = MOST_IN_ALL):
        self._port = port
        self._most = most
        self._most_in_all = most_in_all
        self._hosts: dict[str, Host] = {}
        self._letters = 0
        """Of all of them; of connections that have gone, too, until they are forgotten."""
        self._most_hosts = MOST_HOSTS
        self._cut = Sparingly(logger)

    def __len__(self) -> int:
        """How many connections are remembered."""
        return sum(len(host.connections) for host in self._hosts.values())

    def count(self, frame: zmq.Frame) -> None:
        """Take note of a subscription, or of one that was ended; cut off who has too many."""
        descriptor = descriptor_of(frame)
        peer = _peer_of(descriptor)
        if peer is None:  # the connection is gone, and its subscriptions with it
            return
        host = self._hosts.setdefault(host_at(peer[0]), Host())
        connection = descriptor, peer
        before = host.connections.get(connection, 0)
        after = max(0, before + (len(frame) if frame.bytes[:1] == b"\x01" else -len(frame)))
        host.connections[connection] = after
        self._letters += after - before
        if len(host.connections) > MOST_CONNECTIONS or host.letters > self._most:
            host.forget_closed()
            if host.letters > self._most:
                self._cut_off_greatest(host)
        if self._letters > self._most_in_all or len(self._hosts) > self._most_hosts:
            self._forget_closed()
            if self._letters > self._most_in_all:
                while self._letters > LEFT * self._most_in_all:
                    self._cut_off_greatest(max(self._hosts.values(), key=lambda known: known.letters))

    def _cut_off_greatest(self, host: Host) -> None:
        """End the connection of *host* that has most."""
        descriptor, peer = connection = max(host.connections, key=host.connections.__getitem__)
        self._letters -= host.connections.pop(connection)
        self._cut.say("%s has subscribed to more than the %d bytes of topics that a host may on port %d, or the %d that all may, "
                      "and is cut off", peer[0], self._most, self._port, self._most_in_all)
        try:
            with held(descriptor) as copy:
                if copy.getpeername()[:2] == peer:
                    copy.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it went by itself

    def _forget_closed(self) -> None:
        for name, host in list(self._hosts.items()):
            host.forget_closed()
            if not host.connections:
                del self._hosts[name]
        self._letters = sum(host.letters for host in self._hosts.values())
        self._most_hosts = max(MOST_HOSTS, 2 * len(self._hosts))


def host_at(address: str) -> str:
    """What counts as one host: whoever is on this machine may use all its addresses, and another one's are as good as endless
    with IPv6."""
    if is_own_address(address):
        return ""
    return ":".join(address.split(":")[:4]) if ":" in address and "." not in address else address


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
