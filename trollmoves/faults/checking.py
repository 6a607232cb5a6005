"""The invariant checker: reads origin, destination, journals, logs and what was published, and says which promise was broken.

It imports nothing of the programs it examines, and reads their journals with statements of its own, so that a mistake there
cannot hide itself here. The numbers are those of the promises: I1 delivered, I2 published, I3 never partial, I4 deleted only when
delivered, I5 no leftovers, I6 bounded, I7 no secrets, I8 nothing elsewhere, I9 sound journals, I10 nothing waits for ever.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from trollmoves.faults.contents import Ledger, content_at
from trollmoves.faults.observing import is_hidden

FINISHED = ("published", "covered")
"""States of a file at a client in which nothing more will be done for it."""


@dataclass
class Scene:
    """Everything the checker looks at after a run."""

    ledger: Ledger
    origins: list[Path]
    destination: Path
    client_journals: list[Path]
    server_journals: list[Path]
    logs: list[Path] = field(default_factory=list)
    published: list[dict[str, object]] = field(default_factory=list)
    """The data of recorded `file` messages of the clients."""
    notices: list[str] = field(default_factory=list)
    """All recorded messages of the clients as text."""
    secrets: list[str] = field(default_factory=list)
    deletes: bool = False
    keeps: bool = False
    """Whether what is to be removed may stay all the same."""
    resumes: bool = False
    """Whether a move that failed leaves something for its next try, and another server may deliver: it goes after a day."""
    forgetful: bool = False
    """Whether the client lost its journal, and with it the knowledge of what it published."""
    killed: bool = True
    """Whether processes were killed, so that the recorder may have missed publications and some come twice."""
    chain: str = ""
    """The client's section that is looked at; empty: all of them."""
    bystanders: Mapping[Path, object] = field(default_factory=dict)
    """Files that nobody may touch, and the content they had."""
    ending: str = ""
    """What names have behind them at the origins, where files are packed; and in the clients' journals, when clients unpack."""
    announced_ending: str = ""
    several: bool = False
    """Several servers have each file, under keys of their own."""
    emptied: list[Path] = field(default_factory=list)
    """Directories in which nothing may be left of what was written, but names that are `spared`."""
    spared: set[str] = field(default_factory=set)

    def violations(self) -> list[str]:
        """All broken promises, in words; empty when all is well."""
        found: list[str] = []
        for check in (self._delivered, self._published, self._kept, self._leftovers, self._secrets, self._elsewhere,
                      self._journals, self._waiting):
            found.extend(check())
        return found

    def places(self) -> dict[str, list[Path]]:
        """Where files are under their final names, by name."""
        found: dict[str, list[Path]] = {}
        for path in self.destination.rglob("*"):
            if not is_hidden(path.relative_to(self.destination)) and not path.is_dir():
                found.setdefault(path.name, []).append(path)
        return found

    def missing(self, among: Iterable[str] | None = None) -> list[str]:
        """Names whose last content is not at the destination (yet); of all names, or *among* some."""
        places, latest = self.places(), self.ledger.latest()
        return [name for name in (latest if among is None else among)
                if latest[name] not in (content_at(path) for path in places.get(name, []))]

    def unfinished(self) -> dict[str, int]:
        """How many files the clients' journals hold in states that are not final. What one has given up, and a spare of its has
        published, is done with: it does not listen to its spare. So is what one of `several` servers no longer had, when
        something of its name was published: nobody can tell whether that was the same."""
        found = [row for path in self.client_journals
                 for row in rows(path, "SELECT state, identity, key FROM files WHERE ? IN ('', chain)", self.chain)]
        published = {(identity, None if self.several else key) for state, identity, key in found if state == "published"}
        return dict(Counter(str(state) for state, identity, key in found if state not in FINISHED and not (
            state == "given_up" and (identity, None if self.several else key) in published)))

    def removals(self) -> int:
        """How many origins are still to be removed, say the servers' journals."""
        return sum(int(str(count)) for path in self.server_journals for (count,) in rows(path, "SELECT count(*) FROM removals"))

    def awaited(self) -> int:
        """How many of them have to be done with."""
        query = "SELECT identity FROM removals JOIN files ON files.id = removals.file"
        journals = self.server_journals if self.deletes and not self.keeps else []
        found = [str(name) for path in journals for (name,) in rows(path, query)]
        return sum(name.removesuffix(self.ending) not in self.spared for name in found)

    def left(self) -> list[Path]:
        """What is still to go from the directories that shall be emptied."""
        going = {f"{name}{ending}" for name in self.ledger.latest().keys() - self.spared for ending in {"", self.ending}}
        return [path for directory in self.emptied for path in directory.rglob("*") if path.name in going]

    def _delivered(self) -> Iterable[str]:
        for name in self.missing():
            yield f"I1: {name} is not at the destination as it was last written"

    def _published(self) -> Iterable[str]:
        journaled = Counter(str(row[0]) for path in self.client_journals
                            for row in rows(path, "SELECT identity FROM files WHERE state = 'published' AND ? IN ('', chain)",
                                         self.chain))
        for name in self.ledger.latest():
            if not journaled[f"{name}{self.announced_ending}"]:
                yield f"I2: {name} was never published, say the clients' journals"
        recorded = {str(data.get("uid")) for data in self.published}
        if not self.killed:
            for name in self.ledger.latest().keys() - recorded:
                yield f"I2: {name} was not among the messages of the client"
        for publication, count in self.unflagged().items():
            if count > 1 and not self.forgetful:
                yield f"I2: {publication} was published {count} times without a mark"

    def unflagged(self) -> Counter[str]:
        """How often each publication was heard without the mark of a repetition."""
        counts: Counter[str] = Counter()
        for data in self.published:
            extension = data.get("trollmoves")
            said = extension if isinstance(extension, dict) else {}
            if not said.get("redelivered"):
                counts[str(said.get("publication", data.get("uid")))] += 1
        return counts

    def flagged(self) -> int:
        """How many publications were heard that say they are repetitions."""
        return len(self.published) - sum(self.unflagged().values())

    def _kept(self) -> Iterable[str]:
        present = {path.name.removesuffix(self.ending) for origin in self.origins for path in origin.rglob("*")}
        absent = self.ledger.latest().keys() - present
        missing = set(self.missing(absent))
        for name in absent:
            if not self.deletes:
                yield f"I4: {name} was deleted at the origin, and nobody asked for that"
            if name in missing:
                yield f"I4: {name} was deleted at the origin before it was delivered"

    def _leftovers(self) -> Iterable[str]:
        for path in () if self.resumes else self.destination.rglob("*"):
            if path.name.startswith(".") or path.name.endswith(".part"):
                yield f"I5: {path.name} was left at the destination"

    def _secrets(self) -> Iterable[str]:
        journals = [Path(f"{path}{suffix}") for path in (*self.client_journals, *self.server_journals) for suffix in ("", "-wal")]
        for path in (*self.logs, *journals) if self.secrets else ():
            text = path.read_bytes() if path.exists() else b""
            for secret in self.secrets:
                if secret.encode() in text:
                    yield f"I7: a secret is in {path.name}"
        for secret in self.secrets:
            if any(secret in notice for notice in self.notices):
                yield "I7: a secret is in a published message"

    def _elsewhere(self) -> Iterable[str]:
        expected = self.ledger.latest().keys()
        for name in self.places().keys() - expected - {f"{name}{self.announced_ending}" for name in expected}:
            yield f"I8: {name} is at the destination, and nobody wrote it"
        for path, content in self.bystanders.items():
            if content_at(path) != content:
                yield f"I8: {path} was changed, and is none of our business"

    def _journals(self) -> Iterable[str]:
        for path in (*self.client_journals, *self.server_journals):
            for (answer,) in rows(path, "PRAGMA quick_check"):
                if answer != "ok":
                    yield f"I9: {path.name}: {answer}"

    def _waiting(self) -> Iterable[str]:
        for state, count in self.unfinished().items():
            yield f"I10: {count} files are still {state}, say the clients' journals"
        if self.awaited():
            yield f"I10: {self.awaited()} origins are still to be removed, say the servers' journals"
        for path in self.left():
            yield f"I10: {path} is still there, though everybody has it"


def rows(path: Path, query: str, *parameters: object) -> list[tuple[object, ...]]:
    """What *query* finds in the SQLite file at *path*."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)) as connection:
        return list(connection.execute(query, parameters))
