"""Who of a group of hot spares may publish what was delivered, and who waits for that to be settled.

The rules are those of `bus/leases`; here they meet requests, the journal and replies. A client that is alone pays nothing: its
lease is in memory, the right to publish comes with the outcome, and the journal's row of the delivery says both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from trollmoves import crashing
from trollmoves.bus import Asker
from trollmoves.bus.leases import TTL, VALID, Lease, Leases
from trollmoves.errors import AlreadyHad, Busy
from trollmoves.journal import Journal, Operation
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import Message
from trollmoves.movers.base import Receipt
from trollmoves.server.alike import Alike, had_elsewhere
from trollmoves.server.answers import Answers
from trollmoves.server.replies import Replies, checksum_of_all
from trollmoves.server.requests import MOST_GROUPED, Consumer, Waiter, content_had, is_confirmation
from trollmoves.server.shares import Shares

DELIVERED = (State.MOVED, State.ACKNOWLEDGED)
LONGEST_HOLD = 5.0
"""Seconds a reply is held back before a peer that knows our extension is told how things stand. Together with the time a lease
lasts without a word of its holder, it is the longest a group waits for a member that died."""

MOST_WAITING = 20_000
"""Requests that wait for other members of their group."""
MOST_HELD = 6 * 2**20
"""Bytes of them that are kept."""
MOST_UNANNOUNCED = 100_000
"""Requests of which the files are remembered, because their positions no longer tell."""


@dataclass(slots=True)
class Shared:
    """Something delivered that another member of the group has the right to publish."""

    file: int
    chain: str
    transfer: str
    named: bool
    """Where upstream's reply has the name of the file in it."""
    receipts: list[Receipt]
    lease: Lease
    waiters: dict[str, Waiter] = field(default_factory=dict)
    """By the ids of their requests: who asks again waits in the place of before."""
    requests: dict[str, Waiter] = field(default_factory=dict)
    """Who waits or waited under each id."""


