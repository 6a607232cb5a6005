"""Free ports of 127.0.0.1, kept apart between all processes of this user that take them here."""

from __future__ import annotations

import fcntl
import functools
import itertools
import os
import random
import socket
import tempfile
from pathlib import Path

FIRST, LAST = 20_000, 32_000  # below the range from which Linux takes the ports of outgoing connections
IN_A_ROW = 27_000
"""From here on ports are given out in rows only: between single ones there would soon be no row left."""

MOST_HELD = 1_000
"""By one process; beyond it those taken first are let go of: whoever wanted them listens there by now, or is gone."""
MOST_ROWS = 8
"""The same of rows."""


class Reservations:
    """Ports this process holds: one byte of a shared file is locked for each, so the kernel lets go of them when we end."""

    def __init__(self, path: Path):
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._held: dict[int, None] = {}
        self._rows: list[range] = []

    def take(self) -> int:
        """A port nobody listens on and no other process holds here."""
        for port in random.sample(range(FIRST, IN_A_ROW), IN_A_ROW - FIRST):
            if port not in self._held and is_free(port) and self._lock(port):
                self._held[port] = None
                if len(self._held) > MOST_HELD:
                    oldest = next(iter(self._held))
                    del self._held[oldest]
                    self._unlock(oldest)
                return port
        raise RuntimeError("no free port left")

    def take_range(self, count: int) -> range:
        """*count* ports in a row."""
        for first in random.sample(range(IN_A_ROW, LAST - count), LAST - IN_A_ROW - count):
            ports = range(first, first + count)
            # Servers that take a range use ports again whose last connection has just ended: there are many of those.
            if not any(first < row.stop and row.start < ports.stop for row in self._rows) \
                    and all(is_free(port, again=True) for port in ports) and self._lock_all(ports):
                self._rows.append(ports)
                if len(self._rows) > MOST_ROWS:
                    for port in self._rows.pop(0):
                        self._unlock(port)
                return ports
        raise RuntimeError(f"no {count} free ports in a row left")

    def _lock_all(self, ports: range) -> bool:
        locked = list(itertools.takewhile(self._lock, ports))
        if len(locked) == len(ports):
            return True
        for port in locked:
            self._unlock(port)
        return False

    def _unlock(self, port: int) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, port)

    def _lock(self, port: int) -> bool:
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except OSError:
            return False
        return True


def is_free(port: int, *, again: bool = False) -> bool:
    """Whether one could listen on *port*, on every interface and on the loopback one; with *again* also where a connection of an
    earlier server has just ended."""
    for host in ("127.0.0.1", "0.0.0.0"):
        with socket.socket() as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, again)
            try:
                candidate.bind((host, port))
            except OSError:
                return False
    return True


@functools.cache
def _reservations() -> Reservations:
    return Reservations(Path(tempfile.gettempdir()) / f"trollmoves-ports-{os.getuid()}")


def free_port() -> int:
    """A free port, reserved for this process until it ends."""
    return _reservations().take()


def free_ports(count: int) -> list[int]:
    """*count* different free ports."""
    return [free_port() for _ in range(count)]


def free_port_range(count: int) -> range:
    """*count* free ports in a row, for servers that want a range."""
    return _reservations().take_range(count)
