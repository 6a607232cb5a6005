"""Serve: ping, info, push, ack, replay and status on one request port, for all chains that share it.

Every request gets exactly one reply. Nothing a request contains ends this loop, grows memory without limit, or reaches a path
that was not announced. A request is looked up in the journal; its uri is only compared.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import orjson

from trollmoves import crashing
from trollmoves.bus import Asker, Loop, Replier
from trollmoves.config.settings import ServerSettings
from trollmoves.errors import Busy, DestinationInvalid, JournalError, MoveError, NotAnnounced, OriginGone
from trollmoves.journal import Journal, Operation
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import EXTENSION, LARGEST_WHOLE, PROTOCOL, Envelope, Message, identity_of, uris_of, values_of
from trollmoves.movers.base import Receipt
from trollmoves.server.beneath import Announced
from trollmoves.server.pushing import Member, Push, Pushing
from trollmoves.server.removing import Removing
from trollmoves.server.replaying import Replaying
from trollmoves.server.rights import is_trusted
from trollmoves.uris import Destination, check_relative, hide_password, host_of, local_path, parse_destination
from trollmoves.workers import Work, Workers

logger = logging.getLogger(__name__)

MOST_FILES_LISTED = 2256
"""Names in one answer to `info`, as upstream."""
LONGEST_HOLD = 10.0
"""Seconds a reply is held back before a peer that knows our extension gets `pending`."""
MOST_HELD = 12 * 2**20
"""Bytes of requests that may wait for the outcome of their moves; beyond it peers are told to ask later."""
MOST_CONFIRMED = 1000
GROUP = "pushes"
"""Key in the extension of a push that holds many requests: pairs of a position and the id of a request."""
MOST_GROUPED = 1000
LONGEST_TEXT = 500
"""Characters of an error in a reply."""


@dataclass(frozen=True, slots=True)
class Served:
    """One chain, as far as its requests are concerned."""

    settings: ServerSettings
    pushing: Pushing
    removing: Removing


@dataclass(slots=True)
class Waiter:
    """Somebody who waits for the outcome of a move."""

    asker: Asker
    message: Message
    since: float
    request: str
    """Empty for upstream clients, whose reply is held back until the end."""
    grouped: bool = False
    """The request came together with others, and so go the answers."""

    @property
    def weight(self) -> int:
        """Bytes that are held in memory for it, about."""
        return 200 if self.grouped else len(self.message.raw)


@dataclass(frozen=True, slots=True)
class Consumer:
    """Who has files pushed to it: what `delete` counts."""

    client: str
    """Names one client chain; of upstream clients, which have no name, the address."""
    group: str
    """What a primary and its hot spares share; empty for upstream clients."""
    spare: bool

    @classmethod
    def of(cls, asker: Asker, message: Message) -> Consumer:
        client, group = (message.extension.get(name) for name in ("client", "group"))
        if isinstance(client, str) and isinstance(group, str) and 0 < len(client) <= 200 and 0 < len(group) <= 200:
            return cls(client, group, message.extension.get("priority", 0) != 0)
        return cls(asker.address, "", False)


@dataclass(slots=True)
class Moving:
    """A move that is queued or running, and who waits for it."""

    push: Push
    file: int
    chain: str
    total: int
    message: Message
    """The request that started it; its data make up the replies to those who ask for the outcome later."""
    request: str
    """The id of that request; empty for upstream clients."""
    grouped: bool
    consumer: Consumer
    before: list[Receipt]
    """The receipts of an earlier delivery of the same content to the same consumer and destination, if there was one."""
    waiters: list[Waiter] = field(default_factory=list)
    requests: set[str] = field(default_factory=set)
    done: int = 0
    began: float = field(default_factory=time.time)
    noted: bool = False
    """The journal has it."""



class Serving:
    """Answers on one port; belongs to the loop."""

    def __init__(self, port: int, address: str, largest: int, loop: Loop, journal: Journal, envelope: Envelope, workers: Workers,
                 started: float):
        self.chains: dict[str, Served] = {}
        self._loop = loop
        self._journal = journal
        self._envelope = envelope
        self._workers = workers
        self._started = started
        self._moving: dict[str, Moving] = {}
        self._by_request: dict[str, str] = {}
        self._rows: dict[int, Any] = {}
        self._held = 0
        """Bytes of the requests that wait for the outcome of a move."""
        self._transfers: dict[str, Any] = {}
        self._looked_up: set[int] = set()
        self._new_work: list[Work] = []
        self._new_records: list[Operation] = []
        self._ended: list[tuple[Moving, list[Receipt] | MoveError]] = []
        """Moves that are over, and (below) what the journal will have of them."""
        self._ended_transfers: list[Any] = []
        self._ended_steps: list[Any] = []
        self._ended_more: list[Operation] = []
        self._said: dict[bytes, tuple[Asker, str, list[dict[str, Any]]]] = {}
        """By asker: answers to grouped requests that go out together."""
        self._replaying = Replaying(journal, envelope)
        self._replier = Replier(loop, port, envelope, self._handle, address=address, largest=largest)
        self.port = self._replier.port
        self._answers: dict[str, Callable[[Asker, Message], bytes | None]] = {
            "ping": self._ping, "info": self._info, "push": self._push, "ack": self._ack, "replay": self._replay,
            "status": self._status,
        }
        loop.after(1.0, self._every_second)

    def under_way(self) -> int:
        return len(self._moving)

    def close(self) -> None:
        self._replier.close()

    # Requests come in.

    def _handle(self, requests: list[tuple[Asker, Message]]) -> None:
        try:
            self._look_up(requests)
        except JournalError:
            raise
        except Exception:  # they are looked up one by one then, and the bad one gets an error
            logger.exception("requests cannot be looked up together")
            self._rows, self._transfers, self._looked_up = {}, {}, set()
        for asker, message in requests:
            reply = self._answer(asker, message)
            if reply is not None:
                self._replier.reply(asker, reply)
        records, self._new_records = self._new_records, []
        work, self._new_work = self._new_work, []
        crashing.point("server.requested")
        if records:
            self._journal.write(records)
        if work:
            self._workers.submit(work)

    def _look_up(self, requests: list[tuple[Asker, Message]]) -> None:
        """Ask the journal once for all pushes that came together."""
        positions = [offset for _, message in requests if message.type == "push" for offset in self._offsets_of(message)]
        rows = self._journal.find("announced_among", (orjson.dumps(positions),)) if positions else []
        self._rows = {row["position"]: row for row in rows}
        found = self._journal.find("transfers_among", (orjson.dumps([row["id"] for row in rows]),)) if rows else []
        self._transfers = {row["transfer"]: row for row in found}
        self._looked_up = {row["id"] for row in rows}

    def _offsets_of(self, message: Message) -> list[int]:
        if GROUP in message.extension:
            return [offset for offset, _ in _group(message)]
        offset = self._offset_of(message)
        return [] if offset is None else [offset]

    def _offset_of(self, message: Message) -> int | None:
        """The position in our journal that a request names, if it does."""
        offset = message.extension.get("offset")
        if message.extension.get("epoch") != self._journal.epoch or type(offset) is not int:
            return None
        return offset if 0 < offset <= LARGEST_WHOLE else None

    def _answer(self, asker: Asker, message: Message) -> bytes | None:
        """The reply, or None when it comes later."""
        answer = self._answers.get(message.type)
        if answer is None:
            return self._envelope.encode(message.subject, "unknown")
        try:
            return answer(asker, message)
        except MoveError as error:
            self._log_refusal(asker, message, error)
            return self._error(message, error)
        except JournalError:
            raise
        except Exception:  # whatever a request brings about, the next one is served
            logger.exception("%s request of %s failed", message.type, asker.address)
            return self._envelope.encode(message.subject, "error")

    def _ping(self, asker: Asker, message: Message) -> bytes:
        data: dict[str, Any] = {"station": next((served.settings.station for served in self.chains.values()), "unknown")}
        if message.extension:
            data[EXTENSION] = {"version": PROTOCOL, "request": message.extension.get("request"), "epoch": self._journal.epoch,
                               "head": self._journal.head, "capabilities": ["replay", "status"]}
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
        if GROUP in message.extension:
            self._push_group(asker, message)
            return None
        row, served = self._find(message)
        return self._push_one(row, served, message, Waiter(asker, message, time.monotonic(), _request_id(message)),
                              Consumer.of(asker, message))

    def _push_group(self, asker: Asker, message: Message) -> None:
        """Many requests for one destination in one message: each an announcement's position and the id of its request."""
        consumer, now = Consumer.of(asker, message), time.monotonic()
        for offset, request in _group(message):
            waiter = Waiter(asker, message, now, request, grouped=True)
            try:
                row = self._rows.get(offset)
                if row is None or row["chain"] not in self.chains or message.extension.get("epoch") != self._journal.epoch:
                    raise NotAnnounced(f"announcement {offset} not reachable")
                reply = self._push_one(row, self.chains[row["chain"]], message, waiter, consumer)
                assert reply is None  # answers to grouped requests go together
            except MoveError as error:
                self._log_refusal(asker, message, error)
                self._tell_error(waiter, error)

    def _push_one(self, row: Any, served: Served, message: Message, waiter: Waiter, consumer: Consumer) -> bytes | None:
        destination, request = parse_destination(message.fields.get("destination")), waiter.request
        transfer = _transfer_id(row, consumer, destination, request, message)
        if transfer in self._moving:
            self._refuse_when_held_up(message)
            self._join(self._moving[transfer], waiter)
            return None
        known = self._transfers.get(transfer)
        if known is None and row["id"] not in self._looked_up:
            known = self._journal.find_one("transfer", (row["id"], transfer))
        before = _receipts(known)
        if known is not None and before and request and known["request"] == request:
            if not waiter.grouped:
                return self._delivered(message, request, before, row["chain"])
            self._say(waiter, _result(request, before[-1]))
            return None
        self._refuse_when_busy(served)
        self._refuse_when_held_up(message)
        members = _members(message, row)
        attempt = 1 if known is None else known["attempt"] + 1
        push = Push(transfer, members, destination, _backups(message), waiter.asker.address, attempt)
        moving = Moving(push, row["id"], row["chain"], row["size"], message, request, waiter.grouped, consumer, before)
        self._start(moving, waiter, served)
        return None

    def _join(self, moving: Moving, waiter: Waiter) -> None:
        self._wait(moving, waiter)
        if waiter.request:
            moving.requests.add(waiter.request)
            self._by_request[waiter.request] = moving.push.transfer

    def _wait(self, moving: Moving, waiter: Waiter) -> None:
        moving.waiters.append(waiter)
        self._held += waiter.weight

    def _find(self, message: Message) -> tuple[Any, Served]:
        """The journal's row of what the request is about, and its chain. Raises `NotAnnounced`."""
        offset, uris = self._offset_of(message), uris_of(message.fields)
        identity = identity_of(message.fields)
        if offset is not None:
            row = self._rows.get(offset) or self._journal.find_one("announced_at", (offset,))
            if row is not None and row["identity"] == identity and row["chain"] in self.chains and _is_about(row, uris):
                newest = row if _request_id(message) else self._newest(identity, uris)
                return newest or row, self.chains[row["chain"]]
        row = self._newest(identity, uris)
        if row is None:
            raise NotAnnounced(f"{hide_password(local_path(uris[0]) if uris else message.subject)[:LONGEST_TEXT]} not reachable")
        return row, self.chains[row["chain"]]

    def _newest(self, identity: str, uris: tuple[str, ...]) -> Any | None:
        rows = self._journal.find("files_named", (identity,))
        return next((row for row in rows if row["chain"] in self.chains and _is_about(row, uris)), None)

    def _refuse_when_busy(self, served: Served) -> None:
        if self._journal.full:
            raise Busy("the journal of the server cannot be written: its disk is full", 10.0)
        if len(self._moving) >= served.settings.queued_requests:
            raise Busy(f"{len(self._moving)} requests are waiting (queued_requests in section [{served.settings.name}])", 5.0)

    def _refuse_when_held_up(self, message: Message) -> None:
        if self._held > MOST_HELD:
            raise Busy("too many large requests are waiting", 5.0)

    def _start(self, moving: Moving, waiter: Waiter, served: Served) -> None:
        push = moving.push
        limit = served.pushing.limit(push.destination)
        self._moving[push.transfer] = moving
        self._join(moving, waiter)
        def progress(done: int) -> None:
            moving.done = done

        # Small files queue apart from large ones, for which they must not wait.
        quick = served.pushing.is_quick(push.destination, moving.total)
        self._new_work.append(Work((*push.destination.address[:3], quick), limit,
                                   lambda sessions: served.pushing.push(push, sessions, progress),
                                   lambda outcome: self._finish(moving, served, outcome), quick))

    # A move is over.

    def _finish(self, moving: Moving, served: Served, outcome: Any) -> None:
        now = time.time()
        if isinstance(outcome, OriginGone) and moving.before:
            # This consumer had it before (and perhaps forgot): what was delivered then, and removed since, counts.
            outcome = moving.before
        if isinstance(outcome, Exception):
            state = State.GIVEN_UP if getattr(outcome, "permanent", False) else State.FAILED
            error = outcome if isinstance(outcome, MoveError) else MoveError(f"{type(outcome).__name__}: {outcome}")
            detail = hide_password(str(error))[:LONGEST_TEXT]
            logger.warning("%s to %s: %s", moving.push.members[0].file.path, moving.push.destination.exact, detail,
                           exc_info=None if isinstance(outcome, MoveError) else outcome)
            self._record(moving, state, now, detail, detail, [], error)
            return
        detail = _summary(outcome)
        receipt = orjson.dumps(outcome).decode()
        self._record(moving, State.MOVED, now, detail, receipt, served.removing.schedule(moving.file), outcome)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("moved %s: %s", moving.push.members[0].file.path, detail)

    def _record(self, moving: Moving, state: State, now: float, detail: str, receipt: str, more: list[Operation],
                outcome: list[Receipt] | MoveError) -> None:
        """Note what is to be written and told, with all else that ends in this turn of the loop."""
        if not self._ended:
            self._loop.call(self._write_ended)
        transfer, step = _records(moving, state, now, detail, receipt)
        self._ended.append((moving, outcome))
        self._ended_transfers.append(transfer)
        self._ended_steps.append(step)
        self._ended_more += more

    def _write_ended(self) -> None:
        records: list[Operation] = [("put_transfer", self._ended_transfers), ("step", self._ended_steps), *self._ended_more]
        self._journal.write(records, self._tell, self._ended)
        self._ended, self._ended_transfers, self._ended_steps, self._ended_more = [], [], [], []

    def _tell(self, ended: list[tuple[Moving, list[Receipt] | MoveError]]) -> None:
        """The journal has it: answer those who wait."""
        crashing.point("server.moved")
        for moving, outcome in ended:
            for waiter in self._forget(moving):
                if isinstance(outcome, MoveError):
                    self._tell_error(waiter, outcome)
                elif waiter.grouped:
                    self._say(waiter, _result(waiter.request, outcome[-1]))
                else:
                    raw = self._delivered(waiter.message, waiter.request, outcome, moving.chain)
                    self._replier.reply(waiter.asker, raw)
        self._send_said()
        crashing.point("server.replied")

    def _tell_error(self, waiter: Waiter, error: MoveError) -> None:
        if waiter.grouped:
            self._say(waiter, {"request": waiter.request, "error": hide_password(str(error))[:LONGEST_TEXT], **_verdict(error)})
        else:
            self._replier.reply(waiter.asker, self._error(waiter.message, error))

    def _say(self, waiter: Waiter, result: dict[str, Any]) -> None:
        """An answer to a grouped request; it goes with the others to the same asker."""
        if not self._said:
            self._loop.call(self._send_said)
        asker, _, results = self._said.setdefault(waiter.asker.identity, (waiter.asker, waiter.message.subject, []))
        results.append(result)

    def _send_said(self) -> None:
        said, self._said = self._said, {}
        for asker, subject, results in said.values():
            data = {EXTENSION: {"version": PROTOCOL, "results": results}}
            self._replier.reply(asker, self._envelope.encode(subject, "results", data))

    def _forget(self, moving: Moving) -> list[Waiter]:
        del self._moving[moving.push.transfer]
        for request in moving.requests:
            self._by_request.pop(request, None)
        self._held -= sum(waiter.weight for waiter in moving.waiters)
        return moving.waiters

    # Replies.

    def _delivered(self, message: Message, request: str, receipts: list[Receipt], chain: str) -> bytes:
        named = chain in self.chains and self.chains[chain].pushing.names_files
        data = {**message.fields, "destination": _landed(message, receipts[-1], named)}
        if request:
            data[EXTENSION] = {**message.extension, **_result(request, receipts[-1])}
        return self._envelope.encode(message.subject, _reply_type(message), data)

    def _error(self, message: Message, error: MoveError) -> bytes:
        text = hide_password(str(error))[:LONGEST_TEXT]
        request = _request_id(message)
        if not request:
            return self._envelope.encode(message.subject, "err", text)
        data = {"error": text, EXTENSION: {"version": PROTOCOL, "request": request, **_verdict(error)}}
        return self._envelope.encode(message.subject, "err", data)

    def _log_refusal(self, asker: Asker, message: Message, error: MoveError) -> None:
        logger.warning("refused %s of %s: %s", message.type, asker.address, hide_password(str(error))[:LONGEST_TEXT])

    # Long moves: a reply within ten seconds, whatever happens.

    def _every_second(self) -> None:
        now = time.monotonic()
        for moving in self._moving.values():
            if not moving.noted and time.time() - moving.began > 1.0:
                # Short moves are journaled once, when they are over: if we die meanwhile, the client asks again.
                transfer, step = _records(moving, State.MOVING, moving.began, "", None)
                self._journal.write([("put_transfer", [transfer]), ("step", [step])])
            late = [waiter for waiter in moving.waiters if waiter.request and now - waiter.since > LONGEST_HOLD]
            for waiter in late:
                moving.waiters.remove(waiter)
                self._held -= waiter.weight
                self._replier.reply(waiter.asker, self._pending(waiter, moving))
        self._loop.after(1.0, self._every_second)

    def _pending(self, waiter: Waiter, moving: Moving) -> bytes:
        data = {EXTENSION: {"version": PROTOCOL, "request": waiter.request, "state": "moving", "done": moving.done,
                            "total": moving.total}}
        return self._envelope.encode(waiter.message.subject, "pending", data)

    def _status(self, asker: Asker, message: Message) -> bytes | None:
        request = _request_id(message)
        moving = self._moving.get(self._by_request.get(request, ""))
        if moving is None:
            data = {EXTENSION: {"version": PROTOCOL, "request": request, "code": "unknown_request"}}
            return self._envelope.encode(message.subject, "err", data)
        self._refuse_when_held_up(moving.message)
        self._wait(moving, Waiter(asker, moving.message, time.monotonic(), request, moving.grouped))
        return None

    # An ack: a consumer has the file, from us or from somebody else.

    def _ack(self, asker: Asker, message: Message) -> bytes:
        if isinstance(message.extension.get("requests"), list):
            return self._confirm(asker, message)
        row, served = self._find(message)
        self._refuse_when_busy(served)
        now = time.time()
        line = step_line(State.ACKNOWLEDGED, now, asker.address)
        records: list[Operation] = []
        if (self._journal.find_one("delivered_to", (row["id"], asker.address))
                or is_trusted(asker.address, served.settings.trusted_acks)):
            records = [*_had_elsewhere(row, Consumer.of(asker, message), asker, now), *served.removing.schedule(row["id"])]
            if row["state"] != State.ACKNOWLEDGED:
                records.append(("step", [(State.ACKNOWLEDGED, now, row["attempt"], line, row["id"])]))
        elif '["acknowledged"' not in row["steps"]:
            # A stranger's word is noted once, no more: others may still wait for the file.
            records = [("note", [{"line": line, "id": row["id"]}])]
            if served.settings.delete is not None:
                logger.info("%s acknowledged %s, which this server did not deliver to it: the file is kept (to let it be "
                            "removed, set trusted_acks = %s in section [%s])",
                            asker.address, row["identity"], asker.address, served.settings.name)
        self._new_records += records
        return self._envelope.encode(message.subject, "ack", _without_credentials(message.fields))

    def _confirm(self, asker: Asker, message: Message) -> bytes:
        """Our clients confirm many deliveries at once, each by its position and the id of its request."""
        now = time.time()
        crashing.point("server.acknowledged")
        asked = orjson.dumps([pair for pair in message.extension["requests"][:MOST_CONFIRMED] if _is_confirmation(pair)])
        files = orjson.dumps([row["file"] for row in self._journal.find("delivered_by_requests", (asked,))])
        line = step_line(State.ACKNOWLEDGED, now, asker.address)
        self._new_records += [("acknowledge_transfers", [(now, files, asked)]),
                              ("step_all", [(State.ACKNOWLEDGED, now, line, files)])]
        data = {EXTENSION: {"version": PROTOCOL, "request": message.extension.get("request")}}
        return self._envelope.encode(message.subject, "ack", data)


