"""Alarms: things an operator must know about. Journaled, said in the log, told to whoever listens; and so is their end.

There is one open alarm about one thing, however often it is noticed. It outlives the process: it ends when what it is about is
over, or when an operator dismisses it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from trollmoves.journal.audit import OVER, RAISED, in_audit

if TYPE_CHECKING:
    from trollmoves.journal.audit import Audit
    from trollmoves.journal.reader import Reader
    from trollmoves.journal.writer import Operation

logger = logging.getLogger(__name__)

EVENT, GAP, DEAD_LETTERS, SILENT, LATE = "event", "gap", "dead letters", "silent", "late"
LEFT_OVER, BLIND, REFUSED, UNCLAIMED, LOCKED_OUT = "left over", "blind", "refused", "unclaimed", "locked out"
AUDIT = "audit"
"""Kinds: something that happened; history that a provider no longer has; files that nobody can deliver; a source that says
nothing; what was expected and did not come; unfinished files of a section that is configured no more; a directory that
cannot be seen; files that cannot be taken in because of their names; files that were removed and nobody ever got; a host to
which nothing gets until somebody acts; an audit that cannot be written."""
OF_A_SECTION = (SILENT, BLIND, REFUSED, UNCLAIMED, LOCKED_OUT)
"""Kinds that are over when their section is configured no more."""
LASTING = (EVENT, GAP)
"""Kinds that are over only when an operator says so."""
MOST_OPEN = 1000
"""Lasting alarms that are kept open; beyond it the oldest ones end."""
LONGEST = 5000
"""Characters of what an alarm is about (a path, at most) and of its text: both may hold what strangers said."""
KEPT = 30 * 86400.0
"""Seconds for which an alarm that is over is remembered."""

Key = tuple[str, str, str]
Write = Callable[..., Any]


class Alarm(NamedTuple):
    """An alarm that was raised, or is over."""

    chain: str
    kind: str
    about: str
    text: str
    since: float
    over: bool = False


class Alarms:
    """The alarms of one process; belongs to the loop."""

    def __init__(self, reader: Reader, write: Write, audit: Audit):
        """*write* records operations as `Journal.write` does."""
        self._write = write
        self._audit = audit
        self._open: dict[Key, Alarm] = {}
        self._tell: Callable[[Alarm], Any] = lambda alarm: None
        for row in reader.find("open_alarms"):
            self._open[row["chain"], row["kind"], row["about"]] = Alarm(row["chain"], row["kind"], row["about"], row["text"],
                                                                        row["time"])

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def tell_by(self, tell: Callable[[Alarm], Any]) -> None:
        """Have *tell* called with each alarm that is raised or over, once it is in the journal."""
        self._tell = tell

    def open(self, kind: str, chain: str | None = None) -> list[Alarm]:
        """Those of a kind that are open, oldest first; of one *chain* only, if it is given."""
        return [alarm for alarm in self._open.values() if alarm.kind == kind and chain in (None, alarm.chain)]

    def is_open(self, chain: str, kind: str, about: str) -> bool:
        return (chain, kind, about[:LONGEST]) in self._open

    def raise_(self, chain: str, kind: str, about: str, text: str) -> None:
        """Something is wrong. Nothing happens when that is known, in the same words; else the alarm gets these words."""
        about, text = about[:LONGEST], text[:LONGEST]
        now, known = time.time(), self._open.get((chain, kind, about))
        if known is not None and known.text == text and kind not in LASTING:
            return
        alarm = Alarm(chain, kind, about, text, now if known is None else known.since)
        self._open[chain, kind, about] = alarm
        logger.error("[%s] %s%s", chain, text, in_audit(self._audit.record(RAISED, chain, kind=kind, about=about, text=text)))
        self._write([("raise_alarm", [(chain, kind, about, text, now, now)])], self._tell, alarm)
        self._bound()

    def clear(self, chain: str, kind: str, about: str, outcome: str) -> None:
        """It is over; nothing happens when there is no such alarm."""
        about = about[:LONGEST]
        alarm = self._open.pop((chain, kind, about), None)
        if alarm is not None:
            number = self._audit.record(OVER, chain, kind=kind, about=about, text=alarm.text, outcome=outcome)
            logger.warning("[%s] over: %s (%s)%s", chain, alarm.text, outcome, in_audit(number))
            self._write([("clear_alarm", [(time.time(), outcome, chain, kind, about)])], self._tell,
                        alarm._replace(text=outcome, over=True))

    def forget(self) -> list[Operation]:
        """The records that remove what has been over for long."""
        return [("forget_alarms", [(time.time() - KEPT,)])]

    def _bound(self) -> None:
        lasting = [key for key in self._open if key[1] in LASTING]
        for key in lasting[:max(0, len(lasting) - MOST_OPEN)]:
            self.clear(*key, f"there are more than {MOST_OPEN}")
