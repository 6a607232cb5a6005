"""The queue of one host: room, and when a host that failed is tried again."""

from __future__ import annotations

import pytest

from tests.support.clock import Clock
from trollmoves.errors import (
    Denied,
    DestinationInvalid,
    LoginRefused,
    MoveError,
    OriginGone,
    Refused,
    Stalled,
    TemporaryError,
    Unreachable,
)
from trollmoves.movers.circuits import OPENS_AFTER, PROBE_EVERY, HostLeftAlone
from trollmoves.movers.retrying import LONGEST
from trollmoves.queueing.host_queue import HostQueue, wait_after


def test_room_is_given_in_portions() -> None:
    queue = HostQueue(4, is_local=False)
    assert queue.room == 8
    queue.in_flight.update(range(8))
    rooms = []
    while queue.in_flight:
        queue.in_flight.pop()
        rooms.append(queue.room)
    assert rooms == [0, 0, 0, 4, 5, 6, 7, 8]


def test_a_host_that_failed_is_tried_with_one_file() -> None:
    clock = Clock()
    queue = HostQueue(4, is_local=False, clock=clock)
    queue.in_flight.update((1, 2))
    assert queue.failed(LoginRefused("no"))
    assert not queue.failed(LoginRefused("no"))  # was under way by then
    clock.advance(LONGEST + 1)
    assert queue.room == 0  # they still run
    queue.in_flight.clear()
    assert queue.room == 1
    queue.in_flight.add(3)
    assert queue.room == 0
    queue.in_flight.clear()
    assert queue.failed(LoginRefused("no")) and queue.room == 0
    clock.advance(LONGEST - 1)
    assert queue.room == 0
    clock.advance(2)
    assert queue.room == 1
    assert queue.succeeded() and queue.room == 8
    assert not queue.succeeded()


def test_the_pause_grows() -> None:
    clock = Clock()
    queue = HostQueue(1, is_local=False, clock=clock)
    for _ in range(20):
        assert queue.failed(Unreachable("no"))
        clock.advance(LONGEST)
    assert queue.room == 1
    queue.change(1, is_local=True)  # somebody changed the configuration
    assert queue.room == 64


@pytest.mark.parametrize("before", [0, OPENS_AFTER])
def test_a_host_that_is_left_alone_because_of_others_is_tried_when_that_ends(before: int) -> None:
    """Its circuit counts every move, also of other sections, and so opens before ours."""
    clock = Clock()
    queue = HostQueue(1, is_local=False, clock=clock)
    for _ in range(before):
        assert queue.failed(Unreachable("no"))
        clock.advance(PROBE_EVERY)
    assert queue.failed(HostLeftAlone("no", 7.0))
    clock.advance(6.9)
    assert queue.room == 0
    clock.advance(0.2)
    assert queue.room == 1


def test_a_host_that_failed_often_is_probed_every_half_minute() -> None:
    clock = Clock()
    queue = HostQueue(1, is_local=False, clock=clock)
    for _ in range(OPENS_AFTER):
        assert not queue.is_probing
        assert queue.failed(Unreachable("no"))
        clock.advance(PROBE_EVERY)
    assert queue.is_probing and queue.room == 1
    assert queue.failed(Unreachable("no"))
    clock.advance(PROBE_EVERY - 0.1)
    assert queue.room == 0
    clock.advance(0.2)
    assert queue.room == 1
    assert queue.succeeded() and not queue.is_probing


@pytest.mark.parametrize("error", [OriginGone("x"), Denied("x"), DestinationInvalid("x"), TemporaryError("x"), MoveError("x")])
def test_what_is_not_the_fault_of_the_host(error: MoveError) -> None:
    queue = HostQueue(1, is_local=False)
    assert not queue.failed(error) and queue.room == 2


def test_a_host_that_takes_nothing_is_locked_until_it_takes_something() -> None:
    queue, error = HostQueue(1, is_local=False), Refused("no")
    for _ in range(OPENS_AFTER - 1):
        queue.failed(error)
        assert not queue.is_locked(error)
    queue.failed(error)
    assert queue.is_locked(error) and not queue.is_locked(TemporaryError("x"))
    assert queue.room == 2  # other directories there may take theirs
    assert not queue.succeeded() and not queue.is_locked(error)
    assert queue.is_locked(LoginRefused("no"))


@pytest.mark.parametrize("error, again", [(OriginGone("x"), False), (Denied("x"), False), (DestinationInvalid("x"), False),
                                          (Stalled("x"), True), (TemporaryError("x"), True), (LoginRefused("x"), True),
                                          (Refused("x"), True)])
def test_files_that_are_tried_again(error: MoveError, again: bool) -> None:
    wait = wait_after(error, 3)
    assert (wait is not None) == again and (wait is None or 0 <= wait <= LONGEST)
