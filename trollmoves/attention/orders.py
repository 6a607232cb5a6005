"""Orders: what an operator wants done, written into the journal by `trollmoves retry` and its like, and done by the process.

A running process takes them up within a second, a stopped one when it starts. An order goes in the same transaction as its
effect, so it is done once. What takes longer (files that have to be looked at) is an order of its own, of the role to itself,
which stays in the journal until all is done: after a restart the rest is.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import orjson

from trollmoves.journal import Journal, Operation
from trollmoves.journal.audit import ORDERED, in_audit
from trollmoves.journal.journal import step_line
from trollmoves.journal.ordering import DISMISSED

logger = logging.getLogger(__name__)

FAILED = ("failed", "given_up")
ITSELF = "itself"
"""Key in what an order says that a role has given itself."""
ASKED_FOR = 24 * 3600.0
"""Seconds in which those who do not answer the question for the past are asked again, also after a restart."""


class Role(Protocol):
    """What orders need of a role."""

    def announce_again(self, rows: list[Any]) -> None:
        """Files of ours (rows of `files`) shall be announced anew."""

    def carry_on(self, order: int, chain: str, said: Mapping[str, Any], end: Callable[[], Any]) -> None:
        """Do what the role has ordered of itself with `order_itself`, or the rest of it; then call *end*."""

    def dismissed(self, files: Collection[int]) -> None:
        """Nothing more is wanted of these; that is being written."""

    def driven_again(self) -> None:
        """Files that were given up, or wait for a later time, are due now."""

    def ask_again(self, chain: str, newer_than: float, topics: list[str]) -> bool:
        """Order itself to ask the providers of *chain* (empty: of all) for what they announced since, known or not. False when
        there is nobody to ask."""


def order_itself(verb: str, chain: str, said: Mapping[str, Any]) -> Operation:
    """The record that a role will `carry_on` with, for an order of that *verb*."""
    return "add_order", [(time.time(), verb, chain, _saying(said))]


def asking(chain: str, newer_than: float, topics: Sequence[str]) -> Operation:
    """The record that a role will `carry_on` asking for the past, until all have told it."""
    until = time.time() + ASKED_FOR
    return order_itself("replay", chain, {"newer_than": newer_than, "topics": list(topics), "asked_until": until})


def amended(order: int, said: Mapping[str, Any]) -> Operation:
    """The record that this is left to do."""
    return "amend_order", [(_saying(said), order)]


def _saying(said: Mapping[str, Any]) -> str:
    return orjson.dumps({ITSELF: said}).decode()


class Orders:
    """Belongs to the loop."""

    def __init__(self, journal: Journal, role: Role):
        self._journal = journal
        self._role = role
        self._taken: dict[int, str | None] = {}
        """Orders that are being carried out, and of which chain (None: it is being written that all is done): look-ups still see
        them."""
        self._verbs: dict[str, Callable[[str, Any], list[Operation]]] = {
            "retry": self._retry, "dismiss": self._dismiss, "dismiss_alarm": self._dismiss_alarm, "replay": self._replay}

    def look(self) -> None:
        """Carry out what has come."""
        if self._journal.full:
            return
        for row in self._journal.find("orders_but", (orjson.dumps(list(self._taken)),)):
            self._taken[row["id"]] = row["chain"]
            self._carry_out(row)

    def begin_anew(self, chain: str) -> None:
        """What carried out those of *chain* has ended: all of each is to be done by what took its place."""
        self._taken = {order: of for order, of in self._taken.items() if of != chain}

    def _carry_out(self, order: Any) -> None:
        try:
            said = orjson.loads(order["said"])
            if isinstance(said, dict) and ITSELF in said:
                self._carry_on(order, said[ITSELF])
                return
            number = self._journal.audit.record(ORDERED, order["chain"], verb=order["verb"], said=order["said"])
            logger.info("an operator says: %s %s%s", order["verb"], order["said"][:200], in_audit(number))
            records = self._verbs[order["verb"]](order["chain"], said)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            logger.error("an order in the journal makes no sense and is left out: %r", error)
            records = []
        self._end(order, records)

    def _carry_on(self, order: Any, said: Mapping[str, Any]) -> None:
        end = partial(self._end, order, ())
        if time.time() > said.get("asked_until", math.inf):
            logger.warning("[%s] not all have told what they were asked for again; no more is asked of them: %s", order["chain"],
                           order["said"][:200])
            end()
            return
        logger.info("going on with an order: %s %s", order["verb"], order["said"][:200])
        self._role.carry_on(order["id"], order["chain"], said, end)

    def _end(self, order: Any, records: Sequence[Operation]) -> None:
        self._taken[order["id"]] = None
        self._journal.write([*records, ("end_order", [(order["id"],)])], self._ended, order)

    def _ended(self, order: Any) -> None:
        self._taken.pop(order["id"], None)
        if order["verb"] == "retry":
            self._role.driven_again()
        self.look()  # the role may have ordered something itself

    def _retry(self, chain: str, said: list[int]) -> list[Operation]:
        now = time.time()
        rows = self._journal.find("files_among", (orjson.dumps(said),))
        self._role.announce_again([row for row in rows if row["provider"] is None and row["state"] in FAILED])
        line = step_line("failed", now, "", 0, "to be tried again, says an operator")
        return [("revive", [{"id": row["id"], "now": now, "line": line}]) for row in rows if row["provider"] is not None]

    def _dismiss(self, chain: str, said: list[int]) -> list[Operation]:
        now = time.time()
        line = step_line("covered", now, "", 0, DISMISSED)
        files = [int(file) for file in said]
        self._role.dismissed(files)
        return [("dismiss", [{"id": file, "now": now, "line": line} for file in files]),
                ("leave_origin", [{"id": file} for file in files])]

    def _dismiss_alarm(self, chain: str, said: list[int]) -> list[Operation]:
        for row in self._journal.find("alarms_among", (orjson.dumps(said),)):
            self._journal.alarms.clear(row["chain"], row["kind"], row["about"], "dismissed by an operator")
        return []

    def _replay(self, chain: str, said: dict[str, Any]) -> list[Operation]:
        topics = [str(topic) for topic in said["topics"]]
        if not self._role.ask_again(chain, float(said["newer_than"]), topics):
            logger.error("nothing of the past is asked for or announced again: no section that runs%s has anything to do with %s",
                         f" and is called {chain}" if chain else "", ", ".join(topics) or "what others announce")
        return []
