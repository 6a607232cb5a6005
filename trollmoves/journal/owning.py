"""Whose file is it: a journal is made, opened or moved aside only where nothing of somebody else is."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from trollmoves.errors import JournalError

APPLICATION = 0x54724D76
"""`TrMv`: what SQLite's `application_id` of a journal is."""
SQLITE = b"SQLite format 3\0"
"""What each file of SQLite begins with."""
OURS = {"meta", "files"}
"""Tables of every journal, also of those that were made before journals had an `application_id`."""


def refuse_strange(path: Path, lock: Path) -> None:
    """Raise `JournalError` when what is at *path* is no journal and never was one, which a *lock* beside it would show.

    What used to be a journal and is damaged is accepted. Changes nothing.
    """
    with suppress(OSError):  # opening the journal tells of it
        if not stat.S_ISREG(path.stat().st_mode):
            raise _refusal(path, "is no regular file")
        was_journal = lock.exists()
        if not was_journal and _beginning(path) not in (b"", SQLITE):
            raise _refusal(path, "exists and is no journal")
        _refuse_other_database(path, was_journal)


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(SQLITE))


def _refuse_other_database(path: Path, was_journal: bool) -> None:
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=10.0)) as connection:
            tables = {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
            application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    except sqlite3.OperationalError:
        return  # a full disk, perhaps: opening the journal says so
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        if not was_journal:
            raise _refusal(path, f"exists and is no journal, or a damaged one ({error})") from error
        return
    if application != APPLICATION and (application or tables and not tables >= OURS):
        raise _refusal(path, "is the database of another program")


def _refusal(path: Path, what: str) -> JournalError:
    return JournalError(f"{path} {what}, and is left as it is: choose another place with --journal")
