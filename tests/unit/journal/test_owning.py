"""A journal takes nobody else's place: not that of a text, of another program's database, or of another role."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from trollmoves.errors import JournalError
from trollmoves.journal.journal import Journal, lock_of
from trollmoves.journal.owning import APPLICATION
from trollmoves.journal.reader import Reader


def begin(path: Path, role: str = "server") -> Journal:
    journal = Journal(path, lambda calls: None, lambda error: None, role)
    journal.close()
    return journal


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_a_text_is_refused_as_often_as_it_is_named(tmp_path: Path) -> None:
    config = tmp_path / "server.ini"
    config.write_text("[a section]\norigin = /data/{name}\n")
    for _ in range(2):
        with pytest.raises(JournalError, match="exists and is no journal, and is left as it is: choose another place"):
            begin(config)
    assert config.read_text().startswith("[a section]") and list(tmp_path.iterdir()) == [config]


def test_a_damaged_journal_whose_tables_have_no_names_any_more_is_named_to_who_looks(tmp_path: Path) -> None:
    begin(tmp_path / "j")
    content = (tmp_path / "j").read_bytes()
    assert content.count(b"CREATE TABLE orders") == 1
    (tmp_path / "j").write_bytes(content.replace(b"CREATE TABLE orders", b"CREATE \xafABLE orders"))
    with pytest.raises(JournalError, match="cannot read the journal"):
        Reader(tmp_path / "j").find("orders")


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    """Whoever may write beside the journal had a file made anywhere."""
    Path(lock_of(tmp_path / "j")).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(JournalError, match="cannot make the journal"):
        begin(tmp_path / "j")
    assert not (tmp_path / "elsewhere").exists() and not (tmp_path / "j").exists()


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(JournalError, match="is no regular file"):
            begin(path)


@pytest.mark.parametrize("statements", [
    ["CREATE TABLE orders (id)"],
    ["CREATE TABLE meta (id)", "PRAGMA user_version = 3"],
    ["PRAGMA application_id = 17", "CREATE TABLE meta (id)", "CREATE TABLE files (id)"],
    ["PRAGMA journal_mode = WAL", "CREATE TABLE orders (id)"]])
def test_the_database_of_another_program_is_refused(tmp_path: Path, statements: list[str]) -> None:
    path = tmp_path / "other.sqlite"
    change(path, *statements)
    before = path.read_bytes()
    for locked in (False, True):
        if locked:
            Path(lock_of(path)).touch()
        with pytest.raises(JournalError, match="is the database of another program"):
            begin(path)
    assert path.read_bytes() == before


def test_a_damaged_database_that_never_was_a_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    path.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 20)
    with pytest.raises(JournalError, match="or a damaged one"):
        begin(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"no journal any more" * 100])
def test_what_was_a_journal_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "j"
    begin(path)
    path.write_bytes(content)
    assert (begin(path).damaged is None) == (not content)


def test_an_empty_file_may_become_a_journal(tmp_path: Path) -> None:
    (tmp_path / "j").touch()
    assert begin(tmp_path / "j").damaged is None


def test_a_journal_without_mark_and_role_gets_them(tmp_path: Path) -> None:
    path = tmp_path / "j"
    epoch = begin(path).epoch
    change(path, "PRAGMA application_id = 0", "DELETE FROM meta WHERE name = 'role'")
    os.unlink(lock_of(path))
    assert begin(path, "client").epoch == epoch
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION,)
        assert connection.execute("SELECT value FROM meta WHERE name = 'role'").fetchone() == ("client",)


def test_the_journal_of_another_role_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "j"
    begin(path, "client")
    begin(path, "client")
    begin(path, "")  # whoever looks only
    with pytest.raises(JournalError, match="j is the journal of a client and not of a server: choose another"):
        begin(path, "server")
