"""Return: a file that was given up, or not removed, because it was away, and that is there again as it was. A directory was moved
for a moment, or its file system was not mounted; the file is no other one for that, so that nobody would take it for new."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import orjson

from trollmoves.journal import Journal, Operation
from trollmoves.journal.reader import steps_in
from trollmoves.lifecycle import State
from trollmoves.server.beneath import AWAY, NOT_REMOVED
from trollmoves.uris import is_utf8
from trollmoves.watchers.base import Arrival


def returned(journal: Journal, chain: str, arrivals: Sequence[Arrival]) -> list[tuple[Any, Arrival]]:
    """Those of *arrivals* that were given up as gone, and their rows in the journal."""
    return [(row, arrival) for row, arrival in _rows("given_up_files", journal, chain, arrivals) if _was_away(row)]


def remaining(journal: Journal, chain: str, arrivals: Sequence[Arrival], due: float) -> list[Operation]:
    """The records to have those of *arrivals* removed after all, at the time *due*, that were away when they should have been."""
    found = [(row["id"], chain, due) for row, _ in _rows("files_not_removed", journal, chain, arrivals)
             if _last(row, "removed").startswith(NOT_REMOVED)]
    return [("add_removal", found)] if found else []


def _rows(query: str, journal: Journal, chain: str, arrivals: Sequence[Arrival]) -> list[tuple[Any, Arrival]]:
    """What *query* finds of the very files that arrived."""
    there = {os.fsencode(arrival.path): arrival for arrival in arrivals}
    names = [name for name in map(os.path.basename, (arrival.path for arrival in arrivals)) if is_utf8(name)]
    found = [(row, there.get(row["path"])) for row in journal.find(query, (chain, orjson.dumps(names)))]
    return [(row, arrival) for row, arrival in found if arrival is not None
            and (arrival.size, arrival.mtime_ns, arrival.inode) == (row["size"], row["mtime_ns"], row["inode"])]


def _was_away(row: Any) -> bool:
    return _last(row, State.GIVEN_UP).endswith(AWAY)


def _last(row: Any, step: str) -> str:
    """What the history of a file says of the last *step* of that name; others may have followed."""
    return next((str(said[4]) for said in reversed(steps_in(row["steps"])) if said[0] == step), "")
