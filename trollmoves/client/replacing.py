"""Replace: of two contents of one name the newer one stays, whichever is tried again.

What failed is kept and asked for again, perhaps when newer content of its name has come from another provider since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from trollmoves.client.addressing import Addressing
from trollmoves.client.deciding import Known, is_successor, is_written_later
from trollmoves.client.doubting import checksum_in, fetched_in, is_at_others, is_said_by_name
from trollmoves.client.flight import Flight
from trollmoves.errors import TrollmovesError
from trollmoves.journal import Journal
from trollmoves.lifecycle import State
from trollmoves.messages import Message, decode


class Replacing:
    """What one client chain has delivered in the place of older content; belongs to the loop."""

    def __init__(self, addressing: Addressing, journal: Journal, *, relays: bool = False):
        """A mirror *relays*: what it has fetched counts."""
        self._addressing = addressing
        self._journal = journal
        self._relays = relays

    def among(self, files: Sequence[int]) -> set[int]:
        """Of these rows of the journal those with newer content of their name, which few have."""
        return {row["id"] for row in self._journal.find("replaced_among", (orjson.dumps(files),))} if files else set()

    def had(self, flight: Flight, versions: Mapping[int, Known]) -> tuple[str, ...]:
        """Checksums of content of its name that was delivered to where it would go: of the newest; and, where *flight* was
        written before that one, of older ones, of which it may be a copy that is heard of late. (If not, the older content is
        back, and newer than all.)

        *versions* are all that is known of its name: of what was heard of before that whose place it has taken it is no copy.
        """
        taken = max((file for file, known in versions.items() if is_successor((known,), flight.source.announcement)), default=0)
        found: list[str] = []
        newest: Message | None = None
        announced = flight.source.announcement.message
        for row in self._journal.find("files_of", (flight.identity, flight.chain)):
            checksum = self._had(row)
            if row["id"] == flight.id or row["message"] is None or checksum is None:
                continue
            delivered = decode(row["message"].encode())
            if not (self._relays or self._goes_where(announced, delivered)):  # a file of that name in another directory
                continue
            is_newest = newest is None
            newest = newest or delivered
            if checksum and (is_newest or (row["id"] > taken and is_written_later(newest, announced))):
                found.append(checksum)
        return tuple(found)

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
        message = flight.source.announcement.message
        return any(not is_written_later(message, newer) and self._goes_where(message, newer) for newer in (
            decode(row["message"].encode()) for row in self._journal.find("delivered_after", (flight.id,))))

    def _goes_where(self, one: Message, other: Message) -> bool:
        try:
            return self._addressing.place(one.fields).destination == self._addressing.place(other.fields).destination
        except TrollmovesError:
            return False


def _is_delivered(row: Any) -> bool:
    """Whether a file was delivered, by us or by another member of the group."""
    return row["state"] in (State.PUBLISHING, State.PUBLISHED) or (row["state"] == State.COVERED and is_at_others(row["steps"]))
