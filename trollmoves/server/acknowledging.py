"""Acknowledge: a consumer has a file, from us or from somebody else. Who may say so, and what is recorded of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson

from trollmoves import crashing
from trollmoves.bus import Asker
from trollmoves.bus.names import Names
from trollmoves.journal import Journal, Operation
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import EXTENSION, PROTOCOL, Envelope, Message
from trollmoves.server.alike import Alike
from trollmoves.server.moves import refuse_when_full
from trollmoves.server.replies import without_credentials
from trollmoves.server.requests import Consumer, is_confirmation
from trollmoves.server.sharing import Sharing
from trollmoves.server.transfer import Served
from trollmoves.server.trusting import Trusting

logger = logging.getLogger(__name__)

MOST_CONFIRMED = 1000


class Acknowledging:
    """Of one request port; belongs to the loop."""

    def __init__(self, journal: Journal, envelope: Envelope, names: Names, alike: Alike, sharing: Sharing,
                 reply: Callable[[Asker, bytes], Any]):
        self._journal = journal
        self._envelope = envelope
        self._names = names
        self._alike = alike
        self._sharing = sharing
        self._reply = reply
        self._chains: dict[str, tuple[Served, Trusting]] = {}
        self._new_records: list[Operation] = []

    def add(self, served: Served) -> None:
        """Files of this chain may be acknowledged, too."""
        self._chains[served.settings.name] = served, Trusting(self._names, served.settings.trusted_acks)

    def remove(self, chain: str) -> None:
        """Those of this one no more."""
        self._chains.pop(chain)[1].close()

    def record(self) -> None:
        """Have the journal write what the requests at hand were about."""
        records, self._new_records = self._new_records, []
        if records:
            self._journal.write(records)

    # One file, in upstream's form.

    def acknowledge(self, asker: Asker, message: Message, row: Any) -> bytes:
        """The reply to an ack, which is about *row* of the journal. A client that has a file from another server sends one only,
        whatever sections of this one announced the file to it. It is taken also while many moves wait: there is no other."""
        refuse_when_full(self._journal)
        consumer, same = Consumer.of(asker, message), [row, *self._alike.of_same_origin(row)]
        for one in [one for one in same if self._chains[one["chain"]][0].removing.consumers.may_know(consumer)] or [row]:
            self._acknowledge(asker, consumer, one)
        return self._envelope.encode(message.subject, "ack", without_credentials(message.fields))

    def _acknowledge(self, asker: Asker, consumer: Consumer, row: Any) -> None:
        served, trusting = self._chains[row["chain"]]
        if trusting.trusts(asker.address) or self._got_it(row["id"], consumer):
            self._new_records += self._alike.counts(row, consumer, asker.address)
        else:
            self._note_stranger(row, served, asker.address)
            trusting.when_trusted(asker.address, partial(self._count_late, row["id"], consumer, asker.address))

    def _note_stranger(self, row: Any, served: Served, peer: str) -> None:
        """A stranger's word is noted once, no more: others may still wait for the file."""
        if '["acknowledged"' in row["steps"]:
            return
        self._new_records.append(("note", [{"line": step_line(State.ACKNOWLEDGED, time.time(), peer), "id": row["id"]}]))
        if served.settings.delete is not None:
            logger.info("%s acknowledged %s, which this server did not deliver to it: the file is kept (to let it be "
                        "removed, set trusted_acks = %s in section [%s])", peer, row["identity"], peer, served.settings.name)

    def _count_late(self, file: int, consumer: Consumer, peer: str) -> None:
        """It was not known who gave an ack, and now it is known to be one who may."""
        row = self._journal.find_one("file", (file,))
        if row is not None and row["chain"] in self._chains:
            self._journal.write(self._alike.counts(row, consumer, peer))

    def _got_it(self, file: int, consumer: Consumer) -> bool:
        """Whether we delivered the file to an upstream client, which has no other name than its address. A client with a name
        confirms by the ids of its requests, which nobody else knows: its name alone proves nothing."""
        return not consumer.group and self._journal.find_one("delivered_to", (file, consumer.client)) is not None

    # Many files, by our clients.

    def confirm(self, asker: Asker, message: Message) -> None:
        """Deliveries are confirmed, each by its position and the id of its request; the reply comes when that is written."""
        refuse_when_full(self._journal)
        now = time.time()
        crashing.point("server.acknowledged")
        rows = self._delivered(list(filter(is_confirmation, message.extension["requests"][:MOST_CONFIRMED])))
        files = orjson.dumps([row["file"] for row in rows])
        found = orjson.dumps([(row["file"], row["transfer"]) for row in rows])
        line = step_line(State.ACKNOWLEDGED, now, asker.address)
        data = {EXTENSION: {"version": PROTOCOL, "request": message.extension.get("request")}}
        reply = self._envelope.encode(message.subject, "ack", data)
        records: list[Operation] = [("acknowledge_transfers", [{"now": now, "found": found}]),
                                    ("step_all", [(State.ACKNOWLEDGED, now, line, files)]), ("hurry_removals", [(now, files)]),
                                    *self._alike.counts_elsewhere(((row["file"], _consumer(row)) for row in rows), asker.address)]
        self._journal.write(records, self._confirmed, asker, reply, [row["transfer"] for row in rows])

    def _delivered(self, requests: list[list[Any]]) -> list[Any]:
        """The deliveries of these [position, request] pairs that are not confirmed yet."""
        asked = self._sharing.places(requests)
        rows = self._journal.find("delivered_by_requests", (asked,))
        return rows if len(rows) == len(requests) else [*rows, *self._journal.find("delivered_before", (asked,))]

    def _confirmed(self, asker: Asker, reply: bytes, transfers: list[str]) -> None:
        """The journal has it: only now may the client forget, and others of its group too."""
        crashing.point("server.confirmed")
        self._reply(asker, reply)
        for transfer in transfers:
            self._sharing.confirmed(transfer)


def _consumer(transfer: Any) -> Consumer:
    return Consumer(transfer["client"], transfer["consumer_group"], bool(transfer["spare"]))
