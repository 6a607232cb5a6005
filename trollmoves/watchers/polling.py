"""Watching by looking again and again: for file systems that other hosts write to, and where inotify is not to be had.

A file is complete when its size and time are the same in two looks, at least `interval` and `settle` seconds apart. Clocks are
not compared: that of a file server may be wrong. A directory is listed when its own time has changed; the files that are known
are looked at again in turn, so that one which was replaced or grew is found as well.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from trollmoves.patterns import Pattern
from trollmoves.watchers.scanning import (
    PORTION,
    Beginning,
    Doorbell,
    Identity,
    Outbox,
    Pace,
    Sight,
    identity,
    is_wanted,
    status_of,
    subdirectories,
)

logger = logging.getLogger(__name__)

_RECHECKED = 1000  # known files looked at again in every look at a directory
_QUIET = 3.0  # seconds; a change within the grain of a directory's time (or of a cache of it) leaves that time as it was


@dataclass(slots=True)
class _Directory:
    """What is known of one directory; files as a hash of inode, size and time, to be small."""

    path: str
    identity: Identity | None = None
    mtime_ns: int = -1
    same_since: float = 0.0
    known: dict[str, int] = field(default_factory=dict)
    """Delivered, or there at the beginning and delivered by a scan."""
    old: dict[str, int] = field(default_factory=dict)
    """There at the beginning and not wanted, unless they change."""
    waiting: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Not complete yet, and since when unchanged."""
    turn: Iterator[str] = field(default_factory=lambda: iter(()))
    """Known files that were not looked at again yet."""
    urgent: set[str] = field(default_factory=set)
    """Files to be looked at again first."""

    def forget(self) -> None:
        for files in (self.known, self.old, self.waiting):
            files.clear()

    def drop_all_but(self, present: set[str]) -> None:
        for files in (self.known, self.old, self.waiting):
            for name in files.keys() - present:
                del files[name]

    def has(self, name: str) -> bool:
        return name in self.known or name in self.waiting or name in self.old


