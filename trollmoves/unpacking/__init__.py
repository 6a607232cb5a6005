"""Unpacking: tar, zip, bzip2, gzip, xz, zstd, xrit. A table name -> unpacker, and one way to use them all.

::

    contract.py   what an unpacker promises
    base.py       Packed, Unpacked, Options, BadArchive
    limits.py     how much an archive may become
    packed.py     the packed file, opened
    output.py     where members go, and what a name may be
    hidden.py     the hidden directory, and what is left of a crash
    placing.py    members under their names
    messages.py   what a message says afterwards
    listing.py    the names in an archive that stays packed
    tar.py, pax.py, sparse.py, fields.py · zip.py, zip_directory.py · streams.py, decompressing.py, source.py
    xrit.py, programs.py, limited.py, wavelet.py

Everything is unpacked into a hidden directory inside the destination and renamed into place when it is whole. If anything fails,
nothing of it stays; what an earlier crash left is removed, never trusted; what was there before is replaced. Doing it twice is
doing it once.
"""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import entry_points

from trollmoves.errors import (
    ConfigurationError,
    Denied,
    DestinationFull,
    DestinationInvalid,
    MissingLibrary,
    MoveError,
    OriginChanged,
    OriginGone,
    TemporaryError,
)
from trollmoves.unpacking.base import BadArchive, Options, Packed, Unpacked
from trollmoves.unpacking.contract import Unpacker
from trollmoves.unpacking.hidden import hidden_directory, hidden_name, remove_leftovers
from trollmoves.unpacking.limits import Budget, Limits
from trollmoves.unpacking.messages import unpacked_message_data
from trollmoves.unpacking.output import Output, closing, is_at, reached
from trollmoves.unpacking.packed import opened
from trollmoves.unpacking.placing import Placing, described
from trollmoves.unpacking.streams import BZIP2_FILES, GZIP_FILES, XZ_FILES, ZSTD_FILES
from trollmoves.unpacking.tar import TAR_FILES
from trollmoves.unpacking.xrit import XRIT_FILES
from trollmoves.unpacking.zip import ZIP_FILES

__all__ = ["BadArchive", "Limits", "Options", "Output", "Packed", "Unpacked", "Unpacker", "endings_of", "is_packed",
           "known_unpackers", "lacking", "remove_leftovers", "unpack", "unpacked_message_data", "unpacker_for"]

GROUP = "trollmoves.unpackers"

UNPACKERS: dict[str, Unpacker] = {
    "tar": TAR_FILES,
    "zip": ZIP_FILES,
    "bzip": BZIP2_FILES,
    "bzip2": BZIP2_FILES,
    "bz2": BZIP2_FILES,
    "gzip": GZIP_FILES,
    "xz": XZ_FILES,
    "zstd": ZSTD_FILES,
    "xrit": XRIT_FILES,
}

ERRORS: dict[int, type[MoveError]] = {
    errno.ENOSPC: DestinationFull,
    errno.EDQUOT: DestinationFull,
    errno.EACCES: Denied,
    errno.EPERM: Denied,
    errno.EROFS: Denied,
    errno.ENOENT: DestinationInvalid,
    errno.ENOTDIR: DestinationInvalid,
    errno.EISDIR: DestinationInvalid,
    errno.ENAMETOOLONG: DestinationInvalid,
    errno.ELOOP: DestinationInvalid,
    errno.EXDEV: DestinationInvalid,
}
"""Anything else (EIO, ESTALE of a network file system, ...) may pass: `TemporaryError`."""


