"""The hidden directory of one packed file: always the same name, always emptied first, held by one process at a time.

Its name depends on the packed file's path alone, so that whoever unpacks that file again finds what a crash left and removes it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from trollmoves.errors import Busy, MoveError
from trollmoves.unpacking.output import DIRECTORY, PREFIX, closing, empty

TRIES = 100
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""A network file system without locks; then two processes that unpack one file at once are the operator's affair."""


def hidden_name(path: str) -> str:
    """The name of the hidden directory for the packed file at *path*."""
    return PREFIX + hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:32]


@contextmanager
def hidden_directory(into: int, name: str) -> Iterator[int]:
    """A descriptor of the empty directory *name* in *into*; it is gone at the end. Raises `Busy` while another process has it."""
    descriptor = _held(into, name)
    try:
        empty(descriptor, strict=True)
        yield descriptor
    finally:
        with suppress(OSError):
            empty(descriptor, strict=False)
            os.rmdir(name, dir_fd=into)
        os.close(descriptor)


def _held(into: int, name: str) -> int:
    for _ in range(TRIES):
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=into)
        try:
            descriptor = os.open(name, DIRECTORY, dir_fd=into)
        except FileNotFoundError:
            continue
        if _is_ours(descriptor, into, name):
            return descriptor
        os.close(descriptor)
    raise Busy(f"{name}: other processes unpack the same file all the time")


def _is_ours(descriptor: int, into: int, name: str) -> bool:
    """Lock it; False when the one before has meanwhile removed it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        named = os.stat(name, dir_fd=into, follow_symlinks=False)
    except BlockingIOError as error:
        os.close(descriptor)
        raise Busy(f"{name}: another process unpacks the same file") from error
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno in NO_LOCKS:
            return True
        os.close(descriptor)
        raise
    return os.path.samestat(named, os.fstat(descriptor))


def remove_leftovers(directory: str, older_than: float = 86_400.0) -> int:
    """Remove hidden directories in *directory* that a crash left, not touched for *older_than* seconds, and say how many.

    Only needed for packed files that nobody will unpack again.
    """
    removed = 0
    with closing(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as into:
        for name in os.listdir(into):
            if name.startswith(PREFIX) and _untouched(into, name, older_than):
                with suppress(MoveError, OSError), hidden_directory(into, name):
                    removed += 1
    return removed


def _untouched(into: int, name: str, seconds: float) -> bool:
    try:
        return time.time() - os.stat(name, dir_fd=into, follow_symlinks=False).st_mtime >= seconds
    except FileNotFoundError:
        return False
