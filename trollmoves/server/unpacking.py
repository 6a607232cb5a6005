"""Unpack: what a packed arrival holds is announced in its place. List: an archive is announced as what is in it.

A packed file is in the journal as `seen` before it is announced, so that no crash makes us forget it. Once it is unpacked, one
transaction announces what came out, each member by itself, and says that this covers the packed file. What cannot be unpacked is
announced as it is.
"""

from __future__ import annotations

import logging
import os
import time
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from trollmoves import crashing
from trollmoves.bus import Loop
from trollmoves.errors import MoveError, OriginChanged, OriginGone
from trollmoves.journal import Journal, Operation
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import content_key
from trollmoves.movers.retrying import GIVE_UP_AFTER, in_words, wait_before
from trollmoves.movers.sessions import Sessions
from trollmoves.server.beneath import Announced
from trollmoves.unpacking import BadArchive, Limits, Options, endings_of, unpack
from trollmoves.unpacking.listing import list_names
from trollmoves.watchers.base import Arrival
from trollmoves.workers import Work, Workers

logger = logging.getLogger(__name__)

LANES = 2
"""Files of one chain that are unpacked at a time. A file has its lane: what is unpacked twice is not unpacked twice at once."""
LIMITS = Limits(members=10_000, by_name=True)
"""Members are announced by their names, all in one transaction."""
MOST_WAITING = 1000
"""Files that may wait for another try; beyond it the watcher waits, and files stay in their directory."""
ALARM_EVERY = 60.0
"""Seconds between two alarms of one chain; the log and the history of each file have them all."""

Then = Callable[[], Any]


class Settings(Protocol):
    """What a section says of unpacking."""

    @property
    def name(self) -> str: ...
    @property
    def topic(self) -> str: ...
    @property
    def compression(self) -> str | None: ...
    @property
    def prog(self) -> str | None: ...
    @property
    def working_directory(self) -> str | None: ...
    @property
    def archives(self) -> str | None: ...


class Outlet(Protocol):
    """What takes the files that came out: `Announcing`, or what a role has in its place."""

    def announce(self, arrivals: Sequence[Arrival], then: Then | None = None) -> None: ...
    def announce_unpacked(self, packed: Arrival, members: Sequence[Arrival], records: Sequence[Operation],
                          then: Then) -> None: ...
    def announce_known(self, arrival: Arrival, file: int, records: Sequence[Operation], then: Then) -> None: ...
    def can_announce(self, path: str) -> bool: ...
    def is_unwritten(self, path: str) -> bool: ...
    def known(self, arrivals: Sequence[Arrival]) -> dict[bytes, tuple[int, int, int]]: ...


class Batch:
    """Arrivals that came together: there is room for more when each was tried once."""

    def __init__(self, count: int, then: Then):
        self.left = count
        self.then = then


@dataclass(slots=True)
class Item:
    """One packed file on its way."""

    arrival: Arrival
    file: int
    """Its row in the journal."""
    since: float
    batch: Batch | None = None
    """Until it was tried once."""
    attempt: int = 0


