"""The files of the journals that this process has open, which it must not open in another way: closing a descriptor of one takes
with it the locks that SQLite holds on it, and the next process to read the journal takes it for one that nobody uses."""

from __future__ import annotations

import os
import re

BESIDE = re.compile(r"(-wal|-shm|-journal|\.lock|\.audit\.jsonl(\.\d+)?|\.damaged-.*|\.schema-\d+)?")
"""Endings of the files that make up a journal."""

Place = tuple[str, str]
"""Directory, without links, and name."""

_open: dict[Place, None] = {}


def opened(place: Place) -> None:
    """The journal there is in use from now on."""
    _open[place] = None


def closed(place: Place) -> None:
    """The journal there is in use no more; fine when it was not."""
    _open.pop(place, None)


def is_part(path: str, place: Place) -> bool:
    """Whether the file at *path* is one of those of the journal there."""
    directory, _, name = path.rpartition("/")
    return (name.startswith(place[1]) and BESIDE.fullmatch(name, len(place[1])) is not None
            and os.path.realpath(directory) == place[0])


def is_own(path: str) -> bool:
    """Whether *path* leads to a file of a journal that is in use here. May be asked by any thread."""
    if os.path.islink(path):
        path = os.path.realpath(path)
    return any(is_part(path, place) for place in tuple(_open))
