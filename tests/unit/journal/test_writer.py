"""Many records in one transaction have the effect they would have one after the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trollmoves.journal import Journal
from trollmoves.journal.journal import step_line
from trollmoves.journal.writer import ROWS_AT_ONCE
from trollmoves.lifecycle import State


@pytest.mark.parametrize("others", [0, 1, ROWS_AT_ONCE, 3 * ROWS_AT_ONCE + 1])
def test_of_two_steps_of_one_file_both_are_kept_and_the_later_one_counts(tmp_path: Path, others: int) -> None:
    def call_all(calls: list[tuple[Callable[..., Any], tuple[Any, ...]]]) -> None:
        for function, arguments in calls:
            function(*arguments)
    journal = Journal(tmp_path / "j", call_all, lambda error: print(error))
    now = time.time()
    files = [journal.new_file() for _ in range(others + 1)]
    rows = [(file, "c", f"f{file}", "", State.ANNOUNCED, now, "", None, 1, None, None, None, None, None, None, None, 0, now)
            for file in files]
    twice = files[0]
    steps = [(State.MOVING, now, 1, step_line(State.MOVING, now), file) for file in files]
    steps.append((State.MOVED, now + 1, 1, step_line(State.MOVED, now + 1), twice))
    done = threading.Event()
    journal.write([("add_file", rows), ("step", steps)], done.set)
    assert done.wait(60)
    found = {file: journal.find_one("file", (file,)) for file in files}
    journal.close()
    assert (found[twice]["state"], found[twice]["time"]) == ("moved", now + 1)
    assert found[twice]["steps"] == step_line(State.MOVING, now) + step_line(State.MOVED, now + 1)
    assert all(found[file]["state"] == "moving" and found[file]["steps"] == step_line(State.MOVING, now) for file in files[1:])
