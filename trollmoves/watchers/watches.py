"""The directories that the kernel watches for us, and its events."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from inotify_simple import INotify, flags

from trollmoves.patterns import Pattern
from trollmoves.watchers.scanning import WatchLimitReached

COMPLETE = int(flags.CLOSE_WRITE | flags.MOVED_TO)
MOVED_FROM = int(flags.MOVED_FROM)
OVERFLOW = int(flags.Q_OVERFLOW)
UNMOUNT = int(flags.UNMOUNT)
GONE = int(flags.IGNORED)
OF_ITSELF = int(flags.DELETE_SELF | flags.MOVE_SELF)
NOT_ABOUT_A_FILE = int(flags.ISDIR) | GONE | UNMOUNT | OF_ITSELF | OVERFLOW

_FOR_FILES = COMPLETE | int(flags.CREATE | flags.ONLYDIR | flags.EXCL_UNLINK)
_FOR_DIRECTORIES = int(flags.CREATE | flags.MOVED_TO | flags.MOVED_FROM | flags.ONLYDIR)
_LIMITS = (errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSYS)
_READ_SIZE = 1 << 18
_MOST_PENDING = 64
"""Portions of `_READ_SIZE` bytes; what comes then waits in the kernel's queue."""
_HEAD = struct.Struct("iIII")


@dataclass(slots=True)
class Directory:
    """A directory that is watched."""

    path: str
    prefix: str
    level: int
    is_old: bool
    """It was there at the beginning, and what it held then is not wanted."""


class Watches:
    """The watched directories, by path and by the kernel's number."""

    def __init__(self, pattern: Pattern):
        self._pattern = pattern
        self._inotify: INotify | None = None
        self.by_number: dict[int, Directory] = {}
        self._numbers: dict[str, int] = {}
        self.pending: deque[bytes] = deque()
        """Events that were taken from the kernel, whose queue is short, and not looked at."""

    @property
    def descriptor(self) -> int | None:
        """What becomes readable when there are events; None when closed."""
        return None if self._inotify is None else int(self._inotify.fileno())

    def open(self) -> int:
        """Get ready to watch; returns the descriptor. Raises `WatchLimitReached`."""
        try:
            self._inotify = INotify(nonblocking=True)
        except OSError as error:
            raise _translated(error) from error
        return int(self._inotify.fileno())

    def close(self) -> None:
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None

    def holds(self, path: str) -> bool:
        return path in self._numbers

    def add(self, path: str, level: int, *, is_old: bool) -> Directory:
        """Watch a directory, which may be watched already, also under another name. Raises OSError, `WatchLimitReached`.

        Only the first one, which the operator wrote, may be reached through a link.
        """
        mask = _FOR_FILES if level == self._pattern.depth else _FOR_DIRECTORIES
        number = self._add(path, mask | (int(flags.DONT_FOLLOW) if level else OF_ITSELF))
        if self._numbers.get(path, number) != number:
            self.drop_below(path)
        known = self.by_number.get(number)
        if known is None or known.path != path:
            if known is not None and self._numbers.get(known.path) == number:
                del self._numbers[known.path]
            known = Directory(path, path.rstrip("/") + "/", level, is_old)
        self.by_number[number], self._numbers[path] = known, number
        return known

    def _add(self, path: str, mask: int) -> int:
        assert self._inotify is not None  # `open` came first
        try:
            return int(self._inotify.add_watch(path, mask))
        except OSError as error:
            raise _translated(error) from error

    def drop(self, number: int) -> None:
        """Forget a watch that is no longer."""
        directory = self.by_number.pop(number, None)
        if directory is not None and self._numbers.get(directory.path) == number:
            del self._numbers[directory.path]

    def drop_below(self, path: str) -> None:
        """Stop watching a directory and all below it."""
        prefix = path.rstrip("/") + "/"
        for watched in [watched for watched in self._numbers if watched == path or watched.startswith(prefix)]:
            number = self._numbers[watched]
            self.drop(number)
            with contextlib.suppress(OSError):  # it may have gone by itself
                if self._inotify is not None:
                    self._inotify.rm_watch(number)

    def drain(self) -> None:
        """Take what the kernel has queued."""
        with contextlib.suppress(BlockingIOError):
            while self._inotify is not None and len(self.pending) < _MOST_PENDING:
                data = os.read(self._inotify.fileno(), _READ_SIZE)
                if self.pending and len(self.pending[-1]) + len(data) <= _READ_SIZE:
                    self.pending[-1] += data
                else:
                    self.pending.append(data)

    def read(self) -> Iterator[tuple[int, int, str]]:
        """Some of the events that are there: number of the watch, mask, name. Unpacked here, as it is done twice for every
        file."""
        self.drain()
        data = self.pending.popleft() if self.pending else b""
        position, unpack = 0, _HEAD.unpack_from
        while position < len(data):
            number, mask, _, size = unpack(data, position)
            position += _HEAD.size + size
            yield number, mask, data[position - size:position].rstrip(b"\0").decode("utf-8", "surrogateescape")


def _translated(error: OSError) -> OSError:
    return WatchLimitReached(error.errno, os.strerror(error.errno or 0)) if error.errno in _LIMITS else error
