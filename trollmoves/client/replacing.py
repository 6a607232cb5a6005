"""Replace: of two contents of one name the newer one stays, whichever is tried again.

What failed is kept and asked for again, perhaps when newer content of its name has come from another provider since.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from trollmoves.client.addressing import Addressing
from trollmoves.client.deciding import is_written_later
from trollmoves.client.flight import Flight
from trollmoves.errors import TrollmovesError
from trollmoves.journal import Journal
from trollmoves.messages import Message, decode


class Replacing:
    """What one client chain has delivered in the place of older content; belongs to the loop."""

    def __init__(self, addressing: Addressing, journal: Journal):
        self._addressing = addressing
        self._journal = journal

    def among(self, files: Sequence[int]) -> set[int]:
        """Of these rows of the journal those with newer content of their name, which few have."""
        return {row["id"] for row in self._journal.find("replaced_among", (orjson.dumps(files),))} if files else set()

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
