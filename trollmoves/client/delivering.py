"""Acknowledge and publish: what a client does when a file is at its destination.

The publication is in the journal before it is sent; a client that dies in between publishes again after its restart, and says so.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from trollmoves import crashing
from trollmoves.bus import Loop, Requesters
from trollmoves.bus.requesting import Answered, new_request
from trollmoves.bus.streaming import Stream
from trollmoves.client.addressing import Addressing
from trollmoves.client.flight import Flight, Source
from trollmoves.config.settings import ClientSettings
from trollmoves.journal import Journal, Operation
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import EXTENSION, PROTOCOL, Envelope, Message, decode

CONFIRM_EVERY = 0.2
"""Seconds between two confirmations to one provider."""
CONFIRM_AT_ONCE = 500
CONFIRM_TIMEOUT = 60.0
PAGE = 500
"""Publications that are taken from the journal at a time."""
LISTENERS_WAIT = 3.0
"""Seconds after the start within which subscribers are expected to connect; the first one that does ends the waiting."""
AFTER_FIRST_LISTENER = 0.25


def _ignore(reply: Message | None) -> None:
    """An ack that gets lost costs the provider a file it keeps too long, nothing else."""


class Delivering:
    """Ends the life of a file in one client chain; belongs to the loop."""

    def __init__(self, settings: ClientSettings, addressing: Addressing, journal: Journal, loop: Loop, envelope: Envelope,
                 stream: Stream, requesters: Requesters, who: Mapping[str, Any], landed: Callable[[Flight], Any]):
        """*who* says to providers who we are; *landed* is called when a file is published and nothing is left to do for it."""
        self._settings = settings
        self._addressing = addressing
        self._journal = journal
        self._loop = loop
        self._envelope = envelope
        self._stream = stream
        self._requesters = requesters
        self._who = who
        self._landed = landed
        self._closed = False
        self._first = journal.head + 1
        """The position of our first publication: those before it were perhaps sent by an earlier chain."""
        self._reached = 0
        """All publications up to this position were sent."""
        self._holds = True
        """Subscribers are expected: what is delivered meanwhile waits in the journal."""
        self.waiting = 0
        """How many publications of ours wait for that."""
        self._published: list[int] = []
        self._delivered: list[tuple[Flight, bytes, str, int]] = []
        """What was delivered in this turn of the loop, and (below) what the journal will have of it."""
        self._steps: list[tuple[Any, ...]] = []
        self._announcements: list[tuple[Any, ...]] = []
        self._more: list[Operation] = []
        self._confirmations: dict[tuple[str, int], list[tuple[int, str]]] = {}

    def start(self) -> None:
        """Publish, once somebody listens: what is sent before anybody has connected is heard by nobody."""
        left = self._journal.find_one("unpublished", (self._settings.name, 0, 1))
        self._reached = (self._first if left is None else left["position"]) - 1
        self._await_listeners(time.monotonic() + LISTENERS_WAIT)

    def _await_listeners(self, latest: float) -> None:
        if self._stream.is_heard:
            self._loop.after(AFTER_FIRST_LISTENER, self._publish_held)
        elif time.monotonic() < latest:
            self._loop.after(LISTENERS_WAIT / 60, lambda: self._await_listeners(latest))
        else:
            self._publish_held()

    def _publish_held(self) -> None:
        """Send what waits in the journal, page by page; when nothing does any more, deliveries are published at once."""
        if self._closed:
            return
        rows = self._journal.find("unpublished", (self._settings.name, self._reached, PAGE))
        for row in rows:
            raw, position = row["message"].encode(), row["position"]
            raw = raw if position >= self._first else _marked(raw, self._envelope)
            self._send(row["file"], decode(row["announcement"].encode()), raw, row["subject"], position)
        self._holds = len(rows) == PAGE
        if self._holds:
            self._loop.call(self._publish_held)
        else:
            self.waiting = 0

    def deliver(self, flight: Flight, reply: Message) -> None:
        """The provider says that the files of *flight* are at their destination."""
        assert flight.place is not None
        data = self._addressing.published_data(reply.fields, flight.source.announcement.address, flight.place)
        self.publish(flight, reply.subject, reply.type, data, receipt_line(flight, reply))
        if reply.extension.get("confirm") is True:
            self.confirm(flight)

    def publish(self, flight: Flight, subject: str, kind: str, data: dict[str, Any], line: str = "",
                more: Sequence[Operation] = ()) -> None:
        """Journal the publication of *data*, with *line* in the history of the file and *more* in the same transaction; then send
        it."""
        position, previous = self._journal.new_position(subject)
        data[EXTENSION] = {"version": PROTOCOL, "epoch": self._journal.epoch, "offset": position, "previous": previous,
                           "publication": publication_id(flight), "key": flight.source.announcement.key}
        raw = self._envelope.encode(subject, kind, data)
        now = time.time()
        if not self._delivered:
            self._loop.call(self._record_delivered)
        self._delivered.append((flight, raw, subject, position))
        self._steps.append((State.PUBLISHING, now, flight.attempt, line + step_line(State.PUBLISHING, now), flight.id))
        self._announcements.append((position, flight.id, subject, previous, raw.decode(), now))
        self._more += more

    def _record_delivered(self) -> None:
        """Journal all that was delivered in this turn of the loop, then publish it."""
        records: list[Operation] = [("step", self._steps), ("add_announcement", self._announcements), *self._more]
        self._journal.write(records, self._publish_all, self._delivered)
        self._delivered, self._steps, self._announcements, self._more = [], [], [], []

    def _publish_all(self, delivered: list[tuple[Flight, bytes, str, int]]) -> None:
        """The journal knows: tell the world, then the other providers."""
        if self._closed:  # the chain that takes our place finds them in the journal
            return
        self.waiting += len(delivered) if self._holds else 0
        for flight, raw, subject, position in delivered:
            if not self._holds and position > self._reached:
                self._send(flight.id, flight.source.announcement.message, raw, subject, position)
            for source in flight.sources.values():
                if source is not flight.source:
                    self.tell(source)
            self._landed(flight)

    def _send(self, file: int, announcement: Message, raw: bytes, subject: str, position: int) -> None:
        crashing.point("client.publishing")
        if self._stream.is_heard:
            self._stream.send(self._envelope.encode_like(announcement, "ack", self._addressing.added))
        self._stream.publish(raw, subject, position)
        self._reached = position
        crashing.point("client.published")
        self._note_published(file)

    def _note_published(self, file: int) -> None:
        """Recorded without waiting, with all others of this turn of the loop."""
        if not self._published:
            self._loop.call(self._record_published)
        self._published.append(file)

    def _record_published(self) -> None:
        now = time.time()
        files, self._published = orjson.dumps(self._published), []
        self._journal.write([("step_all", [(State.PUBLISHED, now, step_line(State.PUBLISHED, now), files)])])

    def tell(self, source: Source, answered: Answered = _ignore) -> None:
        """Tell a provider that we have what it announced."""
        announcement = source.announcement
        if self._closed or not self._requesters.has_room(announcement.host, announcement.port):
            self._loop.call(answered, None)
            return
        fields, subject = self._addressing.known_data(announcement.message.fields), announcement.message.subject
        if announcement.epoch:
            request = new_request()
            data = {**fields, EXTENSION: {**announcement.message.extension, "request": request, **self._who}}
            requester = self._requesters.ours(announcement.host, announcement.port)
            requester.ask(request, subject, "ack", data, answered, CONFIRM_TIMEOUT)
        else:
            lanes = self._requesters.upstream(announcement.host, announcement.port)
            lanes.ask(subject, "ack", fields, answered, self._settings.req_timeout)

    def confirm(self, flight: Flight) -> None:
        """Tell the provider, together with others, that its answer was taken."""
        announcement = flight.source.announcement
        place = announcement.host, announcement.port
        if place not in self._confirmations:
            self._confirmations[place] = []
            self._loop.after(CONFIRM_EVERY, lambda: self._send_confirmations(place))
        self._confirmations[place].append((announcement.offset, flight.request))

    def _send_confirmations(self, place: tuple[str, int]) -> None:
        requests = [] if self._closed else self._confirmations.pop(place, [])
        for start in range(0, len(requests), CONFIRM_AT_ONCE):
            self.acknowledge(place, requests[start:start + CONFIRM_AT_ONCE])
            crashing.point("client.confirmed")

    def acknowledge(self, place: tuple[str, int], requests: Sequence[tuple[int, str]], answered: Answered = _ignore) -> None:
        """Confirm what the provider at *place* delivered: for each file the position of its announcement and the id of its
        request."""
        request = new_request()
        data = {EXTENSION: {"version": PROTOCOL, "request": request, "requests": requests}}
        self._requesters.ours(*place).ask(request, self._settings.topic or "/", "ack", data, answered, CONFIRM_TIMEOUT)

    def close(self) -> None:
        """Publish nothing more: what is journaled is published by whoever takes up the journal."""
        self._closed = True

    def flush(self) -> None:
        """Send what waits to be confirmed, before the end."""
        for place in list(self._confirmations):
            self._send_confirmations(place)


def publication_id(flight: Flight) -> str:
    """The same for every publication of the same content by this chain."""
    text = f"{flight.chain}\n{flight.identity}\n{flight.source.announcement.key}"
    return "p:" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]


def receipt_line(flight: Flight, reply: Message) -> str:
    """For the history of the file: who delivered it, and how that was verified."""
    return step_line(State.MOVED, time.time(), flight.source.announcement.address, flight.attempt, _receipt(reply))


def _receipt(reply: Message) -> str:
    said = reply.extension
    if "verified" not in said:
        return f"delivered by upstream server {reply.sender}"
    return f"verified: {said.get('verified')} {said.get('checksum') or ''}".strip()


def _marked(raw: bytes, envelope: Envelope) -> bytes:
    """A publication that was perhaps sent before, so that its receivers can tell."""
    message = decode(raw)
    data = {**message.fields, EXTENSION: {**message.extension, "redelivered": True}}
    return envelope.encode(message.subject, message.type, data)
