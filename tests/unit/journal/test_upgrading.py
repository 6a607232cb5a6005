"""The copy that is kept of a journal before its schema is brought to the newest version."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from trollmoves.errors import JournalError
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
