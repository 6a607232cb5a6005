"""Audit: a record of each refused request, dead letter, removal, failed removal, order of an operator, and alarm (a gap in what a
provider has, say), whose number the log line tells.

A file of its own beside the journal, so that it outlives a journal that is damaged, lost or put back: one record a line, in JSON,
each with the digest of the line before it, on the disk within about a second. It is written by a worker, never by the loop, and
nothing waits for it: where it cannot be written there is an alarm, records are counted, and a later one says how many there were.

Of what succeeds only removals are recorded, with all who had confirmed the file: that cannot be undone, and whoever keeps an
archive asks for whom it was done. Deliveries and the single confirmations stand in the history of each file (`trollmoves trace`);
once more here, they would soon push out what is asked for.

The chain shows that a record was changed, inserted or taken from among others. It has no secret: who may write the file can make
all of it anew, or take away its end. Only a copy that is kept elsewhere tells of that.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import orjson

from trollmoves.uris import hide_password, printable

REFUSED, GIVEN_UP, REMOVED, NOT_REMOVED, ORDERED = "refused", "given up", "removed", "not removed", "ordered"
RAISED, OVER, CUT_SHORT, UNWRITTEN = "alarm", "alarm over", "cut short", "unwritten"
"""What happened; the last two are about the audit itself: a sudden end while it was written, and records that it lacks."""
SUFFIX = ".audit.jsonl"
LARGEST = 10 * 2**20
"""Bytes of a file before the next one is begun."""
KEPT = 10
"""Files that are full and kept."""
LONGEST = 500
"""Characters of one text in a record: many come from strangers."""
LARGEST_RECORD, SHORT = 4096, 100
"""Bytes of a record (letters may take four) beyond which its texts are cut to so many characters: strangers must not have the
files full before anybody has looked at them."""
MOST_WAITING = 20_000
"""Records that wait to be written; what comes when there are so many is counted."""
PATIENCE = 1.0
"""Seconds that the end of the process waits for one who is writing."""
TAIL = 2**16
OPENING = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
READING = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""A link at its place is not followed, and a pipe is not waited for: a stranger may have made it."""


def audit_of(journal: Path) -> str:
    """The file of a journal's audit, also when that is reached through a link."""
    return os.path.realpath(journal) + SUFFIX


class Audit:
    """Takes records from the loop, and writes them when a worker says so."""

    def __init__(self, journal: Path):
        """Of the journal at that path. Nothing is made before there is something to record."""
        self._trail = Trail(audit_of(journal))
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._waiting: list[bytes] = []
        self._lost = 0
        self._number: int | None = None
        """Of the last record; None while that is not known, because the file cannot be read."""
        with suppress(OSError):
            self._number = self._trail.last_number()

    @property
    def waits(self) -> bool:
        """Whether `write_out` has something to do."""
        return bool(self._waiting) or self._lost > 0

    def record(self, what: str, chain: str, **said: Any) -> int:
        """Write down that *what* happened in *chain* (empty: the whole process), and what is *said* of it; returns the number of
        the record, 0 when it can only be counted. Texts are cut, and passwords taken out."""
        plain = {name: _plain(value) for name, value in said.items()}
        with self._lock:
            if self._number is None or len(self._waiting) >= MOST_WAITING:
                self._lost += 1
                return 0
            self._number += 1
            record = {"number": self._number, "time": time.time(), "what": what, "section": _plain(chain), **plain}
            line = orjson.dumps(record)
            if len(line) > LARGEST_RECORD:
                line = orjson.dumps({name: value[:SHORT] if isinstance(value, str) else value for name, value in record.items()})
            self._waiting.append(line)
            return self._number

    def not_removed(self, chain: str, path: str, why: str, tries: int) -> str:
        """Record that a file cannot be removed, at the first of its *tries*; returns the end of the log line."""
        return in_audit(self.record(NOT_REMOVED, chain, path=path, why=why) if tries == 1 else 0)

    def removed(self, chain: str, row: Any, path: str, why: str, confirmed: str) -> int:
        """Record that the file of a *row* of the journal was removed, and who had confirmed it; returns the number."""
        return self.record(REMOVED, chain, uid=row["identity"], key=row["key"], path=path, why=why, confirmed=confirmed)

    def write_out(self) -> str:
        """Put on the disk what waits; what prevents that, or an empty text. For a worker: a disk may not answer."""
        if not self._writing.acquire(timeout=PATIENCE):
            return f"{self._trail.path}: its disk does not answer"
        try:
            self._write_waiting()
        except OSError as error:
            return f"{self._trail.path}: {error.strerror or error}"
        finally:
            self._writing.release()
        return ""

    def _write_waiting(self) -> None:
        with self._lock:
            records = self._waiting[:]
        if self._number is None:
            self._number = self._trail.last_number()
        self._trail.append(records)
        with self._lock:
            del self._waiting[:len(records)]
            lost, self._lost = self._lost, 0
        if lost:
            self.record(UNWRITTEN, "", records=lost)

    def close(self) -> None:
        """Put on the disk what waits. May be called twice."""
        while self.waits and not self.write_out():
            pass
        self._trail.close()

    def last_of(self, what: str) -> dict[str, Any]:
        """The last record of that kind in the last two files; empty when there is none."""
        with suppress(OSError):
            for path in reversed(self._trail.files()[-2:]):
                with ExitStack() as files:
                    lines = _opened(path, files) or ()
                    found = deque((record for line in lines if what.encode() in line
                                   and (record := parsed(line)) is not None and record["what"] == what), maxlen=1)
                if found:
                    return found[-1]
        return {}


