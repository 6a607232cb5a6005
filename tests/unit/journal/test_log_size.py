"""The write-ahead log: whoever reads for long makes it grow, and it gets smaller again."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from trollmoves.journal import Journal, journal

LARGE = 64 * 2**10
MOST = 4 * 2**20


def test_what_a_long_reader_makes_of_it_goes_back_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator's `sqlite3` that was left open in the middle of something, say."""
    monkeypatch.setattr(journal, "LARGEST_LOG", MOST)
    monkeypatch.setattr(journal, "LOG_SIZE", 2**20)
    monkeypatch.setattr(journal, "CHECKPOINT_PAGES", 100)
    opened = Journal(tmp_path / "j", lambda calls: [function(*arguments) for function, arguments in calls], lambda error: None)
    with closing(opened):
        def write(times: int) -> int:
            for number in range(times):
                done = threading.Event()
                opened.write([("put_meta", [("large", str(number % 10) * LARGE)])], done.set)
                assert done.wait(60)
            return os.stat(f"{tmp_path}/j-wal").st_size
        write(1)
        with closing(sqlite3.connect(tmp_path / "j", isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM meta").fetchall()
            assert write(100) > MOST
        assert write(5) <= MOST