class Unpacking:
    """Unpacks (`compression`) and lists (`unpack`) for one chain; belongs to the loop. A chain without either only announces what
    an earlier one left."""

    def __init__(self, settings: Settings, root: str, announcing: Outlet, journal: Journal, loop: Loop,
                 workers: Workers):
        """*root* is the directory of the origin. Raises `ConfigurationError` when the unpacker cannot be loaded."""
        self._chain, self._topic = settings.name, settings.topic
        self._name = settings.compression or ""
        self._endings = endings_of(settings.compression)
        self._archives = settings.archives
        self._options = Options(program=settings.prog)
        self._into = settings.working_directory
        self._root = root
        self._announcing = announcing
        self._journal = journal
        self._loop = loop
        self._workers = workers
        self._items: dict[str, Item] = {}
        """By path: what is in the journal as `seen`, or on its way there or from there."""
        self._waiting = 0
        self._held: deque[Then] = deque()
        """Who waits for room."""
        self._next_alarm = 0.0
        self._stopped = False

    def take_up(self) -> None:
        """Go on with what the last process, or an earlier chain of this name, left."""
        if self._stopped:
            return
        ours = {item.file for item in self._items.values()}
        for row in self._journal.find("files_in_state", (self._chain, State.SEEN)):
            if row["id"] in ours:
                continue
            if row["path"] is None:  # a message that was heard when this section listened
                self._journal.write([("step", [give_up(row["id"], "the section does not listen to messages any more")])])
                continue
            arrival = Arrival(os.fsdecode(row["path"]), row["device"], row["inode"], row["size"], row["mtime_ns"])
            item = Item(arrival, row["id"], row["created"])
            self._items.setdefault(arrival.path, item)
            if self._is_for_us(arrival.path):
                self._submit([item])
            else:
                self._announce_as_it_is(item, "")

    def stop(self) -> None:
        """Begin and announce nothing more: whoever takes up the journal does."""
        self._stopped = True

    def take(self, arrivals: Sequence[Arrival], then: Then) -> None:
        """Announce *arrivals*, the packed ones when they are unpacked; *then* is called when there is room for more."""
        packed = [arrival for arrival in arrivals if self._is_packed(arrival)]
        fresh = self._unknown(packed) if packed else []
        others = [arrival for arrival in arrivals if not self._is_packed(arrival)] if packed else arrivals
        self._announcing.announce(others, None if fresh else then)
        if fresh:
            batch, now = Batch(len(fresh), then), time.time()
            items = [Item(arrival, self._journal.new_file(), now, batch) for arrival in fresh]
            self._items.update((item.arrival.path, item) for item in items)
            self._journal.write([("add_file", [self._row(item) for item in items])])
            self._submit(items)

    def _is_packed(self, arrival: Arrival) -> bool:
        return self._is_for_us(arrival.path) and arrival.size > 0 and self._announcing.can_announce(arrival.path)

    def _is_for_us(self, path: str) -> bool:
        return self._archives is not None or path.endswith(self._endings)

    def _unknown(self, packed: Sequence[Arrival]) -> list[Arrival]:
        known = self._announcing.known(packed)
        newest = {arrival.path: arrival for arrival in packed}  # a watcher may say the same twice at once
        return [arrival for arrival in newest.values()
                if known.get(os.fsencode(arrival.path)) != (arrival.size, arrival.mtime_ns, arrival.inode)
                and (arrival.path not in self._items or self._items[arrival.path].arrival != arrival)]

    def _row(self, item: Item) -> tuple[Any, ...]:
        arrival = item.arrival
        key = content_key(self._topic, (arrival.path,), (arrival.size,), (arrival.mtime_ns,))
        return (item.file, self._chain, os.path.basename(arrival.path), key, State.SEEN, item.since,
                step_line(State.SEEN, item.since), None, arrival.size, os.fsencode(arrival.path), arrival.device, arrival.inode,
                arrival.mtime_ns, None, None, None, 0, item.since)

    # In a worker.

    def _submit(self, items: Sequence[Item]) -> None:
        self._workers.submit([Work(("unpack", self._chain, zlib.crc32(os.fsencode(item.arrival.path)) % LANES), 1,
                                   partial(self._unpack, item.arrival), partial(self._tried, item)) for item in items])

    def _unpack(self, arrival: Arrival, _: Sessions) -> list[Arrival]:
        if self._stopped:
            return []
        found = [arrival]
        if arrival.path.endswith(self._endings):
            into = self._directory_for(arrival.path)
            members = unpack(arrival.path, self._name, into=into, limits=LIMITS, options=self._options, sync=True,
                             is_meant=_same(arrival), within=self._root)
            crashing.point("server.unpacked")
            found = [arrival_at(member.path) for member in members]
        return [self._listed(one, self._archives) for one in found] if self._archives is not None else found

    def _listed(self, arrival: Arrival, kind: str) -> Arrival:
        try:
            return replace(arrival, members=list_names(arrival.path, kind, _same(arrival), self._root))
        except BadArchive as error:
            self._loop.call(self._alarm, f"{arrival.path} is announced as one file: {error}", error)
            return arrival

    def _directory_for(self, path: str) -> str:
        """Files of the same name in several directories of the origin stay apart also in the working directory."""
        if self._into is None:
            return os.path.dirname(path)
        found = os.path.normpath(os.path.join(self._into, os.path.relpath(os.path.dirname(path), self._root)))
        os.makedirs(found, exist_ok=True)
        return found

    # It was tried.

    def _tried(self, item: Item, outcome: Any) -> None:
        if self._stopped:
            return
        item.attempt += 1
        if isinstance(outcome, Exception):
            self._failed(item, outcome)
        else:  # the watcher may have seen what came out as well: what it said of it is in the journal before we look
            self._journal.write([], self._announce, item, outcome)
        batch, item.batch = item.batch, None
        if batch is not None:
            batch.left -= 1
            if batch.left == 0:
                self._held.append(batch.then)
        self._make_room()

    def _make_room(self) -> None:
        while self._held and self._waiting < MOST_WAITING:
            self._held.popleft()()

    def _announce(self, item: Item, members: list[Arrival]) -> None:
        if self._stopped:
            return
        if any(self._announcing.is_unwritten(member.path) for member in members):
            self._journal.write([], self._announce, item, members)
            return
        if [member.path for member in members] == [item.arrival.path]:  # not unpacked, only listed
            self._announce_as_it_is(item, "", members[0])
            return
        names = ", ".join(os.path.basename(member.path) for member in members)
        now = time.time()
        line = step_line(State.COVERED, now, "", item.attempt, f"unpacked, and announced as {names}"[:500])
        covered = ("step", [(State.COVERED, now, item.attempt, line, item.file)])
        self._announcing.announce_unpacked(item.arrival, members, [covered], partial(self._forget, item))

    def _forget(self, item: Item) -> None:
        if self._items.get(item.arrival.path) is item:
            del self._items[item.arrival.path]

    def _failed(self, item: Item, error: Exception) -> None:
        path, detail = item.arrival.path, str(error)[:500]
        if isinstance(error, OriginGone | OriginChanged):
            # Nothing was said of it, and should it come back, the watcher sees it anew.
            logger.warning("[%s] %s; not announced", self._chain, detail)
            self._journal.write([("remove_file", [(item.file,)])], self._forget, item)
        elif is_permanent(error) or time.time() - item.since > GIVE_UP_AFTER:
            self._alarm(f"{path} cannot be unpacked and is announced as it is: {detail}", error)
            self._announce_as_it_is(item, detail)
        else:
            self._try_again(item, detail)

    def _try_again(self, item: Item, detail: str) -> None:
        wait = wait_before(item.attempt)
        logger.error("[%s] %s (again %s)", self._chain, detail, in_words(wait))
        line = step_line(State.FAILED, time.time(), "", item.attempt, detail)
        self._journal.write([("note", [{"line": line, "id": item.file}])])
        self._waiting += 1
        self._loop.after(wait, lambda: self._again(item))

    def _again(self, item: Item) -> None:
        if not self._stopped:
            self._waiting -= 1
            self._submit([item])
            self._make_room()

    def _announce_as_it_is(self, item: Item, detail: str, arrival: Arrival | None = None) -> None:
        now = time.time()
        failed = step_line(State.FAILED, now, "", item.attempt, detail) if detail else ""
        line = failed + step_line(State.ANNOUNCED, now)
        records = [("step", [(State.ANNOUNCED, now, 0, line, item.file)])]
        self._announcing.announce_known(arrival or item.arrival, item.file, records, partial(self._forget, item))

    def _alarm(self, text: str, error: Exception) -> None:
        now = time.monotonic()
        if now >= self._next_alarm:
            self._next_alarm = now + ALARM_EVERY
            self._journal.alarm(self._chain, text)
        else:
            logger.error("[%s] %s", self._chain, text)
        if not isinstance(error, MoveError):
            logger.error("[%s] this should not happen", self._chain, exc_info=error)


def _same(arrival: Arrival) -> Callable[[os.stat_result], bool]:
    """What tells whether an opened file is the one that arrived."""
    return Announced(arrival.path, arrival.device, arrival.inode, arrival.size, arrival.mtime_ns).is_still


def give_up(file: int, detail: str) -> tuple[Any, ...]:
    """What `step` writes of a file that nothing can be done about."""
    now = time.time()
    return State.GIVEN_UP, now, 0, step_line(State.GIVEN_UP, now, detail=detail), file


def is_permanent(error: Exception) -> bool:
    return error.permanent if isinstance(error, MoveError) else not isinstance(error, OSError)


def arrival_at(path: str) -> Arrival:
    """The file at *path*, as it is now."""
    status = os.lstat(path)
    return Arrival(path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
