"""Audit: a record of each refused request, dead letter, failed removal, order of an operator, and alarm (a gap in what a provider
has, say), whose number the log line tells.

The design has a file of its own for these. They stand in the journal: a record is on the disk when what it is about is, a full
disk and a damaged file are dealt with once, and there is nothing to rotate, or to be written to through a link that a stranger
has made. What becomes of every file, and who confirmed it, stands in the history of that file (`trollmoves trace`).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import orjson

from trollmoves.uris import hide_password, printable

if TYPE_CHECKING:
    from trollmoves.journal.reader import Reader
    from trollmoves.journal.writer import Operation

REFUSED, GIVEN_UP, NOT_REMOVED, ORDERED, RAISED, OVER = "refused", "given up", "not removed", "ordered", "alarm", "alarm over"
"""What happened."""
KEPT = 100_000
"""Records; of more the oldest ones go."""
LONGEST = 500
"""Characters of one text in a record: many come from strangers."""


class Audit:
    """Belongs to the loop."""

    def __init__(self, reader: Reader, write: Callable[..., Any], is_full: Callable[[], bool]):
        """*write* records operations as `Journal.write` does; *is_full* tells that they would wait for room on the disk."""
        self._write = write
        self._is_full = is_full
        self._unwritten = 0
        last = reader.find_one("last_audit")
        self._position, self._digest = (0, "") if last is None else (int(last["position"]), str(last["digest"]))

    def record(self, what: str, chain: str, **said: Any) -> int:
        """Write down that *what* happened in *chain* (empty: the whole process), and what is *said* of it; returns the number of
        the record. Texts are cut, and passwords taken out. While there is no room on the disk nothing is recorded (0): the next
        record says how many there would have been."""
        if self._is_full():
            self._unwritten += 1
            return 0
        self._position += 1
        if self._unwritten:
            said["unwritten"], self._unwritten = self._unwritten, 0
        record = {"number": self._position, "time": time.time(), "what": what, "section": chain,
                  **{name: _plain(value) for name, value in said.items()}}
        text = orjson.dumps(record).decode()
        self._digest = digest_of(text, self._digest)
        self._write([("add_audit", [(self._position, text, self._digest)])])
        return self._position

    def not_removed(self, chain: str, path: str, why: str, tries: int) -> str:
        """Record that a file cannot be removed, at the first of its *tries*; returns the end of the log line."""
        return in_audit(self.record(NOT_REMOVED, chain, path=path, why=why) if tries == 1 else 0)

    def forget(self) -> list[Operation]:
        """The records that remove the oldest ones."""
        return [("forget_audit", [(self._position - KEPT,)])]


def in_audit(number: int) -> str:
    """How a line of the log ends that is about a record."""
    return f" (audit {number})" if number else ""


def digest_of(record: str, before: str) -> str:
    """The digest of a record behind one that had the digest *before*."""
    return hashlib.sha256(f"{before}\n{record}".encode()).hexdigest()


def first_changed(rows: Iterable[Any]) -> int | None:
    """The number of the first record that is not as it was written, or before which some are missing; None when all are. The
    oldest that is kept is taken for granted."""
    before: Any = None
    for row in rows:
        if before is not None and (row["position"] != before["position"] + 1
                                   or row["digest"] != digest_of(row["record"], before["digest"])):
            return int(row["position"])
        before = row
    return None


def _plain(value: Any) -> Any:
    return printable(hide_password(value[:16 * LONGEST]))[:LONGEST] if isinstance(value, str) else value
