"""What is recorded of files that are nobody's loss, because newer content took their place."""

from __future__ import annotations

import time
from collections.abc import Sequence

from trollmoves.journal.journal import step_line
from trollmoves.journal.writer import Operation
from trollmoves.lifecycle import State


def covered_by_newer(files: Sequence[int]) -> Operation:
    """The record that what was announced under the names of these rows of the journal, and could not be had, is nobody's loss
    where newer content has been announced since."""
    now = time.time()
    line = step_line(State.COVERED, now, detail="newer content of its name was announced")
    return "cover_by_newer", [{"id": file, "now": now, "line": line} for file in files]
