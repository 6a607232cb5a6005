"""Unpack: what was delivered is unpacked beside its place, and what came out is published in its stead.

Stands before `Delivering` in chains with `compression`. The delivery is in the journal (`moved`) before the publication is, so
that a client that dies in between unpacks again after its restart without asking again. A packed file that is not wanted any more
is removed when the publication is in the journal.
"""

from __future__ import annotations

import logging
import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from trollmoves import crashing
from trollmoves.bus import Loop
from trollmoves.bus.addresses import is_this_machine
from trollmoves.client.addressing import Addressing, Place, name_of
from trollmoves.client.deciding import EXPIRES_AFTER
from trollmoves.client.delivering import Delivering, receipt_line
from trollmoves.client.flight import Flight
from trollmoves.config.settings import ClientSettings
from trollmoves.errors import DestinationInvalid, MoveError, OriginChanged, OriginGone
from trollmoves.journal import Journal
from trollmoves.journal.alarms import EVENT
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import MOST_ITEMS, Message
from trollmoves.movers.retrying import in_words, wait_before
from trollmoves.movers.sessions import Sessions
from trollmoves.unpacking import BadArchive, Limits, Options, Unpacked, endings_of, unpack, unpacked_message_data
from trollmoves.unpacking.output import closing, reached
from trollmoves.workers import Work, Workers

logger = logging.getLogger(__name__)

LANES = 2
"""Files of one chain that are unpacked at a time. A file has its lane: what is unpacked twice is not unpacked twice at once."""
MOST_MEMBERS = MOST_ITEMS // 4
"""A message with more could not be read by its receivers."""
ALARM_EVERY = 60.0
"""Seconds between two alarms of one chain; the log and the history of each file have them all."""
REMOVE_AGAIN = 60.0
"""Seconds between two tries to remove a packed file."""

Failed = Callable[[Flight, str, bool, str], Any]
"""Takes what was not delivered after all: error code, whether another try is pointless, and the reason."""


