"""Down from a directory one name at a time: where others may write, links may be put in the way at any moment."""

from __future__ import annotations

import os
from collections.abc import Iterable

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def descended(top: int, names: Iterable[str]) -> int:
    """A descriptor of the directory that *names* lead to from the open directory *top*, which is closed. Links are not followed.
    Raises `OSError`."""
    for name in names:
        try:
            below = os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
        finally:
            os.close(top)
        top = below
    return top
