"""The one writing thread: takes all that has queued, commits it in one transaction, then tells the loop.

Nothing waits for a timer: a group is what came in while the last commit ran. Every commit is on the disk (synchronous=FULL)
before anybody is told. A full disk is waited out: the group is kept and tried again, and `full` says so meanwhile.

While the thread has nothing to do, the loop may commit a few records itself (`commit_now`): handing them over and back would wake
two threads, which takes longer than the commit.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from itertools import chain
from queue import Empty, SimpleQueue
from typing import Any

from trollmoves.errors import JournalError
from trollmoves.journal.statements import for_rows, statements

logger = logging.getLogger(__name__)

Parameters = Sequence[Any] | dict[str, Any]
Operation = tuple[str, Sequence[Parameters]]
"""Name of a statement in `queries.sql`, and the rows to run it with."""
Then = tuple[Callable[..., Any], tuple[Any, ...]]
Group = tuple[Sequence[Operation], Then | None]

LARGEST_GROUP = 500
"""Records in one transaction, about."""
ROWS_AT_ONCE = 32
CHANGING = ("step", "step_due", "ask")
"""Statements that change rows which are there, and name them last."""
RETRY_FULL = 1.0
"""Seconds between two tries to commit to a full disk."""
FULL_ERRORS = ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE", "SQLITE_CANTOPEN", "SQLITE_READONLY")
BUSY_ERRORS = ("SQLITE_BUSY", "SQLITE_LOCKED")


class Writer:
    """Owns the writing connection and its thread."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], tell: Callable[[list[Then]], Any],
                 died: Callable[[BaseException], Any]):
        """*tell* gets what to call after a commit; *died* an error that ended the thread."""
        self._connection = connect()
        self._tell = tell
        self._died = died
        self._queue: SimpleQueue[Group | None] = SimpleQueue()
        self._sql = statements()
        self._ended = False
        self._put = self._told = 0
        """Groups that were queued (counted by the loop) and whose commit was told (by the thread)."""
        self.full = False
        """The disk is full: nothing is lost, nothing is committed until there is room."""
        self._thread = threading.Thread(target=self._run, name="journal-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def write(self, operations: Sequence[Operation], then: Then | None = None) -> None:
        """Record *operations* in one transaction; *then* is handed to `tell` when they are on the disk."""
        self._put += 1
        self._queue.put((operations, then))

    def commit_now(self, groups: list[Group]) -> bool:
        """Do it at once, in the loop, if the thread is idle; False when that cannot be and `write` has to do it."""
        if self._put != self._told or self._ended:
            return False
        try:
            self._commit(self._connection, groups)
        except sqlite3.OperationalError as error:
            _roll_back(self._connection)
            if getattr(error, "sqlite_errorname", "") not in (*FULL_ERRORS, *BUSY_ERRORS):  # such as a failed fsync
                raise JournalError(f"cannot write the journal: {error}") from error
            return False
        except sqlite3.Error as error:
            raise JournalError(f"cannot write the journal: {error}") from error
        self._tell([then for _, then in groups if then is not None])
        return True

    def waiting(self) -> int:
        """How many groups are queued, about."""
        return self._queue.qsize()

    def stop(self) -> None:
        """Commit what is queued, then end."""
        if not self._ended:
            self._ended = True
            self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        try:
            self._commit_groups(self._connection)
        except BaseException as error:  # the process must not go on without its journal
            self._died(error)

    def _commit_groups(self, connection: sqlite3.Connection) -> None:
        while self._commit_next(connection):
            pass

    def _commit_next(self, connection: sqlite3.Connection) -> bool:
        """Wait for groups and commit them; whether more will come. A function of its own, which holds on to nothing while it
        waits for the next ones."""
        groups, more = self._next_groups()
        if groups:
            self._commit_until_done(connection, groups)
            self._tell([then for _, then in groups if then is not None])
            self._told += len(groups)
        return more

    def _next_groups(self) -> tuple[list[Group], bool]:
        """What is queued, at least one; and whether more will come."""
        groups: list[Group] = []
        first = self._queue.get()
        while first is not None:
            groups.append(first)
            if len(groups) >= LARGEST_GROUP:
                return groups, True
            try:
                first = self._queue.get_nowait()
            except Empty:
                return groups, True
        return groups, False

    def _commit_until_done(self, connection: sqlite3.Connection, groups: list[Group]) -> None:
        while True:
            try:
                self._commit(connection, groups)
            except sqlite3.OperationalError as error:
                _roll_back(connection)
                self._wait_for_room(error)
            except sqlite3.Error as error:
                raise JournalError(f"cannot write the journal: {error}") from error
            else:
                if self.full:
                    logger.warning("the journal can be written again")
                    self.full = False
                return

    def _commit(self, connection: sqlite3.Connection, groups: list[Group]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        for operations, _ in groups:
            for name, rows in operations:
                if len(rows) == 1:
                    connection.execute(self._sql[name], rows[0])
                else:
                    _execute_many(connection, name, rows)
        connection.execute("COMMIT")

    def _wait_for_room(self, error: sqlite3.OperationalError) -> None:
        name = getattr(error, "sqlite_errorname", "")
        if name not in FULL_ERRORS and name not in BUSY_ERRORS:
            raise JournalError(f"cannot write the journal: {error}") from error
        if not self.full and name in FULL_ERRORS:
            self.full = True
            logger.error("the journal cannot be written (%s): no new work is accepted until it can; make room on its disk", error)
        if self._ended:
            raise JournalError(f"the journal cannot be written and we must end: {error}") from error
        time.sleep(RETRY_FULL if name in FULL_ERRORS else 0.05)


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        try:
            connection.execute("ROLLBACK")
        except sqlite3.Error:  # SQLite rolled it back by itself
            logger.debug("nothing to roll back")


def _execute_many(connection: sqlite3.Connection, name: str, rows: Sequence[Parameters]) -> None:
    """Run a statement for all *rows*, many at a time: each call gives the interpreter away and has to get it back."""
    sql = for_rows(name, ROWS_AT_ONCE)
    if sql is None or not _are_different(name, rows):
        connection.executemany(statements()[name], rows)
        return
    whole = len(rows) - len(rows) % ROWS_AT_ONCE
    for start in range(0, whole, ROWS_AT_ONCE):
        connection.execute(sql, tuple(chain.from_iterable(rows[start:start + ROWS_AT_ONCE])))
    if rest := rows[whole:]:
        connection.execute(for_rows(name, len(rest)) or "", tuple(chain.from_iterable(rest)))


def _are_different(name: str, rows: Sequence[Any]) -> bool:
    """Whether no two rows change the same file: of those only one would take effect."""
    return name not in CHANGING or len({row[-1] for row in rows}) == len(rows)
