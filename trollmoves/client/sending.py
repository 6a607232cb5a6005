"""Send: requests that are in the journal go to their providers; many to the same one and destination go together."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from trollmoves import crashing
from trollmoves.bus import Loop, Requesters
from trollmoves.bus.requesting import PUSHES
from trollmoves.bus.streaming import Stream
from trollmoves.client.addressing import Addressing, Place, make_open_directory
from trollmoves.client.flight import Flight
from trollmoves.config.settings import ClientSettings
from trollmoves.errors import TrollmovesError
from trollmoves.messages import EXTENSION, PROTOCOL, Envelope, Message
from trollmoves.workers import Work, Workers

GROUPED = 200
"""Requests in one message."""
DIRECTORIES_KEPT = 1000
CONNECTED = ("ftp", "ftps", "scp", "sftp", "ssh")
"""Schemes for which upstream's server keeps a connection to the host. All requests that come meanwhile use it, without a lock,
and then answer each other, or send each other's files: it is asked for one file after the other, as upstream's client does."""
DELIVERED = ("file", "dataset", "collection")
"""Types of a reply that says that files are at their destination."""


class Sending:
    """Sends the requests of one client chain; belongs to the loop."""

    def __init__(self, settings: ClientSettings, addressing: Addressing, who: Mapping[str, Any], loop: Loop, envelope: Envelope,
                 workers: Workers, stream: Stream, requesters: Requesters, answered: Callable[[Flight, Message | None], Any],
                 progress: Callable[[Flight, Mapping[str, Any]], Any], failed: Callable[[Flight, str, bool, str], Any]):
        """*who* says to providers who we are. *answered* gets the reply, or None when there is none; *progress* what a provider
        says of a request that takes long; *failed* what cannot be asked for: error code, whether another try is pointless, and
        the reason."""
        self._settings = settings
        self._addressing = addressing
        self._who = who
        self._loop = loop
        self._envelope = envelope
        self._workers = workers
        self._stream = stream
        self._requesters = requesters
        self._answered = answered
        self._progress = progress
        self._failed = failed
        self._directories: OrderedDict[str, None] = OrderedDict()
        """Local directories that were made."""
        self._groups: dict[tuple[str, int, str, str], list[Flight]] = {}
        """Requests of this turn of the loop, by provider and destination."""
        self._open = True

    def close(self) -> None:
        """Send nothing more."""
        self._open = False

    def send(self, flight: Flight) -> None:
        """Work out the destination, have its local directory made if that was not done yet, then ask."""
        try:
            place = flight.place = self._addressing.place(flight.source.announcement.message.fields)
        except TrollmovesError as error:
            self._failed(flight, "bad_request", True, str(error))
            return
        directory = place.directory
        if directory is None or directory in self._directories:
            self._ask(flight)
            return
        self._workers.submit([Work(("local directory", directory), 1,
                                   lambda _: make_open_directory(directory, self._settings.directory_mode),
                                   lambda outcome: self._directory_made(flight, directory, outcome))])

    def _directory_made(self, flight: Flight, directory: str, outcome: Any) -> None:
        if isinstance(outcome, Exception):
            self._failed(flight, "dest_unreachable", False, f"cannot make {directory}: {_why(outcome)}")
            return
        self._directories[directory] = None
        if len(self._directories) > DIRECTORIES_KEPT:
            self._directories.popitem(last=False)
        self._ask(flight)

    def _ask(self, flight: Flight) -> None:
        """Tell peers, then ask the provider."""
        if not self._open or flight.place is None:
            return
        announcement = flight.source.announcement
        if self._stream.is_heard:
            notice = self._envelope.encode_like(announcement.message, "push", self._addressing.notice_data(flight.place))
            self._stream.send(notice)
        if announcement.epoch and flight.attempt == 1 and not flight.doubtful and not self._settings.backup_targets:
            self._group(flight)
        else:
            self._push(flight)

    def _push(self, flight: Flight) -> None:
        """One request, in upstream's form."""
        assert flight.place is not None
        announcement = flight.source.announcement
        data = push_data(self._addressing, self._who, flight, flight.place)
        subject = announcement.message.subject
        if announcement.epoch:
            requester = self._requesters.ours(*announcement.named)
            requester.ask(flight.request, subject, "push", data, partial(self._answered, flight),
                          progress=partial(self._progress, flight))
        else:
            lanes = self._requesters.upstream(announcement.host, announcement.port)
            lanes.ask(subject, "push", data, partial(self._answered, flight), self._settings.transfer_req_timeout,
                      in_turn=flight.place.destination.scheme in CONNECTED)
        crashing.point("client.asked")

    def _group(self, flight: Flight) -> None:
        """Note a request that goes out with all others of this turn of the loop to the same provider and destination."""
        assert flight.place is not None
        if not self._groups:
            self._loop.call(self._send_groups)
        announcement = flight.source.announcement
        self._groups.setdefault((*announcement.named, flight.place.requested), []).append(flight)

    def _send_groups(self) -> None:
        groups, self._groups = self._groups, {}
        if not self._open:
            return
        for (host, port, epoch, destination), flights in groups.items():
            for start in range(0, len(flights), GROUPED):
                part = flights[start:start + GROUPED]
                if len(part) == 1:
                    self._push(part[0])
                    continue
                pushes = [(flight.source.announcement.offset, flight.request) for flight in part]
                data = {"destination": destination,
                        EXTENSION: {"version": PROTOCOL, "epoch": epoch, PUSHES: pushes, **self._who}}
                asked = {flight.request: (flight.source.announcement.message, partial(self._answered, flight),
                                          partial(self._progress, flight)) for flight in part}
                subject = part[0].source.announcement.message.subject
                self._requesters.ours(host, port, epoch).ask_group(subject, "push", data, asked)
                crashing.point("client.asked")


def push_data(addressing: Addressing, who: Mapping[str, Any], flight: Flight, place: Place) -> dict[str, Any]:
    """What a request for one file says."""
    announcement = flight.source.announcement
    data = addressing.request_data(announcement.message.fields, place)
    if announcement.epoch:
        data[EXTENSION] = {**announcement.message.extension, "version": PROTOCOL, "request": flight.request, **who}
        if flight.doubtful:  # the next one that looks like it can be compared with it
            data[EXTENSION]["checksum"] = True
        if flight.unless:
            data[EXTENSION]["unless"] = flight.unless
    return data


def _why(error: Exception) -> str:
    """Why a directory cannot be made, in words."""
    if isinstance(error, FileExistsError):
        return f"{error.filename} is there, and is no directory"
    return getattr(error, "strerror", None) or str(error)
