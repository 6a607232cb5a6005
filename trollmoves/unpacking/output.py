"""Where members go: first into a hidden directory beside their place, then, when all are there, one by one under their names.

Names come from the archive and are not trusted. Every file is created with O_EXCL|O_NOFOLLOW below a directory descriptor, and
since neither links nor anything but files and directories can be made, no name can lead out of the hidden directory.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from trollmoves.descending import descended
from trollmoves.errors import Denied
from trollmoves.unpacking.base import BadArchive, shown
from trollmoves.unpacking.limits import Budget, Limits
from trollmoves.uris import LONGEST_NAME

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
PREFIX = ".unpack-"
"""Hidden directories begin so; no member may."""
LATEST = 2**33
"""Seconds; a modification time outside 1970 and this is not set."""
PIECE = 2**20

Parts = tuple[str, ...]


def bare_parts(name: str) -> Parts:
    """The directories and the name that *name* is made of, whatever they are."""
    return tuple(part for part in name.split("/") if part not in ("", "."))


def parts_of(name: str, limits: Limits) -> Parts:
    """The directories and the name of a member; none for the top directory itself. Raises `BadArchive`."""
    if "\0" in name:
        raise BadArchive(f"{shown(name)}: a NUL in a member's name")
    if name.startswith("/"):
        raise BadArchive(f"{shown(name)}: a member's name must not be absolute")
    parts = bare_parts(name)
    if ".." in parts:
        raise BadArchive(f"{shown(name)}: a member's name must not lead out of the directory")
    if parts and parts[0].startswith(PREFIX):
        raise BadArchive(f"{shown(name)}: a member's name must not begin with {PREFIX}")
    _check_lengths(name, parts, limits)
    return parts


def _as_text(name: str) -> str:
    """A name that can stand in a message: what is no UTF-8 in the archive is read as Latin-1, as posttroll does with messages."""
    try:
        name.encode("utf-8")
        return name
    except UnicodeEncodeError:
        pass
    try:
        return name.encode("utf-8", "surrogateescape").decode("latin-1")
    except UnicodeEncodeError as error:
        raise BadArchive(f"{shown(name)}: a member's name is no text") from error


def _check_lengths(name: str, parts: Parts, limits: Limits) -> None:
    if len(parts) > limits.depth + 1:
        raise BadArchive(f"{shown(name)}: more than {limits.depth} directories deep")
    if len(os.fsencode(name)) > limits.path_length or any(len(os.fsencode(part)) > LONGEST_NAME for part in parts):
        raise BadArchive(f"{shown(name)}: a member's name is too long")


@contextmanager
def closing(descriptor: int) -> Iterator[int]:
    """Close *descriptor* at the end."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def is_at(descriptor: int, path: str, directory: int | None = None) -> bool:
    """Whether the file open as *descriptor* is still the one at *path*, in the open *directory* where one is given."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, dir_fd=directory))
    except FileNotFoundError:
        return False


def walk(top: int, parts: Parts) -> int:
    """A new descriptor of the directory *parts* below *top*; links are not followed. Raises OSError."""
    return descended(os.dup(top), parts)


def reached(directory: str, within: str | None) -> int:
    """A descriptor of *directory*. What lies below *within*, where that is given, is reached without links. Raises `OSError`."""
    if within is None or not directory.startswith(within.rstrip("/") + "/"):
        return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with closing(reached(within, None)) as top:
        return walk(top, bare_parts(directory[len(within):]))


def own_directory(above: int, name: str) -> int:
    """A descriptor of the directory *name* that we have just made: who owns the one *above* may have put another there, with
    links in it, which a program would follow. Raises `Denied`."""
    descriptor = os.open(name, DIRECTORY, dir_fd=above)
    try:
        with closing(os.open("ours", CREATE, 0o600, dir_fd=descriptor)) as made:  # a network file system may give it to nobody
            os.unlink("ours", dir_fd=descriptor)
            if os.fstat(made).st_uid != os.fstat(descriptor).st_uid:
                raise Denied(f"{name}: another user has put a directory of that name there")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


class MemberFile:
    """One member being written."""

    def __init__(self, descriptor: int, name: str, budget: Budget):
        self._descriptor = descriptor
        self._name = name
        self._budget = budget
        self.size = 0
        """Bytes so far."""

    def write(self, data: bytes | memoryview) -> None:
        """Append *data*."""
        self._budget.take(self._name, len(data))
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view):]
        self.size += len(data)

    def skip(self, count: int) -> None:
        """Append *count* zero bytes as a hole, which counts as much as bytes do."""
        self._budget.take(self._name, count)
        self.size += count
        os.ftruncate(self._descriptor, self.size)
        os.lseek(self._descriptor, self.size, os.SEEK_SET)

    def finish(self, mode: int, mtime: float | None, sync: bool) -> None:
        """Give it its mode and time, and put it on the disk where asked."""
        os.fchmod(self._descriptor, mode & 0o755 | 0o600)
        if mtime is not None and 0 <= mtime < LATEST:
            os.utime(self._descriptor, (mtime, mtime))
        if sync:
            os.fsync(self._descriptor)


class Output:
    """What an unpacker hands its members to."""

    def __init__(self, hidden: int, budget: Budget, sync: bool):
        os.mkdir("members", 0o700, dir_fd=hidden)
        os.mkdir("scratch", 0o700, dir_fd=hidden)
        self.top = os.open("members", DIRECTORY, dir_fd=hidden)
        try:
            self._scratch = own_directory(hidden, "scratch")
        except BaseException:
            os.close(self.top)
            raise
        self.scratch = f"/proc/self/fd/{self._scratch}"
        """An empty directory for a foreign program to work in, by a path that leads there in this process alone."""
        self.budget = budget
        self.files: dict[Parts, int] = {}
        """The files so far and their sizes in bytes."""
        self._names: set[str] = set()
        self.directories: set[Parts] = set()
        """The directories so far."""
        self._parent: tuple[Parts, int] = ((), os.dup(self.top))
        self._sync = sync

    def close(self) -> None:
        """Let go of the descriptors."""
        os.close(self._parent[1])
        os.close(self._scratch)
        os.close(self.top)

    def directory(self, name: str) -> None:
        """A directory; fine when it is there."""
        name = _as_text(name)
        parts = parts_of(name, self.budget.limits)
        known = len(self.directories)
        self._make(parts, name)
        if len(self.directories) == known:
            self.budget.member(name)

    @contextmanager
    def file(self, name: str, *, mode: int = 0o644, mtime: float | None = None) -> Iterator[MemberFile]:
        """A new file to be written. Of *mode* the permission bits count, without writing by others; *mtime* is in seconds."""
        name = _as_text(name)
        parts = self._new_file(name, mode)
        try:
            descriptor = os.open(parts[-1], CREATE, 0o600, dir_fd=self._parent[1])
        except FileExistsError as error:
            raise BadArchive(f"{shown(name)}: two members have this name") from error
        with closing(descriptor):
            member = MemberFile(descriptor, name, self.budget)
            yield member
            member.finish(mode, mtime, self._sync)
        self.files[parts] = member.size

    def adopt(self, made: str, name: str, *, mode: int = 0o644) -> None:
        """Take the file *made* that a foreign program left in `scratch`, if it is a regular one within the limits."""
        with self.made(made) as source, self.file(name, mode=mode) as member:
            while data := os.read(source, PIECE):
                member.write(data)

    @contextmanager
    def made(self, name: str) -> Iterator[int]:
        """The file *name* that a foreign program left in `scratch`, open for reading. Raises `BadArchive` if it is no such."""
        try:
            descriptor = os.open(os.path.join(self.scratch, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise BadArchive(f"the program left no {shown(name)}: {error.strerror}") from error
        with closing(descriptor):
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise BadArchive(f"the program left {shown(name)}, but it is no regular file")
            yield descriptor

    def _new_file(self, name: str, mode: int) -> Parts:
        if mode & (stat.S_ISUID | stat.S_ISGID):
            raise BadArchive(f"{shown(name)}: files with setuid or setgid bits are not unpacked")
        parts = parts_of(name, self.budget.limits)
        if not parts:
            raise BadArchive(f"{shown(name)}: a file needs a name")
        if self.budget.limits.by_name:
            if parts[-1] in self._names:
                raise BadArchive(f"{shown(name)}: a member of another directory has this name, by which files are told apart")
            self._names.add(parts[-1])
        self.budget.member(name)
        self._make(parts[:-1], name)
        return parts

    def _make(self, parts: Parts, name: str) -> None:
        """Make the directories that are missing, and keep the last one open: members mostly come directory by directory."""
        if parts == self._parent[0]:
            return
        for depth in range(1, len(parts) + 1):
            if parts[:depth] not in self.directories:
                self._make_one(parts[:depth], name)
        opened = walk(self.top, parts)
        os.close(self._parent[1])
        self._parent = (parts, opened)

    def _make_one(self, parts: Parts, name: str) -> None:
        self.budget.member(name)
        with closing(walk(self.top, parts[:-1])) as parent:
            try:
                os.mkdir(parts[-1], 0o700, dir_fd=parent)
            except FileExistsError as error:
                raise BadArchive(f"{shown(name)}: a directory and a file have the same name") from error
        self.directories.add(parts)


def empty(directory: int, *, strict: bool) -> None:
    """Remove everything in *directory*; unless *strict*, as far as possible. Raises `OSError`, and `Denied` for what is none of
    ours: nobody else nests directories so that they cannot be gone through."""
    try:
        _empty(directory, strict)
    except RecursionError:
        if strict:
            raise Denied("another user has put directories into its hidden one that are nested too deep to be removed") from None


def _empty(directory: int, strict: bool) -> None:
    for name in os.listdir(directory):
        if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            shutil.rmtree(name, ignore_errors=not strict, dir_fd=directory)
        else:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory)
