"""Hearing: what messages ask for is in the journal before anything is done for it.

Publishers of ours are asked for what got lost on the way, or was published while nobody here listened; what was published before
they were first listened to is left alone, but for what one published that began after that and was heard by others first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson

from trollmoves import crashing
from trollmoves.attention.orders import asking
from trollmoves.bus import Loop, Requesters
from trollmoves.bus.catching_up import CatchUp
from trollmoves.bus.few_lines import Sparingly
from trollmoves.bus.once import Once
from trollmoves.bus.silence import Silence
from trollmoves.bus.subscribing import NewCatchUp, Subscribing
from trollmoves.errors import MalformedMessage
from trollmoves.journal import Journal, Operation
from trollmoves.journal.alarms import GAP, SILENT
from trollmoves.messages import Envelope, Message
from trollmoves.queueing.cursors import Cursors
from trollmoves.uris import LOCAL_SOCKET

logger = logging.getLogger(__name__)

MUCH, LITTLE = 2000, 200
"""Groups of records that wait for the disk: no more messages are taken in above the first number, until below the second."""

MUCH_BYTES, LITTLE_BYTES = 16 * 2**20, 4 * 2**20
"""The same for bytes of messages."""

Rows = Iterable[tuple[Any, ...]]
OF_MESSAGE = "m:"
"""Keys that begin with this were made of the message, so that those of two messages differ."""
CHAIN, IDENTITY, KEY, REQUEST = 1, 2, 3, 15
"""Places in a row for `add_file` of what tells whether it was written before."""
EVERYTHING = ""
"""The section under which cursors and alarms are kept when what is heard, is heard for all."""


class Hearing:
    """Belongs to the loop."""

    def __init__(self, role: str, journal: Journal, rows_of: Callable[[Message], Rows], journaled: Callable[[set[str]], Any],
                 section: str = EVERYTHING):
        """*rows_of* says what to write (as `add_file` takes it) of a message; *journaled* is told the chains that got rows. Of
        several that hear for themselves each has its own *section*: how far one is says nothing of another."""
        self._role = role
        self._section = section
        self._journal = journal
        self._rows_of = rows_of
        self._told = journaled
        self._once = Once()
        self._refused = Sparingly(logger)
        self._cursors = Cursors(row["provider"] for row in journal.find("cursors_of", (section,)))
        self.subscribing: Subscribing | None = None
        """Paused while the disk does not follow."""
        self._requesters: Requesters | None = None
        self._unwritten = 0
        """Bytes of messages that the journal does not have yet."""

    def listen(self, loop: Loop, envelope: Envelope, topics: Iterable[str], *, addresses: Sequence[tuple[str, int]],
               nameserver: str | None, services: Sequence[str], own_port: int | None) -> None:
        """Subscribe (see `Subscribing`); instead of what was subscribed to before."""
        self.close()
        self.subscribing = Subscribing(
            loop, envelope, topics, self.received, addresses=addresses, nameserver=nameserver, services=services,
            own_port=own_port, silence=self._new_silence(), new_catch_up=self.catching_up(loop, envelope))

    def catching_up(self, loop: Loop, envelope: Envelope) -> NewCatchUp:
        """What `Subscribing` needs to ask publishers of ours for what got lost; until we close."""
        requesters = self._requesters = Requesters(loop, envelope)
        return lambda name, topics: self._catch_up(loop, requesters, name, topics)

    def remember(self, messages: Iterable[Message]) -> None:
        """These were heard before the start: they are no news when they come once more, because a publisher is asked again."""
        for message in messages:
            self._once.is_news(message)

    def _new_silence(self) -> Silence:
        alarms = self._journal.alarms
        return Silence(lambda name, text: alarms.raise_(self._section, SILENT, name, text),
                       lambda name, text: alarms.clear(self._section, SILENT, name, text),
                       [alarm.about for alarm in alarms.open(SILENT, self._section)])

    def _catch_up(self, loop: Loop, requesters: Requesters, name: str, topics: Sequence[str]) -> CatchUp:
        row = self._journal.find_one("cursor", (self._section, name))

        def cursor(epoch: str, position: int) -> list[Operation]:
            """Kept under the address, and under the name of the stream: the address may be another one after a restart."""
            stream = f"{epoch} {found.stream}"
            gone = [(self._section, other) for other in self._cursors.moved(name, stream)]
            return [("set_cursor", [(self._section, name, epoch, position), (self._section, stream, epoch, position)]),
                    *([("remove_cursor", gone)] if gone else [])]

        def page(messages: list[Message], epoch: str, position: int, then: Callable[[], Any]) -> None:
            self._take(messages, cursor(epoch, position), then)

        def moved_on(epoch: str, position: int) -> None:
            self._journal.write(cursor(epoch, position))

        def alarm(about: str, text: str) -> None:
            self._journal.alarms.raise_(self._section, GAP, about, text)

        def position_in(epoch: str, stream: str) -> int | None:
            kept = self._journal.find_one("cursor", (self._section, f"{epoch} {stream}"))
            return None if kept is None else int(kept["position"])
        found = CatchUp(loop, requesters, name, topics, past=0.0, page=page, moved_on=moved_on,
                        cursor=None if row is None else (str(row["epoch"]), int(row["position"])), position_in=position_in,
                        restarted=lambda address: None, alarm=alarm, host=_host(name))
        return found

    def order_past(self, newer_than: float, topics: list[str]) -> bool:
        """Note that all publishers of ours shall be asked for what they published since a time; what was used already is no news.
        False when none is heard under *topics*."""
        if self.subscribing is None or not self.subscribing.hears(topics):
            return False
        self._journal.write([asking("", newer_than, topics)])
        return True

    def ask_again(self, said: Mapping[str, Any], end: Callable[[], Any]) -> None:
        """Do so; then call *end*."""
        if self.subscribing is not None:
            self.subscribing.ask_again(said["newer_than"], said["topics"], end)

    def received(self, messages: list[Message]) -> None:
        """Take in messages."""
        self._take(messages)

    def _take(self, messages: list[Message], more: Sequence[Operation] = (), then: Callable[[], Any] | None = None) -> None:
        """Journal what *messages* ask for, and *more* in the same transaction; then call *then*."""
        rows = self._unknown([row for message in messages if self._once.is_news(message) for row in self._rows(message)])
        if not rows and then is None:
            return
        crashing.point(f"{self._role}.heard")
        records: list[Operation] = [("add_file", rows)] if rows else []
        size = sum(len(message.raw) for message in messages)
        self._unwritten += size
        self._journal.write([*records, *more], self._journaled, {row[CHAIN] for row in rows}, size, then)
        if (self._journal.waiting > MUCH or self._unwritten > MUCH_BYTES) and self.subscribing is not None:
            self.subscribing.pause()

    def _unknown(self, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Those that the journal does not have: what is asked for again, also after a restart, was often heard before. Only a
        key of the message itself tells that; other rows are all taken."""
        asked = [row[IDENTITY] for row in rows if row[KEY].startswith(OF_MESSAGE)]
        if not asked:
            return rows
        known = {tuple(row) for row in self._journal.find("known_requests", (orjson.dumps(asked),))
                 if row["key"].startswith(OF_MESSAGE)}
        return [row for row in rows if (row[CHAIN], row[IDENTITY], row[KEY], row[REQUEST]) not in known]

    def close(self) -> None:
        """Hear no more; may be called twice."""
        if self.subscribing is not None:
            self.subscribing.close()
        if self._requesters is not None:
            self._requesters.close()
            self._requesters = None

    def _rows(self, message: Message) -> list[tuple[Any, ...]]:
        try:
            return list(self._rows_of(message))
        except MalformedMessage as error:
            self._refused.say("%s %s from %s is not used: %s", message.subject, message.type, message.sender, error)
        except Exception as error:  # whatever we overlooked: a message must not stop those that come after it
            self._refused.say("%s %s from %s is not used", message.subject, message.type, message.sender, error=error)
        return []

    def _journaled(self, chains: set[str], size: int, then: Callable[[], Any] | None) -> None:
        crashing.point(f"{self._role}.journaled")
        self._unwritten -= size
        self._resume_if_little_waits()
        self._told(chains)
        if then is not None:
            then()

    def _resume_if_little_waits(self) -> None:
        if self.subscribing is None:
            return
        if self._journal.waiting < LITTLE and self._unwritten < LITTLE_BYTES:
            self.subscribing.resume()
        elif self.subscribing.paused and not self._unwritten:  # it is others who write: nothing of ours tells when they are done
            self._journal.write([], self._resume_if_little_waits)


def _host(name: str) -> str:
    """The host of a publisher; empty for one that is a socket of this machine, where nothing else can be asked."""
    return "" if name.startswith(LOCAL_SOCKET) else name.rpartition(":")[0].strip("[]")
