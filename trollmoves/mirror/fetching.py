"""Fetch: when somebody asks for a file that is not here (any more), the client half asks for it in its turn.

Those who asked wait meanwhile, as for any move that takes long. What has arrived is journaled as a copy, and served until the
consumers have it (releasing.py).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from trollmoves import crashing
from trollmoves.client.asking import Asking
from trollmoves.client.delivering import receipt_line
from trollmoves.client.doubting import checksum_told
from trollmoves.client.flight import Flight
from trollmoves.config.mirrors import MirrorSettings
from trollmoves.errors import (
    Busy,
    DestinationInvalid,
    MoveError,
    NotAnnounced,
    OriginChanged,
    OriginGone,
    Unreachable,
    VerificationFailed,
)
from trollmoves.journal import Journal
from trollmoves.lifecycle import State
from trollmoves.messages import Message, decode, uris_of
from trollmoves.mirror.doubting import Doubting
from trollmoves.mirror.parts import Part, Store, parts_of
from trollmoves.mirror.relaying import Fresh, Relaying
from trollmoves.movers.checksums import checksum_of, checksum_together
from trollmoves.movers.sessions import Sessions
from trollmoves.server.beneath import Announced, examined, opened, remove
from trollmoves.server.pushing import Member, Push, Pushing
from trollmoves.server.transfer import Brought, Moving
from trollmoves.workers import Work, Workers

logger = logging.getLogger(__name__)

LOOKS = 4
KEEPS = 8
"""Files of one section that are looked for, and made to last, at a time."""
ASK_AGAIN = 5.0
"""Seconds after which who asked may ask again for what could not be fetched now."""

Waiting = tuple[Moving, Brought]


class Fetching:
    """Brings the files of one section here: `Supply` of its server half, `Arriving` of its client half; belongs to the loop."""

    asking: Asking
    """The client half; set before anything is asked for, as are those below."""
    relaying: Relaying
    doubting: Doubting

    def __init__(self, settings: MirrorSettings, store: Store, pushing: Pushing, journal: Journal, workers: Workers):
        self._chain = settings.name
        self._sync = settings.fsync != "never"
        self._compares = len(settings.providers) > 1
        self._store = store
        self._pushing = pushing
        self._journal = journal
        self._workers = workers
        self._waiting: dict[int, list[Waiting]] = {}
        """By row of the journal: who waits for it to be fetched."""
        self._open = True

    def close(self) -> None:
        """Who waits is told to ask again; whoever takes our place fetches it."""
        self._open = False
        for file in list(self._waiting):
            self.failed(file, Busy("this section of the mirror was ended; ask again", 1.0))

    # Somebody asks.

    def members(self, message: Message, row: Any) -> tuple[Member, ...]:
        """The files that a request wants, by their uids: the request says where each goes below the destination."""
        fields = message.fields if uris_of(message.fields) else decode(row["message"].encode()).fields
        return tuple(Member(Announced(part.uid, 0, 0, row["size"] or 0, 0), part.relative) for part in parts_of(fields))

    def bring(self, moving: Moving, then: Brought) -> None:
        if not self._open:
            then(Busy("this section of the mirror was ended; ask again", 1.0))
            return
        copies = self._copies_of(moving.file)
        self._workers.submit([Work(("look", self._chain), LOOKS, partial(self._look, moving.push, moving.wanted, copies),
                                   partial(self._looked, moving, then, copies), quick=True)])

    def _copies_of(self, file: int) -> dict[str, Announced]:
        """By uid, what the journal says is here."""
        return {row["uid"]: Announced(os.fsdecode(row["path"]), row["device"], row["inode"], row["size"], row["mtime_ns"])
                for row in self._journal.find("copies_of", (file,))}

    def _look(self, push: Push, wanted: Sequence[Member], copies: dict[str, Announced], _: Sessions) -> tuple[Member, ...] | None:
        """In a worker: the files, None when they are not here. Raises `Denied`: for a stranger nothing is fetched."""
        self._pushing.check(push)
        found = _chosen(wanted, copies)
        return found if found is not None and all(self._is_here(member.file) for member in found) else None

    def _is_here(self, copy: Announced) -> bool:
        try:
            return copy.path.startswith(self._store.root.rstrip("/") + "/") and copy.is_still(os.lstat(copy.path))
        except OSError:
            return False

    def _looked(self, moving: Moving, then: Brought, copies: dict[str, Announced], outcome: Any) -> None:
        if isinstance(outcome, Exception):
            then(outcome if isinstance(outcome, MoveError) else MoveError(f"{type(outcome).__name__}: {outcome}"))
        elif outcome is not None:
            then(outcome)
        elif not self._open or self._copies_of(moving.file) != copies:  # they have just come, or gone
            self.bring(moving, then)
        else:
            self._waiting.setdefault(moving.file, []).append((moving, then))
            crashing.point("mirror.asked")
            self.asking.fetch(moving.file)

    # It arrives.

    def deliver(self, flight: Flight, reply: Message) -> None:
        assert flight.place is not None
        crashing.point("mirror.fetched")
        directory = flight.place.destination.path
        paths = {part: self._store.path_of(directory, part) for part in parts_of(flight.source.announcement.message.fields)}
        before = self._copies_of(flight.id)
        self._workers.submit([Work(("keep", self._chain), KEEPS, partial(self._examine, flight, reply, paths, before),
                                   partial(self._examined, flight, reply))])

    def _examine(self, flight: Flight, reply: Message, paths: dict[Part, str], before: dict[str, Announced],
                 _: Sessions) -> tuple[dict[str, Announced], str]:
        """In a worker: what has arrived, made to last, and its checksum where the reply does not tell that and somebody else may
        have the same. The provider may remove its own as soon as it has been told."""
        found = {part.uid: self._arrived(flight, reply, path) for part, path in paths.items()}
        for uid, copy in before.items():
            if uid not in found or found[uid].path != copy.path:
                remove((os.path.dirname(copy.path),), copy)  # of a time when `destination` was another one
        return found, self._checksum(found.values()) if self._compares and not checksum_told(reply) else ""

    def _checksum(self, copies: Iterable[Announced]) -> str:
        checksums = []
        for copy in copies:
            with opened((self._store.root,), copy) as origin:
                checksums.append((copy.path, checksum_of(origin.descriptor)))
        return checksum_together(checksums) or ""

    def _arrived(self, flight: Flight, reply: Message, path: str) -> Announced:
        announcement = flight.source.announcement
        try:
            copy = examined((self._store.root,), path, sync=self._sync)
        except (OriginGone, NotAnnounced) as error:
            if reply.extension.get("earlier") is True:  # a copy that we had, and removed when our consumers had it
                raise OriginGone(f"{announcement.address} does not have it any more, nor have we") from error
            raise Unreachable(f"{announcement.address} says it has delivered to {path}, where nothing is: `destination` must "
                              "lead to this machine") from error
        if announcement.size is not None and announcement.size != copy.size and len(uris_of(announcement.message.fields)) == 1:
            raise VerificationFailed(f"{path} has {copy.size} bytes, of {announcement.size} that were announced")
        return copy

    def _examined(self, flight: Flight, reply: Message, outcome: Any) -> None:
        if isinstance(outcome, Exception):
            self.asking.not_delivered(flight, getattr(outcome, "code", "internal"), isinstance(outcome, OriginGone), str(outcome))
            return
        now, (copies, checksum) = time.time(), outcome
        rows = [(flight.id, uid, self._chain, os.fsencode(copy.path), copy.device, copy.inode, copy.size, copy.mtime_ns, now)
                for uid, copy in copies.items()]
        flight.checksum = flight.checksum or checksum
        step = (State.MOVED, now, flight.attempt, receipt_line(flight, reply, checksum), flight.id)
        fresh, records = self.relaying.announced_late(flight, now) if flight.doubtful else (None, [])
        self._journal.write([*records, ("step", [step]), ("put_copy", rows)], self._kept, flight, copies, fresh)

    def _kept(self, flight: Flight, copies: dict[str, Announced], fresh: Fresh | None) -> None:
        """The journal has it: serve those who wait; announce what was no copy."""
        crashing.point("mirror.kept")
        self.asking.landed(flight)
        if fresh is not None:
            self.relaying.tell([fresh])
        else:
            self.relaying.is_there_again(flight.id, flight.source.announcement)
        self.doubting.ask_about(flight)
        for moving, then in self._waiting.pop(flight.id, ()):
            found = _chosen(moving.wanted, copies)
            then(found if found is not None else DestinationInvalid("the request names files that were not announced together"))

    def failed(self, file: int, error: MoveError) -> None:
        """Those who wait are told what concerns them: it is gone, or it may be had later. The log has the rest, which is about
        another network."""
        is_gone = isinstance(error, OriginGone | OriginChanged | NotAnnounced)
        if is_gone:
            self.doubting.cannot_be_had(file)
        for moving, then in self._waiting.pop(file, ()):
            name = os.path.basename(moving.wanted[0].file.path)
            if is_gone:
                then(type(error)(f"{name} cannot be had any more where this mirror has it from"))
            else:
                then(error if isinstance(error, Busy) else Busy(f"{name} cannot be fetched now; ask again", ASK_AGAIN))


def _chosen(wanted: Sequence[Member], copies: dict[str, Announced]) -> tuple[Member, ...] | None:
    """The copies of what is wanted, None unless there is one of each."""
    if any(member.file.path not in copies for member in wanted):
        return None
    return tuple(Member(copies[member.file.path], member.relative) for member in wanted)
