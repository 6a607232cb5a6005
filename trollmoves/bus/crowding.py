"""How many connections others may have to our ports: each takes a descriptor and some memory, also when nothing comes over it.

When there are too many, those hosts lose some that have most; of those of one host the ones over which nothing has come go first,
then the newest. So whoever opens thousands keeps nobody else from being served.
"""

from __future__ import annotations

import logging
import resource
import socket
from collections.abc import Mapping
from contextlib import suppress

from trollmoves.bus.few_lines import Sparingly
from trollmoves.bus.sockets import held
from trollmoves.bus.subscribers import host_at

logger = logging.getLogger(__name__)

MOST_CONNECTIONS = 5000
"""Six hundred clients have two each for every section, and for a minute those that broke off. Each takes some 30 KB (what replies
to it may take besides: unread.py), and 7 us of each look."""
DESCRIPTORS = 2**16
"""As many as a process may have open, where the system lets it: it mostly grants 1024 at first, which are soon used up."""


class Crowd:
    """Belongs to the loop."""

    def __init__(self) -> None:
        self.ports: set[int] = set()
        """Where others connect to us."""
        self.cut = Sparingly(logger)
        """Told of each that is cut off."""

    def look(self, connections: Mapping[int, tuple[bool, float]], most: int | None = None) -> None:
        """Cut off some when there are more than *most* (None: than there is room for) of ZeroMQ's *connections*. Of each is said
        whether nothing has come over it, and since when it is there."""
        most = room() if most is None else most
        if len(connections) > most:
            by_host = self._by_host(sorted(connections, key=connections.__getitem__))
            share = share_of([len(descriptors) for descriptors in by_host.values()], most)
            for host, descriptors in by_host.items():
                self._cut_off(host, descriptors[share:])

    def _by_host(self, connections: list[int]) -> dict[str, list[int]]:
        """Those of *connections* that others have made, in their order."""
        found: dict[str, list[int]] = {}
        for descriptor in connections:
            with suppress(OSError), held(descriptor) as connection:
                # Another thread may have given the number to another socket meanwhile.
                if connection.family in (socket.AF_INET, socket.AF_INET6) and connection.getsockname()[1] in self.ports:
                    found.setdefault(host_at(connection.getpeername()[0]), []).append(descriptor)
        return found

    def _cut_off(self, host: str, descriptors: list[int]) -> None:
        for descriptor in descriptors:
            with suppress(OSError), held(descriptor) as connection:
                connection.shutdown(socket.SHUT_RDWR)
                self.cut.say("there are more connections than can be served: %s, which has most of them, loses some",
                             host or "this machine")


def make_room() -> None:
    """Have this process open as many descriptors as it may."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if most == resource.RLIM_INFINITY else min(DESCRIPTORS, most)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def room() -> int:
    """How many connections there may be: files need descriptors, too."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST_CONNECTIONS if limit == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, limit // 2)


def share_of(counts: list[int], most: int) -> int:
    """How many each may have, so that all together have *most*, where they would like to have those *counts*; at least one."""
    for number, count in enumerate(sorted(counts)):
        share = most // (len(counts) - number)
        if count > share:
            return max(1, share)
        most -= count
    return max(counts, default=1)
