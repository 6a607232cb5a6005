"""Waiting for the answer to an upload: while bytes still drain to a slow server, waiting is not stalling."""

from __future__ import annotations

import fcntl
import select
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable

LOOK = 1.0
"""Seconds between two looks."""
_TIOCOUTQ = 0x5411


def wait_while_it_drains(answered: Callable[[float], bool], unsent: Callable[[], int], patience: float) -> None:
    """Return when *answered*, which waits for so many seconds, says so. Raises `TimeoutError` when for *patience* seconds there
    was neither an answer nor fewer (or more) bytes *unsent*."""
    since, before = time.monotonic(), -1
    while not answered(min(LOOK, patience)):
        left = unsent()
        if left and left != before:
            since = time.monotonic()
        elif time.monotonic() - since >= patience:
            raise TimeoutError("no answer in time")
        before = left


def unsent_of(connection: socket.socket) -> int:
    """Bytes the other side has not acknowledged yet; always 0 where the system cannot tell."""
    if sys.platform != "linux":
        return 0
    try:
        return int(struct.unpack("i", fcntl.ioctl(connection.fileno(), _TIOCOUTQ, b"\0\0\0\0"))[0])
    except OSError:
        return 0


def is_readable(connection: socket.socket, seconds: float = 0.0) -> bool:
    """Whether something has come, or the end of the connection; waits for it for so many *seconds*."""
    if isinstance(connection, ssl.SSLSocket) and connection.pending():
        return True
    return _is_ready(connection, select.POLLIN, seconds)


def is_writable(connection: socket.socket, seconds: float) -> bool:
    """Whether there is room for what is sent, or the end of the connection; waits for it for so many *seconds*."""
    return _is_ready(connection, select.POLLOUT, seconds)


def _is_ready(connection: socket.socket, event: int, seconds: float) -> bool:
    poll = select.poll()  # select() knows no more than 1024 descriptors
    poll.register(connection, event)
    return bool(poll.poll(seconds * 1000))
