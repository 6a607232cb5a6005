"""Which files a process that ended suddenly may have begun something with."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from trollmoves.bus import Loop
from trollmoves.journal import Journal


def opened(path: Path, loop: Loop, files: int = 0) -> Journal:
    """The journal, with so many more files."""
    journal = Journal(path, loop.call_all, loop.fail)
    ids = [journal.new_file() for _ in range(files)]
    journal.write([("add_file", [(file, "s", "n", "k", "announced", 0.0, "", None, 1, b"/n", 1, 2, 3, None, None, None, 0, 0.0)
                                 for file in ids])])
    return journal


def test_what_a_process_that_ended_suddenly_may_have_begun(tmp_path: Path) -> None:
    path, loop = tmp_path / "journal", Loop()
    journal = opened(path, loop, 2)
    assert not journal.was_interrupted(1)
    journal.close()
    journal = opened(path, loop, 1)
    assert not journal.was_interrupted(2)
    journal.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE meta SET value = 'no' WHERE name = 'clean'")  # as a kill leaves it
    for _ in range(2):  # also after a proper end: somebody may ask later
        journal = opened(path, loop, 1)
        assert [journal.was_interrupted(file) for file in (1, 3, 4)] == [True, True, False]
        journal.close()
    loop.close()


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("another_boot", [True, False])
def test_what_is_said_at_the_end_is_known_at_the_next_start(tmp_path: Path, clean: bool, another_boot: bool) -> None:
    path, loop = tmp_path / "journal", Loop()
    opened(path, loop, 1).close(clean=clean)
    if another_boot:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE meta SET value = 'another boot' WHERE name = 'boot'")
    journal = opened(path, loop)
    assert journal.was_interrupted(1) is not clean
    assert journal.unclean_boot is (another_boot and not clean)
    journal.close()
    loop.close()


def test_a_power_loss_is_noticed_once_by_who_finds_the_journal_as_it_is_while_it_is_used(tmp_path: Path) -> None:
    path, copy, loop = tmp_path / "journal", tmp_path / "copy", Loop()

    def killed() -> None:
        """What is on the disk while it is in use is found by the next process."""
        journal = opened(path, loop, 1)
        journal._commit()
        with closing(sqlite3.connect(path)) as connection, closing(sqlite3.connect(copy)) as other:
            connection.backup(other)
        journal.close()
        copy.rename(path)
    opened(path, loop).close()
    killed()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE meta SET value = 'another boot' WHERE name = 'boot'")
    for noticed in (True, False):
        journal = opened(path, loop)
        assert journal.unclean_boot is noticed and journal.was_interrupted(1)
        journal.close()
        killed()
    loop.close()
