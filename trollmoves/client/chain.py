"""One section of a client: hear -> decide -> ask -> publish.

    Listener, CatchUp (one of each a provider)   what is announced, and what was missed     bus/
    -> deciding                                  is it news, whom to ask, when again        deciding.py
    -> Requesters                                ask, many at a time                        bus/
    -> Delivering                                acknowledge and publish                    delivering.py

A message is journaled before anything is done about it. Beyond `in_flight` requests the journal is the queue.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson

from trollmoves import crashing
from trollmoves.bus import Listener, Loop, Publisher, Requesters
from trollmoves.bus.catching_up import CatchUp
from trollmoves.bus.requesting import new_request
from trollmoves.bus.streaming import Stream
from trollmoves.client.addressing import Addressing, make_open_directory
from trollmoves.client.deciding import (
    Ask,
    Covered,
    GiveUp,
    Known,
    Notice,
    Verdict,
    Wait,
    after_failure,
    after_notice,
    judge,
    read_notice,
)
from trollmoves.client.delivering import Delivering
from trollmoves.client.flight import Flight, Source
from trollmoves.config.places import Provider
from trollmoves.config.settings import ClientSettings
from trollmoves.errors import JournalError, MalformedMessage, TrollmovesError
from trollmoves.journal import Journal, Operation
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import EXTENSION, PROTOCOL, Announcement, Envelope, Message, decode, identity_of, read_announcement
from trollmoves.movers.retrying import wait_before
from trollmoves.uris import hide_password
from trollmoves.workers import Work, Workers

logger = logging.getLogger(__name__)

SERVER_BEATS = ("/heartbeat/move_it_server", "/heartbeat/move_it_mirror")
CLIENT_BEATS = "/heartbeat/move_it_"
REFILL_EVERY = 0.25
"""Seconds between two looks for what is due."""
REST = 60.0
"""Seconds for which a provider that did not answer is asked nothing, unless it is heard of before."""
DETOURS_EVERY = 2.0
"""Seconds between two looks for what waits for a provider that does not answer and could be had from another one."""
LONGEST_RETRY = 300.0
"""Seconds; a provider may not tell us to wait for longer."""
REQUESTS_GROUPED = 200
NOTICES_KEPT = 20_000
NOTICES_VALID = 600.0
"""Seconds; a peer's notice that came before the announcement it is about counts for this long."""
DELIVERED = ("file", "dataset", "collection")
DIRECTORIES_KEPT = 1000


