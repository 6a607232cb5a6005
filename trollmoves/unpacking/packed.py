"""Opening a packed file."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from trollmoves.errors import OriginGone
from trollmoves.unpacking.base import BadArchive, Packed
from trollmoves.unpacking.output import closing


@contextmanager
def opened(path: str, directory: int | None = None) -> Iterator[Packed]:
    """The regular file at *path*, which is in the open *directory* where one is given. Raises `OriginGone` or `BadArchive`."""
    try:
        descriptor = os.open(path if directory is None else os.path.basename(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC,
                             dir_fd=directory)
    except FileNotFoundError as error:
        raise OriginGone("is not there to be unpacked") from error
    with closing(descriptor):
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BadArchive("is no regular file")
        yield Packed(path, os.path.basename(path), descriptor, status.st_size, status.st_mtime)
