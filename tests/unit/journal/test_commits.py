"""What is told is on the disk; a full disk is waited out, in order; what else a disk says against a commit ends the process."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.eventually import eventually
from trollmoves.bus import Loop
from trollmoves.errors import JournalError
from trollmoves.journal import writer as writing
from trollmoves.journal.journal import FEW, Journal, _connect
from trollmoves.journal.writer import Group, Writer

Call = tuple[Callable[..., Any], tuple[Any, ...]]


class Disk:
    """Says no to commits, by the name of the error of SQLite."""

    error = ""
    refused = 0

    def connection(self, path: Path) -> sqlite3.Connection:
        disk = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
                if sql == "COMMIT" and disk.error:
                    disk.refused += 1
                    error = sqlite3.OperationalError("no")
                    error.sqlite_errorname = disk.error
                    raise error
                return super().execute(sql, *parameters)
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Connection)


class Bench:
    def __init__(self, path: Path):
        Journal(path, lambda calls: None, lambda error: None).close()
        self.path, self.disk, self.died = path, Disk(), list[BaseException]()
        self.told = list[str]()
        self.ended = threading.Event()
        self.writer = Writer(lambda: self.disk.connection(path), self.tell, self.dies)

    def tell(self, calls: list[Call]) -> None:
        for function, arguments in calls:
            function(*arguments)

    def dies(self, error: BaseException) -> None:
        self.died.append(error)
        self.ended.set()

    def group(self, name: str) -> Group:
        return [("put_meta", [(name, name)])], (self.told.append, (name,))

    @property
    def kept(self) -> set[str]:
        with closing(sqlite3.connect(self.path, timeout=20)) as connection:
            return {name for (name,) in connection.execute("SELECT name FROM meta WHERE name = value")}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(writing, "RETRY_FULL", 0.01)
    bench = Bench(tmp_path / "j")
    yield bench
    bench.disk.error = ""
    bench.writer.stop()


@pytest.mark.parametrize("name", [
    "SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE", "SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_BUSY"])
def test_a_disk_that_takes_nothing_now_is_waited_for(bench: Bench, name: str) -> None:
    bench.disk.error = name
    assert not bench.writer.commit_now([bench.group("one")])
    bench.writer.write(*bench.group("one"))
    bench.writer.start()
    eventually(lambda: bench.disk.refused > 3)
    assert bench.writer.full is (name != "SQLITE_BUSY")
    bench.writer.write(*bench.group("two"))
    assert not bench.writer.commit_now([bench.group("three")]), "what was written before comes first"
    assert bench.told == [] and bench.kept == set() and not bench.died
    bench.disk.error = ""
    eventually(lambda: bench.told == ["one", "two"])
    assert bench.kept == {"one", "two"} and not bench.writer.full


def test_what_waits_for_the_thread_is_committed_before_what_comes_later(bench: Bench) -> None:
    bench.writer.write(*bench.group("one"))
    assert not bench.writer.commit_now([bench.group("two")])
    bench.writer.start()
    eventually(lambda: bench.told == ["one"])
    eventually(lambda: bench.writer.commit_now([bench.group("two")]))
    assert bench.told == ["one", "two"] and bench.kept == {"one", "two"}


def test_what_is_told_by_the_thread_is_told_before_the_loop_commits_more(bench: Bench) -> None:
    tried: list[bool] = []
    bench.writer.write([], (lambda: tried.append(bench.writer.commit_now([bench.group("two")])), ()))
    bench.writer.start()
    eventually(lambda: tried)
    assert tried == [False] and bench.told == []


@pytest.mark.parametrize("name", ["SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC", "SQLITE_IOERR_READ", "SQLITE_ERROR"])
@pytest.mark.parametrize("by_the_loop", [True, False])
def test_a_commit_of_which_nobody_knows_whether_it_lasts_ends_the_process(bench: Bench, name: str, by_the_loop: bool) -> None:
    bench.disk.error = name
    if by_the_loop:
        with pytest.raises(JournalError, match="cannot write the journal"):
            bench.writer.commit_now([bench.group("one")])
    else:
        bench.writer.write(*bench.group("one"))
        bench.writer.start()
        assert bench.ended.wait(60)
        assert isinstance(bench.died[0], JournalError)
    assert bench.told == [] and bench.disk.refused == 1, "a second fsync would say that all is well"


def test_a_commit_waits_for_the_disk(tmp_path: Path) -> None:
    """With `NORMAL` the last commits may be gone after a power loss."""
    with closing(_connect(tmp_path / "j")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


@pytest.mark.parametrize("together", [True, False])
def test_what_is_written_later_is_committed_and_told_later_whoever_commits_it(tmp_path: Path, together: bool) -> None:
    """A few records by the loop, many by the thread."""
    loop, told = Loop(), list[int]()
    journal = Journal(tmp_path / "j", loop.call_all, loop.fail)
    for number, records in enumerate((1, FEW + 1, 1, 2 * FEW, 1, 1)):
        rows = [("last", str(number)), *((f"{number} {record}", "") for record in range(records - 1))]
        journal.write([("put_meta", rows)], told.append, number)
        if not together:
            loop.turn(0.0)

    def turned() -> bool:
        loop.turn(0.02)
        return len(told) == 6
    eventually(turned, interval=0.0)
    assert told == sorted(told)
    assert journal.find_one("meta", ("last",))["value"] == "5"
    journal.close()
    loop.close()
