"""Recover: what the last process had asked for is asked for again, and what was delivered to it is published."""

from __future__ import annotations

from functools import partial
from typing import Any

from trollmoves.client.addressing import Place
from trollmoves.client.asking import Asking
from trollmoves.client.deciding import Known
from trollmoves.client.doubting import checksum_in
from trollmoves.client.flight import Flight
from trollmoves.client.ledger import Ledger
from trollmoves.errors import TrollmovesError
from trollmoves.journal import Journal
from trollmoves.lifecycle import State


class Recovering:
    """What the journal has of the last process of one chain; belongs to the loop."""

    def __init__(self, chain: str, ledger: Ledger, journal: Journal, asking: Asking):
        self._chain = chain
        self._ledger = ledger
        self._journal = journal
        self._asking = asking

    def ask_again(self) -> None:
        """Ask for what was asked for, under the same ids."""
        rows = self._journal.find("files_in_state", (self._chain, State.REQUESTED))
        replaced = self._asking.replacing.among([row["id"] for row in rows])
        for row in rows:
            self._asking.resume(self._under_way(row), replaced=row["id"] in replaced)
        self._asking.commit()

    def publish(self) -> None:
        """Publish, unpacked where that is to be done, what was delivered, and tell providers what they were not told."""
        self._asking.delivering.start()  # first: it takes for sent whatever the journal has no record of
        self._asking.acknowledging.start()
        for row in self._journal.find("files_in_state", (self._chain, State.MOVED)):
            self._publish_one(self._under_way(row))
        self._asking.unpacking.start()

    def _under_way(self, row: Any) -> Flight:
        """The file of *row*, on its way as it was."""
        flight = self._asking.waiting.flight_of(row)
        flight.request, flight.checksum = row["request"], checksum_in(row["steps"])
        self._asking.take_off(flight, flight.source)
        known = Known.of(State.REQUESTED, flight.source.announcement)
        self._ledger.remember(flight.identity, flight.id, known._replace(
            key=row["key"], size=row["size"], provider=row["provider"]))
        return flight

    def _publish_one(self, flight: Flight) -> None:
        try:
            place = self._asking.addressing.place(flight.source.announcement.message.fields)
        except TrollmovesError as error:
            self._asking.not_delivered(flight, "bad_request", True, str(error))
        else:
            self._asking.when_settled(flight, place, partial(self._publish_at, flight, place))

    def _publish_at(self, flight: Flight, place: Place) -> None:
        try:
            self._asking.unpacking.take_up(flight, place)
        except TrollmovesError as error:
            self._asking.not_delivered(flight, "bad_request", True, str(error))