def _is_confirmation(pair: Any) -> bool:
    return (isinstance(pair, list) and len(pair) == 2 and type(pair[0]) is int and 0 < pair[0] <= LARGEST_WHOLE
            and isinstance(pair[1], str) and pair[1].startswith("r:") and len(pair[1]) <= 64)


def _receipts(transfer: Any | None) -> list[Receipt]:
    """What a transfer delivered; empty when there was none, or it failed."""
    if transfer is None or transfer["state"] not in (State.MOVED, State.ACKNOWLEDGED):
        return []
    return [Receipt(**receipt) for receipt in orjson.loads(transfer["receipt"])]


def _group(message: Message) -> list[tuple[int, str]]:
    """The requests of a grouped push. Raises `DestinationInvalid` when they are none."""
    pairs = message.extension.get(GROUP)
    if not isinstance(pairs, list) or len(pairs) > MOST_GROUPED or not all(map(_is_confirmation, pairs)):
        raise DestinationInvalid(f"{GROUP} must be a list of at most {MOST_GROUPED} pairs [offset, request]")
    return [(pair[0], pair[1]) for pair in pairs]


def _result(request: str, receipt: Receipt) -> dict[str, Any]:
    """What is said of a file that is at its destination."""
    return {"request": request, "state": "delivered", "checksum": receipt.checksum, "verified": receipt.verified,
            "destination_uri": receipt.uri, "confirm": True}


