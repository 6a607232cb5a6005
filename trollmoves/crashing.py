"""Named crash points, so that tests can end a process at exactly the moment that matters.

With `TROLLMOVES_CRASH_POINT=name:n` in the environment the process kills itself (SIGKILL, as a power cut would) when it comes to
the point of that name for the n-th time; with `name:n:stop` it stops there (SIGSTOP), until somebody has it go on. Without it a
point costs one comparison.
"""

from __future__ import annotations

import os
import signal

POINTS = (
    "server.heard", "server.journaled", "server.seen", "server.unpacked", "server.announced", "server.published",
    "server.requested", "server.put", "server.renamed", "server.moved", "server.replied", "server.leased",
    "server.acknowledged", "server.confirmed", "server.removing", "server.aside", "server.removed",
    "client.heard", "client.requested", "client.asked", "client.answered", "client.unpacked", "client.committed",
    "client.publishing", "client.published", "client.confirmed",
    "mirror.announced", "mirror.published", "mirror.asked", "mirror.fetched", "mirror.kept", "mirror.releasing",
    "mirror.removed", "mirror.released",
    "dispatcher.heard", "dispatcher.journaled", "dispatcher.moved", "dispatcher.publishing", "dispatcher.published",
    "move_it.seen", "move_it.journaled", "move_it.moved", "move_it.publishing", "move_it.published", "move_it.everywhere",
    "move_it.removing", "move_it.removed",
    "fetcher.heard", "fetcher.journaled", "fetcher.received", "fetcher.moved", "fetcher.publishing", "fetcher.published",
)
"""All points: `ROLE.STEP` is passed right after that step (before the journal has it, for `seen`, `unpacked`, `put`, `heard`,
`answered`)."""

STOP = ":stop"


class _Armed:
    """Which point ends this process, and after how many passes."""

    def __init__(self, text: str):
        self.name, _, count = text.removesuffix(STOP).partition(":")
        self.left = int(count or 1)
        self.stops = text.endswith(STOP)


_together = False
_armed = _Armed(os.environ["TROLLMOVES_CRASH_POINT"]) if os.environ.get("TROLLMOVES_CRASH_POINT") else None


def ends_parent() -> None:
    """Have the process that made this one end with it: both are one program."""
    global _together
    _together = True


def point(name: str) -> None:
    """A crash point: returns, unless this is where the process shall end."""
    if _armed is not None and _armed.name == name:
        _armed.left -= 1
        if _armed.stops and _armed.left == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
        elif _armed.left <= 0 and not _armed.stops:
            if _together:
                os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
