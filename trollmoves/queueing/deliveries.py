"""The deliveries of one section: takes its files from the journal, host by host, has them moved, and records what became of them.

A file that waits is a row of `files`: `provider` names the host it waits for, `request` the place (a label without password),
`due` the time of the next attempt. One slow or dead host never delays another; nothing but the journal holds what waits.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

import orjson

from trollmoves import crashing
from trollmoves.errors import MoveError
from trollmoves.journal import Journal, Operation
from trollmoves.journal.alarms import LOCKED_OUT
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.movers.base import Receipt
from trollmoves.movers.sessions import Sessions
from trollmoves.queueing.host_queue import HostQueue, wait_after
from trollmoves.queueing.results import Results
from trollmoves.uris import hide_password
from trollmoves.workers import Work, Workers

logger = logging.getLogger(__name__)

TICK = 1.0
"""Seconds between two looks for what is to be moved."""
OVERDUE_EVERY = 60.0
"""Seconds between two looks for what has waited too long."""
OVERDUE_AT_ONCE = 500
REROUTED_AT_ONCE = 200
TOO_LONG = "it waited for longer than give_up_after"
NO_MORE = "the configuration sends it there no more"


class Host(NamedTuple):
    """A host as far as its queue is concerned."""

    limit: int
    """Moves at a time."""
    is_local: bool


class Delivery(NamedTuple):
    """What a worker is to do for one file."""

    run: Callable[[Sessions], Receipt]
    shown: str
    """The file, for the log."""
    label: str
    """The place, without password."""
    subject: Any
    """What the role knows of the file."""
    turn: Hashable = None
    """Of deliveries with an equal turn there is one at a time; None needs no turn."""


@dataclass(frozen=True, slots=True)
class Flight:
    """One file that is handed to a worker."""

    row: Any
    delivery: Delivery
    queue: HostQueue
    attempt: int
    since: float = field(default_factory=time.monotonic)
    """Monotonic time at which it was handed over, and (below) how many seconds it had waited then: the clock may be set
    meanwhile."""
    waited: float = 0.0

    @property
    def age(self) -> float:
        """Seconds since it was heard of, or since an operator had it tried again."""
        return self.waited + time.monotonic() - self.since

    @property
    def id(self) -> int:
        return int(self.row["id"])

    @property
    def place(self) -> str:
        """Names the host in the journal."""
        return str(self.row["provider"])


class Deliveries(ABC):
    """Belongs to the loop. A role says what is to be done for a row, and what is reported."""

    role: ClassVar[str]
    """The first half of its crash points."""
    verbs: ClassVar[tuple[str, str]]
    """For the log: `dispatch`, `dispatched`."""

    def __init__(self, name: str, give_up_after: float, journal: Journal, workers: Workers, results: Results | None):
        """*results* publishes what became of files; None: nothing is said."""
        self.name = name
        self.give_up_after = give_up_after
        self._journal = journal
        self._workers = workers
        self._results = results
        self._queues: dict[str, HostQueue] = {}
        self._hosts: dict[str, Host] = {}
        self._turns: set[Hashable] = set()
        self._open = True

    # What a role adds.

    @abstractmethod
    def prepare(self, row: Any) -> Delivery | None:
        """What to do for a row that is due; None after `end`, when nothing is to be done any more."""

    @abstractmethod
    def report(self, flight: Flight, receipt: Receipt) -> tuple[str, bytes] | None:
        """Subject and message about a file that was delivered; None when nothing is said."""

    def tell_failure(self, flight: Flight, error: str, *, final: bool) -> None:  # noqa: B027 - not every role does
        """Say that a file could not be delivered (the first time, and when it is given up). Before the journal knows: so it is
        said at least once."""

    def verdict(self, flight: Flight, error: MoveError) -> tuple[State, float | None]:
        """What becomes of a file that could not be delivered, and after how many seconds it is tried again."""
        if flight.age > self.give_up_after:
            return State.GIVEN_UP, None
        wait = wait_after(error, flight.attempt)
        return (State.GIVEN_UP if wait is None else State.FAILED), wait

    def transfer(self, row: Any, place: str) -> str:
        """Names the delivery of *row* to *place*: the same for every attempt, and another one in every other process, which may
        deliver the same file to the same place at the same time."""
        text = f"{self._journal.epoch}|{row['key']}|{place}"
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]

    def was_begun(self, row: Any) -> bool:
        """Whether an earlier attempt, perhaps one that was killed, may have left something at the destination."""
        return row["attempt"] > 0 or self._journal.was_interrupted(row["id"])

    def settled(self, row: Any) -> None:  # noqa: B027 - not every role cares
        """The journal has what became of the file in *row* (as it was before): delivered, given up, or to be tried again."""

    # Hosts.

    def set_hosts(self, hosts: Mapping[str, Host]) -> None:
        """Deliver to these from now on; what is under way goes on as it was begun."""
        self._hosts = dict(hosts)
        for alarm in self._journal.alarms.open(LOCKED_OUT, self.name):
            if alarm.about not in hosts:
                self._journal.alarms.clear(self.name, LOCKED_OUT, alarm.about, "nothing is to be moved there any more")
        for place in [place for place, queue in self._queues.items() if place not in hosts and not queue.in_flight]:
            del self._queues[place]
        for place, host in hosts.items():
            if place in self._queues:
                self._queues[place].change(host.limit, is_local=host.is_local)
            else:
                self._queues[place] = HostQueue(host.limit, is_local=host.is_local)
        self.hurry()

    def host(self, place: str) -> Host | None:
        """The host that rows name like this; None for one that is configured no more."""
        return self._hosts.get(place)

    def _queue(self, place: str) -> HostQueue:
        if place not in self._queues:
            host = self.host(place) or Host(1, False)
            self._queues[place] = HostQueue(host.limit, is_local=host.is_local)
        return self._queues[place]

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

    def try_hosts_again(self) -> None:
        """Somebody says that hosts that failed may work now."""
        for queue in self._queues.values():
            queue.reopen()

    def _places_waiting(self) -> list[str]:
        return [row["provider"] for row in self._journal.find("providers_due", {"chain": self.name})]

    # Taking from the journal.

    def pump(self) -> None:
        """Hand to the workers what is due and has room."""
        places = self._places_waiting() if self._open else []
        for place in places:
            self._pump_host(place)
        idle = self._queues.keys() - self._hosts.keys() - set(places)
        for place in [place for place in idle if not self._queues[place].in_flight]:
            del self._queues[place]

    def _pump_host(self, place: str) -> None:
        queue = self._queue(place)
        # Files for a host that is configured no more only have to be told where else to go.
        room = (queue.room if self.host(place) is not None else REROUTED_AT_ONCE) if self._open else 0
        if room <= 0 or self._journal.times_to_move:
            return
        until = math.inf if queue.is_probing else time.time()
        rows = self._journal.find("files_due", (self.name, place, until, room + len(queue.in_flight)))
        fresh = [row for row in rows if row["id"] not in queue.in_flight][:room]
        works = [work for row in fresh if (work := self._work(row, queue)) is not None]
        if works:
            self._workers.submit(works)

    def _work(self, row: Any, queue: HostQueue) -> Work | None:
        delivery = self.prepare(row)
        if delivery is None or delivery.turn in self._turns:
            return None
        flight = Flight(row, delivery, queue, row["attempt"] + 1, waited=time.time() - (row["revived"] or row["created"]))
        queue.in_flight.add(flight.id)
        if delivery.turn is not None:
            self._turns.add(delivery.turn)
        return Work((self.name, flight.place), queue.limit, delivery.run, lambda outcome: self._done(flight, outcome))

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
        report = self.report(flight, receipt) if self._results is not None else None
        detail = f"{receipt.uri} {receipt.size} bytes, verified: {receipt.verified}, {receipt.seconds:.3f} s"
        line = step_line(State.MOVED, now, flight.place, flight.attempt, detail)
        records: list[Operation] = [
            ("put_transfer", [self._transfer(flight, State.MOVED, now, receipt.uri, orjson.dumps([receipt]).decode())])]
        raw = None
        if report is not None and self._results is not None:
            subject, raw = report
            position, previous = self._journal.new_position(subject)
            raw = self._results.numbered(raw, position, previous)
            records.append(("add_announcement", [(position, flight.id, subject, previous, raw.decode(), now)]))
            state, line = State.PUBLISHING, line + step_line(State.PUBLISHING, now)
        else:
            state, line = State.PUBLISHED, line + step_line(State.PUBLISHED, now, detail="nobody is told")
        records.append(("step_due", [(state, now, flight.attempt, None, line, flight.id)]))
        self._journal.alarms.clear(self.name, LOCKED_OUT, flight.place, "it can be used")
        if flight.queue.succeeded():
            logger.info("[%s] %s can be used again", self.name, _named(flight.place))
            records.append(("close_circuit", [(self.name, flight.place)]))
            records.append(("hurry_files", [(now, self.name, flight.place, now)]))
        logger.info("[%s] %s %s to %s", self.name, self.verbs[1], flight.delivery.shown, receipt.uri)
        crashing.point(f"{self.role}.moved")
        self._journal.write(records, self._landed, flight, raw)

    def _landed(self, flight: Flight, raw: bytes | None) -> None:
        """The journal knows: tell the world, and go on."""
        crashing.point(f"{self.role}.publishing")
        if raw is not None and self._results is not None:
            self._results.publish(flight.id, raw)
        self._forget(flight)

    def _failed(self, flight: Flight, error: MoveError) -> None:
        now = time.time()
        state, wait = self.verdict(flight, error)
        text = hide_password(str(error))
        line = step_line(state, now, flight.place, flight.attempt, text)
        if state is State.COVERED:
            logger.info("[%s] %s need not go to %s: %s", self.name, flight.delivery.shown, _named(flight.place), text)
        else:
            self._say_failed(flight, text, final=wait is None)
        if flight.queue.failed(error):
            logger.warning("[%s] %s is left alone for a while", self.name, _named(flight.place))
        if flight.queue.is_locked(error):
            said = f"nothing gets to {_named(flight.place)}: {text}"
            self._journal.alarms.raise_(self.name, LOCKED_OUT, flight.place, said[:1000])
        circuit = (self.name, flight.place, flight.queue.failures, now, now, text)
        opened: list[Operation] = [("open_circuit", [circuit])] if flight.queue.is_probing else []
        receipt_state = State.GIVEN_UP if wait is None else State.FAILED
        self._journal.write([
            ("put_transfer", [self._transfer(flight, receipt_state, now, flight.delivery.label, text)]),
            ("step_due", [(state, now, flight.attempt, None if wait is None else now + wait, line, flight.id)]), *opened],
            self._forget, flight)

    def _say_failed(self, flight: Flight, text: str, *, final: bool) -> None:
        logger.error("[%s] could not %s %s to %s: %s%s", self.name, self.verbs[0], flight.delivery.shown, _named(flight.place),
                     text, " (given up)" if final else f" (attempt {flight.attempt}, to be tried again)")
        if final or flight.attempt == 1:
            self.tell_failure(flight, text, final=final)

    def _forget(self, flight: Flight) -> None:
        flight.queue.in_flight.discard(flight.id)
        self._turns.discard(flight.delivery.turn)
        self.settled(flight.row)
        self._pump_host(flight.place)

    def _transfer(self, flight: Flight, state: State, now: float, destination: str, receipt: str) -> tuple[Any, ...]:
        return (flight.id, flight.row["key"], self.name, self.name, "", False, flight.place, "", destination, state, now,
                flight.attempt, receipt)

    def end(self, row: Any, why: str, more: Sequence[Operation] = (), *, state: State = State.GIVEN_UP) -> None:
        """End a file that no worker has. It counts as under way until the journal knows: nobody shall take it meanwhile."""
        queue = self._queue(row["provider"])
        queue.in_flight.add(row["id"])
        self._journal.write([*ended([row], why, state), *more], self._ended, row, queue)

    def _ended(self, row: Any, queue: HostQueue) -> None:
        queue.in_flight.discard(row["id"])
        self.settled(row)

    def give_up_overdue(self) -> None:
        """End what has waited for longer than `give_up_after`, some files at a time."""
        for row in overdue(self._journal, self.name, self.give_up_after):
            queue = self._queue(row["provider"])
            if row["id"] not in queue.in_flight:
                delivery = self.prepare(row)
                if delivery is not None:
                    self.tell_failure(Flight(row, delivery, queue, row["attempt"]), TOO_LONG, final=True)
                    self.end(row, TOO_LONG)


def overdue(journal: Journal, chain: str, seconds: float) -> list[Any]:
    """Files of *chain* that have waited for longer than *seconds*, some at a time for each host; the log says so."""
    if journal.times_to_move:
        return []
    before, found = time.time() - seconds, []
    for place in journal.find("providers_due", {"chain": chain}):
        rows = journal.find("overdue_files", (chain, place["provider"], before, OVERDUE_AT_ONCE))
        if rows:
            logger.error("[%s] %d files for %s are given up: it could not be used for too long", chain, len(rows),
                         _named(place["provider"]))
        found += rows
    return found


def ended(rows: Iterable[Any], why: str, state: State = State.GIVEN_UP) -> list[Operation]:
    """The records that end these files."""
    now = time.time()
    return [("step_due", [(state, now, row["attempt"], None, step_line(state, now, "", row["attempt"], why), row["id"])
                          for row in rows])]


def _named(place: str) -> str:
    """A host, for the log."""
    return "this machine" if place in ("", "file://") else place
