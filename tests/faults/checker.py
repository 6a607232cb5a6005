"""The invariant checker: reads origin, destination, journals, logs and recorded publications, and says which promise was broken.

It imports nothing of the package under test but sqlite3's view of its journals, so that a mistake there cannot hide itself here.
The numbers I1 to I9 are those of the reliability promises: delivered, published, never partial, deleted only when delivered, no
leftovers, bounded, no secrets, nothing elsewhere, sound journals.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from inotify_simple import INotify, flags

Content = tuple[int, str]
"""Size and SHA-256."""


def content_of(data: bytes) -> Content:
    return len(data), hashlib.sha256(data).hexdigest()


def content_at(path: Path) -> Content | None:
    """The content of a file, None when there is none."""
    try:
        return content_of(path.read_bytes())
    except (FileNotFoundError, IsADirectoryError):
        return None


class Ledger:
    """What was written at the origins: every content a name ever had, the last one being what must arrive."""

    def __init__(self) -> None:
        self._contents: dict[str, list[Content]] = {}
        self._lock = threading.Lock()

    def note(self, name: str, data: bytes) -> None:
        """To be called before the file gets its name."""
        with self._lock:
            self._contents.setdefault(name, []).append(content_of(data))

    def allows(self, name: str, content: Content) -> bool:
        with self._lock:
            return content in self._contents.get(name, [])

    def latest(self) -> dict[str, Content]:
        with self._lock:
            return {name: contents[-1] for name, contents in self._contents.items()}


class Observer:
    """Watches a destination directory in a thread of its own: each file that gets a final name is read at once and compared."""

    def __init__(self, directory: Path, ledger: Ledger):
        self.violations: list[str] = []
        self.seen = 0
        self._directory = directory
        self._ledger = ledger
        self._inotify = INotify()
        self._inotify.add_watch(str(directory), flags.CREATE | flags.MOVED_TO | flags.CLOSE_WRITE | flags.MODIFY)
        self._ending = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Observer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ending = True
        self._thread.join(20)
        self._inotify.close()

    def _run(self) -> None:
        while True:
            events = self._inotify.read(timeout=100)
            if not events and self._ending:
                return
            for event in events:
                if event.mask & flags.Q_OVERFLOW:
                    self.violations.append("the observer itself lost events: the test wrote too fast for it")
                elif not event.name.startswith("."):
                    self._look(event.name)

    def _look(self, name: str) -> None:
        content = content_at(self._directory / name)
        self.seen += 1
        if content is not None and not self._ledger.allows(name, content):
            self.violations.append(f"I3: {name} was visible with {content[0]} bytes that nobody ever wrote")


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
    """The data of recorded `file` messages of the client."""
    notices: list[str] = field(default_factory=list)
    """All recorded messages of the client as text."""
    secrets: list[str] = field(default_factory=list)
    deletes: bool = False
    forgetful: bool = False
    """Whether the client lost its journal, and with it the knowledge of what it published."""
    killed: bool = True
    """Whether processes were killed, so that the recorder may have missed publications and some come twice."""

    def violations(self) -> list[str]:
        """All broken promises, in words; empty when all is well."""
        found: list[str] = []
        for check in (self._delivered, self._published, self._kept, self._leftovers, self._secrets, self._journals):
            found.extend(check())
        return found

    def missing(self) -> list[str]:
        """Names whose last content is not at the destination (yet)."""
        return [name for name, content in self.ledger.latest().items() if content_at(self.destination / name) != content]

    def unfinished(self) -> dict[str, int]:
        """How many files the client's journals hold in states that are not final."""
        counts: Counter[str] = Counter()
        for path in self.client_journals:
            for state, count in rows(path, "SELECT state, count(*) FROM files GROUP BY state"):
                if state not in ("published", "covered"):
                    counts[str(state)] += int(str(count))
        return dict(counts)

    def _delivered(self) -> Iterable[str]:
        for name in self.missing():
            yield f"I1: {name} is not at the destination as it was last written"
        expected = self.ledger.latest().keys()
        for path in self.destination.iterdir():
            if not path.name.startswith(".") and path.name not in expected:
                yield f"I8: {path.name} is at the destination, and nobody wrote it"

    def _published(self) -> Iterable[str]:
        journaled = Counter(str(row[0]) for path in self.client_journals
                            for row in rows(path, "SELECT identity FROM files WHERE state = 'published'"))
        for name in self.ledger.latest():
            if not journaled[name]:
                yield f"I2: {name} was never published, says the client's journal"
        recorded = {str(data.get("uid")) for data in self.published}
        if not self.killed:
            for name in self.ledger.latest().keys() - recorded:
                yield f"I2: {name} was not among the messages of the client"
        unflagged: Counter[str] = Counter()
        for data in self.published:
            extension = data.get("trollmoves")
            assert isinstance(extension, dict), data
            if not extension.get("redelivered"):
                unflagged[str(extension.get("publication"))] += 1
        for publication, count in unflagged.items():
            if count > 1 and not self.forgetful:
                yield f"I2: {publication} was published {count} times without a mark"

    def _kept(self) -> Iterable[str]:
        for name, content in self.ledger.latest().items():
            present = any((origin / name).exists() for origin in self.origins)
            if not present and not self.deletes:
                yield f"I4: {name} was deleted at the origin, and nobody asked for that"
            if not present and content_at(self.destination / name) != content:
                yield f"I4: {name} was deleted at the origin before it was delivered"

    def _leftovers(self) -> Iterable[str]:
        for path in self.destination.rglob("*"):
            if path.name.startswith(".") or path.name.endswith(".part"):
                yield f"I5: {path.name} was left at the destination"

    def _secrets(self) -> Iterable[str]:
        journals = [Path(f"{path}{suffix}") for path in (*self.client_journals, *self.server_journals) for suffix in ("", "-wal")]
        for path in (*self.logs, *journals):
            text = path.read_bytes() if path.exists() else b""
            for secret in self.secrets:
                if secret.encode() in text:
                    yield f"I7: a secret is in {path.name}"
        for secret in self.secrets:
            if any(secret in notice for notice in self.notices):
                yield "I7: a secret is in a published message"

    def _journals(self) -> Iterable[str]:
        for path in (*self.client_journals, *self.server_journals):
            for (answer,) in rows(path, "PRAGMA quick_check"):
                if answer != "ok":
                    yield f"I9: {path.name}: {answer}"


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    """What *query* finds in the SQLite file at *path*."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)) as connection:
        return list(connection.execute(query))


def tree(directories: Iterable[Path]) -> Mapping[str, tuple[int, int, int, str]]:
    """What lies below *directories*: mode, size, time and digest of each entry, for comparing before and after."""
    found = {}
    for top in directories:
        for path in [top, *sorted(top.rglob("*"))]:
            status = os.lstat(path)
            digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else ""
            found[str(path)] = (status.st_mode, status.st_size if digest else 0, status.st_mtime_ns, digest)
    return found


def payload_of(text: str) -> dict[str, object]:
    """The JSON data of a message, read without the package under test."""
    start = text.find("application/json ")
    found = json.loads(text[start + len("application/json "):]) if start >= 0 else {}
    return found if isinstance(found, dict) else {}
