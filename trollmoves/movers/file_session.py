"""How files are moved within this machine.

Small files go through memory: one read, one checksum of what was read, one of what was written. Large ones are copied by the
kernel (`copy_file_range`, which clones on file systems that can, else `sendfile`, else read and write) and compared by size;
`checksum = always` reads both again. Measured on ext4: copy_file_range and rename 87 us for 20 kB, shutil 105 us.
`link = true` in the section makes hard links where the file system is the same; the link goes through the same temporary name.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress

from trollmoves.errors import (
    Busy,
    ConnectionLost,
    DestinationFull,
    DestinationInvalid,
    MoveError,
    OriginChanged,
    Refused,
    VerificationFailed,
)
from trollmoves.movers.bandwidth import Pace
from trollmoves.movers.base import MissingDirectory, Origin, Progress, Sent, Session, SessionSettings, nothing_written
from trollmoves.movers.checksums import checksum_of, checksum_of_bytes

SMALL = 2**20
"""Bytes; files up to this go through memory and are compared by checksum."""
CHUNK = 64 * 2**20
"""Bytes the kernel copies per call; the progress and a cancellation have this resolution."""
DIRECTORIES_KEPT = 1000
WRITTEN_KEPT = 1000
START_WRITING = 2
"""SYNC_FILE_RANGE_WRITE of sync_file_range(2)."""
SYNC_FILE_RANGE = getattr(ctypes.CDLL(None, use_errno=True), "sync_file_range", None)
"""The standard library of Python lacks it."""
if SYNC_FILE_RANGE is not None:
    SYNC_FILE_RANGE.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
CANNOT_BEGIN = (errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.ESPIPE, errno.EOPNOTSUPP)
"""What it answers where it is not known, and for a directory: that begins with fsync."""
CANNOT_SYNC = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EINVAL)
"""What a directory answers in which nobody has made anything that could be lost."""
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
"""A pipe that takes the place of a file is not waited for."""
CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

ERRORS: dict[int, type[MoveError]] = {
    errno.ENOENT: MissingDirectory,
    errno.ENOSPC: DestinationFull,
    errno.EDQUOT: DestinationFull,
    errno.EACCES: Refused,
    errno.EPERM: Refused,
    errno.EROFS: Refused,
    errno.ENOTDIR: Refused,
    errno.EISDIR: Refused,
    errno.ELOOP: Refused,
    errno.ENAMETOOLONG: DestinationInvalid,
    errno.EINVAL: DestinationInvalid,
}
"""Anything else (EIO, ESTALE of a network file system, ...) may pass: `ConnectionLost`."""


def translated(error: OSError, path: str) -> MoveError:
    """Our error for an operating system's error at *path*."""
    kind = ERRORS.get(error.errno or 0, ConnectionLost)
    return kind(f"{path}: {error.strerror}")


