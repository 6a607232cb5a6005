"""Moves within this machine for somebody who may do less than we: nobody else's links are followed.

Who owns a directory may put a link to any other one into it, also in the moment between looking and writing. So the directory of
a file is opened one component at a time, and everything is done in what is then open. Links of root's, and our own, are followed:
so do administrators arrange their disks.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from trollmoves.errors import Denied, MoveError
from trollmoves.movers.base import Origin, Progress, Sent
from trollmoves.movers.file_session import READ, FileSession, translated

MOST_LINKS = 40
_REACH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Make = Callable[[int, str], None]


class CarefulSession(FileSession):
    """As its base, in directories that were reached without links of others."""

    _read = READ | os.O_NOFOLLOW
    _syncing = ""
    """What is synced by the path of an open directory."""

    def put(self, origin: Origin, path: str, progress: Progress, offset: int = 0) -> Sent:
        with _reached(path) as there:
            try:
                return super().put(origin, there, progress, offset)
            finally:
                self._written.clear()  # that place has another name the next time

    def size(self, path: str) -> int | None:
        try:
            with _reached(path) as there:
                return None if os.path.islink(there) else super().size(there)
        except MoveError:
            if not os.path.lexists(os.path.dirname(path)):
                return None
            raise

    def is_directory(self, path: str) -> bool:
        try:
            os.close(_opened(path))
        except (OSError, MoveError):
            return False
        return True

    def checksum(self, path: str) -> str | None:
        with _reached(path) as there:
            return super().checksum(there)

    def rename(self, source: str, target: str) -> None:
        with _reached(source) as first, _reached(target) as second:
            super().rename(first, second)

    def remove(self, path: str) -> None:
        with _reached(path) as there:
            super().remove(there)

    def make_directories(self, path: str) -> None:
        try:
            os.close(_opened(path, self._make_in))
        except OSError as error:
            raise translated(error, path) from error

    def _make_in(self, directory: int, name: str) -> None:
        os.mkdir(name, self._directory_mode, dir_fd=directory)
        if self._exact_directory_mode is not None:
            made = os.open(name, _OPEN, dir_fd=directory)
            try:
                os.fchmod(made, self._exact_directory_mode)
            finally:
                os.close(made)

    def sync(self, path: str) -> None:
        with _reached(path) as there:
            self._syncing = path
            super().sync(there)

    def _sync_above(self, path: str, status: os.stat_result) -> None:
        super()._sync_above(self._syncing, status)  # above the open directory is nothing but /proc

    def sync_together(self, paths: Iterable[str]) -> dict[str, MoveError | None]:
        found: dict[str, MoveError | None] = {}
        for path in paths:
            try:
                self.sync(path)
                found[path] = None
            except MoveError as error:
                found[path] = error
        return found


@contextmanager
def _reached(path: str) -> Iterator[str]:
    """A path of the same file that leads through its open directory. Errors name *path*."""
    above, name = os.path.split(path.rstrip("/"))
    try:
        directory = _opened(above)
    except OSError as error:
        raise translated(error, path) from error
    place = f"/proc/self/fd/{directory}"
    try:
        yield f"{place}/{name}"
    except MoveError as error:
        error.args = (str(error).replace(place, above),)
        raise
    finally:
        os.close(directory)


def _opened(path: str, make: Make | None = None) -> int:
    """A descriptor of the directory *path*, which is absolute; *make* is called with where and what to make, where one is
    missing. Raises `Denied` at somebody's link, and `OSError`."""
    names = deque(path.split("/"))
    links = 0
    directory = os.open("/", _OPEN)
    try:
        while names:
            name = names.popleft()
            if name in ("", "."):
                continue
            if make is not None and name != "..":
                _make_missing(directory, name, make)
            below, target = _step(directory, name, path)
            if target is not None:
                names.extendleft(reversed(target.split("/")))
                links += 1
                if links > MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            if below is not None:
                os.close(directory)
                directory = below
        return os.open(".", _OPEN, dir_fd=directory)
    finally:
        os.close(directory)


def _make_missing(directory: int, name: str, make: Make) -> None:
    try:
        os.lstat(name, dir_fd=directory)
    except FileNotFoundError:
        with suppress(FileExistsError):
            make(directory, name)


def _step(directory: int, name: str, path: str) -> tuple[int | None, str | None]:
    """From *directory* to *name* in it: the directory to go on from, if it is another one, and what is to be gone, if it is a
    link."""
    below = os.open(name, _REACH, dir_fd=directory)
    status = os.fstat(below)
    if not stat.S_ISLNK(status.st_mode):
        return below, None
    try:
        if status.st_uid not in (0, os.geteuid()):
            raise Denied(f"{path}: {name} is a link that another user has made; name the directory it leads to")
        target = os.readlink("", dir_fd=below)
    finally:
        os.close(below)
    return (os.open("/", _OPEN) if target.startswith("/") else None), target
