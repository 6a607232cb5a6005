"""How much of what a peer was sent still waits for it to read, in ZeroMQ's queue or in the system's.

ZeroMQ counts messages, not bytes, and says nothing of what it holds. The system knows how many bytes of a connection its peer has
acknowledged: what we sent beyond that waits somewhere.
"""

from __future__ import annotations

from collections import OrderedDict

from trollmoves.bus.sockets import number_of

MOST_CONNECTIONS = 1000
"""Of which it is kept in mind what they were sent; those that were sent something last."""
BYTES_ACKED = 120
"""Where in Linux's `struct tcp_info` the number stands."""


class Unread:
    """Counts for the connections of one socket; belongs to the loop."""

    def __init__(self) -> None:
        self._sent: OrderedDict[bytes, tuple[int, int]] = OrderedDict()
        """By identity of the connection: what its peer had acknowledged when nothing waited, and what it was sent since then."""

    def of(self, identity: bytes, taken: int | None) -> int:
        """Bytes that wait for a peer that has *taken* so much, of those that were counted; 0 where that cannot be known."""
        if taken is None or identity not in self._sent:
            return 0
        before, sent = self._sent[identity]
        return max(0, sent - (taken - before))

    def count(self, identity: bytes, taken: int | None, size: int) -> None:
        """*size* bytes are about to be sent. Small replies need not be counted: what waits is then taken for a little less."""
        if taken is None:
            return
        before, sent = self._sent.pop(identity, (taken, 0))
        if taken - before >= sent:
            before, sent = taken, 0
        self._sent[identity] = before, sent + size
        if len(self._sent) > MOST_CONNECTIONS:
            self._sent.popitem(last=False)

    def forget(self, identity: bytes) -> None:
        """Something that was counted could not be sent."""
        self._sent.pop(identity, None)


def acknowledged(descriptor: int) -> int | None:
    """Bytes of a connection that its peer's system has taken; None where that is not known."""
    return number_of(descriptor, BYTES_ACKED)
