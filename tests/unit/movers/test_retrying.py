"""Waits between attempts: bounded, growing, spread out, repeatable for who brings the dice."""

from __future__ import annotations

import random

import pytest

from trollmoves.movers.retrying import FIRST, LONGEST, in_words, wait_before


@pytest.mark.parametrize(("attempt", "bound"), [
    (-1, FIRST), (0, FIRST), (1, FIRST), (2, 2.0), (3, 4.0), (9, 256.0), (10, LONGEST), (17, LONGEST), (10**6, LONGEST),
])
def test_a_wait_lies_anywhere_below_its_bound(attempt: int, bound: float) -> None:
    draw = random.Random(1)
    waits = [wait_before(attempt, draw) for _ in range(2000)]
    assert 0 <= min(waits) < 0.1 * bound
    assert 0.9 * bound < max(waits) <= bound
    assert sum(waits) / len(waits) == pytest.approx(bound / 2, rel=0.1)


def test_two_who_failed_together_wait_differently() -> None:
    assert len({wait_before(5) for _ in range(100)}) > 90


def test_the_same_dice_give_the_same_waits() -> None:
    assert [wait_before(n, random.Random(7)) for n in range(9)] == [wait_before(n, random.Random(7)) for n in range(9)]


@pytest.mark.parametrize(("seconds", "text"), [
    (0.0, "within a second"), (0.99, "within a second"), (1.0, "in 1 s"), (299.6, "in 300 s")])
def test_no_wait_is_said_to_be_over_in_no_time(seconds: float, text: str) -> None:
    assert in_words(seconds) == text
