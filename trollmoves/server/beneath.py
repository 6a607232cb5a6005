"""Opening and removing announced files: beneath the fixed directory of the origin, without following a link, and only if it is
still the file that was announced."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from trollmoves import crashing
from trollmoves.descending import DIRECTORY, descended
from trollmoves.errors import MoveError, NotAnnounced, OriginChanged, OriginGone, TemporaryError
from trollmoves.movers.base import Origin
from trollmoves.movers.moving import temporary_name
from trollmoves.uris import last_part

logger = logging.getLogger(__name__)

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # non-blocking: opening a FIFO must not wait


GONE, NO_FILE, ANOTHER = " is gone", " is a link or no regular file", " is not the file that was announced"
AWAY = (GONE, NO_FILE, ANOTHER)
"""How errors end that say that an announced file is away."""
NOT_REMOVED = "not removed: gone, or another file has its name"
"""What the history of a file says that was away when it was to be removed (also in files_not_removed in queries.sql)."""


class Announced(NamedTuple):
    """A file as it was when it was announced."""

    path: str
    device: int
    inode: int
    size: int
    mtime_ns: int

    def is_still(self, status: os.stat_result) -> bool:
        """Whether *status* is of that very file, unchanged. Size and time decide where inodes do not last (network file systems
        give new ones after a remount)."""
        return (stat.S_ISREG(status.st_mode) and status.st_size == self.size and status.st_mtime_ns == self.mtime_ns
                and (status.st_ino == self.inode or status.st_dev != self.device))


def announced_file(row: Any) -> Announced:
    """The file of a row of the journal."""
    return Announced(os.fsdecode(row["path"]), row["device"], row["inode"], row["size"], row["mtime_ns"])


@contextmanager
def parent_beneath(roots: tuple[str, ...], path: str) -> Iterator[int]:
    """A descriptor of the directory that holds *path*, reached from the nearest of *roots* one component at a time, without
    following links."""
    root, parts = _divided(roots, path)
    try:
        descriptor = descended(os.open(root, DIRECTORY), parts[:-1])
    except OSError as error:
        raise _translated(error, path) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _divided(roots: tuple[str, ...], path: str) -> tuple[str, list[str]]:
    """The nearest of *roots*, and what leads from there to *path*."""
    root = max((root for root in roots if path.startswith(root.rstrip("/") + "/")), key=len, default="")
    parts = path[len(root.rstrip("/")) + 1:].split("/")
    if not root or any(part in ("", ".", "..") for part in parts):
        raise NotAnnounced(f"{path} is not below {' or '.join(roots)}")
    return root, parts


@contextmanager
def opened(roots: tuple[str, ...], announced: Announced) -> Iterator[Origin]:
    """The announced file, open. Raises `OriginGone` or `OriginChanged` when it is not there any more as announced."""
    descriptor = _open_file(roots, announced.path)
    try:
        status = os.fstat(descriptor)
        if not announced.is_still(status):
            raise OriginChanged(f"{announced.path}{ANOTHER}")
        name = last_part(announced.path)
        yield Origin(announced.path, name, descriptor, status.st_size, status.st_mtime_ns, status.st_mode & 0o777)
    finally:
        os.close(descriptor)


def _open_file(roots: tuple[str, ...], path: str) -> int:
    _, parts = _divided(roots, path)
    try:
        if len(parts) == 1:  # directly in the root: there is no directory in between that could be a link
            return os.open(path, _FILE)
        with parent_beneath(roots, path) as parent:
            return os.open(parts[-1], _FILE, dir_fd=parent)
    except OSError as error:
        raise _translated(error, path) from error


def is_no_more(roots: tuple[str, ...], announced: Announced, *, gone: bool) -> bool:
    """Whether another file has its name; with *gone* also whether there is none."""
    try:
        with parent_beneath(roots, announced.path) as parent:
            status = _status(parent, os.path.basename(announced.path))
    except (MoveError, OSError):  # its directory is away, or cannot be looked into
        return False
    return gone if status is None else not announced.is_still(status)


def is_root_away(roots: tuple[str, ...], path: str) -> bool:
    """Whether the watched directory that *path* is below is not there: it was moved for a moment, say."""
    try:
        return not os.path.isdir(_divided(roots, path)[0])
    except NotAnnounced:
        return False


def remove(roots: tuple[str, ...], announced: Announced) -> bool:
    """Remove the announced file; False when it is gone or another file has its name. Raises `OSError` when that fails.

    It is set aside under a name that no watcher announces and looked at again there, as another file may have taken its name
    just before: that one is put back. Who is killed in between calls this again.
    """
    try:
        with parent_beneath(roots, announced.path) as parent:
            return _removed(parent, os.path.basename(announced.path), announced)
    except (FileNotFoundError, OriginGone, OriginChanged, NotAnnounced):
        return False
    except TemporaryError as error:  # its directory cannot be opened
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from None
        raise


def _removed(parent: int, name: str, announced: Announced) -> bool:
    aside = _name_aside(name, announced)
    status = _status(parent, name)
    if status is not None and announced.is_still(status):
        try:
            os.rename(name, aside, src_dir_fd=parent, dst_dir_fd=parent)
        except FileNotFoundError:
            return False
        except OSError:  # a disk that is full may have no room for a name, and this shall make some
            os.unlink(name, dir_fd=parent)
            return True
        crashing.point("server.aside")
    found = _status(parent, aside)
    if found is None:
        return False
    if announced.is_still(found):
        os.unlink(aside, dir_fd=parent)
        return True
    _put_back(parent, aside, name, announced.path)
    return False


def _put_back(parent: int, aside: str, name: str, path: str) -> None:
    """Give what was set aside, and is another file than the one to remove, its name again, but take it from no third one."""
    linked = True
    try:
        os.link(aside, name, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)
    except FileExistsError:
        there = _status(parent, name)  # put back half before a crash, it has both names
        linked = there is not None and os.path.samestat(there, os.stat(aside, dir_fd=parent, follow_symlinks=False))
    except OSError:  # no links there, or it is a directory
        if _status(parent, name) is None:
            os.rename(aside, name, src_dir_fd=parent, dst_dir_fd=parent)
            return
        linked = False
    if linked:
        os.unlink(aside, dir_fd=parent)
        return
    logger.error("%s was replaced twice while it was removed: what came first is kept as %s beside it", path, aside)


def _name_aside(name: str, announced: Announced) -> str:
    which = f"{announced.inode} {announced.size} {announced.mtime_ns}"
    return temporary_name(name, hashlib.sha256(which.encode()).hexdigest())


def _status(parent: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def keep_removed(roots: tuple[str, ...], paths: Iterable[str]) -> None:
    """Make it last that *paths* were removed: otherwise they may be there again after a power loss. Waits for the disk once for
    each directory; those that are gone or cannot be synced are left alone."""
    for path in {os.path.dirname(path): path for path in paths}.values():
        try:
            with parent_beneath(roots, path) as parent:
                os.fsync(parent)
        except (OriginGone, OriginChanged, NotAnnounced):
            continue
        except (OSError, TemporaryError) as error:
            logger.debug("the directory of %s cannot be synced: %s", path, error)


def _translated(error: OSError, path: str) -> MoveError:
    if error.errno == errno.ENOENT:
        return OriginGone(f"{path}{GONE}")
    if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.EISDIR):
        return OriginChanged(f"{path}{NO_FILE}")
    return TemporaryError(f"{path} cannot be read: {error.strerror}")


def examined(roots: tuple[str, ...], path: str, *, sync: bool) -> Announced:
    """The regular file at *path* as it is now; with *sync* it and its name survive a power loss. Raises as `opened` does."""
    _, parts = _divided(roots, path)
    try:
        with parent_beneath(roots, path) as parent:
            descriptor = os.open(parts[-1], _FILE, dir_fd=parent)
            try:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise OriginChanged(f"{path} is no regular file")
                if sync:
                    os.fsync(descriptor)
                    os.fsync(parent)
            finally:
                os.close(descriptor)
    except OSError as error:
        raise _translated(error, path) from error
    return Announced(path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
