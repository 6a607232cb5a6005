"""The copy that is kept of a journal before its schema is brought to the newest version."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from trollmoves.errors import JournalError, JournalTooNew
from trollmoves.journal import journal as journals
from trollmoves.journal.journal import Journal
from trollmoves.journal.statements import schema_scripts


@pytest.fixture
def older(tmp_path: Path) -> Iterator[Path]:
    """A journal of the release before, with one file in it."""
    path, scripts = tmp_path / "j.sqlite", schema_scripts()[:-1]
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("".join(scripts) + f"PRAGMA user_version = {len(scripts)};")
        connection.execute("INSERT INTO meta (name, value) VALUES ('epoch', 'e:before')")
        connection.commit()
    before = os.umask(0o022)
    yield path
    os.umask(before)


def upgrade(path: Path) -> str:
    journal = Journal(path, lambda calls: None, lambda error: None)
    journal.close()
    return journal.epoch


def copy_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.schema-{len(schema_scripts()) - 1}")


@pytest.mark.parametrize("left", [b"", b"half a copy", "whole"])
def test_an_upgrade_that_was_interrupted_is_done_again(older: Path, left: bytes | str) -> None:
    copy_of(older).write_bytes(older.read_bytes() if isinstance(left, str) else left)
    copy_of(older).with_name(f"{copy_of(older).name}.new").write_bytes(b"half")
    assert upgrade(older) == "e:before"
    with closing(sqlite3.connect(copy_of(older))) as kept:
        assert kept.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone() == ("e:before",)


def test_who_may_not_read_the_journal_may_not_read_the_copy(older: Path) -> None:
    upgrade(older)
    assert copy_of(older).stat().st_mode & 0o777 == 0o640


def test_a_copy_that_cannot_be_kept_is_told_and_changes_nothing(older: Path) -> None:
    (copy_of(older) / "in the way").mkdir(parents=True)
    with pytest.raises(JournalError, match="cannot keep a copy of the journal"):
        upgrade(older)
    with closing(sqlite3.connect(older)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(schema_scripts()) - 1,)


def test_an_upgrade_that_ends_half_way_has_changed_nothing(older: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts, before = schema_scripts(), shape_of(older)
    monkeypatch.setattr(journals, "schema_scripts", lambda: [*scripts[:-1], scripts[-1] + "CREATE TABLE meta (again TEXT);"])
    with pytest.raises(JournalError, match="already exists"):
        upgrade(older)
    assert shape_of(older) == before
    with closing(sqlite3.connect(older)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(scripts) - 1,)


def test_a_journal_of_a_later_release_is_refused_and_left_as_it_is(older: Path) -> None:
    later = len(schema_scripts()) + 1
    with closing(sqlite3.connect(older)) as connection:
        connection.execute(f"PRAGMA user_version = {later}")
        before = list(connection.iterdump())
    with pytest.raises(JournalTooNew, match="later release"):
        upgrade(older)
    with closing(sqlite3.connect(older)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (later,)
        assert list(connection.iterdump()) == before


FIRST_DAY = """
DROP INDEX files_waiting;
CREATE INDEX files_waiting ON files (chain, due) WHERE due IS NOT NULL;
CREATE INDEX announcements_of_file ON announcements (file);
DROP TABLE transfers;
CREATE TABLE transfers (
    transfer TEXT PRIMARY KEY, file INTEGER NOT NULL, chain TEXT NOT NULL, client TEXT NOT NULL, consumer_group TEXT NOT NULL,
    spare INTEGER NOT NULL, peer TEXT NOT NULL, request TEXT NOT NULL, destination TEXT NOT NULL, state TEXT NOT NULL,
    time REAL NOT NULL, attempt INTEGER NOT NULL, receipt TEXT) STRICT, WITHOUT ROWID;
CREATE INDEX transfers_of_file ON transfers (file);
CREATE INDEX transfers_of_request ON transfers (request) WHERE request <> '';
INSERT INTO transfers VALUES ('t', 1, 'one', 'c', 'g', 0, 'p', 'r:1', 'file:///d/', 'moved', 5.0, 1, '[]');
PRAGMA user_version = 1;
"""
"""What was different when schema 1 was written down first."""


def shape_of(path: Path) -> set[tuple[object, ...]]:
    """Tables, their columns and keys, and indexes."""
    with closing(sqlite3.connect(path)) as connection:
        made = connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE sql > ''").fetchall()
        columns = {(table, *column[1:]) for kind, table, _ in made if kind == "table"
                   for column in connection.execute(f"PRAGMA table_info({table})")}
        return columns | {(name, sql) for kind, name, sql in made if kind == "index"}


def test_a_journal_of_the_first_day_becomes_one_of_today(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(schema_scripts()[0] + FIRST_DAY)
    upgrade(path)
    upgrade(tmp_path / "new.sqlite")
    assert shape_of(path) == shape_of(tmp_path / "new.sqlite")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT file, transfer, state, receipt, earlier FROM transfers").fetchall() \
            == [(1, "t", "moved", "[]", "")]


def test_who_was_served_before_it_was_told_what_it_listens_to_listens_to_everything(tmp_path: Path) -> None:
    """Others that go by the same name may listen to more than the first that tells."""
    path = tmp_path / "j.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("".join(schema_scripts()[:11]) + "PRAGMA user_version = 11;")
        for number, (client, group, spare, state) in enumerate([
                ("me", "us", 0, "moved"), ("me", "us", 0, "acknowledged"), ("spare", "us", 1, "acknowledged"),
                ("failed", "they", 0, "failed"), ("192.0.2.1", "", 0, "moved")]):
            connection.execute("INSERT INTO transfers (file, transfer, chain, client, consumer_group, spare, peer, request, "
                               "destination, state, time, attempt) VALUES (?, 't', 'c', ?, ?, ?, 'p', 'r', 'd', ?, ?, 1)",
                               (number, client, group, spare, state, float(number)))
        connection.execute("INSERT INTO consumers VALUES ('c', 'away', 'we', 7.0, 1)")
        connection.commit()
    upgrade(path)
    with closing(sqlite3.connect(path)) as connection:
        assert set(connection.execute("SELECT * FROM consumer_topics")) == {
            ("me", "us", "", 1.0), ("", "us", "", 2.0), ("away", "we", "", 7.0)}