@dataclass(slots=True)
class Arrived:
    """A delivery that is unpacked before it is published."""

    flight: Flight
    reply: Message
    place: Place
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """One packed file, and what came out of it."""

    path: str
    status: os.stat_result
    members: list[Unpacked]

    def row(self, file: int) -> tuple[Any, ...]:
        """For the journal."""
        status = self.status
        return file, os.fsencode(self.path), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class Unpacking:
    """Unpacks for one chain; belongs to the loop. A chain without `compression` only publishes what an earlier one left."""

    def __init__(self, settings: ClientSettings, addressing: Addressing, delivering: Delivering, journal: Journal, loop: Loop,
                 workers: Workers, failed: Failed):
        """Raises `ConfigurationError` when the unpacker cannot be loaded."""
        self._chain = settings.name
        self._name = settings.compression or ""
        self._endings = endings_of(settings.compression)
        self._options = Options(program=settings.xritdecompressor, block_size=settings.block_size)
        self._limits = Limits(members=MOST_MEMBERS)
        self._deletes = settings.delete
        self._addressing = addressing
        self._delivering = delivering
        self._journal = journal
        self._loop = loop
        self._workers = workers
        self._failed = failed
        self._next_alarm = 0.0
        self._closed = False

    def start(self) -> None:
        """Remove packed files that the last process left, being about to remove them."""
        rows = self._journal.find("packed_in", (self._chain,))
        for file in {row["file"] for row in rows}:
            self._remove(file, [(row["path"], row["device"], row["inode"], row["size"], row["mtime_ns"])
                                for row in rows if row["file"] == file])

    def close(self) -> None:
        """Begin and publish nothing more: whoever takes up the journal does."""
        self._closed = True

    def deliver(self, flight: Flight, reply: Message) -> None:
        """The provider says that the files of *flight* are at their destination."""
        if not self._concerns(reply):
            self._delivering.deliver(flight, reply)
            return
        assert flight.place is not None
        line = receipt_line(flight, reply)
        self._journal.write([("step", [(State.MOVED, time.time(), flight.attempt, line, flight.id)])])
        self._submit(Arrived(flight, reply, flight.place))

    def take_up(self, flight: Flight, place: Place) -> None:
        """*flight* was delivered to the last process, which did not come to publish it."""
        announcement = flight.source.announcement
        flight.forget_lease()
        if self._concerns(announcement.message):
            self._submit(Arrived(flight, announcement.message, place))
        else:
            flight.place = place
            self._delivering.deliver(flight, announcement.message)

    def _concerns(self, message: Message) -> bool:
        return any(self._is_packed(item) for item in _items(message.fields))

    def _is_packed(self, item: Mapping[str, Any]) -> bool:
        return name_of(item).endswith(self._endings)

    # In a worker.

    def _submit(self, arrived: Arrived) -> None:
        if self._closed:
            return
        if arrived.flight.confirms:
            self._delivering.committing.hold(arrived.flight.asked_for)
        lane = zlib.crc32(arrived.flight.identity.encode("utf-8", "replace")) % LANES
        self._workers.submit([Work(("unpack", self._chain, lane), 1,
                                   partial(self._unpack, arrived), partial(self._tried, arrived))])

    def _unpack(self, arrived: Arrived, _: Sessions) -> dict[str, Found]:
        """By uid, all packed files of a delivery."""
        if self._closed:
            return {}
        found = {str(item["uid"]): self._unpack_one(arrived.place, name_of(item))
                 for item in _items(arrived.reply.fields) if self._is_packed(item)}
        if sum(len(one.members) for one in found.values()) > MOST_MEMBERS:
            raise BadArchive(f"more than {MOST_MEMBERS} members, too many for one message")
        crashing.point("client.unpacked")
        return found

    def _unpack_one(self, place: Place, name: str) -> Found:
        path = self._addressing.local_path(place, name)
        opened: list[os.stat_result] = []

        def noted(status: os.stat_result) -> bool:
            opened.append(status)
            return True
        try:
            members = unpack(path, self._name, limits=self._limits, options=self._options, sync=self._deletes,
                             is_meant=noted)
            status = opened[0] if opened else os.stat(path)  # a name that is not unpacked
        except (OriginGone, FileNotFoundError) as error:
            if place.destination.scheme in ("", "file") or is_this_machine(place.destination.host):
                raise OriginGone(f"{path} was delivered, and is gone") from error
            raise DestinationInvalid(f"{path} is not on this machine, so it cannot be unpacked: mount {place.noticed} here, or "
                                     "leave `compression` out") from error
        return Found(path, status, members)

    # It was tried.

    def _tried(self, arrived: Arrived, outcome: Any) -> None:
        if self._closed:
            return
        arrived.attempt += 1
        if not isinstance(outcome, Exception):
            try:
                self._publish(arrived, outcome)
            except (MoveError, ValueError, TypeError, KeyError) as error:  # a reply nobody can make a publication of
                outcome = error
        if isinstance(outcome, Exception):
            self._not_unpacked(arrived, outcome)

    def _publish(self, arrived: Arrived, found: dict[str, Found]) -> None:
        flight, place = arrived.flight, arrived.place
        self._journal.alarms.clear(self._chain, EVENT, _about(flight), "it is unpacked")
        data = self._addressing.published_data(arrived.reply.fields, flight.source.announcement.address, place)
        members = {uid: one.members for uid, one in found.items()}
        kind, data = unpacked_message_data(data, members, lambda member: self._addressing.published_path(place, member.path))
        rows = [one.row(flight.id) for one in found.values() if one.members] if self._deletes else []
        flight.place = place

        def noted() -> None:
            if rows:
                self._journal.write([], self._remove, flight.id, [row[1:] for row in rows])
        more = [("add_packed", rows)] if rows else []
        self._delivering.publish(flight, arrived.reply.subject, kind, data, more=more, noted=noted)

    def _not_unpacked(self, arrived: Arrived, error: Exception) -> None:
        flight, detail = arrived.flight, str(error)[:500]
        self._delivering.committing.release(flight.request)
        if isinstance(error, OriginGone | OriginChanged):
            self._failed(flight, error.code, False, detail)
        elif not isinstance(error, MoveError | OSError) or isinstance(error, BadArchive) or _age(flight) > EXPIRES_AFTER:
            self._alarm(flight, f"{flight.identity} of {flight.source.provider} cannot be unpacked: {detail}")
            if not isinstance(error, MoveError):
                logger.error("[%s] this should not happen", self._chain, exc_info=error)
            self._failed(flight, BadArchive.code, True, detail)
        else:
            self._try_again(arrived, detail, mendable=getattr(error, "permanent", False))

    def _try_again(self, arrived: Arrived, detail: str, *, mendable: bool) -> None:
        """Without another transfer: the packed file is there."""
        flight, wait = arrived.flight, wait_before(arrived.attempt)
        if mendable:
            self._alarm(flight, f"{flight.identity} waits to be unpacked: {detail}")
        else:
            logger.error("[%s] %s (again %s)", self._chain, detail, in_words(wait))
        line = step_line(State.FAILED, time.time(), "", arrived.attempt, detail)
        self._journal.write([("note", [{"line": line, "id": flight.id}])])
        self._loop.after(wait, partial(self._submit, arrived))

    def _alarm(self, flight: Flight, text: str) -> None:
        now = time.monotonic()
        if now >= self._next_alarm:
            self._next_alarm = now + ALARM_EVERY
            self._journal.alarms.raise_(self._chain, EVENT, _about(flight), text)
        else:
            logger.error("[%s] %s", self._chain, text)

    # The packed file may go.

    def _remove(self, file: int, packed: list[tuple[Any, ...]], tries: int = 1) -> None:
        if not self._closed:
            self._workers.submit([Work(("unpack", self._chain, "remove"), 1, lambda _: _remove_packed(packed),
                                       partial(self._removed, file, packed, tries))])

    def _removed(self, file: int, packed: list[tuple[Any, ...]], tries: int, outcome: Any) -> None:
        if not isinstance(outcome, Exception):
            self._journal.write([("end_packed", [(file,)])])
        else:
            logger.error("[%s] a packed file cannot be removed: %s (again in %.0f s)%s", self._chain, outcome, REMOVE_AGAIN,
                         self._journal.audit.not_removed(self._chain, os.fsdecode(packed[0][0]), str(outcome), tries))
            self._loop.after(REMOVE_AGAIN, partial(self._remove, file, packed, tries + 1))


def _items(data: Any) -> Iterator[Mapping[str, Any]]:
    """The files a message is about, where its members can be named in their stead."""
    if isinstance(data, dict):
        if "uid" in data:
            yield data
        for key in ("dataset", "collection"):
            for item in data[key] if isinstance(data.get(key), list) else ():
                yield from _items(item)


def _about(flight: Flight) -> str:
    """Tells the alarm of one file from all others."""
    return f"unpacking {flight.identity}"


def _age(flight: Flight) -> float:
    return time.time() - flight.created


def _remove_packed(packed: list[tuple[Any, ...]]) -> None:
    """Remove packed files, unless others have taken their places, or those of their directories. Raises OSError."""
    for path, *what in packed:
        above, name = os.path.split(path)
        with suppress(FileNotFoundError, NotADirectoryError), closing(reached(os.fsdecode(above), None)) as directory:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns] == what:
                os.unlink(name, dir_fd=directory)