class FileSession(Session):
    """Holds nothing open; it exists so that local moves look like all others."""

    _read = READ
    """How what is at a path is opened; who must not follow links opens it in another way."""

    def __init__(self, settings: SessionSettings):
        self._file_mode = settings.file_mode
        self._directory_mode = settings.directory_mode
        self._exact_directory_mode = settings.exact_directory_mode
        self._link = bool(settings.parameters.get("link")) and settings.file_mode is None  # a link has the mode of the origin
        self._sums = settings.checksum != "never"
        self._pace = settings.pace("")
        self._written: dict[str, os.stat_result] = {}
        """What was put lately and neither renamed nor removed yet, by where."""
        self._lasting: set[tuple[str, int, int]] = set()
        """Directories that were synced with all above them: path, device, inode."""

    def put(self, origin: Origin, path: str, progress: Progress, offset: int = 0) -> Sent:
        self._written.pop(path, None)
        try:
            if self._link and _linked(origin, path):
                self._note(path, origin.descriptor)
                return Sent(origin.size, None, "size")
            return self._copied(origin, path, progress)
        except OSError as error:
            raise translated(error, path) from error

    def _copied(self, origin: Origin, path: str, progress: Progress) -> Sent:
        with nothing_written():
            target = _create(path)
        try:
            if origin.size <= SMALL:
                sent = _through_memory(origin, target, path, self._sums, self._pace, progress)
            else:
                sent = _by_kernel(origin, target, progress, self._pace)
            if self._file_mode is not None:
                os.fchmod(target, self._file_mode)
            _keep_attributes(origin, target, mode=self._file_mode is None)
            self._note(path, target)
        finally:
            os.close(target)
        progress(sent.size)
        return sent

    def _note(self, path: str, descriptor: int) -> None:
        if len(self._written) >= WRITTEN_KEPT:
            del self._written[next(iter(self._written))]
        self._written[path] = os.fstat(descriptor)

    def size(self, path: str) -> int | None:
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise translated(error, path) from error
        if stat.S_ISREG(status.st_mode):
            return status.st_size
        _refuse_special(path)
        return None

    def is_directory(self, path: str) -> bool:
        return os.path.isdir(path)

    def checksum(self, path: str) -> str | None:
        try:
            descriptor = os.open(path, self._read)
        except OSError as error:
            raise translated(error, path) from error
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise DestinationInvalid(f"{path} is no regular file")  # it may have no end
            return checksum_of(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, source: str, target: str) -> None:
        try:
            if self._is_of_others(source):
                raise Busy(f"{target}: somebody else writes a file of this name there as well, also by way of {source}")
            _refuse_special(target)
            os.rename(source, target)
            self._written.pop(source, None)
            if self._link:
                # Two names of one file: rename does nothing and leaves the first.
                with suppress(FileNotFoundError):
                    os.unlink(source)
        except OSError as error:
            raise translated(error, target) from error

    def _is_of_others(self, path: str) -> bool:
        """Whether what is at *path*, where we have put a file, is another one: of a mover that uses the same temporary name, and
        perhaps not whole. (One that is has the size; and some network file systems give a file another inode when they like.)"""
        ours = self._written.get(path)
        if ours is None:
            return False
        there = os.lstat(path)
        same = there.st_mtime_ns == ours.st_mtime_ns or os.path.samestat(there, ours)
        return there.st_size != ours.st_size or not same

    def remove(self, path: str) -> None:
        try:
            if not self._is_of_others(path):
                os.unlink(path)
                self._written.pop(path, None)
        except FileNotFoundError:
            return
        except OSError as error:
            raise translated(error, path) from error

    def make_directories(self, path: str) -> None:
        try:
            self._make(path)
        except OSError as error:
            raise translated(error, path) from error

    def _make(self, path: str) -> None:
        """Make *path* at once where only it is missing; else look upwards for what is there and come down again. (Without
        recursion: who asks chooses how deep it is. And each is tried once: there are places, such as /proc, where nothing can be
        made and mkdir says that what is above is missing.)"""
        try:
            self._make_one(path)
            return
        except FileNotFoundError:
            missing = [path]
        above = os.path.dirname(path)
        while not os.path.lexists(above) and above != os.path.dirname(above):
            missing.append(above)
            above = os.path.dirname(above)
        for directory in reversed(missing):
            self._make_one(directory)

    def _make_one(self, path: str) -> None:
        try:
            os.mkdir(path, self._directory_mode)
        except FileExistsError:
            if not os.path.isdir(path):
                raise
            return
        if self._exact_directory_mode is not None:
            made = os.open(path, DIRECTORY)  # not what somebody puts in its place, which a link could lead to
            try:
                os.fchmod(made, self._exact_directory_mode)
            finally:
                os.close(made)

    def sync(self, path: str) -> None:
        try:
            self._synced(path, os.open(path, self._read))
        except OSError as error:
            raise translated(error, path) from error

    def sync_together(self, paths: Iterable[str]) -> dict[str, MoveError | None]:
        """As `sync` for each of *paths*; what is wrong with each. The disk is given all before any is waited for: measured on
        ext4, 8,000 files of 10 KiB a second are written and synced 64 at a time, and 1,900 one after the other."""
        found: dict[str, MoveError | None] = dict.fromkeys(paths)
        descriptors: dict[str, int] = {}
        for path in found:
            try:
                descriptors[path] = os.open(path, READ)
            except OSError as error:
                found[path] = translated(error, path)
        refused = {path: _start_writing_back(descriptor) for path, descriptor in descriptors.items()}
        for path, descriptor in descriptors.items():
            try:
                self._synced(path, descriptor, refused[path])
            except OSError as error:
                found[path] = translated(error, path)
        return found

    def _synced(self, path: str, descriptor: int, refused: OSError | None = None) -> None:
        """Sync what is open, and close it; but when the disk has *refused* to take it, that is the answer."""
        try:
            if refused is not None:
                raise refused
            os.fsync(descriptor)
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if stat.S_ISDIR(status.st_mode):
            self._sync_above(path, status)

    def _sync_above(self, path: str, status: os.stat_result) -> None:
        """Once for each directory, those above it too: whoever made it, its name must last as well as the names in it."""
        place = path, status.st_dev, status.st_ino
        if place in self._lasting:
            return
        if len(self._lasting) >= DIRECTORIES_KEPT:
            self._lasting.clear()
        above = path
        while above != os.path.dirname(above):
            above = os.path.dirname(above)
            try:
                _sync(above)
            except OSError as error:
                if error.errno not in CANNOT_SYNC:
                    raise
        self._lasting.add(place)

    def close(self) -> None:
        """Nothing is open."""


