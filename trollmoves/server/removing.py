"""Remove delivered origins: after `remove_delay`, once all who must confirm have, and only the very file that was delivered;
never what a destination has that could not even tell its size.

What a file was unpacked from goes together with it, if origins are removed at all; the unpacked file, being a copy, goes anyhow.
What goes is found out in the loop and removed in a worker: the server of a directory may not answer. Whom it has to wait for is
in consumers.py.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from trollmoves import crashing
from trollmoves.bus import Loop
from trollmoves.config.settings import ServerSettings
from trollmoves.journal import Journal, Operation
from trollmoves.journal.audit import in_audit
from trollmoves.journal.journal import step_line
from trollmoves.journal.leaps import LEAP
from trollmoves.movers.base import Receipt
from trollmoves.server.beneath import NOT_REMOVED, Announced, announced_file, is_no_more, is_root_away, keep_removed, remove
from trollmoves.server.consumers import Consumers
from trollmoves.server.long_reads import LongReads
from trollmoves.server.requests import Consumer
from trollmoves.server.topics import Topics
from trollmoves.server.unclaimed import Unclaimed
from trollmoves.workers import Work, Workers

logger = logging.getLogger(__name__)

EVERY = 1.0
"""Seconds between two looks at what is due."""
SOON = 0.1
AT_ONCE = 200
DELIVERED = "delivered"
AGED = "delete_after"
AWAITED = "awaited"
"""Somebody has not confirmed it: it goes only from the list, where there is no such file any more, nor what it was unpacked from,
which would stay for ever."""
AGED_LOOKS = 100
"""Looks, in the time of `delete_after`, at what has come to that age: all files in the journal are gone through."""
AGED_LAST = 60.0
"""Seconds between two of them, at most."""
AWAY_LOOKS = 3
"""Looks of who polls a directory, in which a file that is away is missed for sure."""
LOOK_AGAIN = 2.0
"""Seconds between two looks at a file that somebody has not confirmed, at least; a confirmation hurries it."""
RARER = 0.1
"""The same, as part of its age: a consumer that is away for a day leaves so many behind that there would be no time for anything
but looking at them."""
RAREST = 600.0
"""Seconds."""
DECIDED_FOR = 30.0
"""Seconds that it holds what was found out of a file: a directory that does not answer may keep the worker for hours, while
others come who need it."""
RETRY = 60.0
"""Seconds between two tries of a removal that failed; never hotter."""
HOSTS_TOLD = 100


@dataclass(frozen=True, slots=True)
class Leaving:
    """One file of the journal that is done with."""

    row: Any
    why: str
    files: list[Announced]
    """What is removed of it."""
    packed: Sequence[Announced] = ()
    """What it was unpacked from."""
    last: Sequence[Announced] = ()
    """What of that goes with it: all else that came out of it is gone, or goes in the same round."""
    gone: bool = False
    """Whether a file that is not there will not be there again unheard."""


Outcome = int | OSError | None
"""How many of its files were removed, or why it cannot be; None for what was not begun."""
DIRECTORY_AWAY = -1
"""In place of how many: what it was unpacked from cannot be found now, and would stay for ever when that is forgotten."""


class Removing:
    """Removes the origins of one chain; belongs to the loop."""

    aged_query = "aged_files"
    _may_be_no_more = True
    """Whether others than we remove the files, and replace them."""

    def __init__(self, settings: ServerSettings, roots: tuple[str, ...], journal: Journal, loop: Loop, workers: Workers,
                 others: Callable[[], Iterable[Consumers]] = tuple, topics: Topics | None = None):
        """*roots* are the directories above all files that may be announced. *others* are of all sections, which may have
        announced the same files. *topics* knows who listens to what, where files have different subjects."""
        self._chain = settings.name
        self._delay = settings.remove_delay
        self._reads = LongReads(settings.name, journal, workers)
        self.consumers = Consumers(settings, journal, self._reads, others, topics=topics)
        self._looked_for_aged = -math.inf
        """When (monotonic) it was looked for aged files."""
        self._after = settings.delete_after
        self._deletes = settings.delete is not None
        self._unpacks = settings.compression is not None
        self._watches = settings.listen is None and not self._unpacks
        """What is away for a moment is heard of when it is there again."""
        self._enabled = settings.removes
        self._roots = roots
        self._journal = journal
        self._loop = loop
        self._workers = workers
        self.under_way = 0
        """Files that are being removed."""
        self._open = True
        self._unclaimed = Unclaimed(settings.name, journal)
        self._blind: set[str] = set()
        """Hosts of which was told that they do not say what arrives there."""
        self._leaving: set[int] = set()
        """Files that are done with, until the journal knows."""
        self._began = time.monotonic()
        self._away: dict[int, float] = {}
        """By file that was no more there at the last look: since when (monotonic)."""
        self._away_for_good = max(LOOK_AGAIN, AWAY_LOOKS * settings.watch_interval)
        """Seconds, at least, between two looks at which a file was away, for us to believe it. One that is away between two looks
        of who polls its directory is not heard of when it is there again: it would stay for ever."""
        if self._enabled or self._after is not None:
            loop.after(EVERY, self._again)

    def schedule(self, file: int, consumer: Consumer, receipts: Sequence[Receipt] = ()) -> list[Operation]:
        """The records to write when *consumer* has *file*, by *receipts* where we delivered it: it is to be removed after the
        delay, unless its destination could not say what arrived."""
        if not self._enabled:
            return []
        self.consumers.serve(consumer)
        blind = next((receipt for receipt in receipts if receipt.verified == "none"), None)
        if blind is not None:
            self._tell_kept(urlsplit(blind.uri).netloc)
            return []
        return [("add_removal", [(file, self._chain, time.time() + self._delay)])]

    def _tell_kept(self, host: str) -> None:
        if host not in self._blind and len(self._blind) < HOSTS_TOLD:
            self._blind.add(host)
            logger.warning("[%s] %s does not say what arrives there: nothing that is delivered to it alone is removed for that "
                           "(delete_after removes it in any case)", self._chain, host)

    def stop(self) -> None:
        """Begin no more; may be called twice."""
        self._open = False
        self._unclaimed.look(at_once=True)

    def _again(self) -> None:
        if not self._open:
            return
        looked = time.monotonic() - self._looked_for_aged
        if self._after is not None and looked >= min(AGED_LAST, self._after / AGED_LOOKS) and not self._has_to_wait:
            self._look_for_aged(self._after)
        else:
            self._go_on([])

    @property
    def _has_to_wait(self) -> bool:
        """Whether nothing can be written, or no time compared, now."""
        return self._journal.full or self._journal.times_to_move > 0

    def _go_on(self, aged: list[Any]) -> None:
        """Begin to remove what is due, and these."""
        if not self._open:
            return
        if not self._has_to_wait:
            due, more = self._due_now(time.time())
            others = {row["file"] for row, _ in due}
            leaving = [*due, *((row, AGED) for row in aged if row["file"] not in others)]
            self._unclaimed.look()
            if leaving:
                self._begin(leaving, SOON if more and any(why != AWAITED for _, why in leaving) else EVERY)
                return
        self._loop.after(EVERY, self._again)

    def _due_now(self, now: float) -> tuple[list[tuple[Any, str]], bool]:
        """Some of what is to go, or may be gone, and why; and whether there is more."""
        found, leaving = self._journal.find("due_removals", (self._chain, now, AT_ONCE)), []
        records: list[Operation] = []
        for row in found:
            if row["file"] in self._leaving:  # the journal, which is slow to write, shows it still
                continue
            if self._stays(row["file"]):
                records.append(("end_removal", [(row["file"],)]))
                continue
            due = self._due(row)
            if due is not None and due > now + self._delay + LEAP:  # confirmed before the clock was set back, while nobody ran
                due = now + max(0.0, self._began + self._delay - time.monotonic())
            if due is not None and due <= now and self._is_awaited(row):
                due = None
            if due is not None and due <= now:
                leaving.append((row, DELIVERED))
            elif self._after is not None and row["created"] < now - self._after:
                leaving.append((row, AGED))
            else:
                if due is None and self._may_be_no_more:
                    leaving.append((row, AWAITED))
                records.append(("wait_removal", [(due or self._again_at(row, now), row["file"])]))
        if records:
            self._journal.write(records)
        return leaving, len(found) == AT_ONCE

    def _again_at(self, row: Any, now: float) -> float:
        """When to look again at a file that somebody has not confirmed, who may have to be named."""
        self.consumers.tell_lacking(row, now)
        waited = min(RARER * (now - row["created"]), RAREST)
        return now + (RETRY if row["tries"] else max(self._delay, LOOK_AGAIN, waited))

    def _stays(self, file: int) -> bool:
        """Whether it is an origin of a chain that does not remove them."""
        return not self._deletes and not self._packed_of(file)

    def _is_awaited(self, row: Any) -> bool:
        """Whether another section announced one of the origins that would be removed, and lacks a confirmation of it."""
        others = self.consumers.elsewhere() if self._deletes else []
        if not others:
            return False
        files = self._journal.find("members_of", (row["file"],)) or [row]
        return any(other.wait_for(file) for other in others for file in (*files, *self._packed_of(row["file"])))

    def _due(self, row: Any) -> float | None:
        """When a file may go: so long after the last confirmation that is waited for; None as long as one lacks."""
        confirmed = self.consumers.confirmed_at(row)
        return None if confirmed is None else confirmed + self._delay

    def _look_for_aged(self, age: float) -> None:
        """`delete_after`: the backstop against a consumer that never comes back."""
        leaving = set(self._leaving)  # which the journal may show still
        limit = AT_ONCE + len(self._away)  # what is looked for again keeps nothing else away

        def found(rows: Any) -> None:
            aged = [row for row in rows or () if row["file"] not in leaving and not self._waits(row["file"])]
            if rows is None or (len(rows) < limit and len(aged) <= AT_ONCE):  # else there may be more
                self._looked_for_aged = time.monotonic()
            self._go_on(aged[:AT_ONCE])
        self._reads.find(self.aged_query, (self._chain, time.time() - age, limit), found)

    def _waits(self, file: int) -> bool:
        """Whether *file* was away a moment ago, too lately to look again."""
        return time.monotonic() - self._away.get(file, -math.inf) < self._away_for_good

    def _begin(self, found: list[tuple[Any, str]], pause: float) -> None:
        leaving, going = [], set(self._leaving)
        for row, why in found:
            if why != AWAITED:
                going.add(row["file"])
            packed = self._packed_of(row["file"]) if self._deletes else []
            last = [one for one in packed if why != AWAITED and not self._is_needed(one, going)]
            leaving.append(Leaving(row, why, self._files_of(row, why), [announced_file(one) for one in packed],
                                   [announced_file(one) for one in last],
                                   why == AWAITED and (self._watches or self._is_replaced(row))))
        self.under_way = len(leaving)
        until = time.monotonic() + DECIDED_FOR
        self._workers.submit([Work(("remove", self._chain), 1, lambda _: self._remove_all(leaving, until),
                                   lambda outcomes: self._tried(leaving, outcomes, pause))])

    def _is_replaced(self, row: Any) -> bool:
        """Whether newer content came to the path of an announced file."""
        content = row["path"], row["file"], row["inode"], row["size"], row["mtime_ns"]
        return self._journal.find_one("newer_content", (row["identity"], self._chain, *content)) is not None

    # In a worker.

    def _remove_all(self, leaving: list[Leaving], until: float) -> list[Outcome]:
        """What was removed is recorded once a power loss cannot bring it back: nobody would look at it again."""
        outcomes: list[Outcome] = []
        needed: set[str] = set()
        for one in leaving:
            try:
                outcomes.append(self._remove(one, needed) if self._open and time.monotonic() < until else None)
            except OSError as error:
                needed.update(packed.path for packed in one.packed)
                outcomes.append(error)
        keep_removed(self._roots, [file.path for one in leaving if one.why != AWAITED for file in (*one.files, *one.last)])
        return outcomes

    def _remove(self, leaving: Leaving, needed: set[str]) -> Outcome:
        if leaving.why == AWAITED:
            away = all(is_no_more(self._roots, file, gone=leaving.gone) for file in (*leaving.files, *leaving.packed))
            return 0 if away else None
        if any(is_root_away(self._roots, packed.path) for packed in leaving.last):
            needed.update(packed.path for packed in leaving.packed)
            return DIRECTORY_AWAY
        crashing.point("server.removing")
        removed = sum([remove(self._roots, file) for file in leaving.files])
        for packed in leaving.last:
            if packed.path not in needed:
                remove(self._roots, packed)
        crashing.point("server.removed")
        return removed

    # It was tried.

    def _tried(self, leaving: list[Leaving], outcomes: list[Outcome] | Exception, pause: float) -> None:
        if isinstance(outcomes, Exception):
            logger.error("[%s] files cannot be removed", self._chain, exc_info=outcomes)
            outcomes = [OSError(str(outcomes))] * len(leaving)
        self.under_way = 0
        believed, again = [], []
        for one, outcome in zip(leaving, outcomes, strict=True):
            if not self._is_believed(one, outcome):
                again.append((time.time() + self._away_for_good, one.row["file"]))
            elif outcome is not None:
                believed.append((one, outcome))
        if again:
            self._journal.write([("wait_removal", again)])
        self._record(believed, time.time())
        self._loop.after(pause, self._again)

    def _is_believed(self, leaving: Leaving, outcome: Outcome) -> bool:
        """False for a file that was not away for long yet; it is looked at again."""
        file, now = leaving.row["file"], time.monotonic()
        if outcome == DIRECTORY_AWAY:
            return False
        since = self._away.pop(file, now)
        if outcome != 0 or not self._may_be_no_more or now - since >= self._away_for_good:
            return True
        self._away[file] = since
        return False

    def _record(self, tried: list[tuple[Leaving, int | OSError]], now: float) -> None:
        ended, notes = [], []
        for one, outcome in tried:
            file, path = one.row["file"], os.fsdecode(one.row["path"])
            if isinstance(outcome, OSError):
                self._not_removed(one.row, now, path, outcome.strerror or str(outcome))
                continue
            detail = f"removed ({one.why})" if outcome else NOT_REMOVED
            logger.info("%s %s%s", path, detail, in_audit(self._audit_removal(one, path) if outcome else 0))
            if outcome and one.why == AGED:
                self._unclaimed.removed(file, path)
            notes.append({"line": step_line("removed", now, detail=detail), "id": file})
            ended.append(file)
        if ended:
            self._leaving.update(ended)
            files = [(file,) for file in ended]
            self._journal.write([("note", notes), ("end_removal", files), *([("end_packed", files)] if self._unpacks else [])],
                                self._leaving.difference_update, ended)

    def _audit_removal(self, one: Leaving, path: str) -> int:
        """Record what was removed, and for whom; returns the number of the record."""
        found = sorted(self.consumers.confirmations(one.row["file"], one.row), key=lambda who: float(who["time"]))
        confirmed = ", ".join(f"{who['client']} ({who['peer']})" for who in found)
        return self._journal.audit.removed(self._chain, one.row, path, one.why, confirmed)

    def _files_of(self, row: Any, why: str) -> list[Announced]:
        """The files of an announcement; where origins stay, those that are copies."""
        members = self._journal.find("members_of", (row["file"],))
        everything = self._deletes or why == AGED
        return [announced_file(member) for member in members or [row] if everything or not members or member["copy"]]

    def _not_removed(self, row: Any, now: float, path: str, reason: str) -> None:
        """Counted, and tried again, never hotter than once in a minute."""
        tries = row["tries"] + 1
        often = f", {tries} times now" if tries > 1 else ""
        logger.error("%s cannot be removed (%s%s); tried again in %d s%s", path, reason, often, RETRY,
                     self._journal.audit.not_removed(self._chain, path, reason, tries))
        records: list[Operation] = [("add_removal", [(row["file"], self._chain, now)]),
                                    ("delay_removal", [(now + RETRY, row["file"])])]
        if tries == 1:
            line = step_line("failed", now, detail=f"cannot be removed: {reason}")
            records.append(("note", [{"line": line, "id": row["file"]}]))
        self._journal.write(records)

    def _packed_of(self, file: int) -> list[Any]:
        return self._journal.find("packed_of", (file,)) if self._unpacks else []

    def _is_needed(self, packed: Any, going: set[int]) -> bool:
        """Whether another file that came from *packed* is still there. Those that are done with do not count: what goes together
        would stay for each other's sake."""
        elsewhere = (packed["path"], packed["inode"], packed["mtime_ns"], orjson.dumps(sorted(going)).decode())
        return self._journal.find_one("packed_elsewhere", elsewhere) is not None
