"""What is late and what is not, with a hand-set clock."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.support.clock import Clock
from trollmoves.attention.expected import Assembling, Counting, InTime, Late, Verdict
from trollmoves.config.expectations import Count, Set, read_expectations

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp()


def counting(text: str, since: float) -> Counting:
    (found,) = read_expectations(text)
    assert isinstance(found, Count)
    return Counting(found, since)


def assembling(text: str, since: float) -> Assembling:
    (found,) = read_expectations(text)
    assert isinstance(found, Set)
    return Assembling(found, since)


def test_a_source_that_comes_late_within_reason_is_in_time() -> None:
    clock = Clock(NOON)
    one = counting("96 per hour", NOON)
    for slot in range(20):
        clock.set(NOON + slot * 900 + (slot * 37) % 200)  # up to 200 seconds late
        for _ in range(24):
            one.came({}, clock())
        assert list(one.judge(clock())) == []
    assert list(one.judge(NOON + 20 * 900 - 1)) == []


def test_too_few_files_are_said_once_and_that_they_came_again() -> None:
    one = counting("4 per hour", NOON)
    assert list(one.judge(NOON + 3900)) == [], "expected for less than an hour and its grace"
    one.came({}, NOON + 3900)
    (late,) = one.judge(NOON + 3960)
    assert late == Late("4 per hour", "expected 4 per hour: only 1 files came in the last 66 min")
    assert list(one.judge(NOON + 3970)) == []
    for _ in range(3):
        one.came({}, NOON + 4000)
    assert [type(verdict) for verdict in one.judge(NOON + 4001)] == [InTime]
    assert list(one.judge(NOON + 4002)) == []


def test_an_alarm_of_an_earlier_process_is_ended_but_not_repeated() -> None:
    one = counting("1 per minute", NOON)
    one.known({"1 per minute": True})
    assert list(one.judge(NOON + 1000)) == []
    one.came({}, NOON + 1001)
    assert [type(verdict) for verdict in one.judge(NOON + 1002)] == [InTime]


def test_files_of_long_ago_are_forgotten_in_time() -> None:
    one = counting("1 per minute", NOON)
    for second in range(100_000):
        one.came({}, NOON + second)
        if second % 60 == 0:
            assert list(one.judge(NOON + second)) == []
    assert len(one._buckets) < 200


SEGMENTS = "segment 1-3 within 12m of start_time"


def came(one: Assembling, segment: object, when: float, start: object = "2026-11-25T12:00:00") -> None:
    one.came({"segment": segment, "start_time": start}, when)


def test_exactly_what_is_missing_is_said() -> None:
    one = assembling(SEGMENTS, NOON)
    came(one, "002", NOON + 60)
    assert list(one.judge(NOON + 719)) == []
    about = f"{SEGMENTS} of 2026-11-25T12:00:00Z"
    assert list(one.judge(NOON + 720)) == [
        Late(about, f"of 2026-11-25T12:00:00Z is missing: segment 1, 3 (expected {SEGMENTS})")]
    assert list(one.judge(NOON + 721)) == []
    came(one, 3, NOON + 800)
    assert list(one.judge(NOON + 801)) == [
        Late(about, f"of 2026-11-25T12:00:00Z is missing: segment 1 (expected {SEGMENTS})", again=True)]
    came(one, 1, NOON + 900)
    assert list(one.judge(NOON + 900)) == [InTime(about, "it is complete, 3 min late")]
    assert list(one.judge(NOON + 901)) == []


def test_what_is_complete_in_time_is_not_mentioned() -> None:
    one = assembling(SEGMENTS, NOON)
    for segment in (1, 2, 3, 3, 17):
        came(one, segment, NOON + 10)
    assert list(one.judge(NOON + 100_000)) == []


def test_a_file_that_comes_again_is_not_another_one() -> None:
    one = assembling("2 within 12m of start_time", NOON)
    start = {"start_time": "2026-11-25T12:00:00"}
    one.came({"uid": "a", **start}, NOON + 10)
    one.came({"uid": "a", **start}, NOON + 20)
    (late,) = one.judge(NOON + 721)
    assert "1 of 2 files" in late.text
    one.came({"uid": "b", **start}, NOON + 800)
    assert [type(verdict) for verdict in one.judge(NOON + 801)] == [InTime]


def test_a_time_of_which_nothing_comes_is_missed_where_there_is_one_every_so_often() -> None:
    one = assembling(SEGMENTS + " every 15m", NOON - 100)
    for segment in (1, 2, 3):
        came(one, segment, NOON + 10, "2026-11-25T12:00:07+00:00")
    assert list(one.judge(NOON + 900 + 719)) == []
    (late,) = one.judge(NOON + 900 + 720)
    assert "of 2026-11-25T12:15:00Z is missing: everything" in late.text


def test_nothing_of_before_it_was_expected_is_missed() -> None:
    one = assembling(SEGMENTS + " every 15m", NOON)
    came(one, 1, NOON + 10, "2026-11-25T08:00:00")
    came(one, 1, NOON + 10, "no time at all")
    came(one, 1, NOON + 10, None)
    assert list(one.judge(NOON + 11)) == []


def test_what_never_comes_is_waited_for_no_longer_than_a_day() -> None:
    one = assembling("5 within 12m of start_time", NOON)
    came(one, 1, NOON + 10)
    (late,) = one.judge(NOON + 720)
    assert "4 of 5 files" in late.text
    verdicts: list[Verdict] = list(one.judge(NOON + 720 + 86401))
    assert verdicts == [InTime(late.about, "not waited for any longer; never came: 4 of 5 files")]
    assert list(one.judge(NOON + 720 + 86402)) == []


def test_what_an_earlier_process_said_is_not_said_anew() -> None:
    about = f"{SEGMENTS} of 2026-11-25T12:00:00Z"
    one = assembling(SEGMENTS, NOON)
    one.known({about: True, "something else of 2026-11-25T12:00:00Z": True, "x": True})
    came(one, 1, NOON + 60)
    assert [verdict.again for verdict in one.judge(NOON + 2000) if isinstance(verdict, Late)] == [True]
    came(one, 2, NOON + 2001)
    came(one, 3, NOON + 2001)
    assert [verdict.about for verdict in one.judge(NOON + 2002) if isinstance(verdict, InTime)] == [about]


def test_times_in_the_future_and_many_of_them_take_little_memory() -> None:
    one = assembling(SEGMENTS, NOON)
    for year in range(2100, 6100):
        came(one, 1, NOON + 10, f"{year}-01-01T00:00:00")
    assert len(one._products) <= 2000
