"""Files that command this process (configurations, keys): whoever may write them may do what it may."""

from __future__ import annotations

import os
import shlex
import stat


def exposed(path: str | os.PathLike[str], status: os.stat_result) -> str | None:
    """Why what stands in the file or directory at *path* may be anybody's, and what to do; None when it may not.

    A group may write it: on many systems each user has one of its own, and a group that shares a configuration is meant to.
    """
    if not status.st_mode & stat.S_IWOTH or not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return None
    return f"may be changed by every user of this machine; run: chmod o-w {shlex.quote(os.fspath(path))}"