def _verdict(error: MoveError) -> dict[str, Any]:
    return {"code": error.code, "permanent": error.permanent, "retry_after": getattr(error, "retry_after", None)}


def _request_id(message: Message) -> str:
    request = message.extension.get("request")
    return request if isinstance(request, str) and request.startswith("r:") and len(request) <= 64 else ""


def _is_about(row: Any, uris: tuple[str, ...]) -> bool:
    """Whether the uris of a request are those that were announced. They are compared, never opened."""
    return bool(uris) and all(os.fsencode(local_path(uri)) == row["path"] for uri in uris)


def _transfer_id(row: Any, consumer: Consumer, destination: Destination, request: str, message: Message) -> str:
    """What makes two requests the same: content, consumer and destination; for upstream clients, which repeat a request letter by
    letter, the letters."""
    parts = [str(row["id"]), row["key"], consumer.group or consumer.client, destination.exact, destination.user or ""]
    if not request:
        parts.append(hashlib.sha256(message.raw).hexdigest())
    return hashlib.sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()[:32]


def _members(message: Message, row: Any) -> tuple[Member, ...]:
    file = Announced(os.fsdecode(row["path"]), row["device"], row["inode"], row["size"], row["mtime_ns"])
    relatives = list(values_of(message.fields, "path"))
    if relatives:
        check_relative(relatives[0])
    return (Member(file, relatives[0] if relatives else None),)


