"""Reading a journal: named queries on a read-only connection. Works beside a running process and after it."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import orjson

from trollmoves.errors import JournalError
from trollmoves.journal.statements import schema_scripts, statements

SECTIONS = "sections"
"""Where a process keeps in its journal (`meta`) the names of its configured sections, in JSON."""

NOT_OURS = ("SQLITE_READONLY", "SQLITE_READONLY_CANTINIT", "SQLITE_READONLY_DIRECTORY", "SQLITE_READONLY_RECOVERY",
            "SQLITE_CANTOPEN")
"""Errors of who may not write beside the journal."""

UNREADABLE = (sqlite3.Error, UnicodeDecodeError)
"""What reading raises; the names of damaged tables, which are part of what SQLite says, may be no text at all."""


class Reader:
    """Sees what was committed. Belongs to the thread that made it."""

    def __init__(self, path: Path):
        """Raises `JournalError` when there is no journal at *path* or it cannot be read."""
        if not path.is_file():
            raise JournalError(f"there is no journal at {path}")
        self.path = path
        self._sql = statements()
        try:
            self._connection = sqlite3.connect(f"file:{quote(str(path))}?{_mode(path)}", uri=True, isolation_level=None,
                                               timeout=10.0, cached_statements=256)
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA query_only = ON")
            version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        except UNREADABLE as error:
            who = f"; run this as {_owner(path)}, whose it is" if getattr(error, "sqlite_errorname", "") in NOT_OURS else ""
            raise JournalError(f"cannot read the journal {path}: {error}{who}") from error
        if version == 0:  # that of nothing at all; ours begin with 1
            self._connection.close()
            raise JournalError(f"there is no journal in {path}: it is empty, or another program's")
        self._hint = ""
        if version != (newest := len(schema_scripts())):
            which = "an earlier release: start its program once with this one" if version < newest else "a later release"
            self._hint = f" (it was written by {which}; it has schema {version}, this release {newest})"

    def find(self, query: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> list[sqlite3.Row]:
        try:
            return self._connection.execute(self._sql[query], parameters).fetchall()
        except UNREADABLE as error:
            raise JournalError(f"cannot read the journal {self.path}: {error}{self._hint}") from error

    def find_one(self, query: str, parameters: Sequence[Any] = ()) -> Any:
        try:
            return self._connection.execute(self._sql[query], parameters).fetchone()
        except UNREADABLE as error:
            raise JournalError(f"cannot read the journal {self.path}: {error}{self._hint}") from error

    def not_configured(self, chains: Iterable[str]) -> set[str]:
        """Which of these sections or targets the process had no more when it read its configuration last. A journal that does not
        say has all its sections."""
        configured = self.configured()
        return set() if configured is None else set(chains) - configured

    def configured(self) -> set[str] | None:
        """The sections or targets that the process had when it read its configuration last; None if the journal does not say."""
        row = self.find_one("meta", (SECTIONS,))
        return None if row is None else set(json.loads(row["value"]))

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _mode(path: Path) -> str:
    """How to open it. Reading takes files beside the journal, which not everybody may make; a journal that was closed well needs
    none, as nobody changes it."""
    closed = not os.path.exists(f"{path}-wal")
    may_write = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    return "immutable=1" if closed and not may_write else "mode=ro"


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except (KeyError, OSError):
        return "the user of the service"


def steps_in(steps: str) -> list[list[Any]]:
    """The steps in the history of a file, oldest first: state, time, peer, attempt, detail. (Not by `splitlines`: what others say
    may hold line separators, which JSON leaves as they are.)"""
    return [orjson.loads(line) for line in steps.split("\n") if line]


def last_failure(steps: str) -> str:
    """What the last failing step in the history of a file says, with the peer it was about."""
    for state, _, peer, _, detail in reversed(steps_in(steps)):
        if state in ("failed", "given_up"):
            return f"{peer}: {detail}" if peer else str(detail)
    return ""
