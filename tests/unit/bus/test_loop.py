"""Deadlines of the loop."""

import time
from collections.abc import Iterator

import pytest

from trollmoves.bus.loop import EARLY, GRAIN, Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def test_deadlines_that_are_far_away_come_together(loop: Loop) -> None:
    """An idle process wakes up for all that is done every second at a time."""
    began, whens = time.monotonic(), set()
    for _ in range(20):
        whens.add(loop.after(1.0, lambda: None).when)
        time.sleep(0.02)
    assert len(whens) <= 2 + (time.monotonic() - began) / GRAIN
    assert all(when % GRAIN == 0 for when in whens)


@pytest.mark.parametrize("seconds", [0.5, 1.0, 7.3])
def test_a_deadline_is_hardly_early_and_at_most_a_grain_late(loop: Loop, seconds: float) -> None:
    for _ in range(50):
        before = time.monotonic()
        when = loop.after(seconds, lambda: None).when
        assert before + seconds - EARLY <= when <= time.monotonic() + seconds + GRAIN
        time.sleep(0.005)


def test_a_near_deadline_is_exact(loop: Loop) -> None:
    before = time.monotonic()
    when = loop.after(0.1, lambda: None).when
    assert before + 0.1 <= when <= time.monotonic() + 0.1


def test_what_is_done_every_second_does_not_slip(loop: Loop) -> None:
    called: list[float] = []
    loop.every(0.5, lambda: called.append(time.monotonic()))
    until = time.monotonic() + 20.0
    while len(called) < 5 and time.monotonic() < until:
        loop.turn(0.1)
    assert len(called) == 5
    assert called[-1] - called[0] < 4 * (0.5 + GRAIN)