def _backups(message: Message) -> tuple[str, ...]:
    found = message.fields.get("backup_targets")
    if found is None:
        return ()
    if not isinstance(found, list) or len(found) > 20 or not all(isinstance(host, str) and host for host in found):
        raise DestinationInvalid("backup_targets must be a short list of hosts")
    return tuple(found)


def _records(moving: Moving, state: State, now: float, detail: str, receipt: str | None) -> tuple[Any, Any]:
    """What the journal keeps of a move: how far it is, and the steps it has not noted yet. Rows for `put_transfer` and `step`."""
    push, consumer = moving.push, moving.consumer
    line = step_line(state, now, push.peer, push.attempt, detail) if state is not State.MOVING else ""
    if not moving.noted:
        moving.noted = True
        line = step_line(State.MOVING, moving.began, push.peer, push.attempt, push.destination.exact) + line
    return ((moving.file, push.transfer, moving.chain, consumer.client, consumer.group, consumer.spare, push.peer, moving.request,
             push.destination.exact, state, now, push.attempt, receipt), (state, now, push.attempt, line, moving.file))


def _summary(receipts: list[Receipt]) -> str:
    receipt = receipts[-1]
    how = "" if receipt.copied else ", was there already"
    return f"{receipt.uri} {receipt.size} bytes, verified: {receipt.verified}{how}, {receipt.seconds:.3f} s"


