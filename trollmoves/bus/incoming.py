"""How much of what peers sent waits in ZeroMQ: to be taken by us, or for the end of its message.

ZeroMQ limits how many messages wait and how long a frame is, but not how many frames a message has: it keeps those of a message
whose end never comes, as long as there is memory, and tells nobody; anybody who can connect may send such a one. The system knows
how many bytes of a connection have come in. What we did not get of them waits, and who has most of it is cut off when it is too
much.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fcntl import ioctl
from termios import FIONREAD

from trollmoves.bus.sockets import KEPT_ALIVE, held

logger = logging.getLogger(__name__)

MOST = 256 * 2**20
"""Bytes that may wait, of all connections together."""
EVERY = 1.0
"""Seconds between two looks; ten times as often while much waits."""
AROUND_A_FRAME = 64
"""Bytes, at most, that come with a frame besides what is in it, with encryption or without. Of what was taken too much is never
counted for long: nothing can be saved up."""
NOTEWORTHY = 2**20
BYTES_RECEIVED = 128
"""Where in Linux's `struct tcp_info` the number stands."""
OPEN_FILES = "/proc/self/fd"


@dataclass(slots=True)
class Connection:
    """One descriptor, and what it led to when it was looked at."""

    inode: str
    ours: bool = False
    """It is one of ZeroMQ's."""
    received: int = 0
    """Bytes that have come in."""
    waiting: int = 0
    """How many of them were not taken."""


class Incoming:
    """Belongs to the loop. Where the system does not tell, such as elsewhere than on Linux, nobody is cut off."""

    def __init__(self, most: int = MOST):
        self._most = most
        self._connections: dict[int, Connection] = {}
        self._taken: dict[int, int] = {}
        self.cut = 0
        """How often somebody was cut off."""

    def took(self, descriptor: int, size: int, frames: int = 1, *, accepted: bool = False) -> None:
        """Messages of so many *frames* and bytes were received over the connection with that *descriptor*. In the first second
        of one that was *accepted* nothing counts: who hangs up and comes again at once would have it counted for the next one."""
        if accepted and descriptor not in self._connections:
            return
        self._taken[descriptor] = self._taken.get(descriptor, 0) + size + frames * AROUND_A_FRAME

    def look(self) -> float:
        """Cut off who sent too much; returns after how many seconds to look again."""
        taken, self._taken = self._taken, {}
        self._connections = {descriptor: self._look_at(descriptor, inode, taken.get(descriptor, 0))
                             for descriptor, inode in _open_sockets()}
        waiting = {descriptor: known.waiting for descriptor, known in self._connections.items() if known.waiting > NOTEWORTHY}
        waiting = {descriptor: size - _held_by_the_system(descriptor) for descriptor, size in waiting.items()}
        total = sum(waiting.values())
        while total > self._most:
            descriptor = max(waiting, key=waiting.__getitem__)
            size = waiting.pop(descriptor)
            total -= size
            self._cut_off(descriptor, size)
        return EVERY if total < self._most // 8 else EVERY / 10

    def _look_at(self, descriptor: int, inode: str, taken: int) -> Connection:
        known = self._connections.get(descriptor)
        if known is None or known.inode != inode:  # what was taken may have come over the one before
            known, taken = Connection(inode, _is_of_zeromq(descriptor)), 0
        if known.ours:
            received = _received(descriptor)
            known.waiting = max(0, known.waiting + received - known.received - taken)
            known.received = received
        return known

    def _cut_off(self, descriptor: int, size: int) -> None:
        inode = self._connections.pop(descriptor).inode
        with suppress(OSError), held(descriptor) as connection:
            if f"socket:[{os.fstat(connection.fileno()).st_ino}]" != inode:
                return  # it went by itself
            self.cut += 1
            if self.cut in (1, 10, 100) or self.cut % 1000 == 0:
                logger.warning("%s has sent %d MiB that are no whole messages, or more than can be taken in, and is cut off "
                               "(%d so far)", connection.getpeername()[0], size >> 20, self.cut)
            connection.shutdown(socket.SHUT_RDWR)


def _open_sockets() -> Iterator[tuple[int, str]]:
    """All sockets of this process: descriptor, and what tells one from the next of the same descriptor."""
    with suppress(OSError):
        for name in os.listdir(OPEN_FILES):
            with suppress(OSError):
                place = os.readlink(f"{OPEN_FILES}/{name}")
                if place.startswith("socket:"):
                    yield int(name), place


def _is_of_zeromq(descriptor: int) -> bool:
    """Whether it is a connection of a socket of ours: by how it is kept alive, which is set for no others."""
    with suppress(OSError, ValueError), held(descriptor) as connection:
        if connection.family in (socket.AF_INET, socket.AF_INET6) and connection.type == socket.SOCK_STREAM:
            how = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            return tuple(connection.getsockopt(socket.IPPROTO_TCP, option) for option in how) == KEPT_ALIVE
    return False


def _received(descriptor: int) -> int:
    """Bytes that have come in over a connection; 0 where that is not known."""
    with suppress(OSError, ValueError, struct.error), held(descriptor) as connection:
        information = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_RECEIVED + 8)
        return int(struct.unpack_from("Q", information, BYTES_RECEIVED)[0])
    return 0


def _held_by_the_system(descriptor: int) -> int:
    """Bytes that came in and that ZeroMQ did not read."""
    with suppress(OSError):
        return int(struct.unpack("i", ioctl(descriptor, FIONREAD, b"\0\0\0\0"))[0])
    return 0
