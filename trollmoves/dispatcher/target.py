"""One target that runs: takes its files from the journal, host by host, has them moved, and records what became of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from trollmoves import crashing
from trollmoves.config.targets import TargetSettings
from trollmoves.dispatcher.destinations import Route
from trollmoves.dispatcher.queue import HostQueue, wait_after
from trollmoves.dispatcher.reporting import report_failure, report_success
from trollmoves.dispatcher.sending import Sending, runner
from trollmoves.dispatcher.triggers import Trigger, read_trigger
from trollmoves.errors import DestinationInvalid, MalformedMessage, MissingLibrary, MoveError
from trollmoves.journal import Journal, Operation
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import Envelope
from trollmoves.movers.base import Receipt
from trollmoves.uris import hide_password
from trollmoves.workers import Work, Workers

logger = logging.getLogger(__name__)

OVERDUE_AT_ONCE = 500
REROUTED_AT_ONCE = 200
TOO_LONG = "it waited for longer than give_up_after"
Publish = Callable[[int, bytes], Any]


@dataclass(frozen=True, slots=True)
class Flight:
    """One file that is handed to a worker."""

    id: int
    trigger: Trigger
    route: Route
    queue: HostQueue
    attempt: int
    created: float


class Target:
    """Belongs to the loop."""

    def __init__(self, settings: TargetSettings, journal: Journal, workers: Workers, envelope: Envelope,
                 publish: Publish | None, tell: Callable[[bytes], Any] | None):
        """*publish* sends what is journaled as the publication of a file, *tell* any other message; None: nothing is said."""
        self._journal = journal
        self._workers = workers
        self._envelope = envelope
        self._publish = publish
        self._tell = tell
        self._queues: dict[str, HostQueue] = {}
        self._warned: set[str] = set()
        self._open = True
        self.configure(settings)

    def configure(self, settings: TargetSettings) -> None:
        """Follow *settings* from now on; what is under way goes on as it was begun."""
        self.settings = settings
        self.name = settings.name
        self._sendings: dict[str, Sending] = {}
        for item in settings.dispatch_configs:
            route = Route(item)
            self._sendings.setdefault(route.label, Sending(settings, route))
        self._routes = [Route(item) for item in settings.dispatch_configs]
        self._warned.clear()
        self._places = {sending.route.place for sending in self._sendings.values()}
        for place in [place for place, queue in self._queues.items() if place not in self._places and not queue.in_flight]:
            del self._queues[place]
        for place in self._places:
            self._configure_queue(place)
        self.hurry()

    def _configure_queue(self, place: str) -> None:
        sending = next(sending for sending in self._sendings.values() if sending.route.place == place)
        try:
            limit = sending.limit()
        except (DestinationInvalid, MissingLibrary) as error:
            logger.error("[%s] %s cannot be used: %s", self.name, place, error)
            limit = 1
        if place in self._queues:
            self._queues[place].change(limit, is_local=sending.route.host.is_local)
        else:
            self._queues[place] = HostQueue(limit, is_local=sending.route.host.is_local)

    @property
    def under_way(self) -> int:
        return sum(len(queue.in_flight) for queue in self._queues.values())

    def close(self) -> None:
        """Begin nothing more; what is under way is still recorded."""
        self._open = False

    def open(self) -> None:
        self._open = True

    def hurry(self) -> None:
        """Have everything tried soon that waits for a later time."""
        now = time.time()
        self._journal.write([("hurry_files", [(now, self.name, place, now) for place in self._places_waiting()])])

    def _places_waiting(self) -> list[str]:
        return [row["provider"] for row in self._journal.find("providers_due", {"chain": self.name})]

    # Hearing.

    def records(self, trigger: Trigger) -> list[tuple[Any, ...]]:
        """What to journal when this target wants the file of *trigger*: a row of `add_file` for each place."""
        return [self._record(trigger, route) for route in self._wanted(trigger).values()]

    def _wanted(self, trigger: Trigger) -> Mapping[str, Route]:
        found: dict[str, Route] = {}
        for route in self._routes:
            if route.takes(trigger.subject) is None:
                continue
            decision = route.decide(trigger.fields)
            for field in decision.unusable:
                self._warn_once(field)
            if decision.accepted:
                found.setdefault(route.label, route)
        return found

    def _warn_once(self, field: str) -> None:
        """The names come from the configuration, so there are not many."""
        if field not in self._warned:
            self._warned.add(field)
            logger.warning("[%s] a condition on %r cannot be checked: messages lack it, or have something else", self.name, field)

    def _record(self, trigger: Trigger, route: Route) -> tuple[Any, ...]:
        now = time.time()
        line = step_line(State.ANNOUNCED, now, trigger.sender, 0, f"{trigger.subject} for {route.label}")
        return (self._journal.new_file(), self.name, trigger.identity, trigger.key, State.ANNOUNCED, now, line, now,
                None, None, None, None, None, route.place, trigger.encoded(self._envelope.version), route.label, 0, now)

    # Taking from the journal.

    def pump(self) -> None:
        """Hand to the workers what is due and has room."""
        for place in self._places_waiting() if self._open else ():
            self._pump_host(place)

    def _pump_host(self, place: str) -> None:
        queue = self._queues.setdefault(place, HostQueue(1, is_local=False))
        # Files for a host that is configured no more only have to be told where else to go.
        room = (queue.room if place in self._places else REROUTED_AT_ONCE) if self._open else 0
        if room <= 0:
            return
        now = time.time()
        rows = self._journal.find("files_due", (self.name, place, now, room + len(queue.in_flight)))
        fresh = [row for row in rows if row["id"] not in queue.in_flight][:room]
        works = [work for row in fresh if (work := self._work(row, queue)) is not None]
        if works:
            self._workers.submit(works)

    def _work(self, row: Any, queue: HostQueue) -> Work | None:
        try:
            trigger = read_trigger(row["message"], row["key"])
        except MalformedMessage as error:
            self._end(row, queue, f"the journal has no message for it: {error}")
            return None
        sending = self._sendings.get(row["request"])
        if sending is None:
            self._reroute(row, trigger, queue)
            return None
        attempt = row["attempt"] + 1
        flight = Flight(row["id"], trigger, sending.route, queue, attempt, row["created"])
        queue.in_flight.add(flight.id)
        return Work((self.name, sending.route.place), queue.limit, runner(sending, trigger, attempt),
                    lambda outcome: self._done(flight, outcome))

    def _reroute(self, row: Any, trigger: Trigger, queue: HostQueue) -> None:
        """The place this file was to go to is configured no more: ask the configuration anew."""
        known = {other["request"] for other in self._journal.find("files_of", (row["identity"], self.name))
                 if other["key"] == row["key"]}
        fresh = [self._record(trigger, route) for label, route in self._wanted(trigger).items() if label not in known]
        self._end(row, queue, "the configuration sends it there no more", [("add_file", fresh)] if fresh else [])

    # What became of a file.

    def _done(self, flight: Flight, outcome: Receipt | Exception) -> None:
        if isinstance(outcome, Receipt):
            self._succeeded(flight, outcome)
        else:
            error = outcome if isinstance(outcome, MoveError) else MoveError(f"{type(outcome).__name__}: {outcome}")
            if error is not outcome:
                logger.error("[%s] a mover failed in a way it should not", self.name, exc_info=outcome)
            self._failed(flight, error)

    def _succeeded(self, flight: Flight, receipt: Receipt) -> None:
        now = time.time()
        receipt = replace(receipt, attempts=flight.attempt)
        report = report_success(self._envelope, flight.route, flight.trigger, receipt) if self._publish is not None else None
        detail = f"{receipt.uri} {receipt.size} bytes, verified: {receipt.verified}, {receipt.seconds:.3f} s"
        line = step_line(State.MOVED, now, flight.route.place, flight.attempt, detail)
        records: list[Operation] = [
            ("put_transfer", [self._transfer(flight, State.MOVED, now, receipt.uri, orjson.dumps([receipt]).decode())])]
        if report is not None:
            subject, raw = report
            position, previous = self._journal.new_position(subject)
            records.append(("add_announcement", [(position, flight.id, subject, previous, raw.decode(), now)]))
            state, line = State.PUBLISHING, line + step_line(State.PUBLISHING, now)
        else:
            state, line = State.PUBLISHED, line + step_line(State.PUBLISHED, now, detail="nobody is told")
        records.append(("step_due", [(state, now, flight.attempt, None, line, flight.id)]))
        if flight.queue.succeeded():
            logger.info("[%s] %s can be used again", self.name, flight.route.place)
            records.append(("hurry_files", [(now, self.name, flight.route.place, now)]))
        logger.info("[%s] dispatched %s to %s", self.name, flight.trigger.path, receipt.uri)
        crashing.point("dispatcher.moved")
        self._journal.write(records, self._landed, flight, report[1] if report is not None else None)

    def _landed(self, flight: Flight, raw: bytes | None) -> None:
        """The journal knows: tell the world, and go on."""
        crashing.point("dispatcher.publishing")
        if raw is not None and self._publish is not None:
            self._publish(flight.id, raw)
        self._forget(flight)

    def _failed(self, flight: Flight, error: MoveError) -> None:
        now = time.time()
        is_late = now - flight.created > self.settings.give_up_after
        wait = None if is_late else wait_after(error, flight.attempt)
        text = hide_password(str(error))
        final = wait is None
        state = State.GIVEN_UP if wait is None else State.FAILED
        line = step_line(state, now, flight.route.place, flight.attempt, text)
        due = None if wait is None else now + wait
        logger.error("[%s] could not dispatch %s to %s: %s%s", self.name, flight.trigger.path, flight.route.place, text,
                     " (given up)" if final else f" (attempt {flight.attempt}, to be tried again)")
        if flight.queue.failed(error):
            logger.warning("[%s] %s is left alone for a while", self.name, flight.route.place)
        if final or flight.attempt == 1:
            self._tell_failure(flight.route, flight.trigger, text, final=final)
        self._journal.write([("put_transfer", [self._transfer(flight, state, now, flight.route.label, text)]),
                             ("step_due", [(state, now, flight.attempt, due, line, flight.id)])], self._forget, flight)

    def _forget(self, flight: Flight) -> None:
        flight.queue.in_flight.discard(flight.id)
        self._pump_host(flight.route.place)

    def _transfer(self, flight: Flight, state: State, now: float, destination: str, receipt: str) -> tuple[Any, ...]:
        return (flight.id, flight.trigger.key, self.name, self.name, "", False, flight.route.place, "", destination, state, now,
                flight.attempt, receipt)

    def _end(self, row: Any, queue: HostQueue, why: str, more: Sequence[Operation] = ()) -> None:
        """Give up a file that no worker has. It counts as under way until the journal knows: nobody shall take it meanwhile."""
        queue.in_flight.add(row["id"])
        self._journal.write([*given_up([row], why), *more], queue.in_flight.discard, row["id"])

    def give_up_overdue(self) -> None:
        """End what has waited for longer than `give_up_after`, some files at a time."""
        for row in overdue(self._journal, self.name, self.settings.give_up_after):
            queue = self._queues.setdefault(row["provider"], HostQueue(1, is_local=False))
            if row["id"] not in queue.in_flight:
                self._tell_end(row)
                self._end(row, queue, TOO_LONG)

    def _tell_end(self, row: Any) -> None:
        sending = self._sendings.get(row["request"])
        if sending is None:
            return
        try:
            self._tell_failure(sending.route, read_trigger(row["message"], row["key"]), TOO_LONG, final=True)
        except MalformedMessage as error:
            logger.error("[%s] the journal has no message for %s: %s", self.name, row["identity"], error)

    def _tell_failure(self, route: Route, trigger: Trigger, text: str, *, final: bool) -> None:
        """Before the journal knows: so it is told at least once."""
        report = report_failure(self._envelope, self.name, route, trigger, text, final=final) if self._tell is not None else None
        if report is not None and self._tell is not None:
            self._tell(report[1])


def overdue(journal: Journal, chain: str, seconds: float) -> list[Any]:
    """Files of *chain* that have waited for longer than *seconds*, some at a time for each host; an alarm says so."""
    before, found = time.time() - seconds, []
    for place in journal.find("providers_due", {"chain": chain}):
        rows = journal.find("overdue_files", (chain, place["provider"], before, OVERDUE_AT_ONCE))
        if rows:
            journal.alarm(chain, f"{len(rows)} files for {place['provider']} are given up: it could not be used for too long")
        found += rows
    return found


def given_up(rows: Sequence[Any], why: str) -> list[Operation]:
    """The records that end these files."""
    now = time.time()
    return [("step_due", [(State.GIVEN_UP, now, row["attempt"], None, step_line(State.GIVEN_UP, now, "", row["attempt"], why),
                           row["id"]) for row in rows])]
