"""A process that can write below one directory only and reaches nobody: namespaces of its own, with no network but the loopback
and with every file system read-only but that directory. Nothing a configuration says can lead out of that.

As root it always works, as somebody else where the kernel lets users have namespaces.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from trollmoves.errors import TrollmovesError

NEW_MOUNTS, NEW_USERS, NEW_NETWORK = 0x00020000, 0x10000000, 0x40000000  # CLONE_NEW...
BIND, RECURSIVE, PRIVATE = 0x1000, 0x4000, 1 << 18  # MS_...
MOUNT_SETATTR = 442  # the number of the system call, the same on all architectures
AT_RECURSIVE, READ_ONLY = 0x8000, 0x1  # AT_RECURSIVE, MOUNT_ATTR_RDONLY
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
GET_FLAGS, SET_FLAGS, UP = 0x8913, 0x8914, 0x1  # SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP


def isolate(directory: Path) -> None:
    """Shut this process and all it starts in: writing below *directory* only, no network but the loopback. It cannot be undone.

    To be called while the process has one thread. Raises `TrollmovesError` where the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    user, group, place = os.geteuid(), os.getegid(), os.fsencode(directory)
    _call(libc.unshare(NEW_MOUNTS | NEW_NETWORK | (NEW_USERS if user else 0)))
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    _call(libc.mount(None, b"/", None, RECURSIVE | PRIVATE, None))
    _call(libc.mount(place, place, None, BIND | RECURSIVE, None))
    _set_read_only(libc, b"/", AT_RECURSIVE, True)
    _set_read_only(libc, place, 0, False)
    os.chdir(directory)  # the old way there leads to what is read-only
    _raise_loopback()


def in_child(run: Callable[[], int]) -> int:
    """The exit status of *run*, done in a process of its own, which does not outlive this one: what it shuts itself out of is
    still open here."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
            status = run()
        except BaseException:  # it would end without a word
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    while True:
        try:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        except KeyboardInterrupt:
            continue  # the child has it too, and cleans up


def _set_read_only(libc: ctypes.CDLL, place: bytes, flags: int, value: bool) -> None:
    attributes = struct.pack("QQQQ", READ_ONLY if value else 0, 0 if value else READ_ONLY, 0, 0)
    _call(libc.syscall(MOUNT_SETATTR, -100, place, flags, attributes, len(attributes)))


def _raise_loopback() -> None:
    with socket.socket() as some:
        request = bytearray(struct.pack("16sh22x", b"lo", 0))
        fcntl.ioctl(some, GET_FLAGS, request)
        flags = struct.unpack_from("h", request, 16)[0]
        fcntl.ioctl(some, SET_FLAGS, struct.pack("16sh22x", b"lo", flags | UP))


def _call(result: int) -> None:
    if result:
        raise TrollmovesError(f"this system lets us have no namespaces: {os.strerror(ctypes.get_errno())}")
