"""Leases: which member of a group of hot spares may publish a file. The rules alone: time comes in, answers go out.

The server that is asked arbitrates, with its own monotonic clock. Who asks first has the lease, and keeps it for as long as it
is heard of. Before it publishes it must be told that it may (a commit), and publishes within `VALID` seconds of having asked.
Whoever takes over an expired lease has a higher fence; had the one before been told that it may publish and never confirmed that
it did, the new one's publication says that it may be the second. So a file is published at least once, and only once without that
mark.
"""

from __future__ import annotations

from dataclasses import dataclass

TTL = 15.0
"""Seconds for which a holder that is not heard of keeps its lease."""
VALID = TTL / 2
"""Seconds, from the question, within which a holder that was told so may publish."""
MOST_EARLIER = 16
"""Earlier requests of one holder that are kept."""


@dataclass(slots=True)
class Lease:
    """The right to publish one file at one destination."""

    holder: str
    """Names a client chain."""
    request: str
    """The request it was granted for: a client that lost its journal asks anew, and may not know what it published."""
    expires: float
    """Monotonic time after which somebody else gets it."""
    fence: int = 1
    committed: bool = False
    """The holder was told that it may publish."""
    doubtful: bool = False
    """One who held it before was told so as well, and never confirmed that it did."""
    earlier: tuple[str, ...] = ()
    """What the holder asked with before it made `request`: such a message was long on its way, or comes from a process that is
    gone."""

    def claim(self, holder: str, request: str, now: float) -> bool:
        """Somebody asks for the file, or for how it stands: whether it has the lease, which is then renewed."""
        if (holder, request) != (self.holder, self.request):
            if now < self.expires and (holder != self.holder or request in self.earlier):
                return False
            before = (*self.earlier, self.request) if holder == self.holder else ()
            self.earlier = tuple(one for one in before if one and one != request)[-MOST_EARLIER:]
            self.holder, self.request = holder, request
            self.fence += 1
            self.doubtful |= self.committed
            self.committed = False
        self.expires = now + TTL
        return True

    def commit(self, request: str, fence: int, now: float) -> bool:
        """The holder is about to publish: whether it may. *fence* is the one it was told; 0 when it has forgotten."""
        if request != self.request or fence not in (0, self.fence):
            return False
        self.committed = True
        self.expires = now + TTL
        return True

    def is_held_by(self, holder: str, request: str) -> bool:
        return (holder, request) == (self.holder, self.request)

    def is_outdated(self, holder: str, request: str, now: float) -> bool:
        """Whether *holder* has made a newer request meanwhile, and has the lease for that."""
        return holder == self.holder and request in self.earlier and now < self.expires

    @property
    def durable(self) -> tuple[int, int, int]:
        """What a journal keeps besides the holder and its request."""
        return self.fence, int(self.committed), int(self.doubtful)


UNCONTESTED = (1, 1, 0)
"""What a journal has of a lease of which nothing was written: the holder was told with the outcome of its request."""


class Leases:
    """All leases of one server; belongs to the loop. What is not in memory is in the journal."""

    def __init__(self, now: float):
        """Leases of an earlier process get a grace of one `TTL`."""
        self._grace_until = now + TTL
        self._leases: dict[str, Lease] = {}

    def grant(self, name: str, holder: str, request: str, now: float) -> Lease:
        """Nobody has it yet."""
        lease = self._leases[name] = Lease(holder, request, now + TTL)
        return lease

    def settle(self, name: str, lease: Lease, now: float, *, told: bool) -> None:
        """The file is delivered. Its holder is *told* so now, or has yet to ask, if it is still there."""
        if told:
            lease.expires = now + TTL
        self._leases[name] = lease

    def restored(self, name: str, holder: str, request: str, durable: tuple[int, int, int],
                 earlier: tuple[str, ...] = ()) -> Lease:
        """The lease as it stands, or as the journal has it."""
        lease = self._leases.get(name)
        if lease is None:
            fence, committed, doubtful = durable
            lease = Lease(holder, request, self._grace_until, fence, bool(committed), bool(doubtful), earlier)
            self._leases[name] = lease
        return lease

    def drop(self, name: str) -> None:
        """It was published; or nobody wants it any more."""
        self._leases.pop(name, None)

    def forget_expired(self, now: float) -> None:
        """Those that nobody renews are left to the journal."""
        for name in [name for name, lease in self._leases.items() if lease.expires + TTL < now]:
            del self._leases[name]
