"""Moving: each file of a section to each of its destinations, and what is published of it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from trollmoves.bus.addresses import own_address
from trollmoves.config.moves import MoveSettings
from trollmoves.config.sessions import session_settings
from trollmoves.config.targets import root_of
from trollmoves.errors import (
    ConfigurationError,
    DestinationInvalid,
    MalformedMessage,
    MissingLibrary,
    MoveError,
    OriginChanged,
    OriginGone,
    TemporaryError,
)
from trollmoves.journal import Journal
from trollmoves.lifecycle import State
from trollmoves.messages import Envelope, decode, moment
from trollmoves.movers.attributes import how_to_move
from trollmoves.movers.base import Origin, Receipt
from trollmoves.movers.moving import How, move, remove_unfinished
from trollmoves.movers.registry import mover_for
from trollmoves.movers.sessions import Sessions
from trollmoves.patterns import Pattern, Template
from trollmoves.queueing.deliveries import NO_MORE, TOO_LONG, Deliveries, Delivery, Flight, Host
from trollmoves.queueing.results import Results
from trollmoves.server.beneath import Announced, announced_file, opened
from trollmoves.uris import Destination, format_endpoint, local_path
from trollmoves.workers import Workers

logger = logging.getLogger(__name__)


class Place:
    """One destination of a section."""

    def __init__(self, text: str):
        scheme, mark, rest = text.partition("://")
        self.host = root_of(text)
        self._template = Template("/" + rest.partition("/")[2] if mark else text)
        self.label = f"{self.host.with_path('')}{self._template.text}"
        """Names the destination in the journal; without the password."""
        self.place = self.host.with_path("").exact or "file://"
        """Names the host in the journal."""

    def destination(self, fields: Mapping[str, Any]) -> Destination:
        """Where a file with these fields goes. Raises `DestinationInvalid`."""
        try:
            path = self._template.compose(fields) if self._template.fields else self._template.text
        except ConfigurationError as error:
            raise DestinationInvalid(str(error)) from error
        inside = "/".join(part for part in path.split("/") if part)
        return self.host.below(inside + ("/" if path.endswith("/") else "")) if inside else self.host


class Sending:
    """How the files of a section are moved. Made once for a configuration."""

    def __init__(self, settings: MoveSettings, roots: tuple[str, ...]):
        parameters = dict(settings.connection_parameters.plain())
        self._roots = roots
        self._deletes = settings.delete
        self._backups = settings.backup_targets
        self._min_rate = settings.min_rate
        self._attributes = parameters | {"checksum": settings.checksum, "overwrite": settings.overwrite, "fsync": settings.fsync}
        self._session = session_settings(settings, parameters, link=settings.link)

    def send(self, origin: Announced, place: Place, fields: Mapping[str, Any], transfer: str, retried: bool, begun: bool,
             sessions: Sessions) -> Receipt:
        """Deliver one file, which was *retried* in this process, and perhaps *begun* in an earlier one. Raises a `MoveError`."""
        try:
            with opened(self._roots, origin) as source:
                target = place.destination(fields)
                how = self._how(source, target, transfer)
                how = how._replace(resume=how.resume or retried)
                with sessions.lent(target, self._session, self._backups) as kept:
                    return move(source, kept.at(target), kept.session, kept.mover.abilities, how)
        except (OriginGone, OriginChanged):
            if begun:
                with suppress(Exception):
                    self._remove_unfinished(origin, place.destination(fields), transfer, sessions)
            raise

    def _how(self, origin: Origin, target: Destination, transfer: str) -> How:
        how = how_to_move(self._attributes, origin, target.exact, deleting=self._deletes)
        return how._replace(transfer=transfer, min_rate=self._min_rate, patience=self._session.stall_timeout)

    def _remove_unfinished(self, origin: Announced, target: Destination, transfer: str, sessions: Sessions) -> None:
        gone = Origin.gone(origin.path)
        with sessions.lent(target, self._session, self._backups) as kept:
            remove_unfinished(gone.name, kept.at(target), kept.session, kept.mover.abilities, self._how(gone, target, transfer))


class Moving(Deliveries):
    """Belongs to the loop."""

    role = "move_it"
    verbs = ("move", "moved")

    def __init__(self, settings: MoveSettings, journal: Journal, workers: Workers, envelope: Envelope, results: Results | None):
        super().__init__(settings.name, settings.give_up_after, journal, workers, None)
        self._envelope = envelope
        self._publisher = results

    def configure(self, settings: MoveSettings, roots: tuple[str, ...], settled: Callable[[Any], Any],
                  look_again: Callable[[int, str], Any]) -> None:
        """Follow *settings* from now on; what is under way goes on as it was begun. *roots* are the directories above all files
        that may come. *settled* is told of each row to which something happened, *look_again* of one that is about other content
        than its path means."""
        self._look_again = look_again
        self._settings = settings
        self._roots = roots
        self._settled = settled
        self._results = self._publisher if settings.topic else None
        self.give_up_after = settings.give_up_after
        self._pattern = Pattern(settings.origin)
        self._by_label = {place.label: place for place in (Place(found.reveal()) for found in settings.destinations)}
        self.places = {label: place.place for label, place in self._by_label.items()}
        """The label of each destination, and the host it is on."""
        self._sending = Sending(settings, roots)
        self.set_hosts({place.place: self._host(place) for place in self._by_label.values()})
        self.open()

    def _host(self, place: Place) -> Host:
        try:
            limit = self._settings.transfers_per_host or mover_for(place.host.scheme).abilities.parallel
        except (DestinationInvalid, MissingLibrary) as error:
            logger.error("[%s] %s cannot be used: %s", self.name, place.label, error)
            limit = 1
        return Host(limit, place.host.is_local)

    def prepare(self, row: Any) -> Delivery | None:
        try:
            said = decode(row["message"].encode()).fields
        except MalformedMessage as error:
            self.end(row, f"the journal has no metadata for it: {error}")
            return None
        place = self._by_label.get(row["request"])
        if place is None:
            self._reroute(row)
            return None
        fields = {name: value if name in ("uid", "uri") else moment(value) for name, value in said.items()}
        fields |= self._pattern.parse(said["uri"]) or {}
        origin = announced_file(row)
        run = partial(self._sending.send, origin, place, fields, self.transfer(row, place.label), row["attempt"] > 0,
                      self.was_begun(row))
        # Of two contents of one name the newer must come last.
        return Delivery(run, origin.path, place.label, said, (place.label, row["path"]))

    def _reroute(self, row: Any) -> None:
        """This destination is configured no more: the file goes to those that are, and that it has not got."""
        content = (row["identity"], self.name, row["path"], row["inode"], row["size"], row["mtime_ns"])
        known = {other["request"] for other in self._journal.find("siblings", content)}
        missing = {label: place for label, place in self.places.items() if label not in known}
        fresh = [(self._journal.new_file(), self.name, row["identity"], row["key"], State.ANNOUNCED, row["time"], row["steps"],
                  row["due"], row["size"], row["path"], row["device"], row["inode"], row["mtime_ns"], place, row["message"],
                  label, 0, row["created"]) for label, place in missing.items()]
        packed = [(new[0], *tuple(found)) for new in fresh for found in self._journal.find("packed_of", (row["id"],))]
        self.end(row, NO_MORE, [("add_file", fresh), ("add_packed", packed)] if fresh else [], state=State.COVERED)

    def verdict(self, flight: Flight, error: MoveError) -> tuple[State, float | None]:
        if isinstance(error, OriginGone | OriginChanged) and self._has_newer(flight.row):
            return State.COVERED, None  # the new content goes in its place, or has gone there and was removed
        if not isinstance(error, OriginChanged):
            return super().verdict(flight, error)
        # The watcher tells of new content; without any (a link leads to the file now) nothing else is delivered.
        self._look_again(flight.id, os.fsdecode(flight.row["path"]))
        return super().verdict(flight, TemporaryError(str(error)))

    def _has_newer(self, row: Any) -> bool:
        content = (row["identity"], self.name, row["path"], row["id"], row["inode"], row["size"], row["mtime_ns"])
        return self._journal.find_one("newer_content", content) is not None

    def tell_failure(self, flight: Flight, error: str, *, final: bool) -> None:
        if final and error != TOO_LONG:  # of those the alarm says how many there are
            where = f"{flight.delivery.shown} could not be moved to {flight.delivery.label} and is given up"
            self._journal.alarm(self.name, f"{where}: {error}"[:1000])

    def settled(self, row: Any) -> None:
        self._settled(row)

    def report(self, flight: Flight, receipt: Receipt) -> tuple[str, bytes] | None:
        said = {name: value for name, value in flight.delivery.subject.items() if name not in ("uri", "uid")}
        data = {**said, "uri": local_path(receipt.uri), "uid": flight.row["identity"]}
        if self._settings.request_port is not None:
            address = self._settings.request_address or own_address()
            data["request_address"] = format_endpoint(address, self._settings.request_port)
        try:
            return self._settings.topic, self._envelope.encode(self._settings.topic, "file", data)
        except MalformedMessage as error:
            logger.error("nothing is published of %s: %s", flight.delivery.shown, error)
            return None
