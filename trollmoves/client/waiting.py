"""What waits in the journal to be asked for: beyond `in_flight` requests to a provider, and until another try is due."""

from __future__ import annotations

import time
from collections.abc import Container
from typing import Any, Protocol

import orjson

from trollmoves.bus import Loop
from trollmoves.bus.loop import Deadline
from trollmoves.client.doubting import is_in_doubt
from trollmoves.client.flight import Flight, Source
from trollmoves.client.ledger import Ledger
from trollmoves.client.providers import Providers
from trollmoves.client.replacing import Replacing
from trollmoves.journal import Journal
from trollmoves.lifecycle import State
from trollmoves.messages import decode, read_announcement

REFILL_BUSY = 0.02
REFILL_EVERY = 0.5
"""Seconds between two looks for what is due."""
DETOURS_EVERY = 2.0
"""Seconds between two looks for what waits for a provider that does not answer and could be had from another one."""
AT_ONCE = 64
"""Files of which the journal is asked at a time."""
OTHER_CONTENT = "other content of its name is under way"
OTHER_CONTENT_WAIT = 2.0
"""Seconds between two looks whether other content that is under way has come."""
KEPT = 3000
"""Files whose announcements are kept in memory as well; the first ones, which are the next to be asked for."""
LARGEST_KEPT = 8 * 1024
"""Bytes of such an announcement; the few that are larger are read again."""


class Requests(Protocol):
    """What is known of the requests under way."""

    def is_under_way(self, file: int) -> bool: ...

    @property
    def replacing(self) -> Replacing:
        """Which of two contents of one name stays."""

    def cover_replaced(self, flight: Flight) -> bool:
        """Whether newer content is where *flight* would go; then that is noted, and nothing is left to ask for."""

    @property
    def is_being_written(self) -> bool:
        """Whether the journal still shows as waiting what was asked for a moment ago."""

    def ask(self, flight: Flight, source: Source) -> None: ...

    def commit(self) -> None:
        """Have the journal write what was noted."""


