"""An alarm for each chain while it has files that were given up: nobody will do anything about them but an operator."""

from __future__ import annotations

from typing import Any

from trollmoves.journal import Journal
from trollmoves.journal.alarms import DEAD_LETTERS
from trollmoves.journal.reader import last_failure

ABOUT = "files"


class DeadLetters:
    """Belongs to the loop."""

    def __init__(self, journal: Journal):
        self._journal = journal
        self._seen: Any = None

    def look(self) -> None:
        """Raise and clear alarms as the journal says."""
        seen = [tuple(row) for row in self._journal.find("given_up_counts")]
        if seen == self._seen:
            return
        self._seen = seen
        found = {row["chain"]: row["count"] for row in self._journal.find("dead_letters")}
        for chain, count in found.items():
            self._journal.alarms.raise_(chain, DEAD_LETTERS, ABOUT, self._text(chain, count))
        for chain in [alarm.chain for alarm in self._journal.alarms.open(DEAD_LETTERS) if alarm.chain not in found]:
            self._journal.alarms.clear(chain, DEAD_LETTERS, ABOUT, "none is left")

    def _text(self, chain: str, count: int) -> str:
        last = self._journal.find("dead_letters_of", (chain, 1))[0]
        which = "1 file is given up" if count == 1 else f"{count} files are given up, the last one"
        return f"{which}: {last['identity']}: {last_failure(last['steps'])}; `trollmoves failed` says more"
