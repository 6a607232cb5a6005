"""How much of what peers sent waits in ZeroMQ (to be taken by us, or for the end of its message), and how many of them there are.

ZeroMQ limits how many messages wait and how long a frame is, but not how many frames a message has: it keeps those of a message
whose end never comes, as long as there is memory, and tells nobody; anybody who can connect may send such a one. The system knows
how many bytes of a connection have come in. What we did not get of them waits, and who has most of it is cut off when it is too
much. That is little where nothing at all came out of a connection for a while: a frame of two bytes takes 66 of memory.

Nor does ZeroMQ limit how many connections there are, and a process without descriptors for files and sockets can do nothing.
"""

from __future__ import annotations

import logging
import os
import resource
import socket
import stat
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fcntl import ioctl
from termios import FIONREAD
from typing import Any

import zmq

from trollmoves.bus.addresses import NO_DESCRIPTOR
from trollmoves.bus.crowding import Crowd
from trollmoves.bus.few_lines import Sparingly
from trollmoves.bus.sockets import KEPT_ALIVE, NOW, Socket, descriptor_of, held, number_of

logger = logging.getLogger(__name__)

MOST = 256 * 2**20
"""Bytes that may wait, of all connections together."""
MOST_UNFINISHED = 16 * 2**20
"""The same of those that nothing was taken from lately: no message that is allowed is larger."""
LATELY = 1.0
"""Seconds."""
LOOKS = 3
"""Besides, looks without anything taken, at least: when we paused or were busy, much waits through no fault of who sent it, and
is taken between one look and the next."""
BEATS = 8
"""Bytes in a second that come over a quiet connection, at most: ZeroMQ's heartbeats, encrypted or not."""
MOST_FRAMES = 8
"""Frames of a message that are looked at."""
EVERY = 1.0
"""Seconds between two looks; ten times as often while much waits."""
AROUND_A_FRAME = 64
"""Bytes, at most, that come with a frame besides what is in it, with encryption or without. Of what was taken too much is never
counted for long: nothing can be saved up."""
NOTEWORTHY = 2 * 2**10
"""Bytes of a connection that are counted; less is its beginning, which nobody takes, with encryption or without."""
BYTES_RECEIVED = 128
"""Where in Linux's `struct tcp_info` the number stands."""
OPEN_FILES = "/proc/self/fd"


@dataclass(slots=True)
class Connection:
    """One descriptor, and what it led to when it was looked at."""

    inode: int
    ours: bool = False
    """It is one of ZeroMQ's."""
    since: float = 0.0
    """When (monotonic) it was seen first."""
    used: bool = False
    """Something was taken from it."""
    received: int = 0
    """Bytes that have come in."""
    waiting: float = 0
    """How many of them were not taken."""
    taken: float = 0.0
    """When (monotonic) something was taken last, or it was seen first."""
    looks: int = 0
    """How often something waited since then, while we did take what comes."""