def _had_elsewhere(row: Any, consumer: Consumer, asker: Asker, now: float) -> list[Operation]:
    """A consumer we know by name has the file, perhaps from another provider: `delete` need not wait for it."""
    if not consumer.group:
        return []
    transfer = hashlib.sha256(f"ack\n{row['id']}\n{consumer.client}".encode("utf-8", "replace")).hexdigest()[:32]
    return [("put_transfer", [(row["id"], transfer, row["chain"], consumer.client, consumer.group, consumer.spare, asker.address,
                               "", "", State.ACKNOWLEDGED, now, 1, None)])]


def _landed(message: Message, receipt: Receipt, named: bool) -> str:
    """The destination in upstream's form: as it was asked for, on the backup host if one was used, with the name of the file
    where upstream has it."""
    place = parse_destination(message.fields["destination"])
    if "backup_targets" in message.fields and (host := host_of(receipt.uri)[1]):
        place = place.with_host(host)
    return place.for_name(os.path.basename(receipt.uri)).clean if named else place.clean


def _without_credentials(fields: Mapping[str, Any]) -> dict[str, Any]:
    data = dict(fields)
    if "destination" in data:
        data["destination"] = parse_destination(data["destination"]).clean
    return data


def _reply_type(message: Message) -> str:
    for key, kind in (("uri", "file"), ("dataset", "dataset"), ("collection", "collection")):
        if key in message.fields:
            return kind
    return message.type

