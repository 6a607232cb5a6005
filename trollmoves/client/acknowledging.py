"""Acknowledge: a client tells the providers of a file that it has it.

Who delivered it is told, together with other files and until it says so, when it is published: only then may it remove its own.
Who announced it as well is told that it need not deliver it (telling.py).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from trollmoves.bus import Loop, Requesters
from trollmoves.bus.confirming import Confirming
from trollmoves.bus.requesters import Named
from trollmoves.bus.requesting import Answered, new_request
from trollmoves.client.addressing import Addressing
from trollmoves.client.doubting import copies_of
from trollmoves.client.flight import Flight, Source
from trollmoves.client.telling import Telling
from trollmoves.config.settings import ClientSettings
from trollmoves.journal import Journal
from trollmoves.messages import EXTENSION, PROTOCOL, Message, decode, read_announcement

CONFIRMED_AT, TOLD_AT = "confirmed:", "told:"
"""With the name of the chain: values in the journal, before which times all that was published is confirmed, and all others are
told what they need not deliver."""
NOTE_CONFIRMED_EVERY = 10.0
ACK_TIMEOUT = 60.0


def _ignore(reply: Message | None) -> None:
    """An ack that gets lost costs the provider a file it keeps until it announces it again, when it is started next."""


class Acknowledging:
    """Of one client chain; belongs to the loop."""

    def __init__(self, settings: ClientSettings, addressing: Addressing, journal: Journal, loop: Loop, requesters: Requesters,
                 who: Mapping[str, Any]):
        """*who* says to providers who we are."""
        self._settings = settings
        self._addressing = addressing
        self._journal = journal
        self._loop = loop
        self._requesters = requesters
        self._who = who
        self._confirming = Confirming(loop, requesters, settings.topic or "/")
        self._telling = Telling(settings.name, journal, loop, self.tell)
        self._noted_settled = 0
        self._closed = False

    def start(self) -> None:
        """Confirm what was published since the last time of which we know that everything was confirmed, and tell others of it:
        the last process perhaps did not."""
        confirmed, told = self._noted(CONFIRMED_AT), self._noted(TOLD_AT)
        for published in self._journal.find("published_since", (self._settings.name, confirmed)) if confirmed is not None else ():
            announcement = read_announcement(decode(published["message"].encode()))
            if announcement.epoch:
                self._confirming.add(announcement.named, announcement.offset, published["request"], published["time"])
        if told is not None:
            self._telling.start(told)
        if confirmed is None or told is None:
            self._write_settled()
        self._loop.after(NOTE_CONFIRMED_EVERY, self._note_settled)

    def _noted(self, what: str) -> float | None:
        row = self._journal.find_one("meta", (what + self._settings.name,))
        return None if row is None else float(row[0])

    def confirm(self, flight: Flight) -> None:
        """Tell the provider, together with others and until it says so, that what it delivered is published."""
        asked = flight.asked_for
        self._confirming.add(asked[:3], asked.position, asked.request, time.time())

    def tell(self, source: Source, answered: Answered = _ignore) -> None:
        """Tell a provider that we have what it announced."""
        announcement = source.announcement
        if self._closed or not self._requesters.has_room(*announcement.named):
            self._loop.call(answered, None)
            return
        fields, subject = self._addressing.known_data(announcement.message.fields), announcement.message.subject
        if announcement.epoch:
            request = new_request()
            data = {**fields, EXTENSION: {**announcement.message.extension, "request": request, **self._who}}
            self._requesters.ours(*announcement.named).ask(request, subject, "ack", data, answered, ACK_TIMEOUT)
        else:
            lanes = self._requesters.upstream(announcement.host, announcement.port)
            lanes.ask(subject, "ack", fields, answered, self._settings.req_timeout)

    def tell_others(self, flight: Flight) -> None:
        """Tell who announced it besides the one that was asked that we have it; so does each member of a group, also of what
        another one has published: a provider waits for all that it knows. Who may have other content is asked for it."""
        for source in copies_of(flight):
            self._telling.tell(flight.id, source)

    def acknowledge(self, place: Named, requests: Sequence[tuple[int, str]], answered: Answered = _ignore) -> None:
        """Confirm what the provider at *place* delivered: for each file the position of its announcement and the id of its
        request."""
        request = new_request()
        data = {EXTENSION: {"version": PROTOCOL, "request": request, "requests": requests}}
        self._requesters.ours(*place).ask(request, self._settings.topic or "/", "ack", data, answered, ACK_TIMEOUT)

    def clock_leapt(self, seconds: float) -> None:
        """The clock was set: what is to be confirmed keeps its age."""
        self._confirming.clock_leapt(seconds)
        self._telling.clock_leapt(seconds)

    def flush(self) -> None:
        """Say what waits to be confirmed, before the end."""
        if not self._closed:
            self._confirming.flush()

    def close(self) -> None:
        """Tell nobody anything more."""
        self._closed = True
        self._confirming.close()
        self._telling.close()

    def _note_settled(self) -> None:
        if self._closed:
            return
        settled = self._confirming.settled + self._telling.settled
        if settled != self._noted_settled:
            self._noted_settled = settled
            self._write_settled()
        self._loop.after(NOTE_CONFIRMED_EVERY, self._note_settled)

    def _write_settled(self) -> None:
        times = {CONFIRMED_AT: self._confirming.oldest(), TOLD_AT: self._telling.oldest()}
        self._journal.write([("put_meta", [(what + self._settings.name, str(when - 1.0)) for what, when in times.items()])])