class Incoming:
    """Belongs to the loop. Where the system does not tell, such as elsewhere than on Linux, nobody is cut off."""

    def __init__(self, most: int = MOST):
        self._most = most
        self._connections: dict[int, Connection] = {}
        self._taken: dict[tuple[int, int], int] = {}
        """By descriptor and inode: another connection may have a descriptor a moment later."""
        self._looked = time.monotonic()
        self.paused = 0
        """Listeners that do not take what has come, so that it waits through no fault of who sent it."""
        self.crowd = Crowd()
        self.cut = Sparingly(logger)
        """Told when somebody is cut off."""

    def receive(self, socket: Socket) -> list[zmq.Frame]:
        """A message of *socket*, of which many frames are not kept. Raises `zmq.Again` when there is none."""
        frame = socket.recv(NOW, copy=False)
        frames, count, size = [frame], 1, len(frame)
        while frame.more:
            frame = socket.recv(NOW, copy=False)
            count, size = count + 1, size + len(frame)
            if count <= MOST_FRAMES:
                frames.append(frame)
        self.took(descriptor_of(frame), size, count)
        return frames

    def took(self, descriptor: int, size: int, frames: int = 1) -> None:
        """Messages of so many *frames* and bytes were received over the connection with that *descriptor*."""
        with suppress(OSError):  # it is closed
            which = descriptor, os.fstat(descriptor).st_ino
            self._taken[which] = self._taken.get(which, 0) + size + frames * AROUND_A_FRAME

    def look(self) -> float:
        """Cut off who sent too much; returns after how many seconds to look again."""
        taken, self._taken = self._taken, {}
        before, self._looked = self._looked, time.monotonic()
        beats = BEATS * (self._looked - before)
        self._connections = {descriptor: self._look_at(descriptor, inode, taken.get((descriptor, inode), 0), beats)
                             for descriptor, inode in _open_sockets()}
        self.crowd.look({descriptor: (not known.used, known.since)
                         for descriptor, known in self._connections.items() if known.ours})
        waiting = {descriptor: known.waiting for descriptor, known in self._connections.items() if known.waiting > NOTEWORTHY}
        waiting = {descriptor: size - _held_by_the_system(descriptor) for descriptor, size in waiting.items()}
        old = {descriptor: size for descriptor, size in waiting.items()
               if self._looked - self._connections[descriptor].taken > LATELY}
        unfinished = {descriptor: size for descriptor, size in old.items() if self._connections[descriptor].looks >= LOOKS}
        soon = sum(old.values()) > MOST_UNFINISHED // 8
        self._cut_down(unfinished, MOST_UNFINISHED)
        return EVERY / 10 if self._cut_down(waiting, self._most) > self._most // 8 or soon else EVERY

    def _look_at(self, descriptor: int, inode: int, taken: int, beats: float) -> Connection:
        known = self._connections.get(descriptor)
        if known is None or known.inode != inode:
            known = Connection(inode, _is_of_zeromq(descriptor), self._looked, taken=self._looked)
        if known.ours:
            received = _received(descriptor)
            known.waiting = max(0.0, known.waiting + received - known.received - taken - beats)
            known.received = received
            known.taken = self._looked if taken else known.taken
            known.used = known.used or taken > 0
            known.looks = 0 if taken or self.paused or known.waiting <= NOTEWORTHY else known.looks + 1
        return known

    def _cut_down(self, waiting: dict[int, float], most: int) -> float:
        """Cut off who has most, until it comes to no more than *most*; how much is left."""
        total = sum(waiting.values())
        while total > most:
            descriptor = max(waiting, key=waiting.__getitem__)
            size = waiting.pop(descriptor)
            total -= size
            if descriptor in self._connections:
                self._cut_off(descriptor, size)
        return total

    def _cut_off(self, descriptor: int, size: float) -> None:
        inode = self._connections.pop(descriptor).inode
        with suppress(OSError), held(descriptor) as connection:
            if os.fstat(connection.fileno()).st_ino != inode:
                return  # it went by itself
            self.cut.say("%s has sent %d MiB that are no whole messages, or more than can be taken in, and is cut off",
                         connection.getpeername()[0], size // 2**20)
            connection.shutdown(socket.SHUT_RDWR)


def _open_sockets() -> Iterator[tuple[int, int]]:
    """All sockets of this process: descriptor and inode."""
    try:
        names: Iterable[Any] = os.listdir(OPEN_FILES)
    except OSError as error:
        if error.errno not in NO_DESCRIPTOR:
            return
        names = range(resource.getrlimit(resource.RLIMIT_NOFILE)[0])  # reading a directory takes one
    for name in names:
        with suppress(OSError):
            status = os.fstat(int(name))
            if stat.S_ISSOCK(status.st_mode):
                yield int(name), status.st_ino


def _is_of_zeromq(descriptor: int) -> bool:
    """Whether it is a connection of a socket of ours: by how it is kept alive, which is set for no others."""
    with suppress(OSError, ValueError), held(descriptor) as connection:
        if connection.family in (socket.AF_INET, socket.AF_INET6) and connection.type == socket.SOCK_STREAM:
            how = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            return tuple(connection.getsockopt(socket.IPPROTO_TCP, option) for option in how) == KEPT_ALIVE
    return False


def _received(descriptor: int) -> int:
    """Bytes that have come in over a connection; 0 where that is not known."""
    return number_of(descriptor, BYTES_RECEIVED) or 0


def _held_by_the_system(descriptor: int) -> int:
    """Bytes that came in and that ZeroMQ did not read."""
    with suppress(OSError):
        return int(struct.unpack("i", ioctl(descriptor, FIONREAD, b"\0\0\0\0"))[0])
    return 0
