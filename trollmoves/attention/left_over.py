"""An alarm for each section that is configured no more and has unfinished files in the journal: nobody goes on with them."""

from __future__ import annotations

from collections.abc import Collection

import orjson

from trollmoves.journal import Journal
from trollmoves.journal.alarms import LEFT_OVER
from trollmoves.journal.reader import SECTIONS

ABOUT = "files"


class LeftOver:
    """Belongs to the loop."""

    def __init__(self, journal: Journal):
        self._journal = journal
        self._sections: Collection[str] = ()
        self._to_count = False
        self._found: dict[str, int] = {}
        """By section: a file that was unfinished at the last look. As long as it is, no other need be looked for."""

    def follow(self, sections: Collection[str]) -> None:
        """From now on these are configured; the journal says so to others."""
        self._sections, self._to_count = frozenset(sections), True
        self._journal.write([("put_meta", [(SECTIONS, orjson.dumps(sorted(sections)).decode())])])

    def look(self) -> None:
        """Raise alarms for what the last configuration left over, and clear those that are over."""
        if self._to_count:  # a whole table is gone through: only after a start and a reload
            self._to_count = False
            for row in self._journal.find("unfinished_counts"):
                if row["chain"] not in self._sections:
                    self._journal.alarms.raise_(row["chain"], LEFT_OVER, ABOUT, left_over(row["chain"], row["count"]))
        for alarm in self._journal.alarms.open(LEFT_OVER):
            if outcome := self._outcome(alarm.chain):
                self._journal.alarms.clear(alarm.chain, LEFT_OVER, ABOUT, outcome)

    def _outcome(self, chain: str) -> str:
        if chain in self._sections:
            return "the section is back"
        return "" if self._has_unfinished(chain) else "none is left"

    def _has_unfinished(self, chain: str) -> bool:
        known = self._found.pop(chain, None)
        if known is None or self._journal.find_one("is_unfinished", (known,)) is None:
            known = next((row["id"] for row in self._journal.find("unfinished_of", (chain, 1))), None)
        if known is not None:
            self._found[chain] = known
        return known is not None


def left_over(section: str, count: int) -> str:
    """What to say of unfinished files of a section that is configured no more."""
    return (f"the section [{section}] is not in the configuration, and nobody goes on with its {count} unfinished file(s): "
            f"name it again, or `trollmoves dismiss --all --chain {section}`")
