"""Retention: what the journal forgets, and what it must not."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.support.journals import committed
from trollmoves.journal import Journal, cleaning
from trollmoves.journal.cleaning import EVERY, LOOK_AGAIN, Cleaning
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import TOPIC_KNOWN

DAY = 86400.0


class Timers:
    """Keeps what is to run later, until told to run it."""

    def __init__(self) -> None:
        self.waiting: list[tuple[float, Callable[[], Any]]] = []

    def after(self, seconds: float, function: Callable[[], Any]) -> None:
        self.waiting.append((seconds, function))

    def run(self) -> float:
        seconds, function = self.waiting.pop(0)
        function()
        return seconds


def at_once(run: Callable[[], Any], done: Callable[[Any], Any], chain: str) -> None:
    done(run())


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    died: list[BaseException] = []

    def call_all(calls: list[tuple[Callable[..., Any], tuple[Any, ...]]]) -> None:
        for function, arguments in calls:
            function(*arguments)
    journal = Journal(tmp_path / "j", call_all, lambda error: (died.append(error), print(error)))
    yield journal
    journal.close()
    assert not died


def insert(journal: Journal, table: str, row: dict[str, Any]) -> None:
    with closing(sqlite3.connect(journal.path, timeout=20)) as connection, connection:
        connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(':' + name for name in row)})", row)


def add(journal: Journal, path: Path | None, *, age: float, state: str = "acknowledged", due: float | None = None,
        written: bool = True) -> int:
    if path is not None and written:
        path.write_bytes(b"content")
    status = path.stat() if path is not None and written else None
    file, when = journal.new_file(), time.time() - age
    position, previous = journal.new_position("/t")
    row = {"id": file, "chain": "c", "identity": f"f{file}", "key": "k:1", "state": state, "time": when, "created": when,
           "steps": step_line("announced", when), "due": due, "size": status.st_size if status else 7,
           "path": None if path is None else str(path).encode(), "device": status.st_dev if status else 1,
           "inode": status.st_ino if status else 1, "mtime_ns": status.st_mtime_ns if status else 1,
           "provider": "p:1" if path is None else None, "attempt": 0}
    insert(journal, "files", row)
    insert(journal, "announcements", {"position": position, "file": file, "subject": "/t", "previous": previous,
                                      "message": "text", "time": when})
    insert(journal, "transfers", {"transfer": f"t{file}", "file": file, "chain": "c", "client": "me", "consumer_group": "g",
                                  "spare": 0, "peer": "127.0.0.1", "request": f"r:{file}", "destination": "/d", "state": "moved",
                                  "time": when, "attempt": 1})
    insert(journal, "removals", {"file": file, "chain": "c", "due": when + 10 * DAY})
    return file


def clean(journal: Journal, *, seconds: float = DAY, count: int = 1000) -> Timers:
    timers = Timers()
    Cleaning(journal, timers, lambda chain: (seconds, count), at_once).start()
    assert timers.run() == EVERY
    committed(journal)
    return timers


def count(journal: Journal, table: str) -> int:
    return int(journal.reader._connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def test_a_finished_file_that_is_gone_is_forgotten_with_all_that_belongs_to_it(journal: Journal, tmp_path: Path) -> None:
    add(journal, tmp_path / "gone", age=2 * DAY, written=False)
    clean(journal)
    assert [count(journal, table) for table in ("files", "announcements", "transfers", "removals")] == [0, 0, 0, 0]


def test_a_file_that_is_still_at_its_origin_stays_known_in_compact_form(journal: Journal, tmp_path: Path) -> None:
    file = add(journal, tmp_path / "there", age=2 * DAY)
    journal.write([("end_removal", [(file,)])])
    clean(journal)
    row = journal.find_one("file", (file,))
    assert (row["path"], row["steps"]) == (str(tmp_path / "there").encode(), "")
    assert (count(journal, "announcements"), count(journal, "transfers")) == (0, 0)
    assert journal.find("announced_files", ("c", f'["f{file}"]'))  # so it is not announced again


def test_a_file_that_cannot_be_looked_at_is_not_taken_for_gone(journal: Journal, tmp_path: Path) -> None:
    """It would be announced again when it can."""
    (tmp_path / "away").symlink_to("away")  # it leads nowhere, as a mount that is broken does
    file = add(journal, tmp_path / "away" / "file", age=2 * DAY, written=False)
    journal.write([("end_removal", [(file,)])])
    clean(journal)
    assert journal.find_one("file", (file,)) is not None


def test_of_a_file_that_waits_to_be_confirmed_and_removed_all_is_kept(journal: Journal, tmp_path: Path) -> None:
    """Without its announcement and its transfers no confirmation would be found to be about it, and it would stay for good."""
    file = add(journal, tmp_path / "there", age=2 * DAY)
    clean(journal)
    assert journal.find_one("file", (file,))["steps"] != ""
    assert [count(journal, table) for table in ("announcements", "transfers", "removals", "forgotten")] == [1, 1, 1, 0]


def test_a_directory_that_does_not_answer_holds_up_no_other_section(journal: Journal, tmp_path: Path) -> None:
    add(journal, tmp_path / "gone", age=2 * DAY, written=False)
    file = add(journal, tmp_path / "gone too", age=2 * DAY, written=False)
    with closing(sqlite3.connect(journal.path, timeout=20)) as connection, connection:
        connection.execute("UPDATE files SET chain = 'a' WHERE id = ?", (file,))
    held: list[Callable[[], None]] = []

    def hanging(run: Callable[[], Any], done: Callable[[Any], Any], chain: str) -> None:
        if chain == "a":
            held.append(lambda: done(run()))
        else:
            done(run())
    timers = Timers()
    Cleaning(journal, timers, lambda chain: (DAY, 1000), hanging).start()
    for _ in range(3):
        assert timers.run() == EVERY
        committed(journal)
        assert count(journal, "files") == len(held) == 1
    held[0]()
    committed(journal)
    assert count(journal, "files") == 0


def test_what_fails_is_tried_again(journal: Journal, tmp_path: Path) -> None:
    """Looking into the journal, then at the origins."""
    add(journal, tmp_path / "gone", age=2 * DAY, written=False)
    failures, told = [False, True, False, False, True], set[int]()

    def failing(run: Callable[[], Any], done: Callable[[Any], Any], chain: str) -> None:
        done(OSError("no") if failures and failures.pop(0) else run())
    timers = Timers()
    Cleaning(journal, timers, lambda chain: (DAY, 1000), failing, told.update).start()
    for left in (1, 1, 0):
        assert timers.run() == EVERY
        committed(journal)
        assert count(journal, "files") == left
        assert len(told) == 1 - left


def test_who_was_served_within_a_day_is_known_though_more_came_since_than_is_kept(journal: Journal, tmp_path: Path) -> None:
    """With `delete` nothing may go without it."""
    def consumers() -> list[str]:
        return [row["client"] for row in journal.find("consumers", ("c", time.time() - DAY))]
    for number, age in enumerate((DAY / 2, DAY / 4)):
        add(journal, tmp_path / f"gone{number}", age=age, written=False)
    assert consumers() == ["me"]
    timers = clean(journal, count=0)
    assert (count(journal, "transfers"), consumers()) == (0, ["me"])
    [consumer] = journal.find("all_consumers", (time.time() - DAY,))  # remove_it asks for these
    assert (consumer["client"], consumer["consumer_group"], consumer["first"]) == ("me", "g", 2)
    journal.write([("move_consumers", [{"leap": -DAY}])])
    committed(journal)
    assert consumers() == []
    timers.run()
    committed(journal)
    assert count(journal, "consumers") == 0


def test_what_consumers_listen_to_is_known_for_longer_than_they_are(journal: Journal) -> None:
    now = time.time()
    told = [("me", "us", topic, now - age) for topic, age in (("/a", DAY + 60), ("/b", TOPIC_KNOWN + 60))]
    journal.write([("note_topics", told)])
    clean(journal)
    assert [row["topic"] for row in journal.find("topics_told", (0.0, 10))] == ["/a"]


def test_a_compact_file_is_forgotten_when_it_is_gone_at_a_later_look(journal: Journal, tmp_path: Path) -> None:
    file = add(journal, tmp_path / "there", age=2 * DAY)
    clean(journal)
    (tmp_path / "there").unlink()
    clean(journal)
    assert count(journal, "files") == 1, "not looked at again at once"
    journal.write([("keep_file", [(time.time() - LOOK_AGAIN, file)])])
    committed(journal)
    clean(journal)
    assert count(journal, "files") == 0


@pytest.mark.parametrize("content", [b"something else", b"another"])
def test_another_file_of_the_same_name_does_not_keep_the_old_one(journal: Journal, tmp_path: Path, content: bytes) -> None:
    add(journal, tmp_path / "f", age=2 * DAY)
    (tmp_path / "f").write_bytes(content)
    os.utime(tmp_path / "f", (1.0, 1.0))
    clean(journal)
    assert count(journal, "files") == 0


@pytest.mark.parametrize("state", ["announced", "moved", "acknowledged", "failed", "given_up"])
def test_young_files_stay(journal: Journal, tmp_path: Path, state: str) -> None:
    add(journal, tmp_path / "young", age=DAY / 2, state=state, written=False)
    clean(journal)
    assert count(journal, "files") == count(journal, "announcements") == 1


@pytest.mark.parametrize(("state", "left"), [("announced", 1), ("requested", 1), ("failed", 1), ("publishing", 1),
                                             ("published", 0), ("covered", 0), ("given_up", 0)])
def test_a_client_forgets_only_what_is_finished(journal: Journal, state: str, left: int) -> None:
    add(journal, None, age=2 * DAY, state=state)
    clean(journal)
    assert count(journal, "files") == left


def test_what_waits_for_something_is_never_forgotten(journal: Journal) -> None:
    add(journal, None, age=2 * DAY, state="given_up", due=time.time())
    clean(journal)
    assert count(journal, "files") == 1


def test_the_number_of_files_is_bounded(journal: Journal) -> None:
    for _ in range(20):
        add(journal, None, age=0, state="published")
    clean(journal, count=5)
    assert count(journal, "files") == 5


def test_positions_do_not_repeat_after_everything_was_forgotten(journal: Journal, tmp_path: Path) -> None:
    add(journal, tmp_path / "gone", age=2 * DAY, written=False)
    head = journal.head
    clean(journal)
    journal.close()
    again = Journal(journal.path, lambda calls: None, lambda error: None)
    assert again.head == head
    again.close()


def test_nothing_is_forgotten_for_a_clock_that_was_set_as_long_as_the_times_are_those_of_before(journal: Journal) -> None:
    add(journal, None, age=2 * DAY, state="published")
    journal.times_to_move = 1
    clean(journal)
    assert count(journal, "files") == 1
    journal.times_to_move = 0

    def set_meanwhile(run: Callable[[], Any], done: Callable[[Any], Any], chain: str) -> None:
        found = run()
        journal.leaps += 1
        done(found)
    timers = Timers()
    Cleaning(journal, timers, lambda chain: (DAY, 1000), set_meanwhile).start()
    timers.run()
    committed(journal)
    assert count(journal, "files") == 1
    clean(journal)
    assert count(journal, "files") == 0


def test_no_more_is_forgotten_before_the_journal_has_written_what_was(
        journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full, or does not answer, may take hours for it: the same files would be found expired all the time."""
    monkeypatch.setattr(cleaning, "AT_ONCE", 2)
    for _ in range(3):
        add(journal, None, age=2 * DAY, state="published")
    waiting: list[tuple[Any, ...]] = []
    written = journal.write

    def write(*said: Any) -> None:
        if "remove_file" in dict(said[0]):
            waiting.append(said)
        else:
            written(*said)
    monkeypatch.setattr(journal, "write", write)
    timers = Timers()
    Cleaning(journal, timers, lambda chain: (DAY, 1000), at_once).start()
    for _ in range(10):
        timers.run()
        committed(journal)
    assert len(waiting) == 1
    written(*waiting.pop())
    committed(journal)
    assert count(journal, "files") == 1
    next(function for seconds, function in timers.waiting if seconds == cleaning.SOON)()
    written(*waiting.pop())
    committed(journal)
    assert count(journal, "files") == 0