def _sync(path: str) -> None:
    descriptor = os.open(path, READ)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _start_writing_back(descriptor: int) -> OSError | None:
    """Have the disk begin with what an fsync will wait for. What it says is wrong must be believed: a file system that finds no
    room (or no disk) may drop what was to be written and say so only once, and a later fsync finds nothing to do."""
    if SYNC_FILE_RANGE is None or SYNC_FILE_RANGE(descriptor, 0, 0, START_WRITING) == 0:
        return None
    number = ctypes.get_errno()
    return None if number in CANNOT_BEGIN else OSError(number, os.strerror(number))


def _keep_attributes(origin: Origin, target: int, *, mode: bool) -> None:
    """Give the copy the time of the origin, and its *mode*; file systems of others (vfat, a mounted share) may not take them."""
    try:
        if mode:
            os.fchmod(target, origin.mode)
        os.utime(target, ns=(origin.mtime_ns, origin.mtime_ns))
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS):
            raise


def _create(path: str) -> int:
    """A new file at *path*; what an earlier attempt (or a stranger's link) left there goes first."""
    try:
        try:
            return os.open(path, CREATE, 0o600)
        except FileExistsError:
            _refuse_special(path)
            os.unlink(path)
            return os.open(path, CREATE, 0o600)
    except OSError as error:
        raise translated(error, path) from error


def _refuse_special(path: str) -> None:
    """Raise `DestinationInvalid` when a device, a pipe or a socket is at *path*: a rename would remove it, /dev/null as well."""
    with suppress(FileNotFoundError, NotADirectoryError):
        mode = os.lstat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
            raise DestinationInvalid(f"{path} is a device, a pipe or a socket, which a file does not take the place of; name "
                                     "another destination")


def _linked(origin: Origin, path: str) -> bool:
    """Link the very file that is open, through its descriptor; False where that cannot be."""
    if not os.fstat(origin.descriptor).st_nlink:
        return False
    with suppress(FileNotFoundError):
        os.unlink(path)
    try:
        # A directory descriptor (not looked at, the path is absolute) makes Python call linkat, which can follow; link cannot.
        os.link(f"/proc/self/fd/{origin.descriptor}", path, src_dir_fd=origin.descriptor, follow_symlinks=True)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EACCES):
            return False
        raise
    return True


def _through_memory(origin: Origin, target: int, path: str, sums: bool, pace: Pace, progress: Progress) -> Sent:
    data = os.pread(origin.descriptor, origin.size + 1, 0)
    if len(data) != origin.size:
        raise OriginChanged(f"{origin.path}: has {len(data)} bytes, had {origin.size} when it was opened")
    view = memoryview(data)
    while view:
        part = view[:pace.at_once(SMALL)]
        pace.wait_for(len(part))
        view = view[os.write(target, part):]
        if view:
            progress(len(data) - len(view))
    if not sums:
        return Sent(len(data), None, "size")
    if os.pread(target, origin.size + 1, 0) != data:
        raise VerificationFailed(f"{path}: reads back other bytes than were written")
    return Sent(len(data), checksum_of_bytes(data), "sum")


def _by_kernel(origin: Origin, target: int, progress: Progress, pace: Pace) -> Sent:
    ways: list[Callable[[int, int, int, int], int]] = [_copy_file_range, _sendfile, _read_write]
    done = paid = 0
    while done < origin.size:
        if paid == done:
            paid += min(pace.at_once(CHUNK), origin.size - done)
            pace.wait_for(paid - done)
        try:
            count = ways[0](origin.descriptor, target, done, paid - done)
        except OSError as error:
            if len(ways) == 1 or error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF):
                raise
            del ways[0]
            continue
        if count == 0 and len(ways) > 1:
            del ways[0]  # some file systems answer so when they cannot
            continue
        if count == 0:
            raise OriginChanged(f"{origin.path}: ended after {done} of {origin.size} bytes")
        done += count
        progress(done)
    if os.fstat(target).st_size != origin.size or os.fstat(origin.descriptor).st_size != origin.size:
        raise OriginChanged(f"{origin.path}: changed its size while it was copied")
    return Sent(done, None, "size")


def _copy_file_range(source: int, target: int, offset: int, count: int) -> int:
    return os.copy_file_range(source, target, count, offset, offset)


def _sendfile(source: int, target: int, offset: int, count: int) -> int:
    os.lseek(target, offset, os.SEEK_SET)
    return os.sendfile(target, source, offset, count)


def _read_write(source: int, target: int, offset: int, count: int) -> int:
    return os.pwrite(target, os.pread(source, min(count, 2**20), offset), offset)
