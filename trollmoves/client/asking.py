"""Ask: requests for files, from the first to the last provider, and what becomes of the answers.

A request is in the journal before it is sent. Beyond `in_flight` requests to a provider the journal is the queue.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from trollmoves import crashing
from trollmoves.bus import Loop, Requesters
from trollmoves.bus.requesting import new_request
from trollmoves.bus.streaming import Stream
from trollmoves.client.addressing import Addressing, make_open_directory
from trollmoves.client.deciding import Ask, GiveUp, Known, Wait, after_failure
from trollmoves.client.delivering import Delivering
from trollmoves.client.flight import Flight, Source
from trollmoves.client.ledger import Ledger
from trollmoves.config.settings import ClientSettings
from trollmoves.errors import JournalError, TrollmovesError
from trollmoves.journal import Journal
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import EXTENSION, PROTOCOL, Envelope, Message, decode, read_announcement
from trollmoves.movers.retrying import wait_before
from trollmoves.uris import hide_password
from trollmoves.workers import Work, Workers

logger = logging.getLogger(__name__)

REFILL_BUSY = 0.02
REFILL_EVERY = 0.5
"""Seconds between two looks for what is due."""
REST = 60.0
"""Seconds for which a provider that did not answer is asked nothing, unless it is heard of before."""
DETOURS_EVERY = 2.0
"""Seconds between two looks for what waits for a provider that does not answer and could be had from another one."""
LONGEST_RETRY = 300.0
"""Seconds; a provider may not tell us to wait for longer."""
REQUESTS_GROUPED = 200
SUPERSEDED = ("changed", "gone")
"""What a provider says of content that another has taken the place of."""
DELIVERED = ("file", "dataset", "collection")
DIRECTORIES_KEPT = 1000


class Asking:
    """The requests of one client chain; belongs to the loop."""

    def __init__(self, settings: ClientSettings, who: Mapping[str, Any], ledger: Ledger, journal: Journal, loop: Loop,
                 envelope: Envelope, workers: Workers, stream: Stream):
        """*who* says to providers who we are."""
        self._settings = settings
        self._who = who
        self._ledger = ledger
        self._journal = journal
        self._loop = loop
        self._envelope = envelope
        self._workers = workers
        self._stream = stream
        self._addressing = Addressing(settings)
        self.requesters = Requesters(loop, envelope)
        self.delivering = Delivering(settings, self._addressing, journal, loop, envelope, stream, self.requesters, who,
                                     self._forget)
        self._flights: dict[int, Flight] = {}
        self._to_send: list[Flight] = []
        """Flights to be sent, or to be forgotten, when what was noted with them is in the journal."""
        self._directories: OrderedDict[str, None] = OrderedDict()
        self._in_flight: Counter[str] = Counter()
        """By provider: how many of its files were asked for and not answered yet."""
        self._groups: dict[tuple[str, int, str, str], list[Flight]] = {}
        """Requests of this turn of the loop, by provider and destination."""
        self._resting: dict[str, float] = {}
        """Providers that did not answer, and until when (monotonic) nothing is asked of them."""
        self._next_detour = 0.0
        self._feeding = self._open = True

    def start(self) -> None:
        """Take up what the last process left, then look again and again for what is due."""
        self._take_up()
        self._loop.after(0.0, self._refill)

    def stop_feeding(self) -> None:
        """Ask for nothing new."""
        self._feeding = False
        self.delivering.flush()

    def close(self) -> None:
        self._open = False
        self.delivering.close()
        self.requesters.close()

    def __len__(self) -> int:
        """How many files are under way."""
        return len(self._flights)

    def commit(self, then: Callable[[], Any] | None = None) -> None:
        """Have the journal write what was noted; then send the requests that were noted with it."""
        flights, self._to_send = self._to_send, []
        if self._ledger.pending or flights or then is not None:
            self._ledger.write(self._written, flights, then)

    def _written(self, flights: list[Flight], then: Callable[[], Any] | None) -> None:
        crashing.point("client.requested")
        for flight in flights:
            if flight.asked:
                self._prepare(flight)
            else:
                self._forget(flight)
        if then is not None:
            then()

    def begin(self, flight: Flight, *, now: bool) -> None:
        """A file that is new to us, noted by the caller: ask for it *now*, or leave it to the journal."""
        if now:
            self._mark_asked(flight, flight.source)
        self._to_send.append(flight)

    def add_source(self, file: int, source: Source) -> None:
        """Another provider of a file that may be under way."""
        if file in self._flights:
            self._flights[file].sources[source.provider] = source

    def has_room(self, address: str) -> bool:
        """Whether a provider may be asked for one file more."""
        return self._feeding and self._in_flight[address] < self._settings.in_flight and address not in self._resting

    def wake(self, *, address: str = "", host: str = "") -> None:
        """A provider, or any on a host, was heard of: it may be asked again."""
        if self._resting:
            self._resting = {known: until for known, until in self._resting.items()
                             if known != address and host_part(known) != host}

    # Ask.

    def _mark_asked(self, flight: Flight, source: Source) -> None:
        if source.provider != flight.source.provider or not flight.repeats:
            flight.request = new_request()
        flight.attempt += 1
        self._take_off(flight, source)

    def _take_off(self, flight: Flight, source: Source) -> None:
        self._land(flight)
        flight.source = source
        flight.tried.add(source.provider)
        flight.asked, flight.repeats = True, False
        self._flights[flight.id] = flight
        self._in_flight[source.provider] += 1

    def _land(self, flight: Flight) -> None:
        """It is under way no more."""
        if self._flights.pop(flight.id, None) is not None:
            self._in_flight[flight.source.provider] -= 1
            if self._in_flight[flight.source.provider] <= 0:
                del self._in_flight[flight.source.provider]

    def _ask(self, flight: Flight, source: Source) -> None:
        """Note a request: it is sent when the journal has it."""
        self._mark_asked(flight, source)
        now = time.time()
        line = step_line(State.REQUESTED, now, source.provider, flight.attempt)
        self._ledger.add(("ask", [(now, flight.attempt, flight.request, source.provider,
                                       source.announcement.message.raw.decode(), line, flight.id)]))
        announcement = source.announcement
        known = Known(State.REQUESTED, announcement.key, announcement.size, source.provider, announcement.epoch,
                      announcement.offset)
        self._ledger.remember(flight.identity, flight.id, known)
        self._to_send.append(flight)

    def _prepare(self, flight: Flight) -> None:
        """Work out the destination, and have its local directory made if that was not done yet."""
        try:
            place = flight.place = self._addressing.place(flight.source.announcement.message.fields)
        except TrollmovesError as error:
            self._failed(flight, "bad_request", True, str(error))
            return
        directory = place.directory
        if directory is None or directory in self._directories:
            self._send(flight)
            return
        self._workers.submit([Work(("local directory", directory), 1, lambda _: make_open_directory(directory),
                                   lambda outcome: self._directory_made(flight, directory, outcome))])

    def _directory_made(self, flight: Flight, directory: str, outcome: Any) -> None:
        if isinstance(outcome, Exception):
            self._failed(flight, "dest_unreachable", False, f"cannot make {directory}: {outcome}")
            self.commit()
            return
        self._directories[directory] = None
        if len(self._directories) > DIRECTORIES_KEPT:
            self._directories.popitem(last=False)
        self._send(flight)

    def _send(self, flight: Flight) -> None:
        """Tell peers, then ask the provider."""
        if not self._open or flight.place is None:
            return
        announcement = flight.source.announcement
        self._stream.send(self._envelope.encode_like(announcement.message, "push", self._addressing.notice_data(flight.place)))
        if announcement.epoch and flight.attempt == 1 and not self._settings.backup_targets:
            self._group(flight)
        else:
            self._push(flight)

    def _push(self, flight: Flight) -> None:
        """One request, in upstream's form."""
        assert flight.place is not None
        announcement = flight.source.announcement
        data = self._addressing.request_data(announcement.message.fields, flight.place)
        place, subject = (announcement.host, announcement.port), announcement.message.subject
        if announcement.epoch:
            data[EXTENSION] = {**announcement.message.extension, "version": PROTOCOL, "request": flight.request, **self._who}
            self.requesters.ours(*place).ask(flight.request, subject, "push", data, partial(self._answered, flight))
        else:
            self.requesters.upstream(*place).ask(subject, "push", data, partial(self._answered, flight),
                                                  self._settings.transfer_req_timeout)
        crashing.point("client.asked")

    def _group(self, flight: Flight) -> None:
        """Note a request that goes out with all others of this turn of the loop to the same provider and destination."""
        assert flight.place is not None
        if not self._groups:
            self._loop.call(self._send_groups)
        announcement = flight.source.announcement
        place = announcement.host, announcement.port, announcement.epoch, flight.place.requested
        self._groups.setdefault(place, []).append(flight)

    def _send_groups(self) -> None:
        groups, self._groups = self._groups, {}
        if not self._open:
            return
        for (host, port, epoch, destination), flights in groups.items():
            for start in range(0, len(flights), REQUESTS_GROUPED):
                part = flights[start:start + REQUESTS_GROUPED]
                if len(part) == 1:
                    self._push(part[0])
                    continue
                pushes = [(flight.source.announcement.offset, flight.request) for flight in part]
                data = {"destination": destination,
                        EXTENSION: {"version": PROTOCOL, "epoch": epoch, "pushes": pushes, **self._who}}
                asked = {flight.request: (flight.source.announcement.message, partial(self._answered, flight)) for flight in part}
                self.requesters.ours(host, port).ask_group(part[0].source.announcement.message.subject, "push", data, asked)
                crashing.point("client.asked")

    def repeat(self, address: str) -> None:
        """A provider was started anew: what it was asked before, on any of its ports, may be forgotten there."""
        places = {(flight.source.announcement.host, flight.source.announcement.port) for flight in self._flights.values()
                  if flight.source.announcement.epoch and host_part(flight.source.provider) == host_part(address)}
        for place in places:
            self.requesters.ours(*place).repeat()

    # Answers.

    def _answered(self, flight: Flight, reply: Message | None) -> None:
        if not self._open or flight.id not in self._flights:
            return
        crashing.point("client.answered")
        if reply is not None and reply.type in DELIVERED:
            self._deliver(flight, reply)
        elif reply is None:
            self._unanswered(flight)
        elif reply.extension:
            said = reply.extension
            self._failed(flight, str(said.get("code", "internal"))[:40], said.get("permanent") is True,
                         str(reply.fields.get("error", reply.type)), said.get("retry_after"))
        else:
            self._failed(flight, "internal", False, str(reply.data or reply.type))
        self.commit()

    def _deliver(self, flight: Flight, reply: Message) -> None:
        try:
            self.delivering.deliver(flight, reply)
        except JournalError:
            raise
        except Exception as error:  # a reply nobody can make a publication of
            logger.exception("[%s] the reply of %s cannot be dealt with", self._settings.name, flight.source.provider)
            self._failed(flight, "internal", False, f"the reply cannot be dealt with: {type(error).__name__}")

    def _unanswered(self, flight: Flight) -> None:
        """The provider is dead or hangs: another one, or the same with the same id when it is heard of again, however late."""
        provider, now = flight.source.provider, time.time()
        self._resting[provider] = time.monotonic() + REST
        untried = [other for other in flight.sources if other not in flight.tried and other not in self._resting]
        if untried:
            self._failed(flight, "dest_unreachable", False, f"{provider} does not answer")
            return
        flight.repeats = bool(flight.source.announcement.epoch)
        self._ledger.step(flight.id, State.FAILED, now, flight.attempt, f"{provider} does not answer", provider)
        flight.asked = False
        self._to_send.append(flight)  # forgotten when that is written

    def _failed(self, flight: Flight, code: str, permanent: bool, detail: str, retry_after: Any = None) -> None:
        """A provider could not deliver: the next one, later, or never."""
        now = time.time()
        detail = hide_password(detail)[:500]
        if code in SUPERSEDED and self._is_superseded(flight):
            self._ledger.step(flight.id, State.COVERED, None, flight.attempt, f"{detail}; newer content was announced")
            flight.asked = False
            self._to_send.append(flight)  # forgotten when that is written
            return
        untried = [provider for provider in flight.sources if provider not in flight.tried]
        action = after_failure(code=code, permanent=permanent, untried=untried, age=now - flight.created,
                               backoff=wait_before(flight.attempt),
                               retry_after=_seconds(retry_after))
        logger.warning("[%s] %s from %s: %s (%s)", self._settings.name, flight.identity, flight.source.provider, detail,
                       _in_words(action))
        if isinstance(action, Ask):
            self._ledger.step(flight.id, State.FAILED, None, flight.attempt, detail, flight.source.provider)
            self._ask(flight, flight.sources[action.provider])
            return
        state, due = (State.GIVEN_UP, None) if isinstance(action, GiveUp) else (State.FAILED, now + action.seconds)
        self._ledger.step(flight.id, state, due, flight.attempt, detail, flight.source.provider)
        self._ledger.amend(flight.identity, flight.id, state)
        flight.asked = False
        self._to_send.append(flight)  # forgotten when that is written

    def _is_superseded(self, flight: Flight) -> bool:
        """Whether newer content of the same name was announced meanwhile: then the old one is nobody's loss."""
        announcement = flight.source.announcement
        versions = self._ledger.versions(flight.identity)
        return any(file > flight.id if known.epoch != announcement.epoch else known.offset > announcement.offset
                   for file, known in versions.items() if file != flight.id)

    def _forget(self, flight: Flight) -> None:
        """The journal knows all there is: nothing more is kept in memory."""
        self._land(flight)
        self._ledger.forget(flight.identity, flight.id)

    # What waits in the journal.

    def _refill(self) -> None:
        """Ask for what is due and has room; again soon."""
        if not self._open:
            return
        self.commit()
        if self._feeding and not self._journal.full:
            self._ask_due()
        busy = len(self._flights) >= self._settings.in_flight // 4
        self._loop.after(REFILL_BUSY if busy else REFILL_EVERY, self._refill)

    def _ask_due(self) -> None:
        """Ask for what is due, of each provider as much as it has room for."""
        now = time.monotonic()
        detour = now >= self._next_detour
        if detour:
            self._next_detour = now + DETOURS_EVERY
        self._resting = {address: until for address, until in self._resting.items() if until > now}
        for row in self._journal.find("providers_due", {"chain": self._settings.name}):
            provider = row["provider"]
            room = self._settings.in_flight - self._in_flight[provider]
            if provider in self._resting:
                if detour:
                    self._ask_elsewhere(provider)
            elif room >= (self._settings.in_flight + 3) // 4:  # a quarter at a time, so that look-ups are few
                for due in self._journal.find("files_due", (self._settings.name, provider, time.time(), room)):
                    self._ask_row(due)
        self.commit()

    def _ask_elsewhere(self, provider: str) -> None:
        """*provider* does not answer: ask others for what waits for it, where they announced the same."""
        for row in self._journal.find("files_elsewhere", (self._settings.name, provider, time.time(), self._settings.in_flight)):
            if self.has_room(row["other"]) and self._is_free(row):
                flight = self._flight_of(row)
                self._ask(flight, flight.sources[row["other"]])

    def _is_free(self, row: Any) -> bool:
        return row["id"] not in self._flights and not self._ledger.is_unwritten(row["identity"])

    def _flight_of(self, row: Any) -> Flight:
        announcement = read_announcement(decode(row["message"].encode()))
        source = Source(announcement.address, announcement)
        flight = Flight(row["id"], row["chain"], row["identity"], row["created"], source, {source.provider: source},
                        attempt=row["attempt"])
        for other in self._journal.find("sources_of", (row["id"],)):
            flight.sources[other["provider"]] = Source(other["provider"], read_announcement(decode(other["message"].encode())))
        return flight

    def _ask_row(self, row: Any) -> None:
        if not self._is_free(row):
            return
        flight = self._flight_of(row)
        flight.request = row["request"] or ""
        # Only what was never answered is asked for under its old id: the provider may know the outcome.
        flight.repeats = bool(flight.request and flight.source.announcement.epoch and row["state"] == State.FAILED
                              and "does not answer" in row["steps"].rstrip("\n").rpartition("\n")[2])
        self._ask(flight, flight.source)

    def _take_up(self) -> None:
        """What the last process had asked for is asked again, under the same id; what it was about to publish is published."""
        for row in self._journal.find("files_in_state", (self._settings.name, State.REQUESTED)):
            flight = self._flight_of(row)
            flight.request = row["request"]
            self._take_off(flight, flight.source)
            announcement = flight.source.announcement
            self._ledger.remember(flight.identity, flight.id, Known(
                State.REQUESTED, row["key"], row["size"], row["provider"], announcement.epoch, announcement.offset))
            self._to_send.append(flight)
        self.commit()
        for row in self._journal.find("unpublished", (self._settings.name,)):
            self.delivering.publish_again(row["file"], row["message"].encode())


def _seconds(value: Any) -> float | None:
    """What a provider asks us to wait, within reason."""
    return min(float(value), LONGEST_RETRY) if isinstance(value, (int, float)) and value > 0 else None


def host_part(address: str) -> str:
    return address.rpartition(":")[0]


def _in_words(action: Ask | Wait | GiveUp) -> str:
    if isinstance(action, Ask):
        return f"asking {action.provider}"
    return f"again in {action.seconds:.0f} s" if isinstance(action, Wait) else "given up"