def test_a_long_history_loses_its_older_half_at_a_line_but_for_the_beginning(journal: Journal) -> None:
    file = add(journal, None, age=0, state="announced")
    for number in range(800):
        journal.write([("note", [{"line": step_line("note", 1.0, detail=f"{number} " + "x" * 80), "id": file}])])
    committed(journal)
    steps = journal.find_one("file", (file,))["steps"]
    assert len(steps) < 40_000
    first, *lines = [orjson.loads(line) for line in steps.splitlines()]
    assert first[0] == "announced"
    numbers = [int(line[4].split()[0]) for line in lines]
    assert (numbers[0], numbers[-1]) == (0, 799)
    missing = [number for number in range(800) if number not in numbers]
    assert missing == list(range(missing[0], missing[-1] + 1)), "what is missing is in the middle"
    assert 30 < missing[0] < 50 and missing[-1] < 700


def test_providers_that_have_something_waiting_are_found_without_reading_what_waits(journal: Journal) -> None:
    for _ in range(3):
        add(journal, None, age=0, state="announced", due=time.time())
    add(journal, None, age=0, state="published")
    assert [row["provider"] for row in journal.find("providers_due", {"chain": "c"})] == ["p:1"]
    assert journal.find("providers_due", {"chain": "other"}) == []


def test_a_mirrored_file_is_forgotten_when_nothing_of_it_is_kept(journal: Journal, tmp_path: Path) -> None:
    kept, released = (add(journal, tmp_path / name, age=2 * DAY, written=False) for name in ("kept", "released"))
    insert(journal, "copies", {"file": kept, "uid": "kept", "chain": "c", "path": b"/kept", "device": 1, "inode": 1, "size": 7,
                               "mtime_ns": 1, "time": time.time()})
    clean(journal)
    assert (journal.find_one("file", (kept,)) is None, journal.find_one("file", (released,)) is None) == (False, True)
    journal.write([("end_copies", [(kept,)])])
    committed(journal)
    clean(journal)
    assert count(journal, "files") == 0
