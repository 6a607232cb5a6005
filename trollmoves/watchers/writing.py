"""Whether somebody has a file open for writing: a file that is closed may have been opened again before that is looked at, and
one that has not changed for a while may be written slowly.

The kernel grants a lease for reading (fcntl(2), F_SETLEASE) only where nobody has. It does so for owners of a file and for who
has CAP_LEASE, and not on every file system: of other files nobody knows.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def status_at_rest(path: str, status: os.stat_result) -> os.stat_result | None:
    """The status of the file at *path*, of which *status* is known, from a moment when nobody had it open for writing, as far as
    that can be known; None when somebody has."""
    if not stat.S_ISREG(status.st_mode):
        return status
    try:
        descriptor = os.open(path, _FILE)
    except OSError:
        return status
    try:
        # Who wants to write waits until the lease is given back, below. Its holder is told so by a signal that ends nobody.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        return os.fstat(descriptor)
    except OSError as error:
        return None if error.errno == errno.EAGAIN else status
    finally:
        os.close(descriptor)