class Last(NamedTuple):
    """What a file ends with."""

    number: int
    digest: str
    """Of the last record; empty when there is none."""
    cut: bool
    """Something that is no record stands behind it."""
    open_line: bool
    """And has no end."""


KINDS: dict[str, type] = {"number": int, "time": float, "what": str, "section": str, "before": str}
"""What every record has."""
NOTHING = Last(0, "", False, False)


class Trail:
    """The files: one that is written, and older ones, whose numbers grow. For one thread at a time."""

    def __init__(self, path: str):
        self.path = path
        self._descriptor = -1
        self._size = 0
        self._digest: str | None = None
        """Of the last record that was written, once that is known."""
        self._cut = b""
        """What has to be written before the next record, because the last one was cut short."""

    def files(self) -> list[str]:
        """Those that are there, oldest first."""
        return [*older_files(self.path), *([self.path] if os.path.lexists(self.path) else [])]

    def last_number(self) -> int:
        """The number of the last record; 0 before the first. Raises `OSError`."""
        numbers = [0]
        for path in self.files()[-2:]:
            descriptor = os.open(path, READING)
            try:
                _refuse_strange(descriptor)
                numbers.append(_last(descriptor).number)
            finally:
                os.close(descriptor)
        return max(numbers)

    def append(self, records: list[bytes]) -> None:
        """Write all of them, or none. Raises `OSError`."""
        self._make_ready()
        lines, digest = self._chained(records)
        if self._size and not self._cut and self._size + len(lines) > LARGEST:
            self._begin_next()
        try:
            written = os.write(self._descriptor, lines)
            if written < len(lines):
                os.ftruncate(self._descriptor, self._size)
                raise OSError("there is no room for it on its disk")
            self._digest, self._cut = digest, b""
            self._size += written
            os.fsync(self._descriptor)
        except OSError:
            self.close()
            raise

    def _chained(self, records: list[bytes]) -> tuple[bytes, str]:
        """The lines to write, and the digest of the last of them."""
        digest, lines = self._digest or "", []
        if self._cut:  # so it says in the chain
            why = "the program or the machine ended while this file was written: what stands before this is no record"
            cut = {"number": 0, "time": time.time(), "what": CUT_SHORT, "section": "", "why": why}
            records = [orjson.dumps(cut), *records]
        for record in records:
            line = b'%b,"before":"%b"}' % (record[:-1], digest.encode())
            digest = digest_of(line)
            lines.append(line + b"\n")
        return (self._cut if self._cut == b"\n" else b"") + b"".join(lines), digest

    def _make_ready(self) -> None:
        """Have the file open: the one at its place, which others may have moved away or cut."""
        if self._descriptor >= 0:
            here = os.fstat(self._descriptor)
            with suppress(FileNotFoundError):
                there = os.lstat(self.path)
                if (here.st_dev, here.st_ino, self._size) == (there.st_dev, there.st_ino, there.st_size):
                    return
            self.close()
        is_new = not os.path.lexists(self.path)
        self._descriptor = os.open(self.path, OPENING, 0o640)
        try:
            self._size = _refuse_strange(self._descriptor).st_size
            last = _last(self._descriptor)
            if self._digest is None:
                self._digest = last.digest or self._digest_before()
        except OSError:
            self.close()
            raise
        self._cut = b"\n" if last.open_line else b" " if last.cut else b""
        if is_new:
            _keep_name(self.path)

    def _digest_before(self) -> str:
        """The digest of the last record in an older file."""
        older = older_files(self.path)
        if not older:
            return ""
        descriptor = os.open(older[-1], READING)
        try:
            return _last(descriptor).digest
        finally:
            os.close(descriptor)

    def _begin_next(self) -> None:
        """Put the file aside, and the oldest ones away. What is killed between finds an older file and none that is written."""
        older = older_files(self.path)
        number = int(older[-1].rpartition(".")[2]) + 1 if older else 1
        os.rename(self.path, f"{self.path}.{number}")
        for path in older[:max(0, len(older) + 1 - KEPT)]:
            with suppress(OSError):
                os.unlink(path)
        self.close()
        self._make_ready()

    def close(self) -> None:
        """Let go of the file; it is opened again when there is something to write."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def in_audit(number: int) -> str:
    """How a line of the log ends that is about a record."""
    return f" (audit {number})" if number else ""


def digest_of(line: bytes) -> str:
    """What the next record says of the one in this *line*."""
    return hashlib.sha256(line).hexdigest()


def older_files(path: str) -> list[str]:
    """The files of an audit that are full, oldest first."""
    directory, _, name = path.rpartition("/")
    is_older = re.compile(re.escape(name) + r"\.(\d{1,12})")
    try:
        found = [match for one in os.listdir(directory or "/") if (match := is_older.fullmatch(one))]
    except FileNotFoundError:
        return []
    return [f"{directory}/{match[0]}" for match in sorted(found, key=lambda match: int(match[1]))]


class Line(NamedTuple):
    """One line of an audit."""

    path: str
    number: int
    """In its file."""
    text: bytes
    record: dict[str, Any] | None
    """None where it is no record."""


def read(journal: Path) -> Iterator[Line]:
    """All lines of a journal's audit, oldest first. Raises `OSError`."""
    path = audit_of(journal)
    with ExitStack() as files:
        newest = _opened(path, files)  # first, as it may be put aside meanwhile
        older = [(one, _opened(one, files)) for one in older_files(path)]
        known = set()
        for one, file in [*older, (path, newest)]:
            status = None if file is None else os.fstat(file.fileno())
            if file is None or status is None or (status.st_dev, status.st_ino) in known:
                continue
            known.add((status.st_dev, status.st_ino))
            for number, text in enumerate(file, 1):
                line = text.rstrip(b"\n")
                yield Line(one, number, line, parsed(line) if text.endswith(b"\n") else None)


