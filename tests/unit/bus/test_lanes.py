"""Requests to an upstream server that announces and does not answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from trollmoves.bus import Loop
from trollmoves.bus.lanes import LANES, Lanes
from trollmoves.messages import Envelope, Message


@pytest.fixture
def loop() -> Iterator[Loop]:
    found = Loop()
    yield found
    found.close()


def test_all_that_waits_for_a_dead_server_is_given_up_when_it_is_found_dead(loop: Loop) -> None:
    context: zmq.Context[Any] = zmq.Context()
    silent = context.socket(zmq.ROUTER)
    lanes = Lanes(loop, Envelope("somebody@here"), "127.0.0.1", silent.bind_to_random_port("tcp://127.0.0.1"), patience=0.2)
    answers: list[Message | None] = []
    for number in range(5 * LANES):
        lanes.ask("/t", "push", {"uid": str(number)}, answers.append, 0.1, in_turn=number % 2 == 0)
    deadline = time.monotonic() + 30
    while not answers:
        assert time.monotonic() < deadline
        loop.turn(0.05)
        lanes.sweep()
    assert answers == [None] * 5 * LANES
    assert len(lanes) == 0
    lanes.close()
    silent.close(0)
    context.term()
