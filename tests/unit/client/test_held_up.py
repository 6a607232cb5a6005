"""Files for a host that does not work: however many wait, a few of them are tried, and all as soon as one got there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.clock import Clock
from tests.unit.client.test_replacing import Answered
from trollmoves.client import asking, held_up
from trollmoves.client.held_up import HURRY_EVERY, LONGEST, RAREST, RATE, SURE_EVERY, HeldUp
from trollmoves.lifecycle import State

PROVIDER = "127.0.0.1:9"


def tries(files: int, seconds: float) -> int:
    """How many tries of so many files there are in the last hour of a time in which none gets there."""
    clock = Clock()
    waiting, count = HeldUp(clock), 0
    due = [0.0] * files
    for second in range(int(seconds)):
        clock.advance(1.0)
        for number, when in enumerate(due):
            if when <= second:
                due[number] = second + waiting.wait(PROVIDER, 30.0)
                count += second >= seconds - 3600
    return count


def test_a_few_are_tried_as_often_as_one_alone() -> None:
    assert 20 * 3600 / 32 < tries(20, 7200) <= 20 * 3600 / 30


def test_many_are_tried_no_more_often() -> None:
    assert 3600 * RATE * 0.9 < tries(3000, 5000) <= 3600 * RATE * 1.1


def test_none_waits_for_longer_than_an_hour() -> None:
    waiting = HeldUp(Clock(1000.0))
    waits = [waiting.wait(PROVIDER, 30.0) for _ in range(100_000)]
    late = [wait for wait in waits if wait > LONGEST / 2]
    assert max(waits) <= LONGEST
    assert len({int(wait / 60) for wait in late[20_000:]}) == 30, "in all of the minutes, and not together"


def test_each_gets_a_turn_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also as one of as many providers as are known."""
    monkeypatch.setattr(held_up, "MOST_PROVIDERS", 1)
    waiting = HeldUp(Clock())
    waits = [waiting.wait(PROVIDER, 0.0) for _ in range(10)]
    assert waits == pytest.approx([number / RATE for number in range(1, 11)], abs=0.001)


def test_what_fails_after_one_got_there_waits_for_no_others() -> None:
    waiting = HeldUp(Clock())
    for _ in range(1000):
        waiting.wait(PROVIDER, 30.0)
    assert waiting.delivered(PROVIDER, failed_before=True)
    assert waiting.wait(PROVIDER, 30.0) == 30.0


def test_all_are_tried_when_one_got_there() -> None:
    clock = Clock(1000.0)
    waiting = HeldUp(clock)
    assert not waiting.delivered(PROVIDER, failed_before=False), "nothing waits"
    waiting.wait(PROVIDER, 30.0)
    assert not waiting.delivered("127.0.0.1:10", failed_before=False)
    assert waiting.delivered(PROVIDER, failed_before=False)
    assert not waiting.delivered(PROVIDER, failed_before=False), "they are tried already"


def test_files_for_another_host_that_works_do_not_have_them_tried_over_and_over() -> None:
    clock, count = Clock(1000.0), 0
    waiting = HeldUp(clock)
    for _ in range(3600):
        clock.advance(1.0)
        waiting.wait(PROVIDER, 30.0)
        count += waiting.delivered(PROVIDER, failed_before=False)
    assert 3 <= count <= 12
    clock.advance(2 * RAREST)
    waiting.wait(PROVIDER, 30.0)
    assert waiting.delivered(PROVIDER, failed_before=False)
    waiting.wait(PROVIDER, 30.0)
    clock.advance(HURRY_EVERY + 1)
    assert waiting.delivered(PROVIDER, failed_before=False), "after a calm time it is as at first"


def test_one_that_had_failed_has_all_tried_whatever_gets_to_another_host() -> None:
    clock = Clock(1000.0)
    waiting = HeldUp(clock)
    for _ in range(3700):
        clock.advance(1.0)
        waiting.wait(PROVIDER, 30.0)
        waiting.delivered(PROVIDER, failed_before=False)
    assert any(_hurried(clock, waiting) for _ in range(int(SURE_EVERY) + 1))
    assert not _hurried(clock, waiting), "they are tried already"


def _hurried(clock: Clock, waiting: HeldUp) -> bool:
    clock.advance(1.0)
    return waiting.delivered(PROVIDER, failed_before=True)


def test_strangers_are_not_remembered_for_ever() -> None:
    waiting = HeldUp(Clock(1000.0))
    for number in range(held_up.MOST_PROVIDERS + 1):
        waiting.note(str(number))
    assert not waiting.delivered("0", failed_before=False)
    assert waiting.delivered("1", failed_before=False)


def test_what_the_last_process_left_is_tried_as_soon_as_one_got_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = {1: 1.0, 2: 3600.0}
    monkeypatch.setattr(asking.HeldUp, "wait", lambda *_: waits.pop(min(waits)))
    before = Answered(tmp_path, "")
    for file in (1, 2):
        before.hear(0, file, f"content {file}", f"x{file}")
        before.turn_until(lambda file=file: before.is_asked_for(file))
        before.fail(file)
        before.turn_until(lambda file=file: before.state(file) == State.FAILED)
    before.close()
    client = Answered(tmp_path, "", before.servers)
    client.turn_until(lambda: client.is_asked_for(1))
    client.deliver(1)
    client.turn_until(lambda: client.is_asked_for(2))
    client.close()