def unpacker_for(name: str) -> Unpacker:
    """The unpacker called *name*. Raises `ConfigurationError` for an unknown one, `MissingLibrary` if it cannot be loaded."""
    if name in UNPACKERS:
        return UNPACKERS[name]
    for entry in entry_points(group=GROUP, name=name):
        try:
            found = entry.load()
        except ImportError as error:
            raise MissingLibrary(f"{entry.value} of entry point {GROUP}:{name} cannot be imported: {error}") from error
        made = found if isinstance(found, Unpacker) else found()
        if not isinstance(made, Unpacker):
            raise ConfigurationError(f"{entry.value} of entry point {GROUP}:{name} is no trollmoves.unpacking.Unpacker")
        return made
    near = difflib.get_close_matches(name, known_unpackers(), 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ConfigurationError(f"compression = {name}: known are {', '.join(known_unpackers())}{hint}")


def endings_of(compression: str | None) -> tuple[str, ...]:
    """How the names of files end that are unpacked. Raises `ConfigurationError` when the unpacker cannot be loaded."""
    if compression is None:
        return ()
    try:
        return unpacker_for(compression).endings
    except MissingLibrary as error:
        raise ConfigurationError(str(error)) from error


def lacking(name: str) -> str:
    """What this machine lacks for the unpacker *name*, in words; empty when it has all."""
    try:
        unpacker_for(name).check()
    except (MoveError, ConfigurationError) as error:
        return str(error)
    return ""


def known_unpackers() -> list[str]:
    """All names that `compression` may have, in alphabetical order."""
    return sorted(set(UNPACKERS) | {entry.name for entry in entry_points(group=GROUP)})


def is_packed(path: str, name: str) -> bool:
    """Whether the unpacker *name* unpacks files named like *path*; others are left as they are."""
    return path.endswith(unpacker_for(name).endings)


def unpack(path: str, name: str, *, into: str | None = None, limits: Limits | None = None, options: Options | None = None,
           sync: bool = False, is_meant: Callable[[os.stat_result], bool] | None = None,
           within: str | None = None) -> list[Unpacked]:
    """Unpack the file at *path* with the unpacker *name* into the directory *into* and return its members in their places.

    *into* is the section's working directory or the file's own directory unless given. Returns an empty list, having done
    nothing, for a file whose name has none of the unpacker's endings. With *sync* the members survive a power loss. *is_meant*
    says whether the opened file is the one that was meant; `OriginChanged` is raised when it is not. Below the directory *within*
    others may write: no links are followed there.

    Raises `BadArchive` for what is damaged, hostile or over the *limits*; `OriginGone` and `OriginChanged` for the packed file;
    `DestinationFull`, `Busy` (another process unpacks the same file), `Stalled`, and other errors of the disk. Then no member
    that was not there before is visible.
    """
    if not is_packed(path, name):
        return []
    options = options or Options()
    job = _Unpacking(os.path.abspath(path), unpacker_for(name), limits or Limits(), options, sync or options.delete, is_meant,
                     within)
    try:
        return job.run(os.path.abspath(into or options.working_directory or os.path.dirname(job.path)))
    except MoveError as error:
        error.args = (f"{job.path}: {error}",)
        raise
    except OSError as error:
        raise _translated(error, job.path) from error


def _translated(error: OSError, path: str) -> MoveError:
    kind = ERRORS.get(error.errno or 0, TemporaryError)
    where = "" if error.filename is None else f" ({error.filename!r})"
    return kind(f"{path}: unpacking: {error.strerror}{where}")


@dataclass(frozen=True, slots=True)
class _Unpacking:
    """One packed file on its way."""

    path: str
    unpacker: Unpacker
    limits: Limits
    options: Options
    sync: bool
    is_meant: Callable[[os.stat_result], bool] | None
    within: str | None

    def run(self, into: str) -> list[Unpacked]:
        """All of it. The directory is opened before what is in it is looked up: somebody may put a link in its place at any
        time."""
        with ExitStack() as stack:
            above = os.path.dirname(self.path)
            beside = into == above
            top = stack.enter_context(closing(self._opened_directory(into, beside)))
            name = hidden_name(self.path)
            hidden = stack.enter_context(hidden_directory(top, name))  # emptied, whatever the packed file is like by now
            parent = top if beside else stack.enter_context(closing(self._opened_directory(above, True)))
            packed = stack.enter_context(opened(self.path, parent))
            if self.is_meant is not None and not self.is_meant(os.fstat(packed.descriptor)):
                raise OriginChanged("another file has taken its place")
            output = Output(hidden, self._budget(packed, hidden), self.sync)
            stack.callback(output.close)
            members = self._extract(packed, output, top, into)
            if self.options.delete and is_at(packed.descriptor, packed.name, parent):
                os.unlink(packed.name, dir_fd=parent)
            return members

    def _opened_directory(self, into: str, beside: bool) -> int:
        try:
            return reached(into, self.within)
        except (FileNotFoundError, NotADirectoryError) as error:
            if beside or not os.path.lexists(self.path):
                raise OriginGone("is not there to be unpacked") from error
            raise

    def _budget(self, packed: Packed, hidden: int) -> Budget:
        disk = os.fstatvfs(hidden)
        return Budget(self.limits, packed.size, disk.f_bavail * disk.f_frsize)

    def _extract(self, packed: Packed, output: Output, top: int, into: str) -> list[Unpacked]:
        before = _identity(packed.descriptor)
        try:
            self.unpacker.extract(packed, output, self.options)
        except BadArchive as error:
            if not self._is_still(packed, before):  # half of one and half of the other is no damage
                raise OriginChanged("changed while it was unpacked") from error
            raise
        if not self._is_still(packed, before):
            raise OriginChanged("changed while it was unpacked")
        if not output.files:
            raise BadArchive("holds no files")
        Placing(output, top, packed, self.sync).run()
        return described(output, into)

    def _is_still(self, packed: Packed, before: tuple[int, int]) -> bool:
        """Whether nobody has written to it."""
        meant = self.is_meant is None or self.is_meant(os.fstat(packed.descriptor))
        return meant and _identity(packed.descriptor) == before


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns
