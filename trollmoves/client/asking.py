"""Ask: requests for files, from the first to the last provider, and what becomes of the answers.

A request is in the journal before it is sent (sending.py). Beyond `in_flight` requests to a provider (providers.py) the journal
is the queue (waiting.py).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Protocol

from trollmoves import crashing
from trollmoves.bus import Loop, Requesters
from trollmoves.bus.few_lines import FewLines
from trollmoves.bus.requesters import Named
from trollmoves.bus.requesting import WAIT, new_requests
from trollmoves.bus.streaming import Stream
from trollmoves.client.acknowledging import Acknowledging
from trollmoves.client.addressing import Addressing, Place
from trollmoves.client.deciding import MENDABLE, OF_MANY, Ask, GiveUp, Known, Wait, after_failure
from trollmoves.client.delivering import BY_ANOTHER, Delivering
from trollmoves.client.doubting import LOST_COPY, SAME, checksum_told, in_doubt, is_same, new_rows, with_checksum
from trollmoves.client.flight import Flight, Flights, Source
from trollmoves.client.held_up import HeldUp
from trollmoves.client.ledger import Ledger
from trollmoves.client.providers import Providers, host_part
from trollmoves.client.replacing import Replacing
from trollmoves.client.sending import DELIVERED, Sending
from trollmoves.client.unpacking import Unpacking
from trollmoves.client.waiting import OTHER_CONTENT_WAIT, Waiting
from trollmoves.config.settings import ClientSettings
from trollmoves.errors import JournalError, MoveError, NotAnnounced, TrollmovesError, error_of
from trollmoves.journal import Journal
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import LARGEST_WHOLE, Envelope, Message
from trollmoves.movers.retrying import in_words, wait_before
from trollmoves.uris import hide_password
from trollmoves.workers import Workers

logger = logging.getLogger(__name__)

SOON = 0.05
USUAL = 16 * 1024
"""Bytes of an announcement up to which it counts as one: some times as much is kept while its file is asked for."""
LONGEST_RETRY = 300.0
"""Seconds; a provider may not tell us to wait for longer."""


class Arriving(Protocol):
    """What a mirror does with files that were asked for, in place of unpacking and publishing them."""

    def deliver(self, flight: Flight, reply: Message) -> None:
        """The provider says that the files of *flight* are at their destination. To be ended by `landed` or `not_delivered`."""

    def failed(self, file: int, error: MoveError) -> None:
        """No provider could deliver *file*: it is asked for again later, or never."""


class Asking:
    """The requests of one client chain; belongs to the loop."""

    def __init__(self, settings: ClientSettings, who: Mapping[str, Any], ledger: Ledger, journal: Journal, loop: Loop,
                 envelope: Envelope, workers: Workers, stream: Stream, arriving: Arriving | None = None):
        """*who* says to providers who we are."""
        self._arriving = arriving
        self._settings = settings
        self._ledger = ledger
        self._journal = journal
        self._loop = loop
        self.addressing = Addressing(settings, loop.names.is_this_machine)
        self.requesters = Requesters(loop, envelope)
        self.acknowledging = Acknowledging(settings, self.addressing, journal, loop, self.requesters, who)
        self.delivering = Delivering(settings, self.addressing, journal, loop, envelope, stream, self.requesters,
                                     self.acknowledging, who, self.landed)
        self._sending = Sending(settings, self.addressing, who, loop, envelope, workers, stream, self.requesters,
                                self._answered, self._under_way, self.not_delivered)
        self.unpacking = Unpacking(settings, self.addressing, self.delivering, journal, loop, workers, self.not_delivered)
        own = self.delivering if settings.compression is None else self.unpacking
        self._receive = own.deliver if arriving is None else arriving.deliver
        """What becomes of files that are at their destination."""
        self._flights = Flights()
        self._to_send: list[Flight] = []
        """Flights to be sent, or to be forgotten, when what was noted with them is in the journal."""
        self._noted: list[tuple[str, int]] = []
        """Identities and ids of new files that wait, or are covered: no more than that is held of them while they are written."""
        self._writing = 0
        """Transactions on their way to the disk with requests in them."""
        self.providers = Providers(settings.in_flight, settings.lease_servers)
        self.replacing = Replacing(self.addressing, ledger, journal, self._flights, relays=arriving is not None)
        self.waiting = Waiting(settings.name, settings.in_flight, ledger, journal, loop, self, self.providers)
        self._new_requests = new_requests()
        self._held_up = HeldUp()
        self._failures = FewLines(loop, logger, "files from %s failed", settings.name)
        self._open = True

    def start(self) -> None:
        """Look, again and again, for what is due."""
        self.waiting.start()

    def stop_feeding(self) -> None:
        """Ask for nothing new."""
        self.providers.close()
        self.waiting.stop()
        self.acknowledging.flush()

    def close(self) -> None:
        self._open = False
        self._failures.close()
        self._sending.close()
        self.unpacking.close()
        self.delivering.close()
        self.acknowledging.close()
        self.requesters.close()

    def cancel(self) -> None:
        """Tell the providers of our kind that nobody wants any more what is under way."""
        by_place: dict[Named, list[str]] = {}
        for flight in self._flights:
            if flight.source.announcement.epoch and flight.request:
                by_place.setdefault(flight.asked_for[:3], []).append(flight.request)
        for place, requests in by_place.items():
            self.requesters.ours(*place).cancel(self._settings.topic or "/", requests)

    def dismissed(self, files: Iterable[int]) -> None:
        """Nobody wants these any more: the journal is about to say so, where none of them was delivered by now."""
        for file in files:
            self.waiting.drop(file)
            flight, row = self._flights.get(file), self._journal.find_one("file", (file,))
            if flight is not None and row is not None and row["state"] in (State.REQUESTED, State.FAILED, State.ANNOUNCED):
                self._cancel(flight)
                flight.asked = False
                self.landed(flight)

    def __len__(self) -> int:
        """How many files are under way."""
        return len(self._flights)

    def commit(self, then: Callable[[], Any] | None = None) -> None:
        """Have the journal write what was noted; then send the requests that were noted with it."""
        flights, self._to_send = self._to_send, []
        noted, self._noted = self._noted, []
        if self._ledger.pending or flights or then is not None:
            self._writing += bool(flights)
            self._ledger.write(self._written, flights, noted, then)

    def _written(self, flights: list[Flight], noted: list[tuple[str, int]], then: Callable[[], Any] | None) -> None:
        if flights:
            crashing.point("client.requested")
        self._writing -= bool(flights)
        for flight in flights:
            if flight.asked:
                self._sending.send(flight)
                self.waiting.room_again(flight.source.provider)
            else:
                self.landed(flight)
        for identity, file in noted:
            waits = self._ledger.is_waiting(identity, file)
            self._ledger.forget(identity, file)
            if waits:
                self.waiting.expect()
            else:
                self.waiting.drop(file)
        if then is not None:
            then()

    def begin(self, flight: Flight, *, now: bool) -> None:
        """A file that is new to us, noted by the caller: ask for it *now*, or leave it to the journal."""
        if now:
            self._mark_asked(flight, flight.source)
            self._to_send.append(flight)
        else:
            self.waiting.keep(flight)
            self._noted.append((flight.identity, flight.id))

    def resume(self, flight: Flight, *, replaced: bool) -> None:
        """Send the request of *flight*, which has taken off and is in the journal, when what was noted is there too; but cancel
        it if newer content may have *replaced* it, and has."""
        if replaced and self.cover_replaced(flight):
            self._cancel(flight)
            flight.asked = False
        self._to_send.append(flight)

    def fetch(self, file: int) -> None:
        """Somebody waits for *file*, which is in the journal: ask for it as soon as one of its providers has room."""
        flight = self._flights.get(file)
        row = self._journal.find_one("file", (file,)) if flight is None else None
        if row is not None:
            hopeful = self.waiting.ask_now(row)
            self.commit()
            if not hopeful and self._arriving is not None:
                self._arriving.failed(file, MoveError("its providers do not answer"))
        elif flight is None and self._arriving is not None:
            self._arriving.failed(file, NotAnnounced("the journal has forgotten it"))
        elif flight is not None and not flight.asked:  # given up a moment ago, which is being written
            self._loop.after(SOON, lambda: self.fetch(file) if self._open else None)

    def add_source(self, file: int, source: Source) -> None:
        """Another provider of a file that may be under way."""
        flight = self._flights.get(file)
        if flight is None:
            self.waiting.add_source(file, source)
        else:
            flight.sources[source.provider] = source
            flight.tried.discard(source.provider)

    def is_delivered(self, file: int) -> bool:
        """Whether *file* is delivered and what others announced of it is settled, so that nobody can be added to them."""
        flight = self._flights.get(file)
        return flight is not None and flight.noted

    def is_sent_to(self, message: Message) -> bool:
        """Whether we would have the files of *message*, a peer's notice, sent to the very place it names."""
        try:
            return self.addressing.is_sent_to(message.fields, message.fields.get("destination"))
        except TrollmovesError:
            return False

    def is_under_way(self, file: int) -> bool:
        """Whether *file* is asked for."""
        return file in self._flights

    def cover_replaced(self, flight: Flight) -> bool:
        """Whether newer content is where *flight* would go; then that is noted, and nothing is left to ask for."""
        if not (flight.overtaken or self.replacing.is_replaced(flight)):
            return False
        logger.info("[%s] %s from %s is left where it is: newer content of its name has been delivered", self._settings.name,
                    flight.identity, flight.source.provider)
        self._ledger.step(flight.id, State.COVERED, None, flight.attempt, "newer content of its name has been delivered")
        if flight.repeats:
            self._cancel(flight)
        return True

    def cancel_overtaken(self, file: int, identity: str) -> None:
        """Another member of the group has published *file*: what is older need not come any more, nor after it."""
        for other in self.replacing.overtaken_elsewhere(file, identity):
            other.overtaken = True
            self._cancel(other)

    def _cancel(self, flight: Flight) -> None:
        """Should its provider live after all, it need not deliver what nobody waits for."""
        if flight.source.announcement.epoch:
            self.requesters.ours(*flight.asked_for[:3]).cancel(self._settings.topic or "/", [flight.request])

    @property
    def is_being_written(self) -> bool:
        """Whether the journal still shows as waiting what was asked for a moment ago."""
        return self._writing > 0

    # Ask.

    def _mark_asked(self, flight: Flight, source: Source) -> None:
        if source.provider != flight.source.provider or not flight.repeats:
            flight.request = next(self._new_requests)
        flight.attempt += 1
        self.take_off(flight, source)

    def take_off(self, flight: Flight, source: Source) -> None:
        """It is under way from *source*; what is sent, if anything, is for the caller to say."""
        self._land(flight)
        flight.source = source
        flight.tried.add(source.provider)
        flight.asked, flight.repeats, flight.asked_at = True, False, time.time()
        flight.unless = self.replacing.had(flight) if flight.doubtful else ()
        self._flights.add(flight)
        flight.weight = 1 + len(source.announcement.message.raw) // USUAL
        self.providers.took_off(source.provider, flight.weight)

    def _land(self, flight: Flight) -> None:
        """It is under way no more."""
        if flight.shown:
            flight.shown = False
            self._journal.write([("end_progress", [(flight.id,)])])
        if self._flights.remove(flight):
            self.providers.landed(flight.source.provider, flight.weight)
            self.waiting.room_again(flight.source.provider)

    def ask(self, flight: Flight, source: Source) -> None:
        """Note a request: it is sent when the journal has it."""
        source = self.providers.first_of(flight, source)
        before = flight.sources.get(flight.source.provider, flight.source)
        if source.provider != before.provider:  # the row of the file names the one that is asked only
            self._ledger.add("add_source", (flight.id, before.provider, before.announcement.message.raw.decode()))
        self._mark_asked(flight, source)
        now = time.time()
        line = step_line(State.REQUESTED, now, source.provider, flight.attempt)
        self._ledger.add("ask", (now, flight.attempt, flight.request, source.provider, source.announcement.key,
                                 source.announcement.message.raw.decode(), line, flight.id))
        self._ledger.remember(flight.identity, flight.id, Known.of(State.REQUESTED, source.announcement))
        self._to_send.append(flight)

    def not_delivered(self, flight: Flight, code: str, permanent: bool, detail: str) -> None:
        """What the provider says it delivered cannot be used."""
        if self._open and flight.id in self._flights:
            self._failed(flight, code, permanent, detail)
            self.commit()

    def clock_leapt(self, seconds: float) -> None:
        """The clock was set: what was asked for keeps its age."""
        for flight in self._flights:
            flight.created += seconds
            flight.asked_at += seconds
        self.waiting.clock_leapt(seconds)
        self.acknowledging.clock_leapt(seconds)

    def repeat(self, address: str) -> None:
        """A provider was started anew: what it was asked before, on any of its ports, may be forgotten there."""
        places = {flight.asked_for[:3] for flight in self._flights
                  if flight.source.announcement.epoch and host_part(flight.source.provider) == host_part(address)}
        for place in places:
            self.requesters.ours(*place).restarted()

    # Answers.

    def _answered(self, flight: Flight, reply: Message | None) -> None:
        if not self._open or flight.id not in self._flights:
            return
        crashing.point("client.answered")
        if reply is not None:
            flight.checksum = checksum_told(reply)
        if reply is not None and reply.type in DELIVERED:
            flight.take_lease(reply.extension)
            self.when_settled(flight, flight.place, partial(self._deliver, flight, reply))
        elif reply is None:
            self._unanswered(flight)
        elif reply.type == "covered":
            self._cover(flight, with_checksum(flight.checksum, BY_ANOTHER))
        elif flight.doubtful and is_same(reply.extension):
            self._cover(flight, SAME)  # which its provider has taken for a confirmation
        elif reply.extension:
            said = reply.extension
            self._failed(flight, str(said.get("code", "internal"))[:40], said.get("permanent") is True,
                         str(reply.fields.get("error", reply.type)), said.get("retry_after"))
        else:
            self._failed(flight, "internal", False, str(reply.data or reply.type))
        self.commit()

    def _cover(self, flight: Flight, why: str) -> None:
        """Nothing is left to ask for, but of those who announced what may be other content."""
        self._ledger.step(flight.id, State.COVERED, None, flight.attempt, why, flight.source.provider)
        for row in new_rows(flight, in_doubt(flight), self._journal, time.time()):
            self._ledger.add("add_file", row)
        self._loop.call(self._journal.write, [], self.acknowledging.tell_others, flight)  # when the journal has what is noted
        flight.asked, flight.noted = False, True
        self._to_send.append(flight)  # forgotten when that is written

    def _under_way(self, flight: Flight, said: Mapping[str, Any]) -> None:
        """The provider says how far the move is."""
        self._journal.spare_loop(WAIT)  # or a disk that stalls would keep us from asking again
        done, total = said.get("done"), said.get("total")
        if type(done) is int and type(total) is int and 0 < done <= total <= LARGEST_WHOLE and flight.id in self._flights:
            flight.shown = True
            now = time.time()
            self._journal.write([("put_progress", [(flight.id, flight.chain, done, total, flight.asked_at, now)])])

    def when_settled(self, flight: Flight, place: Place | None, then: Callable[[], Any]) -> None:
        """Call *then* when it is known what to publish of files that were delivered to *place*: at once, but for a host of which
        no name server has said yet whether it is this machine."""
        if place is None or self._arriving is not None or self.addressing.is_settled(place):
            self.delivering.committing.release(flight.request)
            then()
            return
        if flight.confirms:
            self.delivering.committing.hold(flight.asked_for)
        self._loop.names.when_asked(place.destination.host, partial(self._settled, flight, place, then))

    def _settled(self, flight: Flight, place: Place, then: Callable[[], Any]) -> None:
        if self._open:
            self.when_settled(flight, place, then)
            self.commit()

    def _deliver(self, flight: Flight, reply: Message) -> None:
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("[%s] moved %s: from %s", self._settings.name, flight.identity, flight.source.provider)
        self.providers.delivered(flight.source.provider)
        self._hurry_others(flight)
        if self.providers.rank(flight.source.provider):
            flight.maybe_published = True  # the others of the group may have asked the first one, which we cannot reach
        try:
            self._receive(flight, reply)
        except JournalError:
            raise
        except Exception as error:  # a reply nobody can make a publication of
            logger.exception("[%s] the reply of %s cannot be dealt with", self._settings.name, flight.source.provider)
            self._failed(flight, "internal", False, f"the reply cannot be dealt with: {type(error).__name__}")

    def _hurry_others(self, flight: Flight) -> None:
        """A provider could deliver, after it could not: what waits for another try there need wait no longer."""
        provider, failed_before = flight.source.provider, flight.attempt > len(flight.tried)
        if self._held_up.delivered(provider, failed_before=failed_before):
            now = time.time()
            self._ledger.add("hurry_failed", (now, self._settings.name, provider, now))

    def _unanswered(self, flight: Flight) -> None:
        """The provider is dead or hangs: another one, or the same with the same id when it is heard of again, however late."""
        provider, now = flight.source.provider, time.time()
        self.providers.rest(provider)
        untried = [other for other in flight.sources if other not in flight.tried and not self.providers.is_resting(other)]
        if untried:
            self._cancel(flight)
            self._failed(flight, "dest_unreachable", False, f"{provider} does not answer")
            return
        flight.repeats = bool(flight.source.announcement.epoch)
        due = now if self._goes_on(flight) else None
        self._ledger.step(flight.id, State.FAILED, due, flight.attempt, f"{provider} does not answer", provider)
        self._lay_down(flight, MoveError(f"{provider} does not answer"))

    def _failed(self, flight: Flight, code: str, permanent: bool, detail: str, retry_after: Any = None) -> None:
        """A provider could not deliver: the next one, later, or never."""
        now = time.time()
        detail = hide_password(detail)[:500]
        if code in OF_MANY:
            self._held_up.note(flight.source.provider)
        needless = "newer content was announced" if self.replacing.is_superseded(flight, code) else ""
        if permanent:
            flight.refused.add(flight.source.provider)
        if self.replacing.is_lost_copy(flight, code):
            needless = LOST_COPY
            logger.info("[%s] %s from %s: %s; it was %s", self._settings.name, flight.identity, flight.source.provider, detail,
                        needless)
        if needless:
            self._ledger.step(flight.id, State.COVERED, None, flight.attempt, f"{detail}; {needless}")
            self._ledger.amend(flight.identity, flight.id, State.COVERED)
            self._lay_down(flight, error_of(code, detail))
            return
        if self.cover_replaced(flight):
            self._lay_down(flight, error_of(code, detail))
            return
        untried = self.providers.best_first(provider for provider in flight.sources if provider not in flight.tried)
        flight.hopeful = flight.hopeful or not permanent or code in MENDABLE
        action = after_failure(code=code, permanent=permanent, hopeful=flight.hopeful, untried=untried, age=now - flight.created,
                               lifetime=flight.lifetime,
                               backoff=wait_before(flight.attempt), retry_after=_seconds(retry_after))
        if code in OF_MANY and isinstance(action, Wait):
            action = Wait(self._held_up.wait(flight.source.provider, action.seconds))
        self._failures.say(flight.source.provider, "%s from %s: %s (%s)", flight.identity, flight.source.provider, detail,
                           _what_next(action))
        if isinstance(action, Ask) and self._arriving is None and self.replacing.has_to_wait(
                flight.identity, flight.id, action.provider, flight.until):
            action = Wait(OTHER_CONTENT_WAIT)
        if isinstance(action, Ask):
            self._ledger.step(flight.id, State.FAILED, None, flight.attempt, detail, flight.source.provider)
            self.ask(flight, flight.sources[action.provider])
            return
        state, due = (State.GIVEN_UP, None) if isinstance(action, GiveUp) else (State.FAILED, now + action.seconds)
        if not self._goes_on(flight):
            due = None
        self._ledger.step(flight.id, state, due, flight.attempt, detail, flight.source.provider)
        self._ledger.amend(flight.identity, flight.id, state)
        self._lay_down(flight, error_of(code, detail) if isinstance(action, GiveUp) else MoveError(detail))

    def _goes_on(self, flight: Flight) -> bool:
        """Whether *flight*, which failed, is asked for again by itself. A mirror asks for what nobody waits for any more only to
        find out whether it is to be announced."""
        return self._arriving is None or flight.doubtful

    def _lay_down(self, flight: Flight, error: MoveError) -> None:
        """It is not asked for any more (now): forgotten when that is written."""
        flight.asked = False
        self._to_send.append(flight)
        if self._arriving is not None:
            self._arriving.failed(flight.id, error)

    def landed(self, flight: Flight) -> None:
        """The journal knows all there is: nothing more is kept in memory."""
        if flight.asked:
            for other in self.replacing.overtaken_by(flight):  # which took too long, and need not come any more
                self._cancel(other)
        self._land(flight)
        self._ledger.forget(flight.identity, flight.id)


def _seconds(value: Any) -> float | None:
    """What a provider asks us to wait, within reason."""
    return min(float(value), LONGEST_RETRY) if isinstance(value, (int, float)) and value > 0 else None


def _what_next(action: Ask | Wait | GiveUp) -> str:
    if isinstance(action, Ask):
        return f"asking {action.provider}"
    return f"again {in_words(action.seconds)}" if isinstance(action, Wait) else "given up"
