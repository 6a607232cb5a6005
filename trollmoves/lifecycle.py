"""The states of one file and the one table of allowed steps.

The same words name the journal state, the metric, the log action, the line of `trollmoves trace` and the step of a feature. A
file may change state; it never leaves the table.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a file is in its life, as one process sees it."""

    SEEN = "seen"  # a watcher judged it complete
    ANNOUNCED = "announced"  # server: published; client: heard of, not yet asked for
    REQUESTED = "requested"  # client: asked for; server: was asked
    MOVING = "moving"  # bytes are on their way
    MOVED = "moved"  # at the destination, verified
    PUBLISHING = "publishing"  # client: about to tell the world
    PUBLISHED = "published"  # client: told the world
    ACKNOWLEDGED = "acknowledged"  # server: a consumer confirmed it
    COVERED = "covered"  # a peer did it
    FAILED = "failed"  # temporary trouble, will be tried again
    GIVEN_UP = "given_up"  # permanent trouble, or out of providers and time


ORDER = (State.SEEN, State.ANNOUNCED, State.REQUESTED, State.MOVING, State.MOVED, State.PUBLISHING, State.PUBLISHED,
         State.ACKNOWLEDGED, State.COVERED, State.FAILED, State.GIVEN_UP)
"""All states, in the order a status page shows them."""

CONSUMER_KNOWN = 24 * 3600.0
"""Seconds a consumer that was served is waited for before what it has not got is removed, by a server and by remove_it alike;
`delete_after` is the backstop for files nobody comes for."""
TOPIC_KNOWN = CONSUMER_KNOWN + 6 * 3600.0
"""Seconds for which counts what a consumer said that it listens to: for longer than it is known after it said so for the last
time. It says so every three hours at least, and not each time is noted."""
