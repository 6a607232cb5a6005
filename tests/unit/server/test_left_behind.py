"""What moves have left at their destinations is looked for."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.support.eventually import eventually
from trollmoves.bus import Loop
from trollmoves.journal import Journal


def test_what_cannot_be_removed_does_not_keep_the_rest_away(tmp_path: Path) -> None:
    """It is found again each time, and few are found at a time."""
    loop = Loop()
    journal = Journal(tmp_path / "journal", loop.call_all, loop.fail)
    try:
        files = {journal.new_file() for _ in range(3)}
        for row in files:
            path, now = os.fsencode(tmp_path / str(row)), time.time()
            journal.write([
                ("add_file", [(row, "s", str(row), "k", "announced", now, "", None, 1, path, 1, 1, 1, None, None, None, 0, now)]),
                ("put_transfer", [(row, "t", "s", "c", "g", False, "p", "r", "file:///x", "failed", now, 1, "interrupted")])])
        found: set[int] = set()

        def are_found() -> bool:
            loop.turn(0.01)
            found.update(row["file"] for row in journal.find("left_behind", (time.time() + 1, '["s"]', 1, 1)))
            return found == files
        eventually(are_found, 10, interval=0.0)
    finally:
        journal.close()
        loop.close()
