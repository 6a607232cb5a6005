"""Looking after who subscribes to what costs nothing that stays."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import zmq

from trollmoves.bus.sockets import bound, close
from trollmoves.bus.subscribers import MOST_CONNECTIONS, Address, Subscribers


def test_a_descriptor_that_is_a_file_by_now_is_not_kept_open(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        before = len(os.listdir("/proc/self/fd"))
        gone = Address({(file.fileno(), ("127.0.0.2", 1)): 100})
        gone.forget_closed()
        assert not gone.connections
        assert len(os.listdir("/proc/self/fd")) == before


def test_who_comes_and_goes_again_and_again_leaves_nothing_behind() -> None:
    """All that it subscribed to is ended again; but it did come, each time from another port."""
    context = zmq.Context[Any]()
    publisher, port = bound(zmq.XPUB, "127.0.0.1", 0)
    subscribers, most = Subscribers(port), 0
    for _ in range(MOST_CONNECTIONS + 10):
        subscriber = context.socket(zmq.SUB)
        subscriber.connect(f"tcp://127.0.0.1:{port}")
        for change in (subscriber.subscribe, subscriber.unsubscribe):
            change("a")
            assert publisher.poll(30_000)
            subscribers.count(publisher.recv(copy=False))
        subscriber.close(0)
        most = max(most, len(subscribers))
    assert MOST_CONNECTIONS // 2 < most <= MOST_CONNECTIONS + 1
    assert len(subscribers) < MOST_CONNECTIONS // 2
    close(publisher)
    context.term()
