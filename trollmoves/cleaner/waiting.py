"""What journals say is still to be delivered: such files stay, however old they are.

Of a server's journal that is each origin nobody has got yet, or that one of the clients it serves has not got; of a mirror's,
each file it has fetched and not released; of move_it's, each file that is not at all its destinations. Of a client's it is each
file it has not published yet, which may have landed on this machine, or wait on it at an upstream server; of a dispatcher's, each
file that a target has not got; of a fetcher's, each that is not here. Those three do not tell where the file is: it goes by its
name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from trollmoves.errors import JournalError, MalformedMessage
from trollmoves.journal import Reader, lock_of
from trollmoves.journal.audit import audit_of, older_files
from trollmoves.lifecycle import CONSUMER_KNOWN, State
from trollmoves.messages import decode, uids_of, uris_of
from trollmoves.uris import is_utf8, local_path

DELIVERED = frozenset((State.MOVED, State.ACKNOWLEDGED, State.PUBLISHED, State.COVERED))
"""States of an origin that somebody has got."""
OVER = frozenset((State.PUBLISHED, State.COVERED, State.GIVEN_UP))
"""States of a file that a message spoke of, and to which nothing will happen any more."""

Found = Mapping[str, os.stat_result]


class Waiting:
    """Asks any number of journals, of running and of stopped processes."""

    def __init__(self, journals: Sequence[Path], now: float):
        """Raises `JournalError` when one of them cannot be read: then nobody knows what waits."""
        self._readers: list[_Journal] = []
        try:
            for path in journals:
                self._readers.append(_Journal(path, now))
        except JournalError:
            self.close()
            raise

    def among(self, directory: str, found: Found) -> dict[str, str]:
        """Those of the files *found* in *directory*, by name, that wait for their delivery, and where that stands. Raises
        `JournalError`."""
        waiting: dict[str, str] = {}
        for journal in self._readers:
            left = {name: status for name, status in found.items() if name not in waiting}
            waiting.update(journal.among(directory, left))
        return waiting

    def close(self) -> None:
        for journal in self._readers:
            journal.close()


class _Journal:
    """One journal."""

    def __init__(self, path: Path, now: float):
        self._path = path
        self._reader = Reader(path)
        try:
            self._consumers = self._reader.find("all_consumers", (now - CONSUMER_KNOWN,))
            self._names = {name for row in self._reader.find("unfinished_sets")
                           if row["path"] is None or self._is_undelivered(row) for name in _names_in(row)}
        except JournalError:
            self.close()
            raise
        self._copies = _copies_of(self._reader)
        self._own = {(status.st_dev, status.st_ino) for status in _files_of(path)}

    def close(self) -> None:
        self._reader.close()

    def among(self, directory: str, found: Found) -> dict[str, str]:
        waiting = {name: f"under way in {self._path}" for name in found if name in self._names}
        waiting |= {name: "a journal" for name, status in found.items() if (status.st_dev, status.st_ino) in self._own}
        waiting |= {name: f"fetched, and not taken by all, in {self._path}" for name, status in found.items()
                    if (status.st_dev, status.st_ino) in self._copies}
        names = [name for name in found if is_utf8(name)]
        place = os.path.realpath(directory)
        for row in self._reader.find("files_with_names", (orjson.dumps(names),)) if names else []:
            name = row["identity"]
            if row["path"] is None:
                waits = row["state"] not in OVER
            else:
                waits = _is_it(row, place, found[name]) and self._is_undelivered(row)
            if waits:
                waiting[name] = f"{row['state']} in [{row['chain']}] of {self._path}"
        return waiting

    def _is_undelivered(self, row: Any) -> bool:
        """Whether somebody has not got this origin yet."""
        if row["state"] not in DELIVERED or row["removal"]:
            return True
        if row["state"] == State.COVERED:  # packed, and known as what came out of it
            return any(self._is_undelivered(member) for member in self._reader.find("unpacked_from", (row["path"],)))
        return any(not self._has(consumer, row["id"]) for consumer in self._consumers
                   if consumer["chain"] == row["chain"] and consumer["first"] <= row["id"])

    def _has(self, consumer: Any, file: int) -> bool:
        return self._reader.find_one("delivered_for", (file, consumer["client"], consumer["consumer_group"])) is not None


def _copies_of(reader: Reader) -> set[tuple[int, int]]:
    """What a mirror keeps for its clients: device and inode of each file. Journals of earlier releases have no such table."""
    if reader.find_one("has_copies") is None:
        return set()
    return {(row["device"], row["inode"]) for row in reader.find("all_copies")}


def _is_it(row: Any, place: str, status: os.stat_result) -> bool:
    """Whether the origin in a journal is the file of its name that was found in the directory *place*, with the same content."""
    if (status.st_size, status.st_mtime_ns) != (row["size"], row["mtime_ns"]):
        return False
    return status.st_ino == row["inode"] or os.path.realpath(os.path.dirname(os.fsdecode(row["path"]))) == place


def _names_in(row: Any) -> Iterator[str]:
    """The names of the files that a set (or a file known by more than its name) is about."""
    if row["path"] is not None:
        yield os.path.basename(os.fsdecode(row["path"]))
    if row["message"]:
        try:
            fields = decode(row["message"].encode()).fields
        except MalformedMessage:
            return
        yield from (os.path.basename(text.rstrip("/")) for text in (*uids_of(fields), *map(local_path, uris_of(fields))))


def _files_of(path: Path) -> Iterator[os.stat_result]:
    """The files of a journal."""
    audit = audit_of(path)
    for name in (*(f"{path}{suffix}" for suffix in ("", "-wal", "-shm")), lock_of(path), audit, *older_files(audit)):
        try:
            yield os.stat(name)
        except OSError:
            continue
