"""The journal of this process: one SQLite file, one writing thread, look-ups from the loop.

A lone file waits for five commits on its way, and each of them would wake two threads; so a few records are committed by the
loop itself, as long as the disk answers within milliseconds and nobody waits to hear of a move that takes long.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from trollmoves.errors import JournalError, JournalTooNew
from trollmoves.journal import in_use
from trollmoves.journal.alarms import EVENT, Alarms
from trollmoves.journal.audit import Audit
from trollmoves.journal.owning import APPLICATION, refuse_strange
from trollmoves.journal.reader import Reader
from trollmoves.journal.statements import schema_scripts
from trollmoves.journal.writer import Group, Operation, Then, Writer

logger = logging.getLogger(__name__)

SUBJECTS_KEPT = 10_000
"""Subjects whose last position is kept in memory."""
CHECKPOINT_PAGES = 4000
LOG_SIZE = 16 * 2**20
"""Bytes the write-ahead log comes to before it is used from its beginning again; it is given them at once."""
LARGEST_LOG = 4 * LOG_SIZE
"""What it has more than this, because somebody read for long, goes back to the disk when it is used from its beginning again."""
DAMAGE = ("SQLITE_ERROR", "SQLITE_IOERR_SHORT_READ", "SQLITE_IOERR_CORRUPTFS")
"""Errors of opening, besides those that SQLite says are damage, that come from what is in the file. Others (a full disk, one that
does not answer) pass, and what is on the disk is as good as before."""
FEW = 24
"""Records the loop commits itself while the writing thread is idle."""
SLOW = 0.004
PATIENCE = 1.0
"""Seconds: after a commit that took longer than `SLOW` the loop leaves commits to the thread for this long."""


def step_line(state: str, when: float, peer: str = "", attempt: int = 0, detail: str = "") -> str:
    """One line of a file's history."""
    return orjson.dumps([state, when, peer, attempt, detail]).decode() + "\n"


