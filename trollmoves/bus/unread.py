"""How much of what a peer was sent still waits for it to read, in ZeroMQ's queue or in the system's.

ZeroMQ counts messages, not bytes, and says nothing of what it holds. The system knows how many bytes of a connection its peer has
acknowledged: what we sent beyond that waits somewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from trollmoves.bus.sockets import inode_of, number_of

MOST_UNREAD = 2 * 2**20
"""Bytes of large replies that may wait for a peer when another one is to be added, while few have any."""
MOST_IN_ALL = 512 * 2**20
"""Shared by those who have, when they are many."""
MANY_CONNECTIONS = 1000
"""Beyond it those that are over are forgotten. The others never: who makes many could ask anew with the ones before."""
BYTES_ACKED = 120
"""Where in Linux's `struct tcp_info` the number stands."""


@dataclass(slots=True)
class Sent:
    """What the peer of one connection was sent."""

    descriptor: int
    inode: int
    """Tells it from the next one with this descriptor."""
    before: int = 0
    """What its peer had acknowledged when nothing waited."""
    sent: int = 0
    """Since then."""

    def unread(self, taken: int) -> int:
        return max(0, self.sent - (taken - self.before))


class Unread:
    """Counts for the connections of one socket; belongs to the loop."""

    def __init__(self) -> None:
        self._sent: dict[bytes, Sent] = {}
        """By identity of the connection."""
        self._many = MANY_CONNECTIONS

    def __len__(self) -> int:
        """How many connections are remembered."""
        return len(self._sent)

    def takes(self, identity: bytes, descriptor: int, size: int) -> bool:
        """Whether *size* bytes more may be sent to a peer, which then are counted: not while too much waits for it. Small replies
        need not be counted: what waits is then taken for a little less."""
        taken = acknowledged(descriptor)
        if taken is None:
            return True
        known = self._sent.get(identity)
        if known is None:
            known = self._sent[identity] = Sent(descriptor, inode_of(descriptor))
        waiting = known.unread(taken)
        if waiting > min(MOST_UNREAD, MOST_IN_ALL // len(self)):
            return False
        if not waiting:
            known.before, known.sent = taken, 0
        known.sent += size
        if len(self._sent) > self._many:
            self._sent = {name: sent for name, sent in self._sent.items() if sent.inode == inode_of(sent.descriptor)}
            self._many = max(MANY_CONNECTIONS, 2 * len(self._sent))
        return True

    def of(self, identity: bytes, descriptor: int) -> int:
        """Bytes that wait for the peer of a connection, of those that were counted; 0 where that cannot be known."""
        taken, known = acknowledged(descriptor), self._sent.get(identity)
        return 0 if taken is None or known is None else known.unread(taken)

    def forget(self, identity: bytes) -> None:
        """Something that was counted could not be sent."""
        self._sent.pop(identity, None)


def acknowledged(descriptor: int) -> int | None:
    """Bytes of a connection that its peer's system has taken; None where that is not known."""
    return number_of(descriptor, BYTES_ACKED)
