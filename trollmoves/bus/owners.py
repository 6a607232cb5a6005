"""Whose processes are at the other ends of the connections of a ROUTER, as far as they are on this machine.

The kernel knows that of a connection. But a message only tells the number of the descriptor that its connection had, and after
that connection's end the number is soon another's: who sends and hangs up at once could pass for the next one. So connections are
followed from one to the next, and while a message may have come over several of them, it counts for the worst of them.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import zmq

from trollmoves.bus.addresses import is_own_address
from trollmoves.bus.sockets import NOW, Socket, close, end_connections_of, events_of, held, inode_of

MOST_LOOKS = 10
"""Times to look again whether the connections that were looked at are still the same."""
MOST_FOLLOWED = 50
"""Connections of one descriptor that are told apart, while so much comes in that what they sent may wait."""
_EVENT = struct.Struct("=HI")
_DIAG = 4
"""Of netlink: where sockets are asked about (sock_diag(7)); of a connection of TCP it answers within some 20 microseconds."""
_BY_FAMILY = 20
_HEADER = struct.Struct("=IHHII")
_QUESTION = struct.Struct("=BBBBI")
_ENDS = struct.Struct("!HH16s16s")
_NO_INTERFACE, _NO_COOKIE = 0, 0xffffffff
_ESTABLISHED = 1
_STATE, _OWNER = 17, 80
"""Places in the answer."""


@dataclass(slots=True)
class Connection:
    address: str = ""
    """Empty while nothing is known of it: then it ended before it could be looked at."""
    ours: bool = False
    inode: int = 0
    identity: bytes = b""
    """What the ROUTER calls it; empty while it is not certain that a message came over it."""
    over: bool = False
    closed: bool = False
    """Its descriptor was seen to be another's or nobody's."""


class Owners:
    """Belongs to the loop."""

    def __init__(self, router: Socket, port: int):
        self._router = router
        self._port = port
        self.events = events_of(router, zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        """Can be read when there is something to note."""
        self._connections: dict[int, list[Connection]] = {}
        """By descriptor: those of which messages may wait; the last one may still be open."""
        self._passing: set[int] = set()
        """Descriptors with something to forget."""
        self._unseen: set[int] = set()
        """Descriptors of connections to look at again."""

    def is_ours(self, descriptor: int, address: str, identity: bytes) -> bool | None:
        """Whether a message that was received just now, over what had that descriptor, was sent by a process of this machine
        whose user is root or our own; None when that is not certain."""
        self.note()
        known = self._connections.get(descriptor, [])
        possible = [one for one in known if one.address in ("", address) and one.identity in (b"", identity)]
        if len(possible) == 1:
            possible[0].identity = identity
        if not possible or known[-1].inode != inode_of(descriptor) or not all(one.address for one in possible):
            return None
        return possible[0].ours if len({one.ours for one in possible}) == 1 else None

    def note(self) -> None:
        """Take in which connections began and ended."""
        fresh, self._unseen = self._unseen, set()
        for looks in range(MOST_LOOKS):
            changed = self._take_events(fresh) | (fresh if looks == 0 else set())
            if not changed:
                return
            for descriptor in changed:
                newest = self._connections[descriptor][-1]
                if not newest.over:
                    self._look_at(descriptor, newest)
        for descriptor in fresh:  # so much comes and goes that what was looked at may be another one
            if not self._connections[descriptor][-1].over:
                self._connections[descriptor][-1] = Connection()
                self._unseen.add(descriptor)

    def _take_events(self, fresh: set[int]) -> set[int]:
        """The descriptors that had an event; those whose connection began are added to *fresh*."""
        changed = set()
        for event, descriptor in _waiting(self.events):
            known = self._connections.setdefault(descriptor, [])
            if event == zmq.EVENT_ACCEPTED:
                known.append(Connection())
                fresh.add(descriptor)
                if len(known) > MOST_FOLLOWED:
                    known[:-1] = _merged(known[:-1])
            elif not known:
                known.append(Connection(over=True))
            elif descriptor in fresh:  # what was looked at may have been the next one already
                known[-1] = Connection(over=True)
            else:
                known[-1].over = True
            if len(known) > 1 or known[-1].over:
                self._passing.add(descriptor)
            changed.add(descriptor)
        return changed

    def _look_at(self, descriptor: int, connection: Connection) -> None:
        try:
            with held(descriptor) as copy:
                own, peer = copy.getsockname(), copy.getpeername()
                if copy.family not in (socket.AF_INET, socket.AF_INET6) or own[1] != self._port:
                    return
                connection.ours = is_own_address(peer[0]) and owner_of(copy.family, peer, own) in (0, os.geteuid())
                connection.address, connection.inode = str(peer[0]), os.fstat(copy.fileno()).st_ino
        except (OSError, ValueError):
            return  # it is over already

    def drained(self) -> None:
        """Nothing that came over connections that were over waits to be received any more."""
        for descriptor in list(self._passing):
            known = self._connections[descriptor]
            del known[:-1]
            newest = known[-1]
            if newest.closed:
                del self._connections[descriptor]
                self._unseen.discard(descriptor)
            elif newest.over:
                there = inode_of(descriptor)
                newest.closed = not there or newest.inode not in (0, there)
                continue  # what it sent last has been received by the next time
            self._passing.discard(descriptor)

    def close(self) -> None:
        end_connections_of(self._router)
        close(self.events)


def _merged(connections: list[Connection]) -> list[Connection]:
    """As few as stand for all of them."""
    kinds = {(one.address, one.ours) for one in connections}
    if len(kinds) > MOST_FOLLOWED // 2:
        return [Connection(over=True)]
    return [Connection(address, ours, over=True) for address, ours in sorted(kinds)]


def owner_of(family: int, end: tuple[str, int], other: tuple[str, int]) -> int | None:
    """The user whose process has the socket of this machine at *end* of the connection to *other*; None when there is none. One
    that was closed by its process is nobody's, though the kernel may say it is root's."""
    try:
        return _owner_by_netlink(family, end, other)
    except OSError:  # a kernel, or what takes its place, that cannot be asked
        return owner_in_table(family, end, other)


def _owner_by_netlink(family: int, end: tuple[str, int], other: tuple[str, int]) -> int | None:
    ends = _ENDS.pack(end[1], other[1], _packed(family, end[0]), _packed(family, other[0]))
    question = _QUESTION.pack(family, socket.IPPROTO_TCP, 0, 0, 1 << _ESTABLISHED) + ends
    question += struct.pack("=III", _NO_INTERFACE, _NO_COOKIE, _NO_COOKIE)
    with closing(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _DIAG)) as netlink:
        netlink.settimeout(1)
        netlink.send(_HEADER.pack(_HEADER.size + len(question), _BY_FAMILY, 1, 1, 0) + question)
        answer = netlink.recv(4096)
    if len(answer) < _OWNER + 4 or _HEADER.unpack_from(answer)[1] != _BY_FAMILY or answer[_STATE] != _ESTABLISHED:
        return None
    return int(struct.unpack_from("=I", answer, _OWNER)[0])


def owner_in_table(family: int, end: tuple[str, int], other: tuple[str, int], tables: Path = Path("/proc/net")) -> int | None:
    """The same, looked up among all connections of the machine (proc(5)): some milliseconds, where there are many."""
    for name, mapped in (("tcp", b""), ("tcp6", b"\0" * 10 + b"\xff\xff" if family == socket.AF_INET else b"")):
        wanted = " ".join(_in_table(mapped + _address(family, host), port) for host, port in (end[:2], other[:2]))
        with (tables / name).open() as lines:
            for line in lines:
                if f": {wanted} 01 " in line:
                    return int(line.split()[7])
    return None


def _in_table(address: bytes, port: int) -> str:
    words = (int.from_bytes(address[start:start + 4], sys.byteorder) for start in range(0, len(address), 4))
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"


def _address(family: int, text: str) -> bytes:
    return socket.inet_pton(family, text.partition("%")[0])


def _packed(family: int, address: str) -> bytes:
    return _address(family, address).ljust(16, b"\0")


def _waiting(events: Socket) -> list[tuple[int, int]]:
    """The events that wait: kind and descriptor."""
    found: list[tuple[int, int]] = []
    try:
        while len(found) < 1000:
            event, descriptor = _EVENT.unpack(events.recv_multipart(NOW)[0])
            found.append((event, descriptor))
    except zmq.Again:
        pass
    return found
