"""Look-ups: what the journal has of the requests at hand, asked for once for all that came together."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

import orjson

from trollmoves.bus.requesting import PUSHES
from trollmoves.errors import DestinationInvalid
from trollmoves.journal import Journal
from trollmoves.messages import LARGEST_WHOLE, MAGIC, Message
from trollmoves.server.recent import Recent
from trollmoves.server.requests import group, is_about


class Lookups:
    """Of one request port; belongs to the loop."""

    def __init__(self, journal: Journal, recent: Recent):
        self._journal = journal
        self._recent = recent
        self._rows: dict[int, Any] = {}
        """By position: what was announced there, and (below) the transfers of that."""
        self._transfers: dict[str, Any] = {}
        self._complete: set[int] = set()
        """Files of which all transfers that there are are among these."""

    def prepare(self, requests: Iterable[Message]) -> None:
        """Ask for what these are going to need, and forget what others needed."""
        positions = [offset for message in requests if message.type == "push" for offset in self._positions_in(message)]
        self._rows = {position: row for position in positions if (row := self._recent.take(position)) is not None}
        self._complete = {row["id"] for row in self._rows.values()}
        others = [position for position in positions if position not in self._rows]
        rows = self._journal.find("announced_among", (orjson.dumps(others),)) if others else []
        found = self._journal.find("transfers_among", (orjson.dumps([row["id"] for row in rows]),)) if rows else []
        self._transfers = {row["transfer"]: row for row in found}
        self._rows |= {row["position"]: row for row in rows}
        self._complete |= {row["id"] for row in rows}

    def forget(self) -> None:
        """Everything is asked for one by one."""
        self._rows, self._transfers, self._complete = {}, {}, set()

    def _positions_in(self, message: Message) -> list[int]:
        """All positions that a request names; none of one that gets an error when its turn comes."""
        if PUSHES in message.extension:
            try:
                return [offset for offset, _ in group(message)]
            except DestinationInvalid:
                return []
        offset = self.position_in(message)
        return [] if offset is None else [offset]

    def position_in(self, message: Message) -> int | None:
        """The position in our journal that a request names, if it does."""
        offset = message.extension.get("offset")
        if message.extension.get("epoch") != self._journal.epoch or type(offset) is not int:
            return None
        return offset if 0 < offset <= LARGEST_WHOLE else None

    def announced_at(self, offset: int) -> Any | None:
        """The row of what was announced at that position."""
        return self._rows.get(offset) or self._journal.find_one("announced_at", (offset,))

    def newest(self, identity: str, uris: tuple[str, ...], served: Container[str], subject: str) -> Any | None:
        """The newest row of that name and place, of a chain that is *served* if there is one; and, where a mirror has it of
        several servers, announced under *subject*."""
        def is_else(row: Any) -> tuple[bool, bool]:
            return row["chain"] not in served, bool(row["message"]) and not row["message"].startswith(f"{MAGIC}{subject} ")
        rows = sorted(self._journal.find("files_named", (identity,)), key=is_else)
        return next((row for row in rows if is_about(row, uris)), None)

    def transfer(self, file: int, transfer: str) -> Any | None:
        """The row of that transfer of *file*."""
        known = self._transfers.get(transfer)
        if known is None and file not in self._complete:
            known = self._journal.find_one("transfer", (file, transfer))
        return known
