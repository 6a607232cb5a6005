"""Opening a packed file: never by a link in its place, which may lead to what others must not have."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from trollmoves.errors import OriginChanged, OriginGone
from trollmoves.unpacking.base import BadArchive, Packed
from trollmoves.unpacking.output import closing

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def opened(path: str, directory: int | None = None) -> Iterator[Packed]:
    """The regular file at *path*, which is in the open *directory* where one is given. Raises `OriginGone`, `OriginChanged` where
    it is a link, `BadArchive`, and other `OSError`."""
    try:
        descriptor = os.open(path if directory is None else os.path.basename(path), _FILE, dir_fd=directory)
    except FileNotFoundError as error:
        raise OriginGone("is not there to be unpacked") from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OriginChanged("a link has taken its place") from error
        raise
    with closing(descriptor):
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BadArchive("is no regular file")
        yield Packed(path, os.path.basename(path), descriptor, status.st_size, status.st_mtime)
