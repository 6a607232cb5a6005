"""Whoever publishes something at its start gives its subscribers time to connect, once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq

from tests.support.eventually import eventually
from trollmoves.bus import Loop, Publisher


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def publisher(loop: Loop) -> Iterator[Publisher]:
    made = Publisher(loop, 0, address="127.0.0.1")
    yield made
    made.close()


@pytest.fixture
def subscriber() -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context, context.socket(zmq.SUB) as made:
        made.linger = 0
        yield made


def turns_until(loop: Loop, called: list[bool]) -> None:
    def turned() -> bool:
        loop.turn(0.02)
        return bool(called)

    eventually(turned, interval=0.0)


def test_the_first_subscriber_ends_the_waiting(loop: Loop, publisher: Publisher, subscriber: zmq.Socket[bytes]) -> None:
    called: list[bool] = []
    publisher.once_heard(lambda: called.append(publisher.is_heard))
    subscriber.connect(f"tcp://127.0.0.1:{publisher.port}")
    for topic in (b"pytroll://a", b"pytroll://b"):
        subscriber.subscribe(topic)
    turns_until(loop, called)
    assert called == [True]
    ended: list[bool] = []
    loop.after(3.5, lambda: ended.append(True))
    turns_until(loop, ended)
    assert called == [True]


def test_nobody_is_waited_for_in_vain(loop: Loop, publisher: Publisher) -> None:
    called: list[bool] = []
    publisher.once_heard(lambda: called.append(publisher.is_heard))
    turns_until(loop, called)
    assert called == [False]


def test_nothing_is_published_after_the_end(loop: Loop) -> None:
    publisher, called, ended = Publisher(loop, 0, address="127.0.0.1"), list[bool](), list[bool]()
    publisher.once_heard(lambda: called.append(True))
    publisher.close()
    loop.after(3.5, lambda: ended.append(True))
    turns_until(loop, ended)
    assert not called
