"""What both ways of watching a directory share: the way out, what was there before, and when to look."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import select
import stat
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from trollmoves.descending import DIRECTORY, descended
from trollmoves.patterns import Pattern, is_temporary_name
from trollmoves.watchers.base import Arrival, Deliver

logger = logging.getLogger(__name__)

PORTION = 500
"""So many arrivals are delivered at once at most, and so many directory entries looked at between two looks at anything else."""
_CLOCK_GRAIN_NS = 20_000_000  # file systems stamp with the time of the last tick, so a file can look older than it is

MOST_WITH_LINKS = 1000
"""Directories with links that are told of."""

Identity = tuple[int, int]
"""Device and inode."""


class WatchLimitReached(OSError):
    """The kernel grants no further inotify instance or watch, or has no inotify at all."""


@dataclass(frozen=True, slots=True)
class Pace:
    """When to look; all in seconds."""

    interval: float
    """Between two looks of a watcher that polls."""
    settle: float
    """How long size and time of a file must stay the same, where no event tells that it was closed."""
    reconcile: float
    """Between two looks at everything; 0 for never."""


class Outbox:
    """Collects arrivals and delivers them in portions."""

    def __init__(self, deliver: Deliver, leaves_out: Callable[[str], bool], root: str):
        """Files of which *leaves_out* is true are neither opened nor taken. *root* is the watched directory."""
        self._deliver = deliver
        self._root = root
        self.leaves_out = leaves_out
        self._arrivals: list[Arrival] = []

    def __len__(self) -> int:
        return len(self._arrivals)

    def add(self, path: str, status: os.stat_result) -> None:
        """Take a file, if it is a regular one, and no link on the way to it made it look so."""
        if stat.S_ISREG(status.st_mode) and is_beneath(self._root, path, status):
            self._arrivals.append(Arrival(path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))

    def flush(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Deliver what has collected, however long the receiver has no room; call *meanwhile* now and then."""
        while self._arrivals:
            portion = self._arrivals[:PORTION]
            while self._deliver(portion) is False:
                meanwhile()
            del self._arrivals[:PORTION]


def is_beneath(root: str, path: str, status: os.stat_result) -> bool:
    """Whether the file of that *status* is what *path* means without links below *root*: who owns a directory there may have
    swapped it for a link when the file was looked at, to have the names of others' files announced."""
    *directories, name = path[len(root.rstrip("/")) + 1:].split("/")
    if not directories:
        return True
    try:
        above = descended(os.open(root, DIRECTORY), directories)
        try:
            there = os.stat(name, dir_fd=above, follow_symlinks=False)
        finally:
            os.close(above)
        # Some network file systems give a file another inode when they like.
        same = (there.st_size, there.st_mtime_ns) == (status.st_size, status.st_mtime_ns)
        return same or os.path.samestat(there, status)
    except OSError as error:
        logger.debug("%r has gone, or is reached by a link: %s", path, error.strerror)
        return False


class Beginning:
    """Tells the files that were there before the watch began from those that came later.

    Without the backlog they stay undelivered, whatever scan comes across them. A file is taken for an old one when it lies in a
    directory that was there at the beginning and neither its content nor its name has changed since, by the clock of the file
    system: writing sets mtime, and renaming, linking or changing the mode sets ctime.
    """

    def __init__(self, backlog: bool):
        self.backlog = backlog
        self._moment_ns = 0
        self._directories: set[Identity] = set()

    def mark(self) -> None:
        """The watch begins now."""
        self._moment_ns = time.time_ns() - _CLOCK_GRAIN_NS

    def remember(self, directory: Identity) -> None:
        """*directory* was there when it began."""
        if not self.backlog:
            self._directories.add(directory)

    def knows(self, directory: Identity) -> bool:
        """Whether files in *directory* can be old at all."""
        return directory in self._directories

    def precedes(self, status: os.stat_result) -> bool:
        """Whether the file, which lies in a directory that was there, was there as well."""
        return max(status.st_mtime_ns, status.st_ctime_ns) < self._moment_ns


