"""Hosts that fail again and again are left alone, with a hand-set clock."""

from __future__ import annotations

import pytest

from tests.support.clock import Clock
from trollmoves.errors import ConnectionLost, Denied, MoveError, Stalled, Unreachable
from trollmoves.movers.circuits import OPENS_AFTER, PROBE_EVERY, Circuits, HostLeftAlone, Opened

HOST = "sftp://host"


class Moves:
    """Circuits, and what they told."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.circuits = Circuits(self.clock)
        self.told: list[Opened] = []
        self.circuits.tell_by(self.told.append)

    def fails(self, error: MoveError, host: str = HOST) -> None:
        with pytest.raises(type(error)), self.circuits.guarding(host):
            raise error

    def works(self, host: str = HOST) -> None:
        with self.circuits.guarding(host):
            pass

    def is_left_alone(self, host: str = HOST) -> HostLeftAlone:
        with pytest.raises(HostLeftAlone) as found, self.circuits.guarding(host):
            raise AssertionError("it was tried")
        return found.value


@pytest.fixture
def moves() -> Moves:
    return Moves()


def test_a_host_that_fails_five_times_is_left_alone_and_others_are_not(moves: Moves) -> None:
    for number in range(OPENS_AFTER):
        moves.fails((Unreachable("no answer"), ConnectionLost("gone"), Stalled("still"))[number % 3])
    error = moves.is_left_alone()
    assert (error.code, error.permanent, error.retry_after) == ("dest_unreachable", False, PROBE_EVERY)
    moves.works("sftp://other")
    assert moves.told == [Opened(HOST, OPENS_AFTER, "gone")]


def test_it_is_probed_by_one_move_at_a_time(moves: Moves) -> None:
    for _ in range(OPENS_AFTER):
        moves.fails(Unreachable("no answer"))
    moves.clock.advance(PROBE_EVERY - 1)
    assert moves.is_left_alone().retry_after == pytest.approx(1)
    moves.clock.advance(1)
    with pytest.raises(Unreachable), moves.circuits.guarding(HOST):  # the probe, while others come
        moves.is_left_alone()
        raise Unreachable("still no answer")
    moves.is_left_alone()
    assert moves.told[-1] == Opened(HOST, OPENS_AFTER + 1, "still no answer")


def test_a_probe_that_works_ends_it(moves: Moves) -> None:
    for _ in range(OPENS_AFTER):
        moves.fails(Unreachable("no answer"))
    moves.clock.advance(PROBE_EVERY)
    moves.works()
    moves.works()
    assert moves.told[-1] == Opened(HOST, 0, "")
    for _ in range(OPENS_AFTER - 1):
        moves.fails(Unreachable("no answer"))
    moves.works()
    assert len(moves.told) == 2


def test_an_operator_may_have_it_tried_at_once(moves: Moves) -> None:
    for _ in range(OPENS_AFTER):
        moves.fails(Unreachable("no answer"))
    moves.is_left_alone()
    moves.circuits.try_again()
    moves.works()


def test_what_is_not_the_fault_of_the_host_counts_for_nothing(moves: Moves) -> None:
    for _ in range(3 * OPENS_AFTER):
        moves.fails(Denied("not allowed"))
    moves.works()
    assert moves.told == []


def test_no_password_is_told(moves: Moves) -> None:
    for _ in range(OPENS_AFTER):
        moves.fails(Unreachable("cannot reach ftp://user:secret@host/"))
    assert "secret" not in moves.told[0].error
    assert "secret" not in str(moves.is_left_alone())
