"""Expectations of sections over a real journal, with a hand-set clock; across restarts and reloads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.clock import Clock
from trollmoves.attention import expecting
from trollmoves.attention.expecting import Expecting, position_at
from trollmoves.config.expectations import read_expectations
from trollmoves.journal import Journal
from trollmoves.messages import Envelope

ENVELOPE = Envelope("somebody@here")
TEXT = "segment 1-2 within 10m of start_time every 15m"
NOON = "2026-11-25T12:00:00"
WANTED = {"a": read_expectations(TEXT)}


class Process:
    """A journal that is open, its expectations, and what has come into it."""

    def __init__(self, path: Path, clock: Clock):
        def call_all(calls: list[tuple[Callable[..., Any], tuple[Any, ...]]]) -> None:
            for function, arguments in calls:
                function(*arguments)
        self.journal = Journal(path, call_all, lambda error: print(error))
        self.clock = clock
        self.expecting = Expecting(self.journal, clock)
        self.said: list[str] = []
        self.journal.alarms.tell_by(lambda alarm: self.said.append(("over: " if alarm.over else "") + alarm.text))

    def came(self, segment: int, start: str = NOON, chain: str = "a") -> None:
        """A file is announced."""
        file, now = self.journal.new_file(), self.clock()
        position, previous = self.journal.new_position("/a")
        raw = ENVELOPE.encode("/a", "file", {"uid": f"f{file}", "segment": segment, "start_time": start}).decode()
        row = (file, chain, f"f{file}", "", "announced", now, "", None, 1, None, None, None, None, None, None, None, 0, now)
        self.journal.write([("add_file", [row]),
                            ("add_announcement", [(position, file, "/a", previous, raw, now)])])
        self.committed()

    def committed(self) -> None:
        """What was written is on the disk."""
        done = threading.Event()
        self.journal.write([], done.set)
        assert done.wait(60)

    def looks(self, seconds: float) -> list[str]:
        """What is said in the next *seconds*."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
            self.expecting.look()
        self.committed()
        said, self.said = self.said, []
        return said


@pytest.fixture
def clock() -> Clock:
    return Clock(1_795_608_000.0)  # 12:00 of that day


@pytest.fixture
def start(tmp_path: Path, clock: Clock) -> Iterator[Callable[[], Process]]:
    opened: list[Process] = []

    def begin() -> Process:
        for process in opened:
            process.journal.close()
        opened.append(Process(tmp_path / "j", clock))
        return opened[-1]
    yield begin
    for process in opened:
        process.journal.close()


def test_what_is_missing_is_an_alarm_until_it_comes(start: Callable[[], Process]) -> None:
    process = start()
    process.expecting.follow(WANTED)
    process.came(1)
    process.came(2, chain="b")
    assert process.looks(590) == []
    assert process.looks(20) == [f"of {NOON}Z is missing: segment 2 (expected {TEXT})"]
    process.came(2)
    assert process.looks(2) == ["over: it is complete, 11 s late"]


def test_a_restart_neither_forgets_nor_repeats(start: Callable[[], Process], clock: Clock) -> None:
    process = start()
    process.expecting.follow(WANTED)
    process.came(1)
    assert len(process.looks(620)) == 1
    clock.advance(60)
    process = start()
    process.expecting.follow(WANTED)
    assert process.looks(700) == []
    assert len(process.journal.alarms) == 1
    process.came(2)
    assert process.looks(2)[0].startswith("over: it is complete")


def test_what_came_while_nobody_ran_is_not_called_late(start: Callable[[], Process], clock: Clock) -> None:
    process = start()
    process.expecting.follow(WANTED)
    process.came(1)
    process.came(2)
    assert process.looks(100) == []
    clock.advance(2 * 3600)
    process = start()
    process.expecting.follow(WANTED)
    assert process.looks(300) == []
    for quarter in range(1, 8):  # the client gets what it missed
        for segment in (1, 2):
            process.came(segment, f"2026-11-25T{12 + quarter // 4}:{quarter % 4 * 15:02}:00")
    missing = process.looks(330)
    assert [text[:23] for text in missing] == ["of 2026-11-25T14:00:00Z"], "nothing of it has come, and all of the others"


