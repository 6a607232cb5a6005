"""Writing an order into the journal of a process, running or stopped: the only thing that others write into it."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from trollmoves.errors import JournalError
from trollmoves.journal.reader import Reader
from trollmoves.journal.statements import statements

DISMISSED = "dismissed by an operator"
"""Stands in the history of a file of which an operator wants nothing more."""


def place_order(path: Path, verb: str, chain: str, said: Any) -> int:
    """Have the process of the journal at *path* do something; returns the id of the order. Raises `JournalError`."""
    with Reader(path) as reader:
        reader.find("orders")  # it is there, and of this release
    if not os.access(path, os.W_OK):
        raise JournalError(f"{path} may not be written by this user: run this as the user of the service")
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, isolation_level=None, timeout=10.0)) as opened:
            opened.execute("PRAGMA synchronous = FULL")
            opened.execute("PRAGMA wal_autocheckpoint = 0")  # that is for the process
            cursor = opened.execute(statements()["add_order"], (time.time(), verb, chain, orjson.dumps(said).decode()))
            return int(cursor.lastrowid or 0)
    except sqlite3.Error as error:
        raise JournalError(f"cannot write an order into the journal {path}: {error}") from error
