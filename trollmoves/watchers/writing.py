"""Whether somebody has a file open for writing: a file that is closed may have been opened again before that is looked at, and
one that has not changed for a while may be written slowly.

The kernel grants a lease for reading (fcntl(2), F_SETLEASE) only where nobody has. It does so for owners of a file and for who
has CAP_LEASE, and not on every file system: of other files nobody knows. Some network file systems refuse as if a file were being
written, so there that says nothing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
from pathlib import Path

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ELSEWHERE = ("nfs", "cifs", "smb", "fuse", "9p", "ceph", "afs", "gfs", "ocfs", "lustre", "gpfs", "beegfs", "vboxsf", "vmhgfs")
"""Beginnings of the types of file systems that others may write to, or whose leases are made elsewhere."""


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
        return None if error.errno == errno.EAGAIN and not _is_elsewhere(status.st_dev) else status
    finally:
        os.close(descriptor)


def _is_elsewhere(device: int) -> bool:
    try:
        mounts = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    except OSError:
        return True
    return is_elsewhere(device, mounts)


def is_elsewhere(device: int, mounts: str) -> bool:
    """Whether a file system is not this machine's alone, as far as its type in *mounts* (proc_pid_mountinfo(5)) tells."""
    number = f"{os.major(device)}:{os.minor(device)}"
    found = [line.split() for line in mounts.splitlines()]
    return any(words[2] == number and words[words.index("-") + 1].startswith(_ELSEWHERE) for words in found)
