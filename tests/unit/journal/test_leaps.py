"""A clock that is set moves what waits with it."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.clock import Clock
from trollmoves.journal import Journal
from trollmoves.journal.leaps import Leaps


def run_now(pending: list[tuple[object, tuple[object, ...]]]) -> None:
    for function, arguments in pending:
        function(*arguments)  # type: ignore[operator]


@pytest.mark.parametrize(("seconds", "moved"), [(3600.0, 3600.0), (-86400.0, -86400.0), (3.0, 0.0)])
def test_what_waits_moves_with_the_clock(tmp_path: Path, seconds: float, moved: float) -> None:
    path, told = tmp_path / "journal", []
    journal = Journal(path, run_now, lambda error: None)
    clock, steady = Clock(1000.0), Clock(50.0)
    leaps = Leaps(journal, told.append, clock, steady)
    place = None, None, None, None, "provider", None, None, 0
    row = (journal.new_file(), "chain", "a", "", "failed", 900.0, "", 1100.0, 1, *place, 800.0)
    journal.write([("add_file", [row]), ("add_removal", [(row[0], "chain", 1200.0)]),
                   ("note_topics", [("me", "us", "/a", 870.0)]), ("put_meta", [("confirmed:chain", "850.5")])])
    clock.advance(seconds)
    leaps.check()
    clock.advance(1)
    steady.advance(1)
    leaps.check()  # it leapt once
    journal.close()
    assert told == ([moved] if moved else []) and journal.leaps == len(told)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT created, time, due FROM files").fetchall() == [
            (800.0 + moved, 900.0 + moved, 1100.0 + moved)]
        assert connection.execute("SELECT due FROM removals").fetchall() == [(1200.0 + moved,)]
        assert connection.execute("SELECT time FROM consumer_topics").fetchall() == [(870.0 + moved,)]
        said = connection.execute("SELECT CAST(value AS REAL) FROM meta WHERE name = 'confirmed:chain'").fetchall()
        assert said == [(850.5 + moved,)]


def test_no_time_is_compared_before_all_are_moved(tmp_path: Path) -> None:
    """The clock may be set again while the journal writes."""
    calls: list[tuple[object, tuple[object, ...]]] = []
    journal = Journal(tmp_path / "journal", calls.extend, lambda error: None)
    clock, left = Clock(1000.0), []
    leaps = Leaps(journal, lambda leap: None, clock, Clock(50.0))
    for _ in range(2):
        clock.advance(3600)
        leaps.check()
    left.append(journal.times_to_move)
    deadline = time.monotonic() + 30
    while journal.times_to_move:
        assert time.monotonic() < deadline
        if calls:
            run_now([calls.pop(0)])
        if journal.times_to_move != left[-1]:
            left.append(journal.times_to_move)
    assert left == [2, 1, 0]
    journal.close()


def test_what_waits_since_a_time_that_is_not_there_yet_waits_as_long_from_now(tmp_path: Path) -> None:
    """The clock was set back while nobody ran. When files were first seen stays: the clock of now may be the wrong one."""
    path = tmp_path / "journal"
    journal = Journal(path, run_now, lambda error: None)
    place = None, None, None, None, "provider", None, None, 0
    for name, when, due in (("ahead", 5000.0, 5060.0), ("over", 5000.0, 4000.0), ("right", 900.0, 1100.0),
                            ("never", 5000.0, 1e13)):
        row = (journal.new_file(), "chain", name, "", "failed", when, "", None if name == "never" else due, 1, *place, 5000.0)
        journal.write([("add_file", [row]), ("add_removal", [(row[0], "chain", due)])])
    Leaps(journal, lambda leap: None, Clock(1000.0), Clock(50.0))
    journal.close()
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT identity, files.due, created, removals.due FROM files JOIN removals ON file = id")
        assert sorted(found) == [("ahead", 1060.0, 5000.0, 1000.0), ("never", None, 5000.0, 1e13),
                                 ("over", 1000.0, 5000.0, 1000.0), ("right", 1100.0, 5000.0, 1100.0)]