class Doorbell:
    """Wakes the watching thread, and tells it to look at everything, or at some paths."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: tuple[int, int] | None = None
        self._poll = select.poll()
        self._scan_wanted = False
        self._paths: deque[str] = deque()
        self.answered = math.inf
        """When (monotonic) `wait` returned last; infinite while it waits."""

    def open(self) -> None:
        with self._lock:
            self._ends = os.pipe()
            for end in self._ends:
                os.set_blocking(end, False)
            self._poll.register(self._ends[0], select.POLLIN)

    def also_watch(self, descriptor: int) -> None:
        """Let `wait` return when *descriptor* can be read."""
        self._poll.register(descriptor, select.POLLIN)

    def forget(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)

    def ask_for_scan(self) -> None:
        self._scan_wanted = True
        self.ring()

    def take_scan(self) -> bool:
        """Whether a scan was asked for since the last call."""
        wanted, self._scan_wanted = self._scan_wanted, False
        return wanted

    def ask_to_look_at(self, path: str) -> None:
        self._paths.append(path)
        self.ring()

    def take_paths(self) -> list[str]:
        """Those that were asked for since the last call."""
        return [self._paths.popleft() for _ in range(len(self._paths))]

    def ring(self) -> None:
        with self._lock, contextlib.suppress(BlockingIOError):  # a full pipe rings as well
            if self._ends:
                os.write(self._ends[1], b"!")

    def wait(self, seconds: float) -> None:
        """Return when it rings, when another descriptor can be read, or after *seconds* at the latest."""
        self.answered = math.inf
        if self._ends and any(ready == self._ends[0] for ready, _ in self._poll.poll(max(0, int(seconds * 1000 + 0.999)))):
            with contextlib.suppress(BlockingIOError):
                os.read(self._ends[0], 4096)
        self.answered = time.monotonic()

    def close(self) -> None:
        with self._lock:
            ends, self._ends = self._ends, None
            for end in ends or ():
                os.close(end)


class Sight:
    """What keeps a watcher from seeing at the moment; logs when that changes."""

    def __init__(self) -> None:
        self._root: str | None = None
        self._unreadable: dict[str, str] = {}
        self._with_links: set[str] = set()
        """Directories of which was said that a link in them is left out."""

    def look_at(self, root: str) -> Identity | None:
        """The identity of the directory at *root*, which may be reached through links; None when it is not there."""
        problem, found = None, None
        try:
            status = os.stat(root)
            found = identity(status) if stat.S_ISDIR(status.st_mode) else None
            problem = None if found else f"{root} is not a directory"
        except OSError as error:
            problem = _in_words(root, error)
        if problem and problem != self._root:
            logger.warning("%s: waiting for it", problem)
        self._root = problem
        return found

    def cannot_read(self, path: str, error: OSError) -> None:
        """Note that a directory cannot be read, unless it has just gone."""
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            return
        if path not in self._unreadable:
            logger.warning("%s", _in_words(path, error))
        self._unreadable[path] = _in_words(path, error)

    def can_read(self, path: str) -> None:
        self._unreadable.pop(path, None)

    def forget(self) -> None:
        """Everything is about to be looked at again."""
        self._unreadable.clear()

    def leave_out_link(self, path: str) -> None:
        """Say that what has a wanted name is a symbolic link, and so not followed: once for each directory."""
        directory = os.path.dirname(path)
        if directory not in self._with_links and len(self._with_links) < MOST_WITH_LINKS:
            self._with_links.add(directory)
            logger.warning("%r is a symbolic link and left out: below the watched directory links are not followed; hard links "
                           "(ln without -s) and copies are taken (said once for this directory)", path)

    def trouble(self) -> str | None:
        below = list(self._unreadable.values())
        if self._root or not below:
            return self._root
        return below[0] if len(below) == 1 else f"{below[0]} (and {len(below) - 1} more)"


class Engine(Protocol):
    """One way of watching; all calls come from the watching thread. Others only ask `sight` for its trouble."""

    sight: Sight
    overflows: int
    """How often events were lost and everything was scanned instead."""

    def open(self) -> None:
        """See everything that happens from now on. Raises `WatchLimitReached`."""

    def step(self) -> None:
        """Wait for something to do, or the doorbell; do some of it; deliver. Raises `WatchLimitReached`."""

    def close(self) -> None:
        """Let go of all descriptors."""


def is_wanted(pattern: Pattern, name: str) -> bool:
    """Whether a file of that name, in the right directory, is to be announced: never one that a mover of ours is writing."""
    return pattern.matches_name(name) and not is_temporary_name(name)


def identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino


def subdirectories(path: str, pattern: Pattern, level: int, sight: Sight) -> list[str]:
    """Paths of the directories in *path* that can stand at that level of the pattern; no links, which *sight* is told of. Raises
    OSError."""
    with os.scandir(path) as entries:
        found = [entry for entry in entries if pattern.matches_level(level, entry.name)]
    for entry in found:
        if entry.is_symlink() and entry.is_dir():
            sight.leave_out_link(entry.path)
    return [entry.path for entry in found if entry.is_dir(follow_symlinks=False)]


def status_of(name: str, directory: int | None = None) -> os.stat_result | None:
    """The status of a path, or of a name in an open directory; None when there is none to be had."""
    try:
        return os.lstat(name) if directory is None else os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        logger.debug("%r has gone before it could be looked at", name)
    except OSError as error:
        logger.warning("cannot look at %r: %s", name, error.strerror)
    return None


def _in_words(path: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"directory {path} does not exist"
    return f"cannot read directory {path}: {error.strerror}"
