"""The names of the files in an archive that is not unpacked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from trollmoves.errors import OriginChanged, OriginGone, TemporaryError
from trollmoves.unpacking.base import BadArchive, Options, Packed, shown
from trollmoves.unpacking.limits import Budget, Limits
from trollmoves.unpacking.output import closing, parts_of, reached
from trollmoves.unpacking.packed import opened
from trollmoves.unpacking.tar import names_in
from trollmoves.unpacking.zip_directory import members_of

MOST_NAMES = 1000
"""Archives with more are not listed: a message with all of them would be read by nobody."""


def list_names(path: str, kind: str, is_meant: Callable[[os.stat_result], bool], within: str | None = None) -> tuple[str, ...]:
    """The names of all files in the archive at *path*, of the *kind* tar or zip, as fsspec gives them: those of a tar archive
    sorted, those of a zip archive in their order; never of directories. At least one.

    Raises `BadArchive` for what is damaged, hostile or too long to be listed; `OriginGone`; `OriginChanged` when *is_meant* says
    that it is another file; `TemporaryError` when it cannot be read now.
    """
    try:
        with closing(reached(os.path.dirname(path) or ".", within)) as directory, opened(path, directory) as packed:
            if not is_meant(os.fstat(packed.descriptor)):
                raise OriginChanged(f"{path}: another file has taken its place")
            try:
                return _names(packed, kind)
            except BadArchive as error:
                if not is_meant(os.fstat(packed.descriptor)):
                    raise OriginChanged(f"{path}: changed while it was read") from error
                raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise OriginGone(f"{path}: is not there") from error
    except OSError as error:
        raise TemporaryError(f"{path} cannot be read: {error.strerror}") from error


def _names(packed: Packed, kind: str) -> tuple[str, ...]:
    budget = Budget(Limits(), packed.size, 2**62)
    found = _tar_names(packed, budget) if kind == "tar" else _zip_names(packed, budget)
    if not found:
        raise BadArchive(f"{packed.path}: holds no files")
    return found


def _tar_names(packed: Packed, budget: Budget) -> tuple[str, ...]:
    names = (_without_empty_parts(name) for name in names_in(packed, Options(), budget))
    return tuple(sorted(_checked(names, budget.limits)))


def _without_empty_parts(name: str) -> str:
    start = "/" if name.startswith("/") else ""
    return start + "/".join(part for part in name.split("/") if part)


def _zip_names(packed: Packed, budget: Budget) -> tuple[str, ...]:
    return tuple(_checked((member.name for member in members_of(packed, budget) if not member.is_directory), budget.limits))


def _checked(names: Iterator[str], limits: Limits) -> dict[str, None]:
    """Names, each once. Raises `BadArchive` for those that lead somewhere else, or that no message can hold."""
    found: dict[str, None] = {}
    for name in names:
        parts_of(name.lstrip("/"), limits)
        if not name.isprintable():
            raise BadArchive(f"{shown(name)}: a member's name must be text that can be shown")
        found[name] = None
        if len(found) > MOST_NAMES:
            raise BadArchive(f"holds more than {MOST_NAMES} files, too many for one message")
    return found
