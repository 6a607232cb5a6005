"""What the audit of a journal says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.eventually import eventually
from trollmoves.journal.audit import read


def audited(journal: Path, what: str = "", *, wait_for: int = 0) -> list[dict[str, Any]]:
    """The records of what happened, oldest first; only those of *what*, if it is given. Waits until there are so many: they are
    written within about a second."""
    def found() -> list[dict[str, Any]]:
        return [line.record for line in read(journal) if line.record is not None and what in ("", line.record["what"])]
    return eventually(lambda: (records := found())[max(0, wait_for - 1):] and records, message=f"{what} in the audit") \
        if wait_for else found()
