"""Publish: what a client does when a file is at its destination.

The publication is in the journal before it is sent; a client that dies in between publishes again after its restart, and says so.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import orjson

from trollmoves import crashing
from trollmoves.bus import Loop, Requesters
from trollmoves.bus.committing import Committing, Granted
from trollmoves.bus.publishing import AFTER_FIRST_SUBSCRIBER, SUBSCRIBERS_WAIT
from trollmoves.bus.streaming import Stream
from trollmoves.client.acknowledging import Acknowledging
from trollmoves.client.addressing import Addressing
from trollmoves.client.doubting import in_doubt, new_rows, with_checksum
from trollmoves.client.flight import Flight, Source
from trollmoves.client.sending import DELIVERED, push_data
from trollmoves.config.settings import ClientSettings
from trollmoves.errors import TrollmovesError
from trollmoves.journal import Journal, Operation
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import (
    EXTENSION,
    PROTOCOL,
    UNPACKED_OF,
    Envelope,
    Message,
    decode,
    identity_of,
    read_announcement,
    sent_again,
)

PAGE = 500
"""Publications that are taken from the journal at a time."""
NEXT_PAGE = 0.5
"""Seconds after which the next ones are taken, though a server has not said yet whether the last ones may be published."""
TURN = 0.01
"""Seconds between two looks whether enough of the last ones has left."""
AT_ONCE = 32
"""Of those so many are let go with one commit: all that a death may have repeated which was not needed."""
BY_ANOTHER = "another member of the group has published it"
PAUSE = 1.0
"""Seconds before we wait in line for another one that has the lease: a provider may say ever again that it is our turn, and then
that it is not."""
AGAIN = 5.0
"""Seconds before a provider that does not answer is asked again for leave to publish."""


class Delivering:
    """Ends the life of a file in one client chain; belongs to the loop."""

    def __init__(self, settings: ClientSettings, addressing: Addressing, journal: Journal, loop: Loop, envelope: Envelope,
                 stream: Stream, requesters: Requesters, acknowledging: Acknowledging, who: Mapping[str, Any],
                 landed: Callable[[Flight], Any]):
        """*who* says to providers who we are; *landed* is called when a file is published and nothing is left to do for it."""
        self._settings = settings
        self._addressing = addressing
        self._journal = journal
        self._loop = loop
        self._envelope = envelope
        self._stream = stream
        self._requesters = requesters
        self._acknowledging = acknowledging
        self._who = who
        self._landed = landed
        self._closed = False
        self._reached = 0
        """All publications up to this position were sent, or are about to be."""
        self._holds = True
        """Subscribers are expected: what is delivered meanwhile waits in the journal."""
        self._held = 0
        """How many publications of ours wait for that."""
        self._unsent: dict[int, int] = {}
        """Positions of publications that are to be sent, by file: all that there are up to `_reached`, and later ones."""
        self.committing = Committing(loop, requesters, settings.topic or "/", who)
        self._leaving: list[tuple[Flight, bytes, str, int]] = []
        """What was held and may be sent, once the journal knows that it perhaps was."""
        self._is_letting_go = False
        self._asked = 0
        """How many publications a provider is being asked about."""
        self._next_page = 0.0
        """When (monotonic) more of what is held is taken from the journal, at the latest."""
        self._published: list[int] = []
        self._delivered: list[tuple[Flight, bytes, str, int]] = []
        """What was delivered in this turn of the loop, and (below) what the journal will have of it."""
        self._steps: list[tuple[Any, ...]] = []
        self._announcements: list[tuple[Any, ...]] = []
        self._more: list[Operation] = []

    def start(self) -> None:
        """Publish, once somebody listens: what is sent before anybody has connected is heard by nobody."""
        left = self._journal.find_one("unpublished", (self._settings.name, 0, 1))
        self._reached = (self._journal.head + 1 if left is None else left["position"]) - 1
        self._await_subscribers(time.monotonic() + SUBSCRIBERS_WAIT)

    def _await_subscribers(self, latest: float) -> None:
        if self._stream.is_heard:
            self._loop.after(AFTER_FIRST_SUBSCRIBER, self._release)
        elif time.monotonic() < latest:
            self._loop.after(SUBSCRIBERS_WAIT / 60, lambda: self._await_subscribers(latest))
        else:
            self._release()

    def _release(self) -> None:
        """What waits may be sent from now on: all that is being written is in the journal then."""
        if not self._closed:
            self._journal.write([], self._publish_held)

    def _publish_held(self) -> None:
        """Send what waits in the journal, page by page; when nothing does any more, deliveries are published at once."""
        if self._closed:
            return
        asked = self._asked if time.monotonic() < self._next_page else 0
        if len(self._leaving) + asked >= PAGE:
            self._loop.after(TURN, self._publish_held)
            return
        rows = self._journal.find("unpublished", (self._settings.name, self._reached, PAGE))
        for row in rows:
            flight = self._flight_of(row)
            flight.maybe_published = not row["held"]
            self._reached = self._unsent[flight.id] = row["position"]
            self._with_leave(flight, partial(self._let_go, flight, row["message"].encode(), row["subject"], row["position"]))
        self._holds = len(rows) == PAGE
        self._next_page = time.monotonic() + NEXT_PAGE
        if self._holds:
            self._loop.call(self._publish_held)
        else:
            self._held = 0

    def _let_go(self, flight: Flight, raw: bytes, subject: str, position: int) -> None:
        """Send what was held, together with others, when the journal knows that it perhaps was sent."""
        self._leaving.append((flight, raw, subject, position))
        if not self._is_letting_go:
            self._is_letting_go = True
            self._loop.call(self._let_some_go)

    def _let_some_go(self) -> None:
        """A few at a time; that those before were sent is written with the same commit."""
        some = self._leaving[:AT_ONCE]
        self._is_letting_go = bool(some)
        if some:
            positions = orjson.dumps([position for *_, position in some])
            self._journal.write([("let_go", [(positions,)])], self._send_some, some)

    def _send_some(self, some: list[tuple[Flight, bytes, str, int]]) -> None:
        if self._closed:
            return
        del self._leaving[:len(some)]
        for flight, raw, subject, position in some:
            self._publish(flight, raw, subject, position)
        self._loop.call(self._let_some_go)

    def first_unsent(self) -> int | None:
        """The position of the first publication that is still to be sent, or may be: later ones may be out already."""
        waiting = [*self._unsent.values(), self._reached + 1] if self._holds else self._unsent.values()
        return min(waiting, default=None)

    @property
    def waiting(self) -> int:
        """How many publications wait for subscribers, or to be let go."""
        return self._held + len(self._leaving)

    def _flight_of(self, row: Any) -> Flight:
        """What the journal has of something that waits to be published."""
        announcement = read_announcement(decode(row["announcement"].encode()))
        flight = Flight(row["file"], self._settings.name, row["identity"], row["created"],
                        Source(announcement.address, announcement), attempt=row["attempt"], request=row["request"] or "")
        flight.forget_lease()
        return flight

    def deliver(self, flight: Flight, reply: Message) -> None:
        """The provider says that the files of *flight* are at their destination."""
        assert flight.place is not None
        data = self._addressing.published_data(reply.fields, flight.source.announcement.address, flight.place)
        self.publish(flight, reply.subject, reply.type, data, receipt_line(flight, reply))

    def publish(self, flight: Flight, subject: str, kind: str, data: dict[str, Any], line: str = "",
                more: Sequence[Operation] = (), noted: Callable[[], Any] | None = None) -> None:
        """Publish *data*, if it is ours to publish: journaled first, with *line* in the history of the file and *more* in the
        same transaction; *noted* is called when it was handed to the journal."""
        if time.monotonic() < flight.valid_until:
            self._note_publication(flight, subject, kind, data, line, more, noted)
        else:
            self._with_leave(flight, partial(self._note_publication, flight, subject, kind, data, line, more, noted))

    def _note_publication(self, flight: Flight, subject: str, kind: str, data: dict[str, Any], line: str,
                          more: Sequence[Operation], noted: Callable[[], Any] | None) -> None:
        self.committing.release(flight.request)
        position, previous = self._journal.new_position(subject)
        self._unsent[flight.id] = position
        announcement = flight.source.announcement
        data[EXTENSION] = {"version": PROTOCOL, "epoch": self._journal.epoch, "offset": position, "previous": previous,
                           "publication": publication_id(flight), "key": announcement.key, "size": announcement.size}
        if flight.checksum:
            data[EXTENSION]["checksum"] = flight.checksum
        if flight.maybe_published:
            data[EXTENSION]["redelivered"] = True
        if identity_of(data) != flight.identity:
            data[EXTENSION]["announced"] = UNPACKED_OF + flight.identity
        raw = self._envelope.encode(subject, kind, data)
        now = time.time()
        if not self._delivered:
            self._loop.call(self._record_delivered)
        self._delivered.append((flight, raw, subject, position))
        self._steps.append((State.PUBLISHING, now, flight.attempt, line + step_line(State.PUBLISHING, now), flight.id))
        self._announcements.append((position, flight.id, subject, previous, raw.decode(), now))
        self._more += more
        if noted is not None:
            self._loop.call(noted)

    def _record_delivered(self) -> None:
        """Journal all that was delivered in this turn of the loop, and what others announced in its place; then publish it."""
        records: list[Operation] = [("step", self._steps), ("add_announcement", self._announcements), *self._more]
        now = time.time()
        doubtful = [row for flight, *_ in self._delivered for row in new_rows(flight, in_doubt(flight), self._journal, now)]
        if doubtful:
            records.append(("add_file", doubtful))
        for flight, *_ in self._delivered:
            flight.noted = True
        if self._holds:
            records.append(("hold_announcements", [(orjson.dumps([position for *_, position in self._delivered]),)]))
        self._journal.write(records, self._publish_all, self._delivered, self._holds)
        self._delivered, self._steps, self._announcements, self._more = [], [], [], []

    def _publish_all(self, delivered: list[tuple[Flight, bytes, str, int]], held: bool) -> None:
        """The journal knows, with the word that they are *held* or without: tell the world, then the other providers."""
        if self._closed:  # the chain that takes our place finds them in the journal
            return
        self._held += len(delivered) if self._holds else 0
        publish = self._let_go if held else self._publish
        for flight, raw, subject, position in delivered:
            if self._holds and position > self._reached:  # in the journal: it is taken from there, in its turn
                self._unsent.pop(flight.id, None)
            elif position > self._reached:
                publish(flight, raw, subject, position)
            self._acknowledging.tell_others(flight)
            self._landed(flight)

    def _publish(self, flight: Flight, raw: bytes, subject: str, position: int) -> None:
        """Send what the journal has, if it is still ours to publish."""
        crashing.point("client.publishing")
        if time.monotonic() >= flight.valid_until:  # it took long, or we were stopped meanwhile
            self._with_leave(flight, partial(self._publish, flight, raw, subject, position))
            return
        announcement = flight.source.announcement.message
        raw = sent_again(raw, self._envelope) if flight.maybe_published else raw
        if self._stream.is_heard:
            self._stream.send(self._envelope.encode_like(announcement, "ack", self._addressing.added))
        self._stream.publish(raw, subject, position)
        self._unsent.pop(flight.id, None)
        self._reached = max(self._reached, position)
        crashing.point("client.published")
        self._published_now(flight)

    def _published_now(self, flight: Flight) -> None:
        self._note_published(flight.id)
        if flight.confirms:
            self._acknowledging.confirm(flight)

    # Others of our group may be about to publish it too: the provider decides (bus/leases.py).

    def _with_leave(self, flight: Flight, publish: Callable[[], Any]) -> None:
        """Ask the provider; then call *publish*, or drop what another one has published."""
        if flight.valid_until == math.inf:  # an upstream server; or one that was asked in vain
            publish()
            return
        self._asked += 1
        self.committing.ask(flight.asked_for, flight.fence, partial(self._answered, flight, publish))

    def _answered(self, flight: Flight, publish: Callable[[], Any], granted: Granted) -> None:
        self._asked -= 1
        if self._closed:
            return
        if granted.state == "covered":
            self._cover(flight)
        elif granted.state == "held":
            self._loop.after(PAUSE, partial(self._wait_in_line, flight, publish))
        else:
            crashing.point("client.committed")
            known = granted.state == "granted"
            flight.valid_until, flight.fence = (granted.valid_until, granted.fence) if known else (math.inf, 0)
            flight.maybe_published |= granted.maybe_published or not known
            publish()

    def _wait_in_line(self, flight: Flight, publish: Callable[[], Any]) -> None:
        """Another one has the lease: ask as for something new, which is answered when that one has published, or is gone."""
        if self._closed:
            return
        announcement = flight.source.announcement
        try:
            flight.place = flight.place or self._addressing.place(announcement.message.fields)
        except TrollmovesError:  # the section was changed since it was delivered
            self._publish_in_doubt(flight, publish)
            return
        self._requesters.ours(*announcement.named).ask(
            flight.request, announcement.message.subject, "push", push_data(self._addressing, self._who, flight, flight.place),
            partial(self._line_moved, flight, publish))

    def _line_moved(self, flight: Flight, publish: Callable[[], Any], reply: Message | None) -> None:
        if self._closed:
            return
        if reply is not None and reply.type == "covered":
            self._cover(flight)
            return
        if reply is not None and reply.type in DELIVERED:
            doubtful = flight.maybe_published
            flight.take_lease(reply.extension)
            flight.maybe_published |= doubtful
            if time.monotonic() < flight.valid_until:
                publish()
            else:
                self._with_leave(flight, publish)
        elif reply is None or reply.extension.get("permanent") is False:
            flight.valid_until = min(flight.valid_until, time.monotonic())
            self._loop.after(AGAIN, lambda: self._with_leave(flight, publish))
        else:
            self._publish_in_doubt(flight, publish)

    def _publish_in_doubt(self, flight: Flight, publish: Callable[[], Any]) -> None:
        """The provider cannot be asked any more, and what is delivered must be published."""
        flight.maybe_published, flight.valid_until = True, math.inf
        publish()

    def _cover(self, flight: Flight) -> None:
        """Another member of our group has published it."""
        self.committing.release(flight.request)
        now, position = time.time(), self._unsent.pop(flight.id, None)
        why = with_checksum(flight.checksum, BY_ANOTHER)
        line = step_line(State.COVERED, now, flight.source.provider, flight.attempt, why)
        records: list[Operation] = [("step", [(State.COVERED, now, flight.attempt, line, flight.id)])]
        doubtful = [] if flight.noted else new_rows(flight, in_doubt(flight), self._journal, now)
        if doubtful:
            records.append(("add_file", doubtful))
        flight.noted = True
        if position is not None:  # else it was not even noted that it is to be published
            records.append(("remove_announcement", [(position,)]))
        self._journal.write(records, self._covered, flight)

    def _covered(self, flight: Flight) -> None:
        self._acknowledging.tell_others(flight)
        self._landed(flight)

    def _note_published(self, file: int) -> None:
        """Recorded without waiting, with all others of this turn of the loop."""
        if not self._published:
            self._loop.call(self._record_published)
        self._published.append(file)

    def _record_published(self) -> None:
        now = time.time()
        files, self._published = orjson.dumps(self._published), []
        self._journal.write([("step_all", [(State.PUBLISHED, now, step_line(State.PUBLISHED, now), files)])])

    def close(self) -> None:
        """Publish nothing more: what is journaled is published by whoever takes up the journal."""
        self._closed = True
        self.committing.close()


def publication_id(flight: Flight) -> str:
    """The same for every publication of the same content by this chain."""
    text = f"{flight.chain}\n{flight.identity}\n{flight.source.announcement.key}"
    return "p:" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]


def receipt_line(flight: Flight, reply: Message, checksum: str = "") -> str:
    """For the history of the file: who delivered it, and how that was verified; and its *checksum* where the reply has none."""
    detail = with_checksum(checksum, _receipt(reply))
    return step_line(State.MOVED, time.time(), flight.source.announcement.address, flight.attempt, detail)


def _receipt(reply: Message) -> str:
    said = reply.extension
    if "verified" not in said:
        return f"delivered by upstream server {reply.sender}"
    return f"verified: {said.get('verified')} {said.get('checksum') or ''}".strip()
