"""Waiting for connections, also where a thousand other descriptors are open."""

from __future__ import annotations

import resource
import socket
from contextlib import suppress

import pytest

from trollmoves.movers.draining import is_readable, is_writable


def test_a_connection_may_have_any_descriptor() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != before[1] < 2000:
        pytest.skip("the system grants no such descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(2000, before[0]), before[1]))
    low, other = socket.socketpair()
    others = []
    try:
        while not others or others[-1].fileno() < 1100:
            others.append(low.dup())
        high = others[-1]
        assert is_writable(high, 0.0) and not is_readable(high)
        other.sendall(b"1")
        assert is_readable(high, 10.0)
        high.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                high.send(bytes(2**16))
        assert not is_writable(high, 0.0)
    finally:
        for connection in (low, other, *others):
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
