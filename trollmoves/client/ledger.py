"""What a chain has noted for the journal, and what look-ups do not see yet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from trollmoves.client.deciding import WAITING, Known, mtime_of, place_of
from trollmoves.client.doubting import is_in_doubt
from trollmoves.journal import Journal
from trollmoves.journal.journal import step_line
from trollmoves.journal.ordering import DISMISSED
from trollmoves.lifecycle import State
from trollmoves.messages import Announcement, Message, announced_at, decode, file_of, read_announcement


class Ledger:
    """Records of one client chain on their way to the journal; belongs to the loop."""

    def __init__(self, chain: str, journal: Journal):
        self._chain = chain
        self._journal = journal
        self._records: list[tuple[str, list[tuple[Any, ...]]]] = []
        self._unwritten: dict[str, tuple[int, Known]] = {}
        """By identity: what is being written or asked for, which look-ups do not see, or not as it is now."""
        self._overtaken: dict[str, dict[int, Known]] = {}
        """The same, of content that newer content has taken the place of: by row."""
        self._on_record: dict[str, tuple[int, Known]] = {}
        """By identity: what the journal says of those in the messages at hand."""

    @property
    def pending(self) -> bool:
        """Whether something is noted and not handed to the journal."""
        return bool(self._records)

    def look_up(self, messages: list[Message]) -> None:
        """Ask the journal once for all files that *messages* speak of."""
        self.look_up_identities([file_of(message) for message in messages if message.type != "beat"])

    def look_up_identities(self, identities: Iterable[str]) -> None:
        """The same, by their identities."""
        identities = list(identities)
        rows = self._journal.find("known_files", (self._chain, orjson.dumps(identities))) if identities else []
        self._on_record = {row["identity"]: (row["id"], Known(State(row["state"]), row["key"], row["size"], row["provider"],
                                                              place=(row["subject"] or "",))) for row in rows}

    def known(self, identity: str) -> tuple[int, Known | None]:
        """The row and the state of a file of the messages looked up last: of its newest content."""
        unwritten, on_record = self._unwritten.get(identity), self._on_record.get(identity)
        if unwritten is not None and on_record is not None and on_record[0] > unwritten[0]:
            return on_record
        return unwritten or on_record or (0, None)

    def is_unwritten(self, identity: str, file: int) -> bool:
        """Whether look-ups do not see *file*, or not as it is now."""
        return self._unwritten.get(identity, (0, None))[0] == file or file in self._overtaken.get(identity, {})

    def is_waiting(self, identity: str, file: int) -> bool:
        """Whether *file* is being written as one that waits to be asked for."""
        noted, known = self._unwritten.get(identity, (0, None))
        return noted == file and known is not None and known.state in WAITING

    def versions(self, identity: str) -> dict[int, Known]:
        """All contents of *identity* that are known: by row, what each is."""
        found = {row["id"]: _known(row) for row in self._journal.find("files_of", (identity, self._chain))}
        found |= self._overtaken.get(identity, {})
        if identity in self._unwritten:
            file, known = self._unwritten[identity]
            found[file] = known
        return found

    def sources(self, file: int) -> list[Announcement]:
        """What the journal has of providers that announced *file* beside the one that was asked last."""
        return [read_announcement(decode(row["message"].encode())) for row in self._journal.find("sources_of", (file,))]

    def is_in_doubt(self, file: int) -> bool:
        """Whether the journal says that *file* is perhaps a copy."""
        row = self._journal.find_one("file", (file,))
        return row is not None and is_in_doubt(row["steps"])

    def is_dismissed(self, file: int) -> bool:
        """Whether an operator wants nothing more of *file*, which was not delivered."""
        row = self._journal.find_one("file", (file,))
        return row is not None and row["steps"].endswith(f'"{DISMISSED}"]\n')

    def remember(self, identity: str, file: int, known: Known) -> None:
        """Until it is forgotten, *identity* is known like this, whatever the journal says."""
        before = self._unwritten.get(identity, (file, known))
        if before[0] > file:
            self._overtaken.setdefault(identity, {})[file] = known
            return
        if before[0] < file:
            self._overtaken.setdefault(identity, {})[before[0]] = before[1]
        self._unwritten[identity] = file, known

    def amend(self, identity: str, file: int, state: State) -> None:
        """*file* has come to *state*; that is being written."""
        if self._unwritten.get(identity, (0, None))[0] == file:
            self._unwritten[identity] = file, self._unwritten[identity][1]._replace(state=state)

    def forget(self, identity: str, file: int) -> None:
        """The journal knows all there is of *file*."""
        if self._unwritten.get(identity, (0, None))[0] == file:
            del self._unwritten[identity]
        if identity in self._overtaken:
            self._overtaken[identity].pop(file, None)
            if not self._overtaken[identity]:
                del self._overtaken[identity]

    def add(self, statement: str, row: tuple[Any, ...]) -> None:
        """Note a row for a named statement; equal statements in sequence are run as one."""
        if self._records and self._records[-1][0] == statement:
            self._records[-1][1].append(row)
        else:
            self._records.append((statement, [row]))

    def step(self, file: int, state: State, due: float | None, attempt: int, detail: str, peer: str = "") -> None:
        """Note that *file* has come to *state*, and when (epoch seconds) something is to be done next."""
        now = time.time()
        line = step_line(state, now, peer, attempt, detail)
        self.add("step_due", (state, now, attempt, due, line, file))

    def write(self, then: Callable[..., Any], *arguments: Any) -> None:
        """Hand what was noted to the journal; `then(*arguments)` is called when it is on the disk."""
        records, self._records = self._records, []
        self._journal.write(records, then, *arguments)


def _known(row: Any) -> Known:
    """What a row of the journal says, with the position of its announcement."""
    message = decode(row["message"].encode()) if row["message"] else None
    if message is None:
        return Known(State(row["state"]), row["key"], row["size"], row["provider"])
    return Known(State(row["state"]), row["key"], row["size"], row["provider"], *announced_at(message), place_of(message),
                 mtime_of(message), message.fields)