class PollingEngine:
    """Looks every `interval` seconds. With *resumes* it goes on for another engine, and what it finds at first is new."""

    overflows = 0

    def __init__(self, pattern: Pattern, outbox: Outbox, bell: Doorbell, pace: Pace, beginning: Beginning, resumes: bool = False):
        self.sight = Sight()
        self._settle = max(pace.settle, pace.interval)
        self._pattern, self._outbox, self._bell, self._pace, self._beginning = pattern, outbox, bell, pace, beginning
        self._directories: dict[str, _Directory] = {}
        self._is_opening = not resumes
        self._look: Iterator[None] | None = None
        self._next_look = self._next_reconcile = 0.0

    def open(self) -> None:
        for _ in self._look_at_everything():
            self._outbox.flush()
        self._is_opening = False
        self._next_look = time.monotonic() + self._pace.interval
        self._put_off_reconciling()

    def close(self) -> None:
        self._look = None

    def step(self) -> None:
        if self._look is None:
            self._bell.wait(min(self._next_look, self._next_reconcile) - time.monotonic())
            now = time.monotonic()
            if self._bell.take_scan() or now >= self._next_reconcile:
                self._recall()
            elif now < self._next_look:
                return
            self._note_urgent()
            self._look = self._look_at_everything()
        for _ in self._look:
            break
        else:
            self._look = None
            self._next_look = time.monotonic() + self._pace.interval
        self._outbox.flush()

    def _put_off_reconciling(self) -> None:
        self._next_reconcile = time.monotonic() + self._pace.reconcile if self._pace.reconcile > 0 else float("inf")

    def _recall(self) -> None:
        """Let the next look deliver everything that is there and as it was."""
        self._put_off_reconciling()
        for directory in self._directories.values():
            directory.mtime_ns = -1
            directory.waiting.update({name: (signature, float("-inf")) for name, signature in directory.known.items()})
            directory.known.clear()

    def _note_urgent(self) -> None:
        for path in self._bell.take_paths():
            above, name = os.path.split(path)
            if above in self._directories:
                self._directories[above].urgent.add(name)

    def _look_at_everything(self) -> Iterator[None]:
        self.sight.forget()
        root = self._pattern.directory
        if self.sight.look_at(root) is None:  # what is known stays known: it may come back as it was
            return
        seen: set[str] = set()
        for path in self._file_directories(root, 0):
            seen.add(path)
            yield from self._look_at(self._directories.setdefault(path, _Directory(path)))
            yield
        if self.sight.trouble() is None:
            for path in self._directories.keys() - seen:
                del self._directories[path]

    def _file_directories(self, path: str, level: int) -> Iterator[str]:
        if level == self._pattern.depth:
            yield path
            return
        try:
            below = subdirectories(path, self._pattern, level, self.sight)
        except OSError as error:
            self.sight.cannot_read(path, error)
            return
        for subdirectory in below:
            yield from self._file_directories(subdirectory, level + 1)

    def _look_at(self, directory: _Directory) -> Iterator[None]:
        """One look at the files of a directory, by its descriptor: opening it makes a network file system ask its server."""
        try:
            descriptor = os.open(directory.path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            self.sight.cannot_read(directory.path, error)
            return
        try:
            now = time.monotonic()
            status = os.fstat(descriptor)
            is_first = self._is_another(directory, identity(status))
            if is_first or self._has_changed(directory, status, now):
                yield from self._list(directory, descriptor, now, is_first)
            yield from self._look_again(directory, descriptor, now)
            yield from self._look_in_turn(directory, descriptor, now)
        except OSError as error:
            self.sight.cannot_read(directory.path, error)
        finally:
            os.close(descriptor)

    def _is_another(self, directory: _Directory, found: Identity) -> bool:
        if found == directory.identity:
            return False
        if directory.identity is not None:
            logger.warning("directory %s was replaced", directory.path)
        directory.forget()
        directory.identity = found
        if self._is_opening:
            self._beginning.remember(found)
        return True

    def _has_changed(self, directory: _Directory, status: os.stat_result, now: float) -> bool:
        if directory.mtime_ns != status.st_mtime_ns:
            directory.mtime_ns, directory.same_since = status.st_mtime_ns, now
        return now - directory.same_since < _QUIET

    def _list(self, directory: _Directory, descriptor: int, now: float, is_first: bool) -> Iterator[None]:
        present: set[str] = set()
        with os.scandir(descriptor) as entries:
            for count, entry in enumerate(entries, 1):
                if count % PORTION == 0:
                    yield
                if not is_wanted(self._pattern, entry.name) or self._outbox.leaves_out(os.path.join(directory.path, entry.name)):
                    continue
                present.add(entry.name)
                if entry.is_symlink():
                    self.sight.leave_out_link(os.path.join(directory.path, entry.name))
                elif not directory.has(entry.name) and entry.is_file(follow_symlinks=False):
                    self._admit(directory, entry.name, status_of(entry.name, descriptor), now, is_first)
        directory.drop_all_but(present)

    def _admit(self, directory: _Directory, name: str, status: os.stat_result | None, now: float, is_first: bool) -> None:
        """Take in a name that was not there in the look before."""
        if status is None:
            return
        is_old = is_first and directory.identity is not None and self._beginning.knows(directory.identity)
        if is_old and (self._is_opening or self._beginning.precedes(status)):
            directory.old[name] = _signature(status)
        elif self._is_opening:
            directory.known[name] = _signature(status)
        else:
            directory.waiting[name] = _signature(status), now

    def _look_again(self, directory: _Directory, descriptor: int, now: float) -> Iterator[None]:
        """Deliver the files that have settled."""
        for count, name in enumerate(list(directory.waiting), 1):
            if count % PORTION == 0:
                yield
            before, since = directory.waiting[name]
            if since >= now:
                continue
            status = status_of(name, descriptor)
            if status is None:
                del directory.waiting[name]
            elif _signature(status) != before:
                directory.waiting[name] = _signature(status), now
            elif now - since >= self._settle:
                del directory.waiting[name]
                directory.known[name] = before
                self._outbox.add(os.path.join(directory.path, name), status)

    def _look_in_turn(self, directory: _Directory, descriptor: int, now: float) -> Iterator[None]:
        """Look at some of the known files again."""
        names = list(islice(directory.turn, _RECHECKED))
        if len(names) < _RECHECKED:
            directory.turn = iter([*directory.known, *directory.old])
        urgent, directory.urgent = directory.urgent, set()
        yield from self._recheck(directory, descriptor, [*urgent, *names], now)

    def _recheck(self, directory: _Directory, descriptor: int, names: Iterable[str], now: float) -> Iterator[None]:
        for count, name in enumerate(names, 1):
            if count % PORTION == 0:
                yield
            files = directory.known if name in directory.known else directory.old
            before = files.get(name)
            status = None if before is None else status_of(name, descriptor)
            if before is None or (status is not None and _signature(status) == before):
                continue
            del files[name]
            if status is not None:
                directory.waiting[name] = _signature(status), now


def _signature(status: os.stat_result) -> int:
    return hash((status.st_ino, status.st_size, status.st_mtime_ns))