class Waiting:
    """The queue of one client chain, of which the journal is the keeper; belongs to the loop."""

    def __init__(self, chain: str, in_flight: int, ledger: Ledger, journal: Journal, loop: Loop, requests: Requests,
                 providers: Providers):
        self._chain = chain
        self._most = in_flight
        self._ledger = ledger
        self._journal = journal
        self._loop = loop
        self._requests = requests
        self._providers = providers
        self._kept: dict[int, Flight] = {}
        self._next_detour = 0.0
        self._has_sources = True
        """Whether the journal has files that several providers announced."""
        self._open = True
        self._more = self._soon = False
        """At the last look more was due than there was room for; the next look comes in this turn of the loop."""
        self._next: Deadline | None = None
        """When it is looked next for what is due, if that is not soon."""

    def start(self) -> None:
        """Look for what is due, now and again and again."""
        self._loop.after(0.0, self._refill)

    def stop(self) -> None:
        """Ask for nothing more."""
        self._open = False

    def keep(self, flight: Flight) -> None:
        """*flight* is being written to the journal, and was never asked for: remember it, if there is room."""
        if len(self._kept) < KEPT and len(flight.source.announcement.message.raw) <= LARGEST_KEPT:
            self._kept[flight.id] = flight

    def expect(self) -> None:
        """A file that waits is in the journal now."""
        if self._next is not None:  # a burst has begun: there is room again long before that
            self._next.cancel()
            self._next = None
            self._loop.after(REFILL_BUSY, self._refill)

    def clock_leapt(self, seconds: float) -> None:
        """The clock was set: what waits keeps its age."""
        for flight in self._kept.values():
            flight.created += seconds

    def add_source(self, file: int, source: Source) -> None:
        """Another provider of *file*."""
        if file in self._kept:
            flight = self._kept[file]
            flight.sources[source.provider] = source
            flight.source = flight.sources[flight.source.provider]

    def drop(self, file: int) -> None:
        """*file* need not be asked for any more."""
        self._kept.pop(file, None)

    def flight_of(self, row: Any) -> Flight:
        """What a row of the journal says."""
        kept = self._kept.pop(row["id"], None)
        if kept is not None:
            return kept
        announcement = read_announcement(decode(row["message"].encode()))
        source = Source(announcement.address, announcement)
        flight = Flight(row["id"], row["chain"], row["identity"], row["revived"] or row["created"], source,
                        {source.provider: source}, attempt=row["attempt"],
                        doubtful=row["path"] is None and is_in_doubt(row["steps"]))  # a mirror has announced what is none
        if self._has_sources:
            for other in self._journal.find("sources_of", (row["id"],)):
                also = read_announcement(decode(other["message"].encode()))
                flight.sources[other["provider"]] = Source(other["provider"], also)
            flight.source = flight.sources[source.provider]  # what was announced last
        return flight

    def ask_now(self, row: Any) -> bool:
        """Somebody waits for what *row* of the journal is about: ask for it, at the latest when a provider has room. False when
        none of them has answered lately."""
        self._has_sources = True
        flight, now = self._flight_to_ask(row), time.time()
        flight.created = now
        source = next((source for source in (flight.source, *flight.sources.values())
                       if self._providers.room(source.provider) > 0), None)
        if source is not None and self._is_free(row) and not self._has_to_wait(flight, source):
            self._requests.ask(flight, source)
        elif row["due"] is None or row["due"] > now:
            self._ledger.step(row["id"], State.ANNOUNCED, now, row["attempt"], "waits for a provider that has room")
        return source is not None or not all(map(self._providers.is_resting, flight.sources))

    def room_again(self, provider: str) -> None:
        """*provider* has room for more requests than before, or what was asked for lately is in the journal now: look, in this
        turn of the loop, for what else waits."""
        if not self._more or self._soon or self._requests.is_being_written:
            return
        if self._providers.room(provider) >= self._portion:
            self._soon = True
            self._loop.call(self._look)

    @property
    def _portion(self) -> int:
        """How much room is worth a look: a quarter at a time, so that look-ups are few."""
        return (self._most + 3) // 4

    def _look(self) -> None:
        self._soon = False
        if self._open:
            self._ask_due()

    def _refill(self) -> None:
        self._next = None
        if not self._open:
            return
        self._requests.commit()
        self._ask_due()
        if self._providers.in_flight >= self._most // 4:  # room is likely to come soon
            self._loop.after(REFILL_BUSY, self._refill)
        else:
            self._next = self._loop.after(REFILL_EVERY, self._refill)

    def _ask_due(self) -> None:
        """Ask for what is due, of each provider as much as it has room for; nothing while the journal cannot say or take it."""
        if self._journal.full or self._journal.times_to_move:
            return
        now, self._more = time.monotonic(), False
        self._has_sources = self._journal.find_one("any_source") is not None
        detour = now >= self._next_detour
        if detour:
            self._next_detour = now + DETOURS_EVERY
        for row in self._journal.find("providers_due", {"chain": self._chain}):
            provider = row["provider"]
            if self._providers.is_resting(provider):
                if detour:
                    self._ask_elsewhere(provider)
                continue
            room = self._providers.room(provider)
            if room >= self._portion:
                files = [due["id"] for due in self._journal.find("ids_due", (self._chain, provider, time.time(), room))]
                self._more = self._more or len(files) == room
                for start in range(0, len(files), AT_ONCE):
                    self._ask_all(provider, files[start:start + AT_ONCE])
        self._requests.commit()

    def _ask_all(self, provider: str, files: list[int]) -> None:
        """Ask for what is due, in this order, as long as there is room; the journal is read for what is not kept in memory."""
        left = [file for file in files if file not in self._kept]
        rows = {row["id"]: row for row in self._journal.find("files_among", (orjson.dumps(left),))} if left else {}
        replaced = self._requests.replacing.among(files)
        for file in files:
            if self._providers.room(provider) <= 0:  # one of them may need more than others
                return
            if file in rows:
                self._ask_row(rows[file], replaced)
            elif file in self._kept:
                self._ask_kept(self._kept[file], replaced)

    def _ask_kept(self, flight: Flight, replaced: Container[int]) -> None:
        """It was never asked for."""
        if not self._requests.is_under_way(flight.id) and not self._ledger.is_unwritten(flight.identity, flight.id):
            del self._kept[flight.id]
            self._ask(flight, flight.source, replaced, told=False)

    def _ask(self, flight: Flight, source: Source, replaced: Container[int], *, told: bool) -> None:
        """Ask for it, unless it is one of those that are *replaced* by newer content, which may be there, or has to wait."""
        if flight.id in replaced and self._requests.cover_replaced(flight):
            return
        if self._has_to_wait(flight, source):
            self._wait(flight, told=told)
        else:
            self._requests.ask(flight, source)

    def _has_to_wait(self, flight: Flight, source: Source) -> bool:
        """Whether other content of its name is under way, which has to come before it, or may make it needless."""
        provider = self._providers.first_of(flight, source).provider
        return self._requests.replacing.has_to_wait(flight.identity, flight.id, provider, flight.until, doubtful=flight.doubtful)

    def _wait(self, flight: Flight, *, told: bool) -> None:
        """Look at it again soon. Its history says once that it waits; a failure remains the last it says."""
        due = time.time() + OTHER_CONTENT_WAIT
        if told:
            self._ledger.add("postpone", (due, flight.id))
        else:
            self._ledger.step(flight.id, State.ANNOUNCED, due, flight.attempt, OTHER_CONTENT)

    def _ask_elsewhere(self, provider: str) -> None:
        """*provider* does not answer: ask others for what waits for it, where they announced the same."""
        rows = self._journal.find("files_elsewhere", (self._chain, provider, time.time(), self._most))
        replaced = self._requests.replacing.among([row["id"] for row in rows])
        for row in rows:
            if self._providers.room(row["other"]) > 0 and self._is_free(row):
                flight = self.flight_of(row)
                self._ask(flight, flight.sources[row["other"]], replaced, told=_is_told(row))

    def _ask_row(self, row: Any, replaced: Container[int]) -> None:
        if self._is_free(row):
            flight = self._flight_to_ask(row)
            self._ask(flight, flight.source, replaced, told=_is_told(row))

    def _flight_to_ask(self, row: Any) -> Flight:
        flight = self.flight_of(row)
        flight.request = row["request"] or ""
        # Only what was never answered is asked for under its old id: the provider may know the outcome.
        flight.repeats = bool(flight.request and flight.source.announcement.epoch and row["state"] == State.FAILED
                              and "does not answer" in _last_of(row["steps"]))
        return flight

    def _is_free(self, row: Any) -> bool:
        return not self._requests.is_under_way(row["id"]) and not self._ledger.is_unwritten(row["identity"], row["id"])


def _is_told(row: Any) -> bool:
    """Whether the history of a file says why it waits."""
    return row["state"] == State.FAILED or OTHER_CONTENT in _last_of(row["steps"])


def _last_of(steps: str) -> str:
    return steps.rstrip("\n").rpartition("\n")[2]
