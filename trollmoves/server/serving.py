"""Serve: ping, info, push, ack, replay and status on one request port, for all chains that share it.

Every request gets exactly one reply. Nothing a request contains ends this loop, grows memory without limit, or reaches a path
that was not announced. A request is looked up in the journal; its uri is only compared.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import orjson

from trollmoves import crashing
from trollmoves.bus import Asker, Loop, Replier
from trollmoves.errors import Busy, JournalError, MoveError, NotAnnounced
from trollmoves.journal import Journal, Operation
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import EXTENSION, LARGEST_WHOLE, PROTOCOL, Envelope, Message, identity_of, uris_of
from trollmoves.movers.base import Receipt
from trollmoves.server.moves import Moves, Moving, Served, Waiter
from trollmoves.server.pushing import Push
from trollmoves.server.recent import Recent
from trollmoves.server.replaying import Replaying
from trollmoves.server.replies import LONGEST_TEXT, Replies, result, shown, without_credentials
from trollmoves.server.requests import (
    GROUP,
    Consumer,
    backups,
    group,
    is_about,
    is_confirmation,
    request_id,
    transfer_id,
)
from trollmoves.server.rights import is_trusted
from trollmoves.uris import local_path, parse_destination
from trollmoves.workers import Workers

logger = logging.getLogger(__name__)

MOST_FILES_LISTED = 2256
"""Names in one answer to `info`, as upstream."""
MOST_CONFIRMED = 1000
FAILED_HERE = "the server failed on this request; its log says why"


class Serving:
    """Answers on one port; belongs to the loop."""

    def __init__(self, port: int, address: str, largest: int, loop: Loop, journal: Journal, envelope: Envelope, workers: Workers,
                 recent: Recent, started: float):
        self.chains: dict[str, Served] = {}
        self._journal = journal
        self._envelope = envelope
        self._recent = recent
        self._started = started
        self._rows: dict[int, Any] = {}
        """By position: what the journal has of the pushes at hand, and (below) of their transfers."""
        self._transfers: dict[str, Any] = {}
        self._looked_up: set[int] = set()
        self._new_records: list[Operation] = []
        self._replaying = Replaying(journal, envelope)
        self._replies = Replies(envelope)
        self._replier = Replier(loop, port, envelope, self._handle, address=address, largest=largest)
        self._moves = Moves(loop, journal, workers, self._replies, self._replier.reply)
        self.port = self._replier.port
        self._answers: dict[str, Callable[[Asker, Message], bytes | None]] = {
            "ping": self._ping, "info": self._info, "push": self._push, "ack": self._ack, "replay": self._replay,
            "status": self._status,
        }

    def under_way(self) -> int:
        """How many moves are queued or running."""
        return len(self._moves)

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
        crashing.point("server.requested")
        if records:
            self._journal.write(records)
        self._moves.submit()

    def _look_up(self, requests: list[tuple[Asker, Message]]) -> None:
        """Ask the journal once for all pushes that came together."""
        positions = [offset for _, message in requests if message.type == "push" for offset in self._offsets_of(message)]
        self._rows = {position: row for position in positions if (row := self._recent.take(position)) is not None}
        self._looked_up = {row["id"] for row in self._rows.values()}
        others = [position for position in positions if position not in self._rows]
        rows = self._journal.find("announced_among", (orjson.dumps(others),)) if others else []
        found = self._journal.find("transfers_among", (orjson.dumps([row["id"] for row in rows]),)) if rows else []
        self._transfers = {row["transfer"]: row for row in found}
        self._rows |= {row["position"]: row for row in rows}
        self._looked_up |= {row["id"] for row in rows}

    def _offsets_of(self, message: Message) -> list[int]:
        if GROUP in message.extension:
            return [offset for offset, _ in group(message)]
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
        return self._push_one(row, served, message, Waiter(asker, message, time.monotonic(), request_id(message)),
                              Consumer.of(asker, message))

    def _push_group(self, asker: Asker, message: Message) -> None:
        """Many requests for one destination in one message: each an announcement's position and the id of its request."""
        consumer, now = Consumer.of(asker, message), time.monotonic()
        for offset, request in group(message):
            waiter = Waiter(asker, message, now, request, grouped=True)
            try:
                row = self._rows.get(offset)
                if row is None or row["chain"] not in self.chains or message.extension.get("epoch") != self._journal.epoch:
                    raise NotAnnounced(f"announcement {offset} not reachable")
                reply = self._push_one(row, self.chains[row["chain"]], message, waiter, consumer)
                assert reply is None  # answers to grouped requests go together
            except MoveError as error:
                self._log_refusal(asker, message, error)
                self._moves.tell_error(waiter, error)
            except JournalError:
                raise
            except Exception:
                logger.exception("request %s of %s failed", request, asker.address)
                self._moves.tell_error(waiter, MoveError(FAILED_HERE))

    def _push_one(self, row: Any, served: Served, message: Message, waiter: Waiter, consumer: Consumer) -> bytes | None:
        destination, request = parse_destination(message.fields.get("destination")), waiter.request
        transfer = transfer_id(row, consumer, destination, request, message)
        running = self._moves.get(transfer)
        if running is not None:
            self._moves.refuse_when_held_up(0 if waiter.grouped else len(message.raw), waiter.asker.address)
            self._moves.join(running, waiter)
            return None
        known = self._transfers.get(transfer)
        if known is None and row["id"] not in self._looked_up:
            known = self._journal.find_one("transfer", (row["id"], transfer))
        before = _receipts(known)
        if known is not None and before and request and known["request"] == request:
            if not waiter.grouped:
                return self._replies.delivered(message, request, before, served.pushing.names_files)
            self._moves.say(waiter, result(request, before[-1]))
            return None
        self._moves.refuse_when_busy(served.settings, waiter.asker.address)
        self._moves.refuse_when_held_up(0 if waiter.grouped else len(message.raw), waiter.asker.address)
        attempt = 1 if known is None else known["attempt"] + 1
        push = Push(transfer, served.members(message, row), destination, backups(message), waiter.asker.address, attempt)
        moving = Moving(push, row["id"], served, row["size"] or 0, message, request, waiter.grouped, consumer, before)
        self._moves.start(moving, waiter)
        return None

    def _find(self, message: Message) -> tuple[Any, Served]:
        """The journal's row of what the request is about, and its chain. Raises `NotAnnounced`."""
        offset, uris = self._offset_of(message), uris_of(message.fields)
        identity = identity_of(message.fields)
        if offset is not None:
            row = self._rows.get(offset) or self._journal.find_one("announced_at", (offset,))
            if row is not None and row["identity"] == identity and row["chain"] in self.chains and is_about(row, uris):
                newest = row if request_id(message) else self._newest(identity, uris)
                return newest or row, self.chains[row["chain"]]
        row = self._newest(identity, uris)
        if row is None:
            raise NotAnnounced(f"{(local_path(uris[0]) if uris else message.subject)[:LONGEST_TEXT]} not reachable")
        return row, self.chains[row["chain"]]

    def _newest(self, identity: str, uris: tuple[str, ...]) -> Any | None:
        rows = self._journal.find("files_named", (identity,))
        return next((row for row in rows if row["chain"] in self.chains and is_about(row, uris)), None)

    def _log_refusal(self, asker: Asker, message: Message, error: MoveError) -> None:
        logger.warning("refused %s of %s: %s", message.type, asker.address, shown(error))

    def _status(self, asker: Asker, message: Message) -> bytes | None:
        """Somebody waits for a long move: the answer comes when it is over, or after a while as `pending`."""
        request = request_id(message)
        moving = self._moves.of_request(request)
        if moving is None:
            return self._replies.unknown_request(message)
        self._moves.refuse_when_held_up(len(message.raw), asker.address)
        self._moves.wait(moving, Waiter(asker, moving.message, time.monotonic(), request, moving.grouped))
        return None

    # An ack: a consumer has the file, from us or from somebody else.

    def _ack(self, asker: Asker, message: Message) -> bytes:
        if isinstance(message.extension.get("requests"), list):
            return self._confirm(asker, message)
        row, served = self._find(message)
        self._moves.refuse_when_busy(served.settings, asker.address)
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
        return self._envelope.encode(message.subject, "ack", without_credentials(message.fields))

    def _confirm(self, asker: Asker, message: Message) -> bytes:
        """Our clients confirm many deliveries at once, each by its position and the id of its request."""
        if self._journal.full:
            raise Busy("the journal of the server cannot be written: its disk is full", 10.0)
        now = time.time()
        crashing.point("server.acknowledged")
        asked = orjson.dumps([pair for pair in message.extension["requests"][:MOST_CONFIRMED] if is_confirmation(pair)])
        files = orjson.dumps([row["file"] for row in self._journal.find("delivered_by_requests", (asked,))])
        line = step_line(State.ACKNOWLEDGED, now, asker.address)
        self._new_records += [("acknowledge_transfers", [(now, files, asked)]),
                              ("step_all", [(State.ACKNOWLEDGED, now, line, files)])]
        data = {EXTENSION: {"version": PROTOCOL, "request": message.extension.get("request")}}
        return self._envelope.encode(message.subject, "ack", data)


def _receipts(transfer: Any | None) -> list[Receipt]:
    """What a transfer delivered; empty when there was none, or it failed."""
    if transfer is None or transfer["state"] not in (State.MOVED, State.ACKNOWLEDGED):
        return []
    return [Receipt(**receipt) for receipt in orjson.loads(transfer["receipt"])]


def _had_elsewhere(row: Any, consumer: Consumer, asker: Asker, now: float) -> list[Operation]:
    """A consumer we know by name has the file, perhaps from another provider: `delete` need not wait for it."""
    if not consumer.group:
        return []
    transfer = hashlib.sha256(f"ack\n{row['id']}\n{consumer.client}".encode("utf-8", "replace")).hexdigest()[:32]
    return [("put_transfer", [(row["id"], transfer, row["chain"], consumer.client, consumer.group, consumer.spare, asker.address,
                               "", "", State.ACKNOWLEDGED, now, 1, None)])]
