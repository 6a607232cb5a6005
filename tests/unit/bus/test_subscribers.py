"""Looking after who subscribes to what costs nothing that stays, and has bounds: for each host, and for all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.support.eventually import eventually
from trollmoves.bus.sockets import bound, close
from trollmoves.bus.subscribers import MOST_CONNECTIONS, Host, Subscribers


class Bounded:
    """A publisher whose subscribers are looked after."""

    def __init__(self, **limits: int):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.XPUB)
        self.port = self.socket.bind_to_random_port("tcp://127.0.0.1")
        self.subscribers = Subscribers(self.port, **limits)
        self.ended = 0

    def subscriber(self, address: str, *topics: bytes) -> zmq.Socket[bytes]:
        """Somebody who subscribed to *topics*, all of which are counted when this returns."""
        made: zmq.Socket[bytes] = self.context.socket(zmq.XSUB)
        made.connect(f"tcp://{address}:0;127.0.0.1:{self.port}")
        for topic in topics:
            made.send(b"\x01" + topic)
        eventually(lambda: self.count() is None and self.seen >= len(topics), interval=0.0)
        self.seen = 0
        return made

    seen = 0

    def count(self) -> None:
        while self.socket.poll(20):
            frame = self.socket.recv(copy=False)
            self.seen += frame.bytes[:1] == b"\x01"
            self.subscribers.count(frame)

    def reaches(self, subscriber: zmq.Socket[bytes], topic: bytes) -> bool:
        self.socket.send(topic)
        return bool(subscriber.poll(300)) and subscriber.recv() == topic


@pytest.fixture
def bounded() -> Iterator[Callable[..., Bounded]]:
    made: list[Bounded] = []

    def make(**limits: int) -> Bounded:
        made.append(Bounded(**limits))
        return made[-1]
    yield make
    for one in made:
        one.context.destroy(0)


def topics(count: int, letters: int) -> list[bytes]:
    return [b"%04d" % number + b"x" * (letters - 4) for number in range(count)]


@pytest.mark.parametrize("limits", [{"most": 10_000}, {"most_in_all": 10_000}])
def test_who_has_most_goes_when_there_is_too_much(bounded: Callable[..., Bounded], limits: dict[str, int]) -> None:
    """Whoever came last; and all addresses of this machine are one host."""
    publisher = bounded(**limits)
    first = publisher.subscriber("127.0.0.2", b"/first")
    greedy = publisher.subscriber("127.0.0.3", *topics(60, 100))
    assert publisher.reaches(greedy, topics(60, 100)[59])
    last = publisher.subscriber("127.0.0.4", *topics(50, 90))
    assert publisher.reaches(first, b"/first")
    assert publisher.reaches(last, topics(50, 90)[49])
    assert not publisher.reaches(greedy, topics(60, 100)[59])


def test_a_descriptor_that_is_a_file_by_now_is_not_kept_open(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        gone = Host({(file.fileno(), ("127.0.0.2", 1)): 100})
        gone.forget_closed()
        assert not gone.connections
        assert len(list(descriptors_of(tmp_path / "file"))) == 1


def descriptors_of(path: Path) -> Iterator[str]:
    """By which this process has a file open. (How many it has in all says nothing: ZeroMQ closes those of earlier tests.)"""
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            if os.readlink(f"/proc/self/fd/{name}") == str(path):
                yield name


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
