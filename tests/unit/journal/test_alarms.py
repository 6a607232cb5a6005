"""Alarms begin, end, and outlive the process."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from trollmoves.errors import JournalError
from trollmoves.journal import Journal, Reader
from trollmoves.journal.alarms import GAP, LONGEST, MOST_OPEN, SILENT, Alarm
from trollmoves.journal.ordering import place_order
from trollmoves.journal.statements import schema_scripts


class Opened:
    """A journal, and what its alarms told."""

    def __init__(self, path: Path):
        def call_all(calls: list[tuple[Callable[..., Any], tuple[Any, ...]]]) -> None:
            for function, arguments in calls:
                function(*arguments)
        self.journal = Journal(path, call_all, lambda error: print(error))
        self.alarms = self.journal.alarms
        self.told: list[Alarm] = []
        self.alarms.tell_by(self.told.append)

    def committed(self) -> None:
        done = threading.Event()
        self.journal.write([], done.set)
        assert done.wait(60)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Opened]]:
    opened: list[Opened] = []

    def begin() -> Opened:
        for one in opened:
            one.journal.close()
        opened.append(Opened(tmp_path / "j"))
        return opened[-1]
    yield begin
    for one in opened:
        one.journal.close()


def test_one_alarm_about_one_thing_until_it_is_over(start: Callable[[], Opened]) -> None:
    one = start()
    for _ in range(3):
        one.alarms.raise_("a", SILENT, "host:1", "nothing is heard")
    one.alarms.raise_("a", SILENT, "host:1", "nothing is heard for long")
    one.alarms.raise_("b", SILENT, "host:1", "nothing is heard")
    one.alarms.clear("a", SILENT, "host:2", "never was")
    one.alarms.clear("a", SILENT, "host:1", "it is back")
    one.committed()
    assert [(alarm.chain, alarm.text, alarm.over) for alarm in one.told] == [
        ("a", "nothing is heard", False), ("a", "nothing is heard for long", False), ("b", "nothing is heard", False),
        ("a", "it is back", True)]
    with Reader(one.journal.path) as reader:
        assert [(row["chain"], row["count"]) for row in reader.find("open_alarms")] == [("b", 1)]
        assert [(row["text"], row["count"], row["outcome"]) for row in reader.find("alarms_over", (5,))] == [
            ("nothing is heard for long", 2, "it is back")]


def test_what_happened_several_times_is_counted(start: Callable[[], Opened]) -> None:
    one = start()
    for _ in range(3):
        one.journal.alarm("a", "something happened")
    one.committed()
    (row,) = one.journal.find("open_alarms")
    assert (row["text"], row["count"]) == ("something happened", 3)


def test_a_restart_neither_forgets_nor_repeats(start: Callable[[], Opened]) -> None:
    start().alarms.raise_("a", GAP, "x", "a gap")
    one = start()
    assert len(one.alarms) == 1
    one.alarms.clear("a", GAP, "x", "dismissed by an operator")
    one.committed()
    assert [alarm.over for alarm in one.told] == [True]
    assert len(start().alarms) == 0


def test_lasting_alarms_are_bounded(start: Callable[[], Opened]) -> None:
    one = start()
    for number in range(MOST_OPEN + 5):
        one.alarms.raise_("a", GAP, str(number), "a gap")
    one.alarms.raise_("a", SILENT, "host:1", "nothing is heard")
    one.committed()
    assert len(one.journal.find("open_alarms")) == MOST_OPEN + 1
    assert one.alarms.open(GAP)[0].about == "5"


def test_what_strangers_say_makes_no_alarm_as_long_as_they_like(start: Callable[[], Opened]) -> None:
    one, long = start(), "x" * 1_000_000
    one.alarms.raise_("a", GAP, f"{long} about", f"{long} text")
    one.committed()
    ((about, text),) = ((row["about"], row["text"]) for row in one.journal.find("open_alarms"))
    assert len(about) == len(text) == LONGEST
    assert one.alarms.is_open("a", GAP, f"{long} about")
    one.alarms.clear("a", GAP, f"{long} about", "it is over")
    one.committed()
    assert len(one.alarms) == 0 and not one.journal.find("open_alarms")


def test_alarms_of_an_earlier_release_are_kept(start: Callable[[], Opened], tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "j")) as connection:
        for number, script in enumerate(schema_scripts()[:2], start=1):
            connection.executescript(f"{script}\nPRAGMA user_version = {number};")
        connection.executemany("INSERT INTO alarms (time, chain, text) VALUES (?, ?, ?)",
                               [(1.0, "a", "one"), (2.0, "a", "one"), (3.0, "", "two")])
        connection.commit()
    with Reader(tmp_path / "j") as reader, pytest.raises(JournalError, match="an earlier release: start its program once"):
        reader.find("open_alarms")
    rows = start().journal.find("open_alarms")
    found = sorted((row["chain"], row["text"], row["time"], row["count"]) for row in rows)
    assert found == [("", "two", 3, 1), ("a", "one", 1, 2)]


def test_an_order_from_elsewhere_loses_nothing_that_is_being_written(start: Callable[[], Opened]) -> None:
    """Whoever else opens the journal, and closes it as the last one it knows of, must leave the log of the process alone."""
    one = start()
    for number in range(50):
        one.alarms.raise_("a", GAP, str(number), "a gap")
        if number % 10 == 0:
            place_order(one.journal.path, "dismiss_alarm", "", [number])
    one.committed()
    assert len(one.journal.find("open_alarms")) == 50
    assert len(one.journal.find("orders")) == 5


def test_there_is_no_order_to_a_journal_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="there is no journal"):
        place_order(tmp_path / "x", "retry", "", [1])
    assert not (tmp_path / "x").exists()
