"""The contract of a watcher: it hands over every file that is complete, at least once.

A watcher is a feeder: it runs a thread of its own, touches no state but its own, and calls `deliver` with tuples of arrivals.
Missing a file is not allowed; reporting one twice is (the journal knows which arrivals are new). What it reports is a regular
file (never a link, directory or special file) whose path matched its pattern and which was complete when it was looked at.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file that a watcher judged complete."""

    path: str
    """Absolute."""
    device: int
    inode: int
    size: int
    """Bytes."""
    mtime_ns: int
    members: tuple[str, ...] = ()
    """The names in the archive that it is, once somebody has looked."""


Deliver = Callable[[Sequence[Arrival]], bool | None]
"""Takes arrivals, may block for a moment to slow the watcher down, and may be called from any thread. False: they were not taken,
because there is no room yet, and have to be offered again."""


class Watcher(ABC):
    """Watches for one pattern."""

    @abstractmethod
    def start(self) -> None:
        """Begin. Missing directories are no error: they are picked up when they appear."""

    @abstractmethod
    def stop(self) -> None:
        """End and join the thread; may be called twice, and before `start`."""

    @abstractmethod
    def scan(self) -> None:
        """Look at everything that is there now, as at start; returns at once, the arrivals come through `deliver`."""

    def look_at(self, path: str) -> None:
        """Another file than was delivered has the name *path*, or had a moment ago, and no event may tell of it: its time was set
        after it was closed. What is there and complete is delivered; returns at once. May be called from any thread."""
        self.scan()

    @property
    def hangs(self) -> bool:
        """Whether it waits for a file system that does not answer: another watcher would wait as well."""
        return False

    @abstractmethod
    def trouble(self) -> str | None:
        """What keeps it from seeing files now, in words for the log (`None` when all is well)."""
