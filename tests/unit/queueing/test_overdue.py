"""What has waited for too long is given up; nothing is while the clock was set and the journal's times are not moved yet."""

from __future__ import annotations

import time
from pathlib import Path

from tests.unit.journal.test_leaps import run_now
from trollmoves.journal import Journal
from trollmoves.journal.leaps import Leaps
from trollmoves.queueing.deliveries import overdue

DAY = 86400.0


def test_a_leap_of_the_clock_makes_nothing_overdue(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", run_now, lambda error: None)
    now = time.time()
    place = None, None, None, None, "host", None, None, 0
    rows = [(journal.new_file(), "chain", name, "", "failed", due, "", due, 1, *place, due) for name, due in
            (("waits", now - 2 * DAY + 100), ("too long", now - 4 * DAY))]
    journal.write([("add_file", rows)])
    # The clock has just leapt by two days, and the disk takes its time.
    journal.times_to_move = 1
    assert overdue(journal, "chain", DAY) == []
    journal.times_to_move = 0
    clock, steady = [now - 2 * DAY], [0.0]
    leaps = Leaps(journal, lambda seconds: None, lambda: clock[0], lambda: steady[0])
    clock[0] = now
    leaps.check()
    journal.write([("note", [{"line": "", "id": 0}])])
    deadline = time.monotonic() + 60
    while journal.times_to_move and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [row["identity"] for row in overdue(journal, "chain", DAY)] == ["too long"]
    journal.close()
