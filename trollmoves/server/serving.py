"""Serve: ping, info, push, ack, replay and status on one request port, for all chains that share it.

Every request gets exactly one reply. Nothing a request contains ends this loop, grows memory without limit, or reaches a path
that was not announced. A request is looked up in the journal (lookups.py); its uri is only compared.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson

from trollmoves import crashing
from trollmoves.bus import Asker, Loop, Replier
from trollmoves.bus.leases import UNCONTESTED
from trollmoves.bus.replaying import Replaying
from trollmoves.bus.requesting import PUSHES
from trollmoves.errors import AlreadyHad, Busy, JournalError, MoveError, NotAnnounced, PositionUnknown
from trollmoves.journal import Journal
from trollmoves.lifecycle import State
from trollmoves.messages import EXTENSION, PROTOCOL, Envelope, Message, identity_of, uris_of
from trollmoves.movers.base import Receipt
from trollmoves.server.acknowledging import Acknowledging
from trollmoves.server.answers import Answers
from trollmoves.server.lookups import Lookups
from trollmoves.server.moves import Moves
from trollmoves.server.pushing import Push
from trollmoves.server.recent import Recent
from trollmoves.server.replies import LONGEST_TEXT, UNKNOWN_REQUEST, Replies
from trollmoves.server.requests import (
    MOST_GROUPED,
    Consumer,
    Waiter,
    backups,
    content_had,
    group,
    is_named,
    publishes_at_once,
    request_id,
    transfer_id,
    wants_checksum,
)
from trollmoves.server.sharing import Shared, Sharing
from trollmoves.server.small_moves import SmallMoves
from trollmoves.server.transfer import Moving, Served
from trollmoves.uris import local_path, parse_destination
from trollmoves.workers import Workers

logger = logging.getLogger(__name__)

MOST_FILES_LISTED = 2256
"""Names in one answer to `info`, as upstream."""
FAILED_HERE = "the server failed on this request; its log says why"


class Serving:
    """Answers on one port; belongs to the loop."""

    def __init__(self, port: int, address: str, largest: int, loop: Loop, journal: Journal, envelope: Envelope, workers: Workers,
                 small: SmallMoves, recent: Recent, started: float, moved: Callable[[], Mapping[str, str]]):
        """*moved* tells what was announced with another address than it is asked for at now."""
        self.chains: dict[str, Served] = {}
        self._journal = journal
        self._envelope = envelope
        self._started = started
        self._lookups = Lookups(journal, recent)
        self._replaying = Replaying(journal, envelope, moved=moved)
        self._replies = Replies(envelope)
        self._replier = Replier(loop, port, envelope, self._handle, address=address, largest=largest)
        self._answers = Answers(loop, self._replies, self._replier.reply)
        self._sharing = Sharing(journal, self._answers, self._replies, self._replier.reply)
        self._moves = Moves(loop, journal, workers, small, self._answers, self._sharing)
        self._acknowledging = Acknowledging(journal, envelope, loop.names, self._sharing, self._replier.reply)
        self.port = self._replier.port
        self._by_type: dict[str, Callable[[Asker, Message], bytes | None]] = {
            "ping": self._ping, "info": self._info, "push": self._push, "ack": self._ack, "replay": self._replay,
            "status": self._status, "commit": self._commit, "cancel": self._cancel,
        }

    def add(self, served: Served) -> None:
        """Serve this chain too."""
        self.remove(served.settings.name)
        self.chains[served.settings.name] = served
        self._acknowledging.add(served)

    def remove(self, chain: str) -> None:
        """Serve this one no more; fine when it was not served."""
        if self.chains.pop(chain, None) is not None:
            self._acknowledging.remove(chain)

    def under_way(self) -> int:
        """How many moves are queued or running."""
        return len(self._moves)

    def close(self) -> None:
        for chain in list(self.chains):
            self.remove(chain)
        self._moves.close()
        self._replier.close()

    # Requests come in.

    def _handle(self, requests: list[tuple[Asker, Message]]) -> None:
        try:
            self._lookups.prepare(message for _, message in requests)
        except JournalError:
            raise
        except Exception:  # they are looked up one by one then, and the bad one gets an error
            logger.exception("requests cannot be looked up together")
            self._lookups.forget()
        for asker, message in requests:
            reply = self._answer(asker, message)
            if reply is not None:
                self._replier.reply(asker, reply)
        crashing.point("server.requested")
        self._acknowledging.record()
        self._moves.submit()

    def _answer(self, asker: Asker, message: Message) -> bytes | None:
        """The reply, or None when it comes later."""
        answer = self._by_type.get(message.type)
        if answer is None:
            return self._envelope.encode(message.subject, "unknown")
        try:
            return answer(asker, message)
        except MoveError as error:
            self._moves.note_refusal(asker.address, message, error)
            return self._replies.error(message, error)
        except JournalError:
            raise
        except Exception:  # whatever a request brings about, the next one is served
            logger.exception("%s request of %s failed", message.type, asker.address)
            if request_id(message):  # without its id the answer would not be known for one
                return self._replies.error(message, MoveError(FAILED_HERE))
            return self._envelope.encode(message.subject, "error")

    def _ping(self, asker: Asker, message: Message) -> bytes:
        data: dict[str, Any] = {"station": next((served.settings.station for served in self.chains.values()), "unknown")}
        if message.extension:
            data[EXTENSION] = {"version": PROTOCOL, "request": message.extension.get("request"), "epoch": self._journal.epoch,
                               "head": self._journal.head, "load": len(self._moves),
                               "capabilities": ["replay", "status", "commit", "cancel"]}
        return self._envelope.encode(message.subject, "pong", data)

    def _info(self, asker: Asker, message: Message) -> bytes:
        asked = message.fields.get("max_count")
        most = min(asked, MOST_FILES_LISTED) if type(asked) is int and asked >= 0 else MOST_FILES_LISTED
        rows = self._journal.find("announced_names", (message.subject, message.subject, most))
        uptime = str(timedelta(seconds=time.monotonic() - self._started))
        data = {"files": [row[0] for row in rows], "max_count": most, "uptime": uptime}
        return self._envelope.encode(message.subject, "info", data)

    def _replay(self, asker: Asker, message: Message) -> bytes:
        return self._replaying.answer(message)

    # A push: find the file, join the move that runs, or start one.

    def _push(self, asker: Asker, message: Message) -> bytes | None:
        if PUSHES in message.extension:
            self._push_group(asker, message)
            return None
        row, served = self._find(message)
        offset, waiter = self._lookups.position_in(message), Waiter.of(asker, message, time.monotonic())
        announced = None if offset is None else self._lookups.announced_at(offset)
        if waiter.request and (announced is None or announced["id"] != row["id"]):
            self._sharing.asked_by_name(waiter.request, row["id"])
        return self._push_one(row, served, waiter)

    def _push_group(self, asker: Asker, message: Message) -> None:
        """Many requests for one destination in one message: each an announcement's position and the id of its request. What has
        another position by now (our journal is new, or has forgotten that announcement) is found for who asks by its name, as
        clients do in their second attempt."""
        consumer, now, at_once = Consumer.of(asker, message), time.monotonic(), publishes_at_once(message)
        for offset, request in group(message):
            waiter = Waiter(asker, message, now, request, consumer, True, at_once)
            try:
                row = self._lookups.announced_at(offset) if message.extension.get("epoch") == self._journal.epoch else None
                if row is None:
                    raise PositionUnknown(f"announcement {offset} is none of this journal: ask for it alone, by its name")
                reply = self._push_one(row, self._chain_of(row), waiter)
                assert reply is None  # answers to grouped requests go together
            except MoveError as error:
                self._moves.note_refusal(asker.address, message, error)
                self._answers.error(waiter, error)
            except JournalError:
                raise
            except Exception:
                logger.exception("request %s of %s failed", request, asker.address)
                self._answers.error(waiter, MoveError(FAILED_HERE))

    def _push_one(self, row: Any, served: Served, waiter: Waiter) -> bytes | None:
        message, consumer, request = waiter.message, waiter.consumer, waiter.request
        destination = parse_destination(message.fields.get("destination"))
        transfer = transfer_id(row, consumer, destination, request, message, self._journal.epoch)
        self._moves.refuse_cancelled(transfer, consumer.client)
        running = self._moves.get(transfer)
        if running is not None:
            if running.lease is not None:
                self._sharing.refuse_outdated(running.lease, waiter)
            self._moves.refuse_when_held_up(0 if waiter.grouped else len(message.raw), waiter.asker.address)
            if consumer.client == running.consumer.client and waiter.asker.is_like(running.push.peer, running.push.stranger):
                self._moves.join(running, waiter)
            else:  # what it may have is found out in a worker, and the move may be over by then
                self._moves.admit(running.push, served, waiter, lambda: self._join(row, served, waiter, transfer))
            return None
        known = self._lookups.transfer(row["id"], transfer)
        before = _receipts(known)
        if before and not request:  # letter by letter what an upstream client sent before
            return self._replies.delivered(message, "", before, served.pushing.names_files)
        if known is not None and _is_had(known) and known["request"] == request:
            self._answers.error(waiter, AlreadyHad(f"{known['client']} has said that it has the same already"))
            return None
        if known is not None and _is_had(known) and known["client"] != consumer.client:
            self._share(row, served, waiter, known, before)
            return None
        if known is not None and request in known["earlier"].split() and known["client"] == consumer.client:
            if known["state"] == State.ACKNOWLEDGED:
                self._sharing.cover(waiter, row["id"], row["chain"], before, by_itself=True)
                return None
            self._sharing.refuse_outdated(self._sharing.lease_of(transfer, known), waiter)
        if known is not None and before and (known["request"] == request or known["client"] != consumer.client):
            self._share(row, served, waiter, known, before)
            return None
        self._moves.refuse_when_busy(served.settings, waiter.asker.address)
        self._moves.refuse_when_held_up(0 if waiter.grouped else len(message.raw), waiter.asker.address)
        attempt = 1 if known is None else known["attempt"] + 1
        push = Push(transfer, served.members(message, row), destination, backups(message), waiter.asker.address, attempt,
                    waiter.asker.stranger, attempt > 1 or self._journal.was_interrupted(row["id"]), content_had(message),
                    wants_checksum(message))
        lease = self._sharing.begin(transfer, waiter, known)
        written = UNCONTESTED if known is None else (known["fence"], known["committed"], known["doubtful"])
        moving = Moving(push, row["id"], served, row["size"] or 0, message, request, waiter.grouped, consumer, before, lease,
                        written)
        self._moves.start(moving, waiter)
        return None

    def _share(self, row: Any, served: Served, waiter: Waiter, known: Any, receipts: list[Receipt]) -> None:
        """What is asked for was delivered, for the same request or for another member of the group."""
        transfer, client, named = known["transfer"], waiter.consumer.client, served.pushing.names_files
        lease = self._sharing.lease_of(transfer, known)
        if lease.holder == client and lease.request == waiter.request:
            lease.claim(client, waiter.request, time.monotonic())
            self._answers.delivered(waiter, receipts, named, self._sharing.said_of(lease))
            return
        if lease.holder == client:
            self._sharing.join(Shared(row["id"], row["chain"], transfer, named, receipts, lease), waiter)
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

    def _find(self, message: Message) -> tuple[Any, Served]:
        """The journal's row of what the request is about, and its chain. Raises `NotAnnounced`, or `Busy` (see `_chain_of`)."""
        offset, uris = self._lookups.position_in(message), uris_of(message.fields)
        identity = identity_of(message.fields)
        if offset is not None:
            row = self._lookups.announced_at(offset)
            if row is not None and row["identity"] == identity and row["chain"] in self.chains and is_named(row, uris):
                newest = row if request_id(message) else self._lookups.newest(identity, uris, self.chains)
                return newest or row, self.chains[row["chain"]]
        row = self._lookups.newest(identity, uris, self.chains)
        if row is None:
            raise NotAnnounced(f"{(local_path(uris[0]) if uris else message.subject)[:LONGEST_TEXT]} not reachable")
        return row, self._chain_of(row)

    def _chain_of(self, row: Any) -> Served:
        """Raises `Busy` while it is not served: its section may be back when a mistake in it is mended, or its start succeeds.
        (Who asks for what a section announced that was removed for good asks until the file expires.)"""
        served = self.chains.get(row["chain"])
        if served is None:
            raise Busy(f"section [{row['chain']}] is not served now", 10.0)
        return served

    def _status(self, asker: Asker, message: Message) -> bytes | None:
        """Somebody waits for long moves: the answers come when they are over, or after a while as `pending`."""
        requests = _named(message)
        if not requests:
            return None if self._wait(asker, request_id(message)) else self._replies.unknown_request(message)
        for request in requests:
            if not self._wait(asker, request):
                waiter = Waiter(asker, message, 0.0, request, Consumer.of(asker, message), grouped=True)
                self._answers.add(waiter, {"request": request, "code": UNKNOWN_REQUEST})
        return None

    def _wait(self, asker: Asker, request: str) -> bool:
        """Whether the outcome of *request* is on its way, and will be told."""
        moving = self._moves.of_request(request)
        if moving is None:
            return self._sharing.wait(request, asker)
        self._moves.wait(moving, replace(moving.requests[request], asker=asker, since=time.monotonic()))
        return True

    def _commit(self, asker: Asker, message: Message) -> bytes | None:
        """Somebody is about to publish what was delivered."""
        return self._sharing.commit(asker, message)

    def _cancel(self, asker: Asker, message: Message) -> bytes:
        """Somebody does not want any more what it asked for."""
        asked = _named(message)
        for_all = message.extension.get("for_all") is True
        ended = [request for request in asked if self._moves.cancel(request, for_all=for_all)]
        if ended:
            logger.info("%s cancelled %d requests, of which %d were under way", asker.address, len(asked), len(ended))
        said = {"version": PROTOCOL, "request": request_id(message), "cancelled": ended}
        return self._envelope.encode(message.subject, "ack", {EXTENSION: said})

    def _ack(self, asker: Asker, message: Message) -> bytes | None:
        if isinstance(message.extension.get("requests"), list):
            self._acknowledging.confirm(asker, message)
            return None
        row, _ = self._find(message)
        return self._acknowledging.acknowledge(asker, message, row)


def _named(message: Message) -> list[str]:
    """The requests a message is about, where it names several."""
    requests = message.extension.get("requests")
    return [request for request in requests[:MOST_GROUPED] if isinstance(request, str)] if isinstance(requests, list) else []


def _is_had(transfer: Any) -> bool:
    """Whether nothing was delivered, because who asked had the same already; an earlier try may have failed."""
    return bool(transfer["state"] == State.ACKNOWLEDGED and not (transfer["receipt"] or "").startswith("["))


def _receipts(transfer: Any | None) -> list[Receipt]:
    """What a transfer delivered; empty when there was none, or it failed."""
    if transfer is None or _is_had(transfer) or transfer["state"] not in (State.MOVED, State.ACKNOWLEDGED):
        return []
    return [Receipt(**receipt) for receipt in orjson.loads(transfer["receipt"])]
