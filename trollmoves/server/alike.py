"""Alike: several sections announce the very same under one subject. To a client that is one file, for which it asks once, and of
which it says once that it has it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from trollmoves.journal import Journal, Operation
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.server.requests import Consumer
from trollmoves.server.transfer import Served


class Alike:
    """The sections of one request port; belongs to the loop."""

    def __init__(self, journal: Journal, chains: Mapping[str, Served]):
        """*chains* are those that are served."""
        self._journal = journal
        self._chains = chains

    def of_same_origin(self, row: Any) -> list[Any]:
        """The rows of other sections about the origin of *row*, under whatever subject."""
        content = row["inode"], row["size"], row["mtime_ns"]
        return [other for chain in self._chains if chain != row["chain"]
                for other in self._journal.find("same_origin", (row["identity"], chain, *content)) if other["steps"]]

    def counts(self, row: Any, consumer: Consumer, peer: str) -> list[Operation]:
        """What to write where *consumer* has the file of *row* without a request for it."""
        now = time.time()
        records = [had_elsewhere(row["id"], row["chain"], consumer, peer, now),
                   *self._chains[row["chain"]].removing.schedule(row["id"], consumer),
                   ("hurry_removals", [(now, orjson.dumps([row["id"]]))])]
        if row["state"] != State.ACKNOWLEDGED:
            line = step_line(State.ACKNOWLEDGED, now, peer)
            records.append(("step", [(State.ACKNOWLEDGED, now, row["attempt"], line, row["id"])]))
        return records

    def counts_elsewhere(self, files: Iterable[tuple[int, Consumer]], peer: str) -> list[Operation]:
        """What to write for other sections where consumers have said of *files*, which were announced by all of them, that they
        have them."""
        if len({served.settings.topic for served in self._chains.values()}) == len(self._chains):
            return []
        return [record for file, consumer in files for other in self._alike(file)
                for record in self.counts(other, consumer, peer)]

    def _alike(self, file: int) -> list[Any]:
        row = self._journal.find_one("file", (file,))
        others = self.of_same_origin(row) if row is not None and row["chain"] in self._chains else []
        return [other for other in others if other["key"] == row["key"]]


def had_elsewhere(file: int, chain: str, consumer: Consumer, address: str, now: float) -> Operation:
    """A consumer is done with a file that was not delivered for a request of its own: `delete` need not wait for it."""
    transfer = hashlib.sha256(f"ack\n{file}\n{consumer.client}".encode("utf-8", "replace")).hexdigest()[:32]
    return "put_transfer", [(file, transfer, chain, consumer.client, consumer.group, consumer.spare, address, "", "",
                             State.ACKNOWLEDGED, now, 1, None)]
