"""Replace: of two contents of one name the newer one stays, whichever is tried again.

What failed is kept and asked for again, perhaps when newer content of its name has come from another provider since. Here it is
told which of them waits for the other, which need not be asked for any more, and which is nobody's loss.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import orjson

from trollmoves.client.addressing import Addressing
from trollmoves.client.deciding import announced_before, is_successor, is_written_later
from trollmoves.client.doubting import checksum_in, fetched_in, is_at_others, is_said_by_name
from trollmoves.client.flight import Flight, Flights
from trollmoves.client.ledger import Ledger
from trollmoves.errors import TrollmovesError
from trollmoves.journal import Journal
from trollmoves.lifecycle import State
from trollmoves.messages import Message, decode

OTHER_CONTENT_LASTS = 900.0
"""Seconds for which content of a name waits for other content that is being moved under it."""
SUPERSEDED = ("changed", "gone")
"""What a provider says of content that another has taken the place of."""


class Replacing:
    """What one client chain knows, asks for and has delivered under the same name; belongs to the loop."""

    def __init__(self, addressing: Addressing, ledger: Ledger, journal: Journal, flights: Flights, *, relays: bool = False):
        """A mirror *relays*: what it has fetched counts, and no content is in the place of another: it has each for who asks for
        it."""
        self._addressing = addressing
        self._ledger = ledger
        self._journal = journal
        self._flights = flights
        self._relays = relays

    # Before it is asked for.

    def has_to_wait(self, identity: str, file: int, provider: str, until: float = math.inf, *,
                    doubtful: bool = False) -> bool:
        """Whether other content of *identity* is under way, so that the older might arrive last, and stay: older content from
        another provider than *provider* (one moves them one after the other), or newer content. What is perhaps a copy
        (*doubtful*) waits for older content of any provider: it is asked for on condition that it is other content. But of its
        own provider not for what is perhaps one as well, with which it is not compared.

        A provider that has new content all the time, and never delivers any, keeps nothing away for longer than another one; nor
        what newer it tries ever again beyond *until*, when this would be given up. Till then the newer one may come, which makes
        it needless."""
        now, others = time.time(), self._flights.of_other_content(file, identity)
        newer = min((other.asked_at for other in others if other.id > file and now <= until), default=-math.inf)
        since = [newer, *(other.asked_at for other in others if other.id < file and (
            other.source.provider != provider or (doubtful and not other.doubtful)))]
        return now - max(since) < OTHER_CONTENT_LASTS

    def among(self, files: Sequence[int]) -> set[int]:
        """Of these rows of the journal those with newer content of their name, which few have."""
        return {row["id"] for row in self._journal.find("replaced_among", (orjson.dumps(files),))} if files else set()

    def had(self, flight: Flight) -> tuple[str, ...]:
        """Checksums of content of its name that was delivered to where it would go: of the newest; and, where *flight* was
        written before that one, of older ones, of which it may be a copy that is heard of late. (If not, the older content is
        back, and newer than all.) It is no copy of what was heard of before that whose place it has taken.
        """
        versions = self._ledger.versions(flight.identity)
        taken = max((file for file, known in versions.items() if is_successor((known,), flight.source.announcement)), default=0)
        found: list[str] = []
        newest: Message | None = None
        announced = flight.source.announcement.message
        for row in self._journal.find("files_of", (flight.identity, flight.chain)):
            checksum = self._had(row)
            if row["id"] == flight.id or row["message"] is None or checksum is None:
                continue
            delivered = decode(row["message"].encode())
            if not self._is_in_its_place(announced, delivered):  # a file of that name in another directory
                continue
            is_newest = newest is None
            newest = newest or delivered
            if checksum and (is_newest or (row["id"] > taken and is_written_later(newest, announced))):
                found.append(checksum)
        return tuple(found)

    def _is_in_its_place(self, announced: Message, delivered: Message) -> bool:
        """Whether who has the one has what the other would replace: behind a mirror everybody who listens to its subject."""
        return announced.subject == delivered.subject if self._relays else self._goes_where(announced, delivered)

    def _had(self, row: Any) -> str | None:
        """The checksum of what was delivered; empty where it is not known, None where nothing was."""
        if self._relays:
            return fetched_in(row["steps"])
        return checksum_in(row["steps"]) if _is_delivered(row) else None

    def is_left_to_upstream(self, file: int) -> bool:
        """Whether a peer has *file* that tells no checksum, as upstream's clients do: they know names only, and so do their
        spares."""
        row = self._journal.find_one("file", (file,))
        return row is not None and is_said_by_name(row["steps"]) and not checksum_in(row["steps"])

    def is_replaced(self, flight: Flight) -> bool:
        """Whether newer content has been delivered, by us or by another member of the group, to where this would go.

        Newer is what was heard of later, unless it says that it was written earlier: old content of another provider may be
        heard of late.
        """
        if self._relays:
            return False
        message = flight.source.announcement.message
        return any(not is_written_later(message, newer) and self._goes_where(message, newer) for newer in (
            decode(row["message"].encode()) for row in self._journal.find("delivered_after", (flight.id,))))

    def overtaken_by(self, flight: Flight) -> list[Flight]:
        """Older content that is under way to where *flight* has been delivered, which did not wait for it any more."""
        return [other for other in self._flights.of_other_content(flight.id, flight.identity)
                if other.id < flight.id and other.place == flight.place and self.is_replaced(other)]

    def overtaken_elsewhere(self, file: int, identity: str) -> list[Flight]:
        """The same, where another member of the group has published *file*."""
        others = [other for other in self._flights.of_other_content(file, identity) if other.id < file]
        row = self._journal.find_one("file", (file,)) if others else None
        if row is None or row["message"] is None:
            return []
        newer = decode(row["message"].encode())
        return [other for other in others if not is_written_later(other.source.announcement.message, newer)
                and self._goes_where(other.source.announcement.message, newer)]

    # Its provider could not deliver it.

    def is_superseded(self, flight: Flight, code: str) -> bool:
        """Whether a provider that says *code* has newer content of the same name, as was announced meanwhile: then the old one is
        nobody's loss."""
        announcement = flight.source.announcement
        return code in SUPERSEDED and any(
            file > flight.id if known.epoch != announcement.epoch else known.offset > announcement.offset
            for file, known in self._ledger.versions(flight.identity).items() if file != flight.id
            and (not self._relays or known.subject == announcement.message.subject))

    def is_lost_copy(self, flight: Flight, code: str) -> bool:
        """Whether *flight*, of which a provider says *code*, was perhaps a copy that nobody can compare with what was delivered
        any more. What its provider announced something else before in the same place is no copy of what others have."""
        return code == "gone" and bool(flight.unless) and flight.refused.issuperset(flight.sources) and not announced_before(
            self._ledger.versions(flight.identity).values(), flight.source.announcement)

    def _goes_where(self, one: Message, other: Message) -> bool:
        try:
            return self._addressing.place(one.fields).destination == self._addressing.place(other.fields).destination
        except TrollmovesError:
            return False


def _is_delivered(row: Any) -> bool:
    """Whether a file was delivered, by us or by another member of the group."""
    return row["state"] in (State.PUBLISHING, State.PUBLISHED) or (row["state"] == State.COVERED and is_at_others(row["steps"]))
