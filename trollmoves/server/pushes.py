"""What a push request comes to: it joins the move that runs, is told what was delivered before, or starts a move."""

from __future__ import annotations

import time
from typing import Any

import orjson

from trollmoves.bus.leases import UNCONTESTED
from trollmoves.errors import AlreadyHad, Busy
from trollmoves.journal import Journal
from trollmoves.lifecycle import State
from trollmoves.movers.base import Receipt
from trollmoves.server.answers import Answers
from trollmoves.server.lookups import Lookups
from trollmoves.server.moves import Moves
from trollmoves.server.pushing import Push
from trollmoves.server.requests import Waiter, backups, content_had, transfer_id, wants_checksum
from trollmoves.server.sharing import Shared, Sharing
from trollmoves.server.transfer import Moving, Served
from trollmoves.uris import Destination, parse_destination


class Pushes:
    """Of one request port; belongs to the loop."""

    def __init__(self, journal: Journal, lookups: Lookups, moves: Moves, sharing: Sharing, answers: Answers):
        self._journal = journal
        self._lookups = lookups
        self._moves = moves
        self._sharing = sharing
        self._answers = answers

    def take(self, row: Any, served: Served, waiter: Waiter) -> None:
        """*waiter* asks for *row*, and is told what comes of it. Raises a `MoveError` for a request that is refused."""
        destination = parse_destination(waiter.message.fields.get("destination"))
        transfer = transfer_id(row, waiter.consumer, destination, waiter.request, waiter.message, self._journal.epoch)
        self._moves.refuse_cancelled(transfer, waiter.consumer.client)
        running = self._moves.get(transfer)
        if running is not None:
            self._wait_for(running, row, served, waiter)
            return
        known = self._lookups.transfer(row["id"], transfer)
        before = _receipts(known)
        if known is None or not self._is_answered_by(known, before, row, served, waiter):
            self._start(transfer, destination, known, before, row, served, waiter)

    def _wait_for(self, running: Moving, row: Any, served: Served, waiter: Waiter) -> None:
        if running.lease is not None:
            self._sharing.refuse_outdated(running.lease, waiter)
        if waiter.asker.is_like(running.push.peer, running.push.stranger):
            self._moves.refuse_when_held_up(waiter)
            self._moves.join(running, waiter)
        else:  # what it may have is found out in a worker, and the move may be over by then
            self._moves.admit(running.push, served, waiter, lambda: self._join(row, served, waiter, running.push.transfer))

    def _is_answered_by(self, known: Any, before: list[Receipt], row: Any, served: Served, waiter: Waiter) -> bool:
        """Whether what became of an earlier request, by the same client or another one of its group, is the answer to this."""
        is_same_client, is_repeated = known["client"] == waiter.consumer.client, known["request"] == waiter.request
        is_had = _is_had(known)
        if is_had and is_repeated:
            self._answers.error(waiter, AlreadyHad(f"{known['client']} has said that it has the same already"))
            return True
        if is_same_client and waiter.request in known["earlier"].split():
            if known["state"] == State.ACKNOWLEDGED:
                self._sharing.cover(waiter, row["id"], row["chain"], before, by_itself=True)
                return True
            self._sharing.refuse_outdated(self._sharing.lease_of(known["transfer"], known), waiter)
        if (before or is_had) and (is_repeated or not is_same_client):
            self._share(known, before, row, served, waiter)
            return True
        return False

    def _start(self, transfer: str, destination: Destination, known: Any | None, before: list[Receipt], row: Any, served: Served,
               waiter: Waiter) -> None:
        message = waiter.message
        self._moves.refuse_when_busy(served.settings, waiter.asker.address)
        self._moves.refuse_when_held_up(waiter)
        attempt = 1 if known is None else known["attempt"] + 1
        push = Push(transfer, served.members(message, row), destination, backups(message), waiter.asker.address, attempt,
                    waiter.asker.stranger, attempt > 1 or self._journal.was_interrupted(row["id"]), content_had(message),
                    wants_checksum(message))
        lease = self._sharing.begin(transfer, waiter, known)
        written = UNCONTESTED if known is None else (known["fence"], known["committed"], known["doubtful"])
        moving = Moving(push, row["id"], served, row["size"] or 0, message, waiter.request, waiter.grouped, waiter.consumer,
                        before, lease, written)
        self._moves.start(moving, waiter)

    def _share(self, known: Any, receipts: list[Receipt], row: Any, served: Served, waiter: Waiter) -> None:
        """What is asked for was delivered, for the same request or for another member of the group."""
        transfer, client, named = known["transfer"], waiter.consumer.client, served.pushing.names_files
        lease = self._sharing.lease_of(transfer, known)
        if lease.holder == client and lease.request == waiter.request:
            lease.claim(client, waiter.request, time.monotonic())
            self._answers.delivered(waiter, receipts, named, self._sharing.said_of(lease))
            return
        destination = parse_destination(waiter.message.fields.get("destination"))
        push = Push(transfer, (), destination, backups(waiter.message), waiter.asker.address, 1, waiter.asker.stranger)
        self._moves.admit(push, served, waiter, lambda: self._join(row, served, waiter, transfer))

    def _join(self, row: Any, served: Served, waiter: Waiter, transfer: str) -> None:
        """Another member of the group, which may have the file there, asks for what is being moved or was."""
        running = self._moves.get(transfer)
        if running is not None:
            self._moves.join(running, waiter)
            return
        known = self._journal.find_one("transfer", (row["id"], transfer))
        before = _receipts(known)
        if known is not None and known["state"] == State.ACKNOWLEDGED and known["client"] != waiter.consumer.client:
            self._sharing.cover(waiter, row["id"], row["chain"], before)
        elif known is not None and before:
            lease, named = self._sharing.lease_of(transfer, known), served.pushing.names_files
            shared = Shared(row["id"], row["chain"], transfer, named, before, lease)
            self._sharing.join(shared, waiter)
        else:
            raise Busy("that move has just failed; ask again", 1.0)


def _is_had(transfer: Any) -> bool:
    """Whether nothing was delivered, because who asked had the same already; an earlier try may have failed."""
    return bool(transfer["state"] == State.ACKNOWLEDGED and not (transfer["receipt"] or "").startswith("["))


def _receipts(transfer: Any | None) -> list[Receipt]:
    """What a transfer delivered; empty when there was none, or it failed."""
    if transfer is None or _is_had(transfer) or transfer["state"] not in (State.MOVED, State.ACKNOWLEDGED):
        return []
    return [Receipt(**receipt) for receipt in orjson.loads(transfer["receipt"])]