class Chain:
    """A configured section that runs; belongs to the loop."""

    def __init__(self, settings: ClientSettings, client: str, journal: Journal, loop: Loop, envelope: Envelope, workers: Workers):
        self.settings = settings
        self._client = client
        self._journal = journal
        self._loop = loop
        self._envelope = envelope
        self._workers = workers
        self._delay = settings.processing_delay or 0.0
        self._who = {"client": client, "group": settings.group, "priority": 1 if settings.processing_delay else 0}
        self._addressing = Addressing(settings)
        self._requesters = Requesters(loop, envelope)
        self._stream = self._new_stream()
        self._delivering = Delivering(settings, self._addressing, journal, loop, envelope, self._stream, self._requesters,
                                      self._who, self._landed)
        self._flights: dict[int, Flight] = {}
        self._unwritten: dict[str, tuple[int, Known]] = {}
        """By identity: what is being written or asked for, which look-ups do not see, or not as it is now."""
        self._on_record: dict[str, tuple[int, Known]] = {}
        """By identity: what the journal says of those in the messages at hand."""
        self._notices: OrderedDict[str, tuple[Notice, str, float]] = OrderedDict()
        self._directories: OrderedDict[str, None] = OrderedDict()
        self._listeners: dict[Provider, Listener] = {}
        self._catch_ups: dict[Provider, CatchUp] = {}
        self._heard: dict[Provider, float] = {}
        self._interval: dict[Provider, float] = {}
        self._records: list[Operation] = []
        self._to_send: list[Flight] = []
        self._in_flight: Counter[str] = Counter()
        """By provider: how many of its files were asked for and not answered yet."""
        self._groups: dict[tuple[str, int, str, str], list[Flight]] = {}
        """Requests of this turn of the loop, by provider and destination."""
        self._resting: dict[str, float] = {}
        """Providers that did not answer, and until when (monotonic) nothing is asked of them."""
        self._next_detour = 0.0
        self._more_due = True
        self._feeding = False
        self._open = True

    # Start and stop.

    def _new_stream(self) -> Stream:
        settings = self.settings
        publisher = Publisher(self._loop, settings.publish_port, address=settings.listen_address)
        name = "move_it_" + settings.name
        if settings.nameservers is not False:
            publisher.advertise(name, settings.nameserver_hosts)
        logger.info("[%s] publishes on port %d", settings.name, publisher.port)
        return Stream(name, self._loop, self._journal.epoch, self._journal.head, self._envelope, publisher, lambda: None)

    def start(self) -> None:
        """Take up what the last process left, then listen."""
        self._feeding = True
        self._take_up()
        for provider in self.settings.providers:
            self._listen_to(provider)
        self._loop.after(0.0, self._refill)
        if self.settings.heartbeat and self.settings.heartbeat_alarm_scale > 0:
            self._loop.after(1.0, self._check_silence)

    def _topics_of(self, provider: Provider) -> list[str]:
        return [provider.topic if provider.topic is not None else self.settings.topic]

    def _listen_to(self, provider: Provider) -> None:
        topics = self._topics_of(provider)
        row = self._journal.find_one("cursor", (self.settings.name, str(provider)))
        cursor = None if row is None else (str(row["epoch"]), int(row["position"]))

        def page(messages: list[Message], epoch: str, position: int, then: Callable[[], Any]) -> None:
            self._take_in(provider, messages, ("set_cursor", [(self.settings.name, str(provider), epoch, position)]), then)

        def moved_on(epoch: str, position: int) -> None:
            self._records.append(("set_cursor", [(self.settings.name, str(provider), epoch, position)]))

        self._catch_ups[provider] = CatchUp(
            self._loop, self._requesters, str(provider), topics, self._client, cursor=cursor, past=self.settings.catch_up,
            page=page, moved_on=moved_on, restarted=self._repeat_requests, alarm=self._alarm)
        beats = (*SERVER_BEATS, CLIENT_BEATS + self.settings.name)
        self._listeners[provider] = Listener(self._loop, provider.host, provider.port, (*topics, *beats),
                                             lambda messages: self._take_in(provider, messages))
        self._heard[provider] = time.monotonic()

    def stop_feeding(self) -> None:
        """Ask for nothing new; what is under way goes on."""
        self._feeding = False
        for listener in self._listeners.values():
            listener.close()
        for catch_up in self._catch_ups.values():
            catch_up.close()
        self._listeners.clear()
        self._delivering.flush()

    def under_way(self) -> int:
        return len(self._flights)

    def stop(self) -> None:
        """End; may be called twice. What was asked for is asked for again after the next start."""
        if self._open:
            self._open = False
            self.stop_feeding()
            self._requesters.close()
            self._stream.close()

    def _alarm(self, text: str) -> None:
        self._journal.alarm(self.settings.name, text)

    # Hear: journal first, then act.

    def _take_in(self, provider: Provider, messages: list[Message], cursor: Operation | None = None,
                 then: Callable[[], Any] | None = None) -> None:
        """Handle messages of one provider in one transaction; *cursor* goes with them when they are a page of a replay."""
        if not self._open:
            return
        self._heard[provider] = time.monotonic()
        crashing.point("client.heard")
        self._look_up(messages)
        for message in messages:
            try:
                self._take_one(provider, message, live=cursor is None)
            except MalformedMessage as error:
                logger.warning("[%s] %s announced something nobody can ask for: %s", self.settings.name, provider, error)
            except JournalError:
                raise
            except Exception:  # whatever one message brings about, the next one is taken
                logger.exception("[%s] a message of %s cannot be dealt with", self.settings.name, provider)
        if cursor is not None:
            self._records.append(cursor)
        self._write(then)

    def _write(self, then: Callable[[], Any] | None = None) -> None:
        """Commit what was noted; then send the requests that were noted with it."""
        records, self._records = self._records, []
        flights, self._to_send = self._to_send, []
        if records or flights or then is not None:
            self._journal.write(records, self._written, flights, then)

    def _written(self, flights: list[Flight], then: Callable[[], Any] | None) -> None:
        crashing.point("client.requested")
        for flight in flights:
            if flight.asked:
                self._prepare(flight)
            else:
                self._forget(flight)
        if then is not None:
            then()

    def _take_one(self, provider: Provider, message: Message, *, live: bool) -> None:
        if message.type == "beat":
            self._beat(provider, message)
            return
        notice = read_notice(message)
        if notice is not None:
            self._take_notice(notice, message)
            return
        announcement = read_announcement(message)
        if live:
            self._resting.pop(announcement.address, None)
            self._catch_ups[provider].announced(announcement)
        self._take_announcement(announcement)

    def _beat(self, provider: Provider, message: Message) -> None:
        interval = message.fields.get("min_interval")
        if isinstance(interval, (int, float)) and interval > 0:
            self._interval[provider] = float(interval)
        if message.subject.startswith(SERVER_BEATS):
            self._resting = {address: until for address, until in self._resting.items()
                             if host_part(address) != host_part(str(message.extension.get("address")))}
            self._catch_ups[provider].beat(message)

    def _take_announcement(self, announcement: Announcement) -> None:
        file, known = self._known(announcement.identity)
        verdict = judge(known, announcement)
        source = Source(announcement.address, announcement)
        if verdict is Verdict.NEW:
            self._begin(source)
        elif verdict is Verdict.SOURCE:
            self._records.append(("add_source", [(file, source.provider, announcement.message.raw.decode())]))
            if file in self._flights:
                self._flights[file].sources[source.provider] = source
        elif verdict is Verdict.TELL:
            self._delivering.tell(source)

    def _look_up(self, messages: list[Message]) -> None:
        """Ask the journal once for all that came together."""
        identities = [identity for message in messages if message.type != "beat"
                      and (identity := identity_of(message.fields)) not in self._unwritten]
        rows = self._journal.find("known_files", (self.settings.name, orjson.dumps(identities))) if identities else []
        self._on_record = {row["identity"]: (row["id"], Known(State(row["state"]), row["key"], row["size"], row["provider"]))
                           for row in rows}

    def _known(self, identity: str) -> tuple[int, Known | None]:
        return self._unwritten.get(identity) or self._on_record.get(identity) or (0, None)

    def _begin(self, source: Source) -> None:
        """A file that is new to us: a row in the journal, and a request at once if there is no reason to wait."""
        announcement, now = source.announcement, time.time()
        flight = Flight(self._journal.new_file(), self.settings.name, announcement.identity, now, source,
                        {source.provider: source})
        state, due = self._first_step(announcement, now)
        steps = step_line(State.ANNOUNCED, now, source.provider)
        if state is State.REQUESTED:
            self._mark_asked(flight, source)
            steps += step_line(state, now, source.provider, flight.attempt)
        elif state is State.COVERED:
            steps += step_line(state, now, detail="a peer has it")
        self._records.append(("add_file", [(
            flight.id, flight.chain, flight.identity, announcement.key, state, now, steps, due, announcement.size, None, None,
            None, None, source.provider, announcement.message.raw.decode(), flight.request or None, flight.attempt, now)]))
        self._unwritten[flight.identity] = flight.id, Known(state, announcement.key, announcement.size, source.provider)
        self._to_send.append(flight)

    def _first_step(self, announcement: Announcement, now: float) -> tuple[State, float | None]:
        """The state a new file begins in, and when it is due."""
        notice = self._notice_of(announcement)
        if notice is Notice.HAS:
            return State.COVERED, None
        if notice is Notice.ASKED and self._delay:
            wait = after_notice(notice, State.ANNOUNCED, self._delay)
            assert isinstance(wait, Wait)
            return State.ANNOUNCED, now + wait.seconds
        if self._delay or not self._has_room(announcement.address) or not self._feeding:
            self._more_due = True
            return State.ANNOUNCED, now + self._delay
        return State.REQUESTED, None

    def _has_room(self, address: str) -> bool:
        """Whether a provider may be asked for one file more."""
        return self._in_flight[address] < self.settings.in_flight and address not in self._resting

    # Notices of peers: hot spares see each other's work.

    def _take_notice(self, notice: Notice, message: Message) -> None:
        identity, key = identity_of(message.fields), str(message.extension.get("key", ""))
        self._notices[identity] = notice, key, time.monotonic()
        self._notices.move_to_end(identity)
        if len(self._notices) > NOTICES_KEPT:
            self._notices.popitem(last=False)
        file, known = self._known(identity)
        if known is None or (key and known.key and key != known.key):
            return
        action = after_notice(notice, known.state, self._delay)
        if action is None:
            return
        now = time.time()
        if isinstance(action, Covered):
            self._note(file, State.COVERED, now, None, 0, f"{message.sender} has it")
            self._unwritten.pop(identity, None)
        else:
            self._note(file, known.state, now, now + action.seconds, 0, f"{message.sender} asks for it")

    def _notice_of(self, announcement: Announcement) -> Notice | None:
        notice, key, when = self._notices.get(announcement.identity, (None, "", 0.0))
        if notice is None or time.monotonic() - when > NOTICES_VALID or (key and announcement.key and key != announcement.key):
            return None
        return notice

    def _note(self, file: int, state: State, now: float, due: float | None, attempt: int, detail: str, peer: str = "") -> None:
        line = step_line(state, now, peer, attempt, detail)
        self._records.append(("step_due", [(state, now, attempt, due, line, file)]))

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
        self._records.append(("ask", [(now, flight.attempt, flight.request, source.provider,
                                       source.announcement.message.raw.decode(), line, flight.id)]))
        announcement = source.announcement
        self._unwritten[flight.identity] = flight.id, Known(State.REQUESTED, announcement.key, announcement.size, source.provider)
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
            self._write()
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
        if announcement.epoch and flight.attempt == 1 and not self.settings.backup_targets:
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
            self._requesters.ours(*place).ask(flight.request, subject, "push", data, partial(self._answered, flight))
        else:
            self._requesters.upstream(*place).ask(subject, "push", data, partial(self._answered, flight),
                                                  self.settings.transfer_req_timeout)
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
                self._requesters.ours(host, port).ask_group(part[0].source.announcement.message.subject, "push", data, asked)
                crashing.point("client.asked")

    def _repeat_requests(self, address: str) -> None:
        """A provider was started anew: what it was asked before, on any of its ports, may be forgotten there."""
        places = {(flight.source.announcement.host, flight.source.announcement.port) for flight in self._flights.values()
                  if flight.source.announcement.epoch and host_part(flight.source.provider) == host_part(address)}
        for place in places:
            self._requesters.ours(*place).repeat()

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
        self._write()

    def _deliver(self, flight: Flight, reply: Message) -> None:
        try:
            self._delivering.deliver(flight, reply)
        except JournalError:
            raise
        except Exception as error:  # a reply nobody can make a publication of
            logger.exception("[%s] the reply of %s cannot be dealt with", self.settings.name, flight.source.provider)
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
        self._note(flight.id, State.FAILED, now, now, flight.attempt, f"{provider} does not answer", provider)
        flight.asked = False
        self._to_send.append(flight)  # forgotten when that is written

    def _failed(self, flight: Flight, code: str, permanent: bool, detail: str, retry_after: Any = None) -> None:
        """A provider could not deliver: the next one, later, or never."""
        now = time.time()
        detail = hide_password(detail)[:500]
        untried = [provider for provider in flight.sources if provider not in flight.tried]
        action = after_failure(code=code, permanent=permanent, untried=untried, age=now - flight.created,
                               backoff=wait_before(flight.attempt),
                               retry_after=_seconds(retry_after))
        logger.warning("[%s] %s from %s: %s (%s)", self.settings.name, flight.identity, flight.source.provider, detail,
                       _in_words(action))
        if isinstance(action, Ask):
            self._note(flight.id, State.FAILED, now, None, flight.attempt, detail, flight.source.provider)
            self._ask(flight, flight.sources[action.provider])
            return
        state, due = (State.GIVEN_UP, None) if isinstance(action, GiveUp) else (State.FAILED, now + action.seconds)
        self._note(flight.id, state, now, due, flight.attempt, detail, flight.source.provider)
        flight.asked = False
        self._to_send.append(flight)  # forgotten when that is written
        self._more_due = True

    def _landed(self, flight: Flight) -> None:
        self._forget(flight)

    def _forget(self, flight: Flight) -> None:
        """The journal knows all there is: nothing more is kept in memory."""
        self._land(flight)
        if self._unwritten.get(flight.identity, (0, None))[0] == flight.id:
            del self._unwritten[flight.identity]

    # What waits in the journal.

    def _refill(self) -> None:
        """Ask for what is due and has room; again soon."""
        if not self._open:
            return
        if self._records:
            self._write()
        if self._feeding and not self._journal.full:
            self._ask_due()
        busy = len(self._flights) >= self.settings.in_flight // 4 and self._more_due
        self._loop.after(0.02 if busy else REFILL_EVERY, self._refill)

    def _ask_due(self) -> None:
        """Ask for what is due, of each provider as much as it has room for."""
        now = time.monotonic()
        detour = now >= self._next_detour
        if detour:
            self._next_detour = now + DETOURS_EVERY
        self._resting = {address: until for address, until in self._resting.items() if until > now}
        for row in self._journal.find("providers_due", {"chain": self.settings.name}):
            provider = row["provider"]
            room = self.settings.in_flight - self._in_flight[provider]
            if provider in self._resting:
                if detour:
                    self._ask_elsewhere(provider)
            elif room >= (self.settings.in_flight + 3) // 4:  # a quarter at a time, so that look-ups are few
                for due in self._journal.find("files_due", (self.settings.name, provider, time.time(), room)):
                    self._ask_row(due)
        self._write()

    def _ask_elsewhere(self, provider: str) -> None:
        """*provider* does not answer: ask others for what waits for it, where they announced the same."""
        for row in self._journal.find("files_elsewhere", (self.settings.name, provider, time.time(), self.settings.in_flight)):
            if self._has_room(row["other"]) and self._is_free(row):
                flight = self._flight_of(row)
                self._ask(flight, flight.sources[row["other"]])

    def _is_free(self, row: Any) -> bool:
        return row["id"] not in self._flights and row["identity"] not in self._unwritten

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
        for row in self._journal.find("files_in_state", (self.settings.name, State.REQUESTED)):
            flight = self._flight_of(row)
            flight.request = row["request"]
            self._take_off(flight, flight.source)
            self._unwritten[flight.identity] = flight.id, Known(State.REQUESTED, row["key"], row["size"], row["provider"])
            self._to_send.append(flight)
        self._write()
        for row in self._journal.find("unpublished", (self.settings.name,)):
            self._delivering.publish_again(row["file"], row["message"].encode())

    # Silence.

    def _check_silence(self) -> None:
        """Connect anew to providers that have been silent for longer than the alarm scale allows."""
        if not (self._open and self._feeding):
            return
        for provider, listener in self._listeners.items():
            silence = time.monotonic() - self._heard[provider]
            if silence > self.settings.heartbeat_alarm_scale * self._interval.get(provider, 30.0):
                logger.error("[%s] nothing heard from %s for %d s: connecting anew", self.settings.name, provider, silence)
                listener.reconnect()
                self._heard[provider] = time.monotonic()
        self._loop.after(1.0, self._check_silence)


def _seconds(value: Any) -> float | None:
    """What a provider asks us to wait, within reason."""
    return min(float(value), LONGEST_RETRY) if isinstance(value, (int, float)) and value > 0 else None


def host_part(address: str) -> str:
    return address.rpartition(":")[0]


def _in_words(action: Ask | Wait | GiveUp) -> str:
    if isinstance(action, Ask):
        return f"asking {action.provider}"
    return f"again in {action.seconds:.0f} s" if isinstance(action, Wait) else "given up"