class Sharing:
    """The leases of one request port, and who waits for one; belongs to the loop."""

    def __init__(self, journal: Journal, alike: Alike, answers: Answers, replies: Replies,
                 reply: Callable[[Asker, bytes], Any]):
        self.alike = alike
        self._journal = journal
        self._answers = answers
        self._replies = replies
        self._reply = reply
        self._leases = Leases(time.monotonic())
        self._shared: dict[str, Shared] = {}
        self._by_request: dict[str, str] = {}
        self._held = Shares()
        """Bytes of the requests among these, by address."""
        self._unannounced: dict[str, int] = {
            row["request"]: row["file"] for row in journal.find("delivered_unannounced", (MOST_UNANNOUNCED,))}
        """By request: files that were asked for by their names, because their announcements are forgotten."""

    def asked_by_name(self, request: str, file: int) -> None:
        """The position by which its client will speak of *request* says nothing of *file*."""
        self._unannounced[request] = file
        if len(self._unannounced) > MOST_UNANNOUNCED:
            del self._unannounced[next(iter(self._unannounced))]

    def places(self, asked: Iterable[list[Any]]) -> str:
        """Of [position, request] pairs, what the journal finds the moves by."""
        return orjson.dumps([[pair[0], pair[1], self._unannounced.get(pair[1])] for pair in asked]).decode()

    def begin(self, transfer: str, waiter: Waiter, known: Any | None) -> Lease | None:
        """A move begins for who waits: the lease is theirs. *known* is the journal's row of an earlier one of that name."""
        if not waiter.request or not waiter.consumer.group:
            return None
        client, now = waiter.consumer.client, time.monotonic()
        if known is None or not known["request"]:
            return self._leases.grant(transfer, client, waiter.request, now)
        lease = self.lease_of(transfer, known)
        if known["state"] not in DELIVERED:
            lease.expires = min(lease.expires, now)  # whoever has it had nothing from it
        lease.claim(client, waiter.request, now)
        if lease.doubtful and not known["doubtful"]:  # should this move fail, nothing else tells of the earlier delivery
            row = [known[name] for name in ("client", "request", "spare", "peer", "fence", "committed")]
            self._journal.write([("lease", [(*row, 1, known["file"], transfer)])])
        return lease

    def lease_of(self, transfer: str, known: Any) -> Lease:
        """The lease of something the journal knows."""
        durable = (known["fence"], known["committed"], known["doubtful"])
        if known["state"] not in DELIVERED:
            durable = (known["fence"], 0, known["doubtful"])  # nothing was delivered, so nobody was told to publish
        return self._leases.restored(transfer, known["client"], known["request"], durable, tuple(known["earlier"].split()))

    def refuse_outdated(self, lease: Lease, waiter: Waiter) -> None:
        """Raise `Busy` for a request whose client has made a newer one meanwhile: it would take the lease from that one."""
        if lease.is_outdated(waiter.consumer.client, waiter.request, time.monotonic()):
            raise Busy("a newer request of the same client is under way; ask with a new one", 5.0)

    def settle(self, transfer: str, lease: Lease, waiters: Sequence[Waiter],
               written: tuple[int, int, int]) -> tuple[int, int, int] | None:
        """A delivery is about to be journaled, and told to *waiters*: decide whether that carries the right to publish. Returns
        what is to be written of the lease besides, None for nothing. *written* is what the journal has of it."""
        told = [lease.is_held_by(waiter.consumer.client, waiter.request) for waiter in waiters]
        self._leases.settle(transfer, lease, time.monotonic(), told=any(told))
        lease.committed |= any(told) and all(told) and all(waiter.at_once for waiter in waiters)
        return None if lease.durable == written else lease.durable

    def said_of(self, lease: Lease) -> dict[str, Any]:
        """What the holder is told with an outcome."""
        said: dict[str, Any] = {"fence": lease.fence, "maybe_published": True} if lease.doubtful else {"fence": lease.fence}
        if lease.committed:
            said["valid"] = VALID
        return said

    # Others of the group wait.

    def keep(self, shared: Shared, waiters: Sequence[Waiter]) -> None:
        """*waiters* do not have the lease: they are told when it is settled who publishes; at once, when too many wait, that it
        is not."""
        shared = self._shared.setdefault(shared.transfer, shared)
        for waiter in waiters:
            before = shared.requests.get(waiter.request)
            takes_more = before is None or waiter.weight > before.weight
            if takes_more and (
                    len(self._by_request) >= MOST_WAITING or not self._held.has_room(waiter.asker.address, MOST_HELD)):
                self._answers.state(waiter, "held", holder=shared.lease.holder)
                continue
            if before is not None:
                self._held.add(before.asker.address, -before.weight)
            self._held.add(waiter.asker.address, waiter.weight)
            shared.waiters[waiter.request] = shared.requests[waiter.request] = waiter
            self._by_request[waiter.request] = shared.transfer

    def join(self, shared: Shared, waiter: Waiter) -> None:
        """Somebody of the group asks for what was delivered already."""
        shared = self._shared.setdefault(shared.transfer, shared)
        if not self._is_next(shared, waiter):
            self.keep(shared, [waiter])

    def wait(self, request: str, asker: Asker) -> bool:
        """Somebody asks again how *request* stands: False when nothing is known of it here."""
        shared = self._shared.get(self._by_request.get(request, ""))
        if shared is None:
            return False
        waiter = replace(shared.requests[request], asker=asker, since=time.monotonic())
        if not self._is_next(shared, waiter):
            shared.waiters[request] = waiter
        return True

    def _is_next(self, shared: Shared, waiter: Waiter) -> bool:
        """Whether who asks gets the lease. Others who wait are looked at every second only: there may be thousands, and as many
        who ask."""
        if not shared.lease.claim(waiter.consumer.client, waiter.request, time.monotonic()):
            return False
        self._hand_over(shared, waiter)
        return True

    def failed(self, transfer: str) -> None:
        """Nothing was delivered: whoever asks first has the next try."""
        self._leases.drop(transfer)

    def tick(self) -> None:
        """To be called every second: leases expire, and nobody is left without an answer for long."""
        now = time.monotonic()
        for shared in list(self._shared.values()):
            self._look_at(shared, now)
        self._leases.forget_expired(now)

    def _look_at(self, shared: Shared, now: float) -> None:
        for waiter in list(shared.waiters.values()):
            if shared.lease.claim(waiter.consumer.client, waiter.request, now):
                self._hand_over(shared, waiter)
                return
            if now - waiter.since > LONGEST_HOLD:
                del shared.waiters[waiter.request]
                expires = round(shared.lease.expires - now, 3)
                self._answers.state(waiter, "held", holder=shared.lease.holder, expires=expires)
        if now > shared.lease.expires + TTL:
            self._end(shared)  # nobody waits any more, or it would be theirs; the journal knows

    def _hand_over(self, shared: Shared, waiter: Waiter) -> None:
        """The holder was not heard of for too long: *waiter* has the right to publish now. Written, then told."""
        shared.waiters.pop(waiter.request, None)
        lease, consumer = shared.lease, waiter.consumer
        lease.committed |= waiter.at_once
        peer = waiter.asker.address
        line = step_line("leased", time.time(), peer, detail=f"to be published by {consumer.client}")
        row = (consumer.client, waiter.request, consumer.spare, peer, *lease.durable, shared.file, shared.transfer)
        self._journal.write([("lease", [row]), *earlier_requests(lease, shared.file, shared.transfer),
                             ("note", [{"line": line, "id": shared.file}])],
                            self._handed_over, shared, waiter, self.said_of(lease))

    def _handed_over(self, shared: Shared, waiter: Waiter, said: dict[str, Any]) -> None:
        crashing.point("server.leased")
        self._answers.delivered(waiter, shared.receipts, shared.named, said)

    def confirmed(self, transfer: str) -> None:
        """The holder has published, and the journal knows: the others need not."""
        self._leases.drop(transfer)
        shared = self._shared.get(transfer)
        if shared is None:
            return
        for waiter in shared.waiters.values():
            self.cover(waiter, shared.file, shared.chain, shared.receipts)
        self._end(shared)

    def cover(self, waiter: Waiter, file: int, chain: str, receipts: Sequence[Receipt], *, by_itself: bool = False) -> None:
        """Another member of the group has published *file*, or the same one under a newer request (*by_itself*): who waits is
        done with it, too, and told what was delivered. Where nothing was, as the other one had the same already, who asks for
        other content than it has is told so: it compares what comes later with what it has."""
        if not waiter.consumer.spare and not by_itself:  # spares are not waited for
            now = time.time()
            self._journal.write([had_elsewhere(file, chain, waiter.consumer, waiter.asker.address, now),
                                 ("hurry_removals", [(now, orjson.dumps([file]))]),
                                 *self.alike.counts_elsewhere([(file, waiter.consumer)], waiter.asker.address)])
        if receipts or not content_had(waiter.message):
            self._answers.state(waiter, "covered", checksum=checksum_of_all(receipts))
        else:
            self._answers.error(waiter, AlreadyHad("another member of the group has said that it has the same already"))

    def _end(self, shared: Shared) -> None:
        del self._shared[shared.transfer]
        for request, waiter in shared.requests.items():
            self._by_request.pop(request, None)
            self._held.add(waiter.asker.address, -waiter.weight)

    # Somebody is about to publish.

    def commit(self, asker: Asker, message: Message) -> bytes | None:
        """Answer whether those who ask may publish; None when that has to be written first, and is said then."""
        consumer, said = Consumer.of(asker, message), message.extension
        commits = [ask for ask in _list(said.get("commits")) if is_confirmation(ask[:2]) and type(ask[-1]) is int]
        renewals = [ask for ask in _list(said.get("renewals")) if is_confirmation(ask)]
        transfers: dict[str, list[Any]] = {}
        if said.get("epoch") == self._journal.epoch:
            asked = self.places((*commits, *renewals))
            for row in self._journal.find("transfers_asked", (asked, consumer.group)):
                transfers.setdefault(row["asked"], []).append(row)
        for _, request in renewals:
            self._renew(request, transfers.get(request, []), consumer)
        records: list[Operation] = []
        results = [self._commit_one(request, fence, transfers.get(request, []), records) for _, request, fence in commits]
        reply = self._replies.commits(message, results)
        if not records:
            return reply
        self._journal.write(records, self._committed, asker, reply)
        return None

    def _committed(self, asker: Asker, reply: bytes) -> None:
        crashing.point("server.leased")
        self._reply(asker, reply)

    def _renew(self, request: str, rows: list[Any], consumer: Consumer) -> None:
        mine = next((row for row in rows if row["request"] == request and row["state"] == State.MOVED), None)
        if mine is not None:
            self.lease_of(mine["transfer"], mine).claim(consumer.client, request, time.monotonic())

    def _commit_one(self, request: str, fence: int, rows: list[Any], records: list[Operation]) -> dict[str, Any]:
        """The answer to one commit; what is to be written before it is said goes to *records*."""
        mine = next((row for row in rows if row["request"] == request), None)
        if mine is None:
            covered = any(row["state"] == State.ACKNOWLEDGED for row in rows)
            return {"request": request, "state": "covered" if covered else "held" if rows else "unknown"}
        if mine["state"] == State.ACKNOWLEDGED:  # it has forgotten that it did
            return {"request": request, "state": "granted", "valid": VALID, "maybe_published": True}
        lease = self.lease_of(mine["transfer"], mine)
        if not lease.commit(request, fence, time.monotonic()):
            return {"request": request, "state": "held"}
        if lease.durable != (mine["fence"], mine["committed"], mine["doubtful"]):
            records.append(("lease", [(lease.holder, request, mine["spare"], mine["peer"], *lease.durable, mine["file"],
                                       mine["transfer"])]))
        return {"request": request, "state": "granted", "valid": VALID, "fence": lease.fence, "maybe_published": lease.doubtful}


def earlier_requests(lease: Lease | None, file: int, transfer: str) -> list[Operation]:
    """What is to be written of requests that newer ones took the place of."""
    if lease is None or not lease.earlier:
        return []
    return [("note_earlier", [(" ".join(lease.earlier), file, transfer)])]


def _list(value: Any) -> list[Any]:
    """The lists in a list of a request, as many as are good for us."""
    return [item for item in value[:MOST_GROUPED] if isinstance(item, list)] if isinstance(value, list) else []
