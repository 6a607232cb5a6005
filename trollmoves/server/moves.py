"""The moves that are queued or running on one port, who waits for them, and what they are told.

A move is journaled when it is over (or has taken a second); whoever waits is told after that (answers.py). Moves that end in the
same turn of the loop are journaled together.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import orjson

from trollmoves import crashing
from trollmoves.bus import Loop
from trollmoves.bus.leases import Lease
from trollmoves.config.settings import ServerSettings
from trollmoves.errors import AlreadyHad, Busy, Cancelled, MoveError, OriginChanged, OriginGone, OriginReplaced
from trollmoves.journal import Journal, Operation
from trollmoves.journal.covering import covered_by_newer
from trollmoves.lifecycle import State
from trollmoves.movers.base import Receipt
from trollmoves.movers.sessions import Sessions
from trollmoves.server.answers import Answers
from trollmoves.server.pushing import Member, Push
from trollmoves.server.refusals import Refusals
from trollmoves.server.replies import checksum_of_all, shown
from trollmoves.server.requests import Waiter
from trollmoves.server.rights import NotAllowed, Unknown
from trollmoves.server.shares import Shares
from trollmoves.server.sharing import LONGEST_HOLD, Shared, Sharing, earlier_requests
from trollmoves.server.small_moves import Order, SmallMoves
from trollmoves.server.transfer import Moving, Place, Served, summary
from trollmoves.workers import Work, Workers

logger = logging.getLogger(__name__)

EVERY = 1.0
"""Seconds between two looks at the moves that take long."""
NOTED_AFTER = 1.0
"""Seconds after which a move is journaled although it is not over, and a disk that stalls must not keep us from telling of it."""
MOST_HELD = 12 * 2**20
"""Bytes of requests that may wait for the outcome of their moves; beyond it peers are told to ask later."""
SMALL_REQUEST = 16 * 2**10
NOTHING_WRITTEN = (0, 0, 0)
"""No lease is like that."""
MOST_CANCELLED = 1000
"""Moves that an operator has cancelled; of older ones others of the group are not told."""
LOOKS = 2
"""Looks into the directory of a section at a time: where one gets no answer, those for the others find that out."""
MOST_BROUGHT = 3
"""Times the files of one move are brought here; between that and the move somebody may take them away."""


def refuse_when_full(journal: Journal) -> None:
    """Raise `Busy` while nothing can be noted."""
    if journal.full:
        raise Busy("the journal of the server cannot be written: its disk is full", 10.0)


class Moves:
    """Belongs to the loop."""

    def __init__(self, loop: Loop, journal: Journal, workers: Workers, small: SmallMoves, answers: Answers, sharing: Sharing,
                 refusals: Refusals):
        self._loop = loop
        self._journal = journal
        self._workers = workers
        self._small = small
        self._answers = answers
        self._sharing = sharing
        self._refusals = refusals
        self._moving: dict[str, Moving] = {}
        self._by_request: dict[str, str] = {}
        self._started = Shares()
        """Moves that are queued or running, by the address of who asked for them."""
        self._held = Shares()
        """Bytes of the requests that wait for the outcome of a move, by address."""
        self._cancelled: dict[str, set[str]] = {}
        """By transfer, what an operator has cancelled: the clients that were told."""
        self._new_work: list[Work] = []
        self._new_orders: list[Order] = []
        self._behind: dict[Place, deque[Moving]] = {}
        """By place, for those where a move is queued or running: the moves that come after it. Of two contents of one name the
        newer must come last, and it is often the smaller."""
        self._ended: list[tuple[Moving, list[Receipt] | MoveError]] = []
        """Moves that are over, and (below) what the journal will have of them."""
        self._ended_transfers: list[Any] = []
        self._ended_steps: list[Any] = []
        self._ended_more: list[Operation] = []
        self._open = True
        loop.after(EVERY, self._every_second)

    def close(self) -> None:
        """Nobody asks here any more; what is queued or running is still done and journaled."""
        self._open = False

    def __len__(self) -> int:
        """How many are queued or running."""
        return len(self._moving)

    def get(self, transfer: str) -> Moving | None:
        return self._moving.get(transfer)

    def of_request(self, request: str) -> Moving | None:
        """The move that a request started or joined, while it lasts."""
        return self._moving.get(self._by_request.get(request, ""))

    def submit(self) -> None:
        """Hand what was started to the workers, all at once."""
        work, self._new_work = self._new_work, []
        orders, self._new_orders = self._new_orders, []
        if work:
            self._workers.submit(work)
        if orders:
            self._small.add(orders)

    def refuse_when_busy(self, settings: ServerSettings, peer: str) -> None:
        """Raise `Busy` while new moves cannot be taken on for *peer*."""
        refuse_when_full(self._journal)
        if not self._started.has_room(peer, settings.queued_requests):
            raise Busy(f"{len(self._moving)} requests are waiting, {self._started.of(peer)} of them from {peer} "
                       f"(queued_requests in section [{settings.name}])", 5.0)

    def refuse_when_held_up(self, waiter: Waiter) -> None:
        """Raise `Busy` while too much memory is held by requests that wait, for one more. Small ones, and those that came
        together, have room left when large ones have taken theirs."""
        is_large = not waiter.grouped and len(waiter.message.raw) > SMALL_REQUEST
        if not self._held.has_room(waiter.asker.address, MOST_HELD if is_large else 2 * MOST_HELD):
            raise Busy("too many large requests are waiting", 5.0)

    def admit(self, push: Push, served: Served, waiter: Waiter, then: Callable[[], Any]) -> None:
        """Call *then* when it is found that who waits may have files where *push* sends them; else tell it."""
        self.refuse_when_held_up(waiter)
        asked = push._replace(peer=waiter.asker.address, stranger=waiter.asker.stranger)
        self._held.add(waiter.asker.address, waiter.weight)

        def checked(outcome: Any) -> None:
            self._held.add(waiter.asker.address, -waiter.weight)
            try:
                if isinstance(outcome, Exception):
                    raise outcome
                then()
            except MoveError as error:
                self._refusals.note(waiter.asker.address, waiter.message, error)
                self._answers.error(waiter, error)
        self._workers.submit([Work(("rights", waiter.asker.address), 1, lambda _: served.pushing.check(asked), checked)])

    def join(self, moving: Moving, waiter: Waiter) -> None:
        """Somebody wants what is being moved: another member of the group, or the same again. What is kept of its request counts
        until it is cancelled or the move is over."""
        self.wait(moving, waiter)
        self._held.add(waiter.asker.address, moving.weight_of(waiter))
        if waiter.request:
            self._release(moving, moving.requests.get(waiter.request))
            moving.requests[waiter.request] = waiter
            self._by_request[waiter.request] = moving.push.transfer

    def wait(self, moving: Moving, waiter: Waiter) -> None:
        moving.cancelled = False  # who cancelled it is told already, and wants nothing from who comes after
        if moving.lease is not None and moving.lease.claim(waiter.consumer.client, waiter.request, time.monotonic()):
            moving.consumer, moving.request = waiter.consumer, waiter.request
        moving.waiters[waiter.request or id(waiter)] = waiter

    def _release(self, moving: Moving, waiter: Waiter | None) -> None:
        """Nothing is kept of that request any more."""
        if waiter is not None:
            self._held.add(waiter.asker.address, -moving.weight_of(waiter))

    def start(self, moving: Moving, waiter: Waiter) -> None:
        """Queue a move, with the first who waits for it; `submit` sets it off."""
        moving.served.pushing.limit(moving.push.destination)  # which refuses what nothing can be moved to
        moving.wanted = moving.push.members
        self._moving[moving.push.transfer] = moving
        self._started.add(moving.push.peer, 1)
        self._held.add(moving.push.peer, moving.weight)
        self.join(moving, waiter)
        if moving.place in self._behind:
            self._behind[moving.place].append(moving)
        else:
            self._behind[moving.place] = deque()
            self._set_off(moving)

    def _set_off(self, moving: Moving) -> None:
        if moving.served.supply is None:
            self._plan(moving)
        else:
            moving.brought += 1
            moving.served.supply.bring(moving, partial(self._brought, moving))

    def _brought(self, moving: Moving, outcome: tuple[Member, ...] | MoveError) -> None:
        if isinstance(outcome, MoveError):
            self._finish(moving, outcome)
            return
        moving.began = time.time()
        moving.push = moving.push._replace(members=outcome)
        moving.total = sum(member.file.size for member in outcome)
        self._plan(moving)
        self.submit()

    def _plan(self, moving: Moving) -> None:
        """For the process of small moves, or for a worker."""
        pushing, push = moving.served.pushing, moving.push
        if pushing.is_small(push, moving.total) and self._small.is_ready():
            plain = pushing.plain(push)
            if plain is not None:
                self._new_orders.append(Order(plain, partial(self._tried, moving), partial(self._by_worker, moving)))
                return
        self._new_work.append(self._work_for(moving))

    def _by_worker(self, moving: Moving) -> None:
        self._workers.submit([self._work_for(moving)])

    def _work_for(self, moving: Moving) -> Work:
        """What a worker does first: move it; but what goes to a host with a single place must be in a directory that answers."""
        pushing, push = moving.served.pushing, moving.push
        if pushing.limit(push.destination) > 1:
            return self._move(moving)
        return Work(("origin", moving.served.settings.name), LOOKS, lambda _: pushing.look(push), partial(self._looked, moving))

    def _looked(self, moving: Moving, outcome: Any) -> None:
        if isinstance(outcome, Exception):
            self._tried(moving, outcome)
        else:
            self._workers.submit([self._move(moving)])

    def _move(self, moving: Moving) -> Work:
        push = moving.push
        limit = moving.served.pushing.limit(push.destination)

        def progress(done: int) -> None:
            moving.done = done
            if moving.cancelled:
                raise Cancelled(f"cancelled after {done} of {moving.total} bytes")

        def run(sessions: Sessions) -> list[Receipt]:
            progress(0)
            return moving.served.pushing.push(push, sessions, progress)

        # Small files queue apart from large ones, for which they must not wait.
        quick = moving.served.pushing.is_quick(push.destination, moving.total)
        return Work((*push.destination.address[:3], quick), limit, run, lambda outcome: self._tried(moving, outcome), quick,
                    far=not push.destination.is_local)

    def cancel(self, request: str, *, for_all: bool = False) -> bool:
        """Whoever made that request does not want it any more: without others who do, the move ends. False when there is none.
        *for_all*: an operator says so, and it ends for the others of the group as well, who may only be about to ask."""
        moving = self.of_request(request)
        if moving is None:
            return False
        for one in list(moving.requests) if for_all else [request]:
            self._release(moving, moving.requests.pop(one))
            self._by_request.pop(one, None)  # another move may have been asked for with it as well
        told = [moving.waiters.pop(one) for one in (list(moving.waiters) if for_all else [request]) if one in moving.waiters]
        for waiter in told:
            self._release(moving, None if waiter.request else waiter)
            self._answers.error(waiter, Cancelled("cancelled"))
        if for_all:
            self._cancelled[moving.push.transfer] = {waiter.consumer.client for waiter in told}
            if len(self._cancelled) > MOST_CANCELLED:
                del self._cancelled[next(iter(self._cancelled))]
        if moving.lease is not None and moving.lease.request == request:
            moving.lease.expires = time.monotonic()  # another member of its group need not wait for it
        moving.cancelled = not moving.requests
        return True

    def refuse_cancelled(self, transfer: str, client: str) -> None:
        """Raise `Cancelled`, once for each client, for what an operator has cancelled; who asks again after that does so because
        an operator wants it after all."""
        told = self._cancelled.get(transfer)
        if told is None:
            return
        if client in told:
            del self._cancelled[transfer]
            return
        told.add(client)
        raise Cancelled("an operator has cancelled it")

    # A move is over.

    def _tried(self, moving: Moving, outcome: Any) -> None:
        taken_away = moving.served.supply is not None and isinstance(outcome, OriginGone | OriginChanged)
        if taken_away and moving.brought < MOST_BROUGHT:
            self._set_off(moving)
        elif isinstance(outcome, OriginChanged) and moving.served.supply is None and len(moving.push.members) == 1:
            # A file that is not the one announced may be announced itself: then the old one is given up by nobody.
            def looked(is_announced: bool) -> None:
                self._finish(moving, OriginReplaced(str(outcome)) if is_announced else outcome)
            moving.served.look_again(moving.file, moving.push.members[0].file.path, looked)
        else:
            self._finish(moving, outcome)

    def _make_way(self, place: Place) -> None:
        if self._behind[place]:
            self._set_off(self._behind[place].popleft())
            self.submit()
        else:
            del self._behind[place]

    def _finish(self, moving: Moving, outcome: Any) -> None:
        self._make_way(moving.place)
        now = time.time()
        if isinstance(outcome, OriginGone) and moving.before:
            # This consumer had it before (and perhaps forgot): what was delivered then, and removed since, counts.
            outcome = [replace(receipt, earlier=True) for receipt in moving.before]
            if checksum_of_all(outcome) in moving.push.unless:
                outcome = AlreadyHad(f"{moving.push.members[0].file.path}: who asks has the same already")
        if isinstance(outcome, AlreadyHad):  # as good as delivered by us, and confirmed
            removal = [*moving.served.removing.schedule(moving.file, moving.consumer), *_earlier_requests(moving),
                       *self._sharing.alike.counts_elsewhere([(moving.file, moving.consumer)], moving.push.peer)]
            self._record(moving, State.ACKNOWLEDGED, now, shown(outcome), None, removal, outcome)
            return
        if isinstance(outcome, Exception):
            ends = getattr(outcome, "permanent", False) and not isinstance(outcome, Cancelled)  # others may ask for it
            state = State.GIVEN_UP if ends else State.FAILED
            error = outcome if isinstance(outcome, MoveError) else MoveError(f"{type(outcome).__name__}: {outcome}")
            detail = shown(error)
            self._refusals.note_move(moving, error, None if isinstance(outcome, MoveError) else outcome)
            more: list[Operation] = [("bound_failures", [(moving.file, moving.file)]), *_earlier_requests(moving)]
            if isinstance(error, OriginGone | OriginChanged | OriginReplaced):  # what took its place may be announced by now
                more.append(covered_by_newer([moving.file]))
            self._record(moving, state, now, detail, detail, more, error)
        else:
            self._moved(moving, outcome, now)

    def _moved(self, moving: Moving, receipts: list[Receipt], now: float) -> None:
        if moving.lease is not None and moving.consumer.spare and not (moving.push.begun or any(one.copied for one in receipts)):
            # Somebody outside its group put it there, such as an upstream primary while the spare was stopped.
            moving.lease.doubtful = True
        detail = summary(receipts)
        more = [*moving.served.removing.schedule(moving.file, moving.consumer, receipts), *self._lease_records(moving),
                *_earlier_requests(moving)]
        self._record(moving, State.MOVED, now, detail, orjson.dumps(receipts).decode(), more, receipts)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("moved %s: %s", moving.push.members[0].file.path, detail)

    def _lease_records(self, moving: Moving) -> list[Operation]:
        """What is to be written of the lease; nothing where its holder is alone and is told with the outcome to publish."""
        lease = moving.lease
        if lease is None:
            return []
        durable = self._sharing.settle(moving.push.transfer, lease, list(moving.waiters.values()), moving.lease_written)
        if durable is None:
            return []
        spare, peer = moving.consumer.spare, moving.push.peer
        return [("lease", [(lease.holder, lease.request, spare, peer, *lease.durable, moving.file, moving.push.transfer)])]

    def _record(self, moving: Moving, state: State, now: float, detail: str, receipt: str | None, more: list[Operation],
                outcome: list[Receipt] | MoveError) -> None:
        """Note what is to be written and told, with all else that ends in this turn of the loop."""
        if not self._ended:
            self._loop.call(self._write_ended)
        if moving.shown:
            more = [*more, ("end_progress", [(moving.file,)])]
        only_refused = isinstance(outcome, NotAllowed | Unknown) and not moving.noted
        transfer, step = moving.rows(state, now, detail, receipt)
        moving.recorded, moving.over = moving.request, True
        self._ended.append((moving, outcome))
        self._ended_transfers.append(transfer)
        if only_refused:  # by whom may be anybody, and the file is what it was
            more = [*more, ("note", [{"line": step[3], "id": moving.file}])]
        else:
            self._ended_steps.append(step)
        self._ended_more += more

    def _write_ended(self) -> None:
        records: list[Operation] = [("put_transfer", self._ended_transfers), ("step", self._ended_steps), *self._ended_more]
        self._journal.write(records, self._tell, self._ended)
        self._ended, self._ended_transfers, self._ended_steps, self._ended_more = [], [], [], []

    def _tell(self, ended: list[tuple[Moving, list[Receipt] | MoveError]]) -> None:
        """The journal has it: answer those who wait."""
        crashing.point("server.moved")
        for moving, outcome in self._without_newer_requests(ended):
            waiters = self._forget(moving)
            if isinstance(outcome, MoveError):
                # Who waits for what was cancelled came when it had ended already.
                error = Busy("that move was cancelled; ask again", 1.0) if isinstance(outcome, Cancelled) else outcome
                for waiter in waiters:
                    if isinstance(error, AlreadyHad) and waiter.consumer.client != moving.consumer.client:
                        self._sharing.cover(waiter, moving.file, moving.served.settings.name, ())
                    else:
                        self._answers.error(waiter, error)
                if moving.lease is not None:
                    self._sharing.failed(moving.push.transfer)
                if isinstance(error, OriginGone):  # it may have come back before the journal could tell that it was given up
                    moving.served.look_again(moving.file, moving.push.members[0].file.path, bool)
            elif moving.lease is None:
                for waiter in waiters:
                    self._answers.delivered(waiter, outcome, moving.served.pushing.names_files)
            else:
                self._share(moving, moving.lease, outcome, waiters)
        self._answers.send()
        crashing.point("server.replied")

    def _without_newer_requests(self, ended: list[tuple[Moving, list[Receipt] | MoveError]]) \
            -> list[tuple[Moving, list[Receipt] | MoveError]]:
        """Of what has ended all but what was asked for anew, by a client that was started again, while the outcome was being
        written: the journal gets the newer request first, by which it will be confirmed."""
        newer = [(moving, outcome) for moving, outcome in ended
                 if moving.request != moving.recorded and not isinstance(outcome, MoveError)]
        if not newer:
            return ended
        records: list[Operation] = []
        for moving, _ in newer:
            moving.recorded, moving.lease_written = moving.request, NOTHING_WRITTEN
            records += [*self._lease_records(moving), *_earlier_requests(moving)]
        self._journal.write(records, self._tell, newer)
        moved_on = {moving.push.transfer for moving, _ in newer}
        return [one for one in ended if one[0].push.transfer not in moved_on]

    def _share(self, moving: Moving, lease: Lease, receipts: list[Receipt], waiters: list[Waiter]) -> None:
        """The holder of the lease is told the outcome; others of its group wait until it has published."""
        named = moving.served.pushing.names_files
        others = []
        for waiter in waiters:
            if lease.is_held_by(waiter.consumer.client, waiter.request):
                self._answers.delivered(waiter, receipts, named, self._sharing.said_of(lease))
            else:
                others.append(waiter)
        if others:
            chain = moving.served.settings.name
            self._sharing.keep(Shared(moving.file, chain, moving.push.transfer, named, receipts, lease), others)

    def _forget(self, moving: Moving) -> list[Waiter]:
        del self._moving[moving.push.transfer]
        for request in moving.requests:
            self._by_request.pop(request, None)
        self._started.add(moving.push.peer, -1)
        self._held.add(moving.push.peer, -moving.weight)
        waiting = list(moving.waiters.values())
        for waiter in (*moving.requests.values(), *(waiter for waiter in waiting if not waiter.request)):
            self._release(moving, waiter)
        return waiting

    # Long moves: a reply within ten seconds, whatever happens.

    def _every_second(self) -> None:
        now, moment = time.monotonic(), time.time()
        records: list[Operation] = []
        if any(moment - moving.began > NOTED_AFTER for moving in self._moving.values()):
            self._journal.spare_loop(2 * EVERY)
        for moving in self._moving.values():
            if moving.is_here and not moving.over and moment - moving.began > NOTED_AFTER:
                records += moving.progress(moment)
            for waiter in list(moving.waiters.values()):
                if waiter.request and now - waiter.since > LONGEST_HOLD:
                    del moving.waiters[waiter.request]
                    self._answers.state(waiter, "moving", done=moving.done, total=moving.total)
        if records:
            self._journal.write(records)
        self._sharing.tick()
        if self._open or self._moving:
            self._loop.after(EVERY, self._every_second)


def _earlier_requests(moving: Moving) -> list[Operation]:
    return earlier_requests(moving.lease, moving.file, moving.push.transfer)