class Verdict(NamedTuple):
    """Whether an audit is as it was written."""

    records: int
    wrong: Line | None
    """The first line that does not fit."""
    unfinished: bool
    """The last line is no record: it is just being written, or was when the program ended suddenly."""


def verify(lines: Iterable[Line]) -> Verdict:
    """Whether each record fits to the one before it. The oldest that is kept is taken for granted, and so is what a sudden end
    has cut short, when the record behind it says so."""
    count, before, cut = 0, "", None
    for line in lines:
        if line.record is None:
            cut = cut or line
            continue
        if cut is not None and line.record["what"] != CUT_SHORT:
            return Verdict(count, cut, False)
        if count and line.record["before"] != before:
            return Verdict(count, line, False)
        count, before, cut = count + 1, digest_of(line.text), None
    return Verdict(count, None, cut is not None)


def parsed(line: bytes) -> dict[str, Any] | None:
    """The record in a line; None where there is none."""
    try:
        record = orjson.loads(line)
    except ValueError:
        return None
    if isinstance(record, dict) and all(isinstance(record.get(name), kind) for name, kind in KINDS.items()):
        return record
    return None


def _opened(path: str, files: ExitStack) -> BinaryIO | None:
    try:
        descriptor = os.open(path, READING)
    except FileNotFoundError:
        return None
    return files.enter_context(open(descriptor, "rb"))


def _refuse_strange(descriptor: int) -> os.stat_result:
    """Raise `OSError` when the opened file is none that we made."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise OSError("is no regular file")
    if status.st_nlink > 1:
        raise OSError("has another name (a hard link)")
    if os.geteuid() != status.st_uid:
        raise OSError("belongs to another user")
    return status


def _last(descriptor: int) -> Last:
    """What the opened file ends with."""
    size, take = os.fstat(descriptor).st_size, TAIL
    while True:
        start = max(0, size - take)
        lines = os.pread(descriptor, size - start, start).split(b"\n")[1 if start else 0:]
        for index in range(len(lines) - 1, -1, -1):
            record = parsed(lines[index])
            if record is not None:
                number = max(record["number"], *(found["number"] for line in lines[:index] if (found := parsed(line))), 0)
                return Last(number, digest_of(lines[index]), index < len(lines) - 2 or bool(lines[-1]), bool(lines[-1]))
        if not start:
            return Last(0, "", size > 0, bool(lines[-1])) if size else NOTHING
        take *= 8


def _keep_name(path: str) -> None:
    """Have the name of a new file survive a power loss."""
    descriptor = os.open(os.path.dirname(path), os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _plain(value: Any) -> Any:
    """What of *value* may stand in a record: no more than so many characters of a text, without passwords and in one line."""
    if isinstance(value, str):
        return printable(hide_password(value[:16 * LONGEST]))[:LONGEST]
    return value