class Journal:
    """Opened by one process at a time, used from its loop.

    `write` records and calls back after the commit; look-ups see what was committed. Ids and positions are given out here, so
    that rows can refer to each other before they are written.
    """

    def __init__(self, path: Path, call_all: Callable[[list[Then]], Any], died: Callable[[BaseException], Any], role: str = ""):
        """Open or make the journal at *path*, of the program *role* (empty: of any). Raises `JournalError` when it is in use, too
        new, or cannot be made, and when what is there is none, or that of another program.

        A damaged one is moved aside (`damaged` then says where) and a new one, with a new epoch, takes its place.
        """
        self.path = path
        self._place = os.path.split(os.path.realpath(path))
        self.damaged: Path | None = None
        refuse_strange(path, Path(lock_of(path)))  # before there is a lock: it says that what is there was a journal
        self._lock = _locked(path)
        _check_or_move_aside(self)
        connection = _connect(path)
        try:
            _migrate(connection, path)
            _check_role(connection, path, role)
            self.epoch = _meta(connection, "epoch", "e:" + secrets.token_hex(8))
            self._interrupted = _last_interrupted(connection)
            self.unclean_boot = _went_down_uncleanly(connection)
            """The machine lost power, or something like it, since the journal was last used."""
            self._next_file = 1 + int(connection.execute("SELECT coalesce(max(id), 0) FROM files").fetchone()[0])
            self._head = _last_position(connection)
            self._behind = _behind_every_earlier() if self._head else 0
            """No position that is given out from now on is at or before this one."""
        except sqlite3.Error as error:
            raise _cannot_open(path, error) from error
        finally:
            connection.close()
        self._previous: OrderedDict[str, int] = OrderedDict()
        in_use.opened(self._place)
        self.reader = Reader(path)
        self.audit = Audit(path)
        self.alarms = Alarms(self.reader, self.write, self.audit)
        self._inode = os.stat(path).st_ino
        self._call_all = call_all
        self._pending: list[Group] = []
        """What was recorded in this turn of the loop."""
        self._patient_until = 0.0
        self.times_to_move = 0
        """The clock was set so often, and the times in the journal are not moved yet: compare none of them with the clock."""
        self.leaps = 0
        """How often the clock was set since the start."""
        self._writer = Writer(lambda: _connect(path), call_all, died)
        _extend_log(path)
        self._writer.start()

    @property
    def full(self) -> bool:
        """The disk is full: refuse new work."""
        return self._writer.full

    @property
    def waiting(self) -> int:
        """Groups of records not committed yet."""
        return self._writer.waiting() + len(self._pending)

    @property
    def head(self) -> int:
        """The last position given out; 0 before the first."""
        return self._head

    def owns(self, path: str) -> bool:
        """Whether the file at *path* is one of the journal's own. May be asked by any thread."""
        return in_use.is_part(path, self._place)

    def new_file(self) -> int:
        """The id for the next row of `files`."""
        self._next_file += 1
        return self._next_file - 1

    def was_interrupted(self, file: int) -> bool:
        """Whether a process that ended suddenly may have begun something with the row *file* that nobody knows of."""
        return file <= self._interrupted

    def new_position(self, subject: str) -> tuple[int, int]:
        """The position for the next announcement, and that of the one before it with the same *subject* (0: none)."""
        position = self._head = max(self._head, self._behind) + 1
        previous = self._previous.pop(subject, None)
        if previous is None:
            row = self.reader.find_one("last_position", (subject,))
            previous = int(row[0] or 0)
        self._previous[subject] = position
        if len(self._previous) > SUBJECTS_KEPT:
            self._previous.popitem(last=False)
        return position, previous

    def write(self, operations: Sequence[Operation], then: Callable[..., Any] | None = None, *arguments: Any) -> None:
        """Record *operations* in one transaction; once it is on the disk the loop calls `then(*arguments)`.

        Transactions are committed, and their calls made, in the order of writing.
        """
        self._pending.append((operations, None if then is None else (then, arguments)))
        if len(self._pending) == 1:
            self._call_all([(self._commit, ())])

    def spare_loop(self, seconds: float) -> None:
        """Have the thread commit everything for so long: a disk that stalls would keep the loop from what cannot wait."""
        self._patient_until = max(self._patient_until, time.monotonic() + seconds)

    def _commit(self) -> None:
        """Commit what was recorded in this turn of the loop: a few records at once, else by the thread."""
        groups, self._pending = self._pending, []
        began = time.monotonic()
        records = sum(len(rows) for operations, _ in groups for _, rows in operations)
        if records <= FEW and began >= self._patient_until and self._writer.commit_now(groups):
            if time.monotonic() - began > SLOW:
                self.spare_loop(PATIENCE)
            return
        for group in groups:
            self._writer.write(*group)

    def find(self, query: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> list[sqlite3.Row]:
        """The rows of a named query, as of the last commit."""
        return self.reader.find(query, parameters)

    def find_one(self, query: str, parameters: Sequence[Any] = ()) -> Any:
        """The first row of a named query, if any."""
        return self.reader.find_one(query, parameters)

    def alarm(self, chain: str, text: str) -> None:
        """Keep something that happened and that an operator must know about, and say it in the log."""
        self.alarms.raise_(chain, EVENT, text, text)

    def check(self) -> None:
        """Raise `JournalError` when somebody removed or replaced the file under us: nothing written now would be found again."""
        try:
            inode = os.stat(self.path).st_ino
        except FileNotFoundError:
            raise JournalError(f"the journal {self.path} was removed while it was in use") from None
        if inode != self._inode:
            raise JournalError(f"the journal {self.path} was replaced while it was in use")

    def close(self, *, clean: bool = True) -> None:
        """Commit what waits, then let go. May be called twice. Not *clean*: what was done lately may not survive a power loss, or
        something was under way."""
        if self._lock >= 0:
            self.write([("put_meta", [("clean", "yes" if clean else "no")])])
            self._commit()
        self.reader.close()  # the last connection tidies up, which a reading one cannot
        self._writer.stop()
        self.audit.close()
        in_use.closed(self._place)
        with suppress(OSError):
            os.close(self._lock)
            self._lock = -1


def lock_of(path: Path) -> str:
    """The file that whoever uses the journal locks, also when it is reached through a link."""
    return f"{os.path.realpath(path)}.lock"


def _locked(path: Path) -> int:
    """Hold a lock beside the journal for as long as the process lives."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        descriptor = os.open(lock_of(path), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise JournalError(f"cannot make the journal {path}: {error.strerror}; choose another place with --journal") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise JournalError(f"the journal {path} is in use by another process; stop it, or choose another place with --journal") \
            from error
    return descriptor


def _connect(path: Path) -> sqlite3.Connection:
    try:
        if not path.exists():  # closing a descriptor of a file that SQLite has open would drop the locks it holds on it
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640))
        connection = sqlite3.connect(path, isolation_level=None, timeout=10.0, cached_statements=256,
                                     check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {LARGEST_LOG}")
    except (sqlite3.Error, OSError) as error:
        raise _cannot_open(path, error) from error
    return connection


def _cannot_open(path: Path, error: Exception) -> JournalError:
    return JournalError(f"cannot open the journal {path}: {error} (is there room on its disk, and may it be written?)")


def _extend_log(path: Path) -> None:
    """Give the write-ahead log its full size, in zeros, which SQLite does not take for records.

    A commit then overwrites blocks that are there. While the file grows, each commit waits for the file system's own journal too,
    and so for all that others write meanwhile: 0.22 against 0.10 ms, beside a copy of many files (p95: 2.5 against 0.3).
    """
    with suppress(OSError), open(f"{path}-wal", "r+b") as log:
        disk = os.statvfs(path)
        size = os.fstat(log.fileno()).st_size
        if size < LOG_SIZE < disk.f_bavail * disk.f_frsize // 20:
            log.seek(size)
            log.write(bytes(LOG_SIZE - size))
            log.flush()
            os.fsync(log.fileno())


def _check_or_move_aside(journal: Journal) -> None:
    path = journal.path
    if not path.exists() or _is_sound(path):
        return
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}")
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.rename(f"{path}{suffix}", f"{aside}{suffix}")
    journal.damaged = aside


def _is_sound(path: Path) -> bool:
    try:
        connection = sqlite3.connect(path, isolation_level=None, timeout=10.0)
        try:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorname", "") not in DAMAGE:
            raise _cannot_open(path, error) from error
        return False
    except (sqlite3.DatabaseError, UnicodeDecodeError):  # also what it says is wrong may be garbage
        return False


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the schema to the newest version; refuse one from the future; keep a copy of an older one first."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    scripts = schema_scripts()
    if version > len(scripts):
        raise JournalTooNew(f"the journal {path} was written by a later release (schema {version}, this release knows "
                            f"{len(scripts)}): install that release, or choose another place with --journal")
    if 0 < version < len(scripts):
        _keep_copy(connection, Path(f"{path}.schema-{version}"))
    for number, script in enumerate(scripts[version:], start=version + 1):
        connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")
    if int(connection.execute("PRAGMA application_id").fetchone()[0]) != APPLICATION:
        connection.execute(f"PRAGMA application_id = {APPLICATION}")


def _check_role(connection: sqlite3.Connection, path: Path, role: str) -> None:
    """A journal belongs to the first that tells its role: another would not know what to do with what waits in it."""
    kept = _meta(connection, "role", role) if role else ""
    if kept != role:
        raise JournalError(f"{path} is the journal of a {kept} and not of a {role}: choose another place with --journal")


def _keep_copy(connection: sqlite3.Connection, copy: Path) -> None:
    """Copy the journal to *copy*, which whoever may not read the journal may not read either. One of an earlier attempt, perhaps
    half written, or of an earlier upgrade is replaced."""
    written = copy.with_name(f"{copy.name}.new")
    try:
        written.unlink(missing_ok=True)
        os.close(os.open(written, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640))
        connection.execute("VACUUM INTO ?", (str(written),))
        os.rename(written, copy)
    except (sqlite3.Error, OSError) as error:
        raise JournalError(f"cannot keep a copy of the journal at {copy}, for which an upgrade waits: {error}") from error


def _meta(connection: sqlite3.Connection, name: str, default: str) -> str:
    connection.execute("INSERT OR IGNORE INTO meta (name, value) VALUES (?, ?)", (name, default))
    return str(connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()[0])


def _went_down_uncleanly(connection: sqlite3.Connection) -> bool:
    """Whether the machine was restarted since this journal was last used, without the process having ended properly."""
    now = _boot_id()
    before, clean = _meta(connection, "boot", now), _meta(connection, "clean", "yes")
    connection.execute("UPDATE meta SET value = ? WHERE name = 'boot'", (now,))
    connection.execute("UPDATE meta SET value = 'no' WHERE name = 'clean'")
    return before != now and clean == "no"


def _last_interrupted(connection: sqlite3.Connection) -> int:
    """The last row of `files` that was there when a process ended suddenly."""
    last = _meta(connection, "interrupted", "0")
    if _meta(connection, "clean", "yes") == "yes":
        return int(last)
    connection.execute("UPDATE meta SET value = (SELECT coalesce(max(id), 0) FROM files) WHERE name = 'interrupted'")
    return int(_meta(connection, "interrupted", last))


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _behind_every_earlier() -> int:
    """A number behind every position that was given out before: microseconds, of which there are more than announcements.

    The journal may have been put back as it was some time ago (a backup, a snapshot). Would it go on where it was then, the same
    numbers would mean other files than those that listeners have heard under them: they would ask for none of these.
    """
    return int(time.time() * 1_000_000)


def _last_position(connection: sqlite3.Connection) -> int:
    """The last position ever given out, also when its announcement was cleaned away."""
    kept = int(_meta(connection, "position", "0"))
    return max(kept, int(connection.execute("SELECT coalesce(max(position), 0) FROM announcements").fetchone()[0]))
