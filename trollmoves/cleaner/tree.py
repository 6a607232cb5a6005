"""Going through directories by descriptors: what lies beneath is reached one name at a time, and no link is followed.

So a directory that somebody replaces by a link while we are in it changes nothing: names are looked up in the one we opened.
"""

from __future__ import annotations

import errno
import fnmatch
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_MAGIC = frozenset("*?[")

Failed = Callable[[str, OSError], Any]
"""Is told of a path, and why it could not be gone through."""


@contextmanager
def opened(name: str, above: int | None = None) -> Iterator[int]:
    """A descriptor of a directory: of the one *name* in the directory *above*, if it is no link; else of the path *name*.

    Raises `OSError`.
    """
    descriptor = os.open(name, _DIRECTORY if above is None else _DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def entries(descriptor: int) -> Iterator[tuple[str, bool]]:
    """Names in a directory, and whether each is a directory itself (a link to one is not). May be removed meanwhile."""
    with os.scandir(descriptor) as found:
        for entry in found:
            yield entry.name, entry.is_dir(follow_symlinks=False)


def matches(name: str, pattern: str, include_hidden: bool) -> bool:
    """Whether a shell would expand *pattern* to *name*; *include_hidden* lets wildcards stand for a dot at the beginning too."""
    if name.startswith(".") and not (include_hidden or pattern.startswith(".")):
        return False
    return fnmatch.fnmatchcase(name, pattern)


def split(base_dir: str, template: str) -> tuple[str, tuple[str, ...], str]:
    """Where to begin (an existing directory that somebody named, so links in it are followed), the patterns of the directories
    below it, and that of the files. An absolute *template* stands for itself, any other is meant below *base_dir*."""
    parts = tuple(part for part in template.split("/") if part not in ("", "."))
    if not template.startswith("/"):
        return base_dir, parts[:-1], parts[-1]
    fixed = next((number for number, part in enumerate(parts[:-1]) if _MAGIC & set(part)), len(parts) - 1)
    return "/" + "/".join(parts[:fixed]), parts[fixed:-1], parts[-1]


def directories(path: str, patterns: tuple[str, ...], include_hidden: bool, failed: Failed,
                above: int | None = None) -> Iterator[tuple[int, str]]:
    """Descriptor and path of every directory that *patterns* lead to from the directory *path*; each is closed when the next one
    is asked for. *failed* is told of what cannot be opened."""
    try:
        with opened(os.path.basename(path) if above is not None else path, above) as descriptor:
            if not patterns:
                yield descriptor, path
                return
            for name in _leading_on(descriptor, patterns[0], include_hidden):
                yield from directories(os.path.join(path, name), patterns[1:], include_hidden, failed, descriptor)
    except OSError as error:
        failed(path, error)


def _leading_on(descriptor: int, pattern: str, include_hidden: bool) -> list[str]:
    if not _MAGIC & set(pattern):
        return [pattern]
    return sorted(name for name, is_directory in entries(descriptor) if is_directory and matches(name, pattern, include_hidden))


def has_gone(error: OSError) -> bool:
    """Whether an error says no more than that something vanished, or that no directory stands where one was looked for."""
    return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def is_empty(name: str, above: int) -> bool:
    """Whether a directory can be opened and has nothing in it."""
    with suppress(OSError), opened(name, above) as descriptor:
        return next(entries(descriptor), None) is None
    return False


def shown(path: str) -> str:
    """A path as it may stand in a log: a name with a line break cannot pretend to be two lines."""
    return path if path.isprintable() else repr(path)