def test_a_process_that_was_stopped_first_takes_in_what_came(start: Callable[[], Process], clock: Clock) -> None:
    process = start()
    process.expecting.follow(WANTED)
    process.came(1)
    assert process.looks(100) == []
    clock.advance(800)
    assert process.looks(1) == []
    process.came(2)
    assert process.looks(30) == []


def test_nothing_is_called_late_before_all_that_came_is_taken_in(
        start: Callable[[], Process], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expecting, "AT_ONCE", 1)
    process = start()
    process.expecting.follow(WANTED)
    assert process.looks(599) == []
    process.came(1)
    process.came(2)
    assert process.looks(5) == []


def test_a_slip_in_the_name_of_the_time_is_named_once_as_nothing_would_ever_be_late(
        start: Callable[[], Process], caplog: pytest.LogCaptureFixture) -> None:
    process = start()
    wanted = {"a": read_expectations("segment 1-2 within 10m of start_tme; segment 1-2 within 10m of start_time; 1 per day")}
    process.expecting.follow(wanted)
    process.came(1)
    process.came(2)
    process.looks(2)
    named = [record.getMessage() for record in caplog.records if "expect:" in record.getMessage()]
    assert [text.partition(" (")[0] for text in named] == [
        "[a] expect: f1 has not a time in 'start_tme', and so is nothing to segment 1-2 within 10m of start_tme"]


def test_an_operator_may_dismiss_it(start: Callable[[], Process]) -> None:
    process = start()
    process.expecting.follow(WANTED)
    process.came(1)
    assert len(process.looks(620)) == 1
    (alarm,) = process.journal.alarms.open("late")
    process.journal.alarms.clear(alarm.chain, alarm.kind, alarm.about, "dismissed by an operator")
    assert process.looks(200) == ["over: dismissed by an operator"]
    process = start()
    process.expecting.follow(WANTED)
    assert process.looks(60) == []


def test_a_reload_changes_only_what_is_expected_otherwise(start: Callable[[], Process]) -> None:
    process = start()
    process.expecting.follow({**WANTED, "b": read_expectations("1 per minute")})
    process.came(1)
    assert len(process.looks(620)) == 2
    process.expecting.follow(WANTED)
    assert process.looks(30) == ["over: it is expected no more"]
    process.expecting.follow({}, kept={"a"})
    assert process.looks(30) == []
    process.expecting.follow({})
    process.committed()
    assert process.looks(1) == ["over: it is expected no more"]
    assert process.journal.find("expectations") == []


def test_a_position_is_found_by_time(start: Callable[[], Process], clock: Clock) -> None:
    process = start()
    began = clock()
    assert position_at(process.journal, began) == 0
    for number in range(50):
        clock.set(began + number)
        process.came(1)
    assert [position_at(process.journal, began + after) for after in (-5, 0, 0.5, 1, 48.5, 100)] == [0, 0, 1, 1, 49, 50]


@pytest.mark.parametrize("leap", [7200.0, -7200.0])
def test_a_clock_that_is_set_makes_nothing_late_nor_in_time(start: Callable[[], Process], clock: Clock, leap: float) -> None:
    process = start()
    process.expecting.follow({"a": read_expectations("2 per 10m within 1m")})
    for _ in range(3):
        process.looks(300)
        process.came(1)
    clock.advance(leap)
    process.expecting.clock_leapt(leap)
    assert process.looks(300) == []
    assert len(process.looks(120)) == 1  # now two lack


def test_what_the_journal_had_to_forget_is_not_missing_though_older_files_are_kept(start: Callable[[], Process]) -> None:
    """A file that waits to be confirmed keeps its announcement for longer than others do."""
    wanted = {"a": read_expectations("8 per hour")}
    process = start()
    process.expecting.follow(wanted)
    for _ in range(8):
        process.came(1)
        assert process.looks(430) == []
    process.journal.write([(query, [("[2, 3, 4, 5, 6]",)]) for query in ("note_forgotten", "remove_announcements_of")])
    process.committed()
    process = start()
    process.expecting.follow(wanted)
    assert process.looks(600) == []
