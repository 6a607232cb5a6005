"""Watching with the kernel's help: a file is complete when it was closed after writing, or moved in, and nobody writes to it.

The kernel reports a directory, not a tree, and only from the moment it is asked. So a new directory is first watched and then
scanned; what a scan finds may still be in writing and waits for its close event or for `settle` seconds without a change. When
the kernel's queue overflows, everything is scanned. Scans go on in small portions between the events.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from collections import deque
from collections.abc import Iterator

from trollmoves.patterns import Pattern
from trollmoves.watchers.scanning import (
    PORTION,
    Beginning,
    Doorbell,
    Identity,
    Outbox,
    Pace,
    Sight,
    WatchLimitReached,
    identity,
    is_wanted,
    status_of,
    subdirectories,
)
from trollmoves.watchers.settling import Settling
from trollmoves.watchers.watches import (
    COMPLETE,
    GONE,
    MOVED_FROM,
    NOT_ABOUT_A_FILE,
    OF_ITSELF,
    OVERFLOW,
    UNMOUNT,
    Directory,
    Watches,
)
from trollmoves.watchers.writing import status_at_rest

logger = logging.getLogger(__name__)

CLOSING = 0.05
"""Seconds that the kernel may take to close a file."""

_ROOT_CHECK = 1.0  # seconds
_SCAN_SLICE = 0.02  # seconds


class InotifyEngine:
    """Watches by inotify. `overflows` counts how often the kernel's queue was too short. With *resumes* it goes on for another
    engine, and looks at everything first: what that one has not delivered yet is there."""

    def __init__(self, pattern: Pattern, outbox: Outbox, bell: Doorbell, pace: Pace, beginning: Beginning, resumes: bool = False):
        self.sight = Sight()
        self.overflows = 0
        self._pattern, self._outbox, self._bell, self._pace, self._beginning = pattern, outbox, bell, pace, beginning
        self._watches = Watches(pattern)
        self._settling = Settling(outbox, pace)
        self._closing: dict[str, float] = {}
        """Files that were closed and seemed to be open, and when to look once more."""
        self._root: Identity | None = None
        self._scans: deque[Iterator[None]] = deque()
        self._scanning_all = self._scan_again = False
        self._next_check, self._next_reconcile = 0.0, float("inf")
        self._resumes = resumes
        self._is_opening = False

    def open(self) -> None:
        self._bell.also_watch(self._watches.open())
        self._is_opening = not self._resumes
        if self._adopt_root():
            for _ in self._scan(self._pattern.directory, 0, files=False):
                pass
        self._is_opening = False
        self._put_off_reconciling()
        if self._resumes:
            self._scan_all()

    def _put_off_reconciling(self) -> None:
        self._next_reconcile = time.monotonic() + self._pace.reconcile if self._pace.reconcile > 0 else float("inf")

    def close(self) -> None:
        self._scans.clear()
        if self._watches.descriptor is not None:
            self._bell.forget(self._watches.descriptor)
            self._watches.close()

    def step(self) -> None:
        self._bell.wait(self._idle_time())
        self._take_events()
        self._outbox.flush(self._watches.drain)
        now = time.monotonic()
        if self._bell.take_scan() or now >= self._next_reconcile:
            self._scan_all()
        if now >= self._next_check:
            self._check_root()
        for path in self._bell.take_paths():
            self._look_at(path)
        self._look_at_closing(now)
        self._settling.look_again(now)
        self._go_on_scanning()
        self._outbox.flush(self._watches.drain)

    def _idle_time(self) -> float:
        if self._scans or self._watches.pending:
            return 0.0
        closed = next(iter(self._closing.values()), float("inf"))
        return max(0.0, min(self._next_check, self._next_reconcile, self._settling.next_due(), closed) - time.monotonic())

    # -- events

    def _take_events(self) -> None:
        complete: dict[str, None] = {}
        created: dict[str, None] = {}
        for watch, mask, name in self._watches.read():
            directory = self._watches.by_number.get(watch)
            if directory is None or mask & NOT_ABOUT_A_FILE:
                self._note(watch, mask, name, directory)
            elif directory.level == self._pattern.depth:
                path = directory.prefix + name
                if path in created or is_wanted(self._pattern, name):
                    # whichever came last counts: a file created after another of its name was closed is another file
                    (created if mask & COMPLETE else complete).pop(path, None)
                    (complete if mask & COMPLETE else created)[path] = None
        for path in complete:
            self._settling.discard(path)
            self._closing.pop(path, None)
            if status := self._file_status(path):
                self._closed(path, status)
        for path in created:
            if status := self._file_status(path):
                self._settling.add(path, status, will_close=True)

    def _closed(self, path: str, status: os.stat_result, *, once_more: bool = True) -> None:
        """Take what was closed or moved in, unless it is open for writing again. The kernel tells that a file is closed before it
        is (while its file system writes out what was truncated before, say): so look *once_more* before it has to settle."""
        at_rest = status_at_rest(path, status)
        if at_rest is not None:
            self._outbox.add(path, at_rest)
        elif once_more:
            self._closing[path] = time.monotonic() + CLOSING
        else:
            self._settling.add(path, status, will_close=False)

    def _look_at_closing(self, now: float) -> None:
        for path in [path for path, due in self._closing.items() if due <= now]:
            del self._closing[path]
            if status := self._file_status(path):
                self._closed(path, status, once_more=False)

    def _file_status(self, path: str) -> os.stat_result | None:
        """The status of what may be a file to take; None for nothing, for a link, and for what is left out."""
        status = None if self._outbox.leaves_out(path) else status_of(path)
        if status is not None and stat.S_ISLNK(status.st_mode):
            self.sight.leave_out_link(path)
            return None
        return status

    def _note(self, watch: int, mask: int, name: str, directory: Directory | None) -> None:
        """Take in an event that is not about a file."""
        if mask & OVERFLOW:
            self._overflowed()
        elif directory is None:
            return
        elif mask & (GONE | UNMOUNT | OF_ITSELF):
            self._next_check = 0.0
            if mask & UNMOUNT:
                self._scan_all()
            if mask & GONE:
                self._watches.drop(watch)
        elif directory.level < self._pattern.depth:
            self._directory_changed(directory, mask, name)

    def _directory_changed(self, parent: Directory, mask: int, name: str) -> None:
        path = parent.prefix + name
        if mask & MOVED_FROM:
            self._watches.drop_below(path)
        elif self._pattern.matches_level(parent.level, name):
            self._scans.append(self._scan(path, parent.level + 1))

    def _overflowed(self) -> None:
        self.overflows += 1
        often = f" ({self.overflows} times by now)" if self.overflows > 1 else ""
        logger.warning("the event queue of %s overflowed%s, so everything is scanned; "
                       "a larger fs.inotify.max_queued_events avoids it", self._pattern.directory, often)
        self._settling.expect_no_close_events()
        self._scan_all()

    # -- scans

    def _scan_all(self) -> None:
        """Look at everything, once more if that is going on already."""
        self._put_off_reconciling()
        if self._scanning_all:
            self._scan_again = True
        elif self._root is not None:
            self._scanning_all = True
            self._scans.append(self._everything())

    def _everything(self) -> Iterator[None]:
        self.sight.forget()
        yield from self._scan(self._pattern.directory, 0)
        self._scanning_all = False
        if self._scan_again:
            self._scan_again = False
            self._scan_all()

    def _go_on_scanning(self) -> None:
        until = time.monotonic() + _SCAN_SLICE
        while self._scans and len(self._outbox) < PORTION and time.monotonic() < until:
            scan = self._scans[0]
            for _ in scan:
                break
            else:
                self._scans.remove(scan)

    def _scan(self, path: str, level: int, *, files: bool = True) -> Iterator[None]:
        """Watch a directory and those below it, then look at the files that are there."""
        directory = self._watch(path, level)
        if directory is None:
            return
        if level == self._pattern.depth:
            if files:
                yield from self._look_at_files(directory)
            return
        try:
            below = subdirectories(path, self._pattern, level, self.sight)
        except OSError as error:
            self.sight.cannot_read(path, error)
            return
        for subdirectory in below:
            yield
            yield from self._scan(subdirectory, level + 1, files=files)

    def _look_at_files(self, directory: Directory) -> Iterator[None]:
        try:
            with os.scandir(directory.path) as entries:
                for count, entry in enumerate(entries, 1):
                    if count % PORTION == 0:
                        yield
                    if not is_wanted(self._pattern, entry.name):
                        continue
                    if entry.is_file(follow_symlinks=False):
                        self._found(directory.prefix + entry.name, directory)
                    elif entry.is_symlink():
                        self.sight.leave_out_link(entry.path)
        except OSError as error:
            self.sight.cannot_read(directory.path, error)

    def _found(self, path: str, directory: Directory) -> None:
        status = self._file_status(path)
        if status is None or (directory.is_old and self._beginning.precedes(status)):
            return
        if self._settling.is_needed(path, status) or self._settling.is_written_slowly(path, status):
            self._settling.add(path, status, will_close=False)
        else:
            self._outbox.add(path, status)

    def _look_at(self, path: str) -> None:
        """Look at one file, in a directory that is watched. One whose time was set last is not in writing, unless it is open for
        it: writing sets mtime and ctime to the same moment."""
        above, name = os.path.split(path)
        status = self._file_status(path) if self._watches.holds(above) and is_wanted(self._pattern, name) else None
        if status is None:
            return
        may_be_in_writing = self._settling.is_needed(path, status) and status.st_ctime_ns == status.st_mtime_ns
        if may_be_in_writing or self._settling.is_written_slowly(path, status):
            self._settling.add(path, status, will_close=False)
        elif not self._settling.holds(path):
            self._outbox.add(path, status)

    def _watch(self, path: str, level: int) -> Directory | None:
        """Watch a directory, which may be watched already; None when that cannot be."""
        try:
            found = identity(os.stat(path))
            if self._is_opening:
                self._beginning.remember(found)
            directory = self._watches.add(path, level, is_old=self._beginning.knows(found))
        except WatchLimitReached:
            raise
        except OSError as error:
            self.sight.cannot_read(path, error)
            return None
        self.sight.can_read(path)
        return directory

    # -- the directory itself

    def _check_root(self) -> None:
        """Notice that the directory has gone, come back or been replaced, also by a mount or through a link on the way to it."""
        self._next_check = time.monotonic() + _ROOT_CHECK
        found = self.sight.look_at(self._pattern.directory)
        watched = self._watches.holds(self._pattern.directory)
        if found is not None and found == self._root and watched:
            return
        if self._root is not None and found is not None:
            logger.warning("directory %s was replaced", self._pattern.directory)
        self._root = None
        self._scanning_all = self._scan_again = False
        self._scans.clear()
        self._watches.drop_below(self._pattern.directory)
        if self._adopt_root():
            logger.info("watching directory %s, which is there now", self._pattern.directory)
            self._scan_all()

    def _adopt_root(self) -> bool:
        """Watch the directory, if it is there and is the same before and after."""
        root = self._pattern.directory
        before = self.sight.look_at(root)
        if before is None or self._watch(root, 0) is None or self.sight.look_at(root) != before:
            return False
        self._root = before
        return True
