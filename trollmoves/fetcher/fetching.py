"""Fetching: the files that wait in the journal, server by server, and what is published of them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Protocol

from trollmoves.bus.few_lines import Sparingly
from trollmoves.config.fetching import FetcherSettings, FetchingSettings, S3DownloaderSettings
from trollmoves.errors import ConfigurationError, Denied, DestinationInvalid, MalformedMessage
from trollmoves.fetcher.opening import Opener
from trollmoves.fetcher.places import Place, Rights, place_of
from trollmoves.fetcher.receiving import Receiving
from trollmoves.journal import Journal
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import Envelope, Message, dated
from trollmoves.movers.bandwidth import of_this_process
from trollmoves.movers.base import Receipt, SessionSettings
from trollmoves.movers.sessions import Sessions
from trollmoves.patterns import Template
from trollmoves.queueing.deliveries import Deliveries, Delivery, Flight, Host
from trollmoves.queueing.results import Results
from trollmoves.queueing.triggers import Trigger, read_trigger, triggers_of
from trollmoves.uris import check_relative, host_of, local_path
from trollmoves.workers import Workers

logger = logging.getLogger(__name__)

LONGEST_IN_SUBJECT = 1000
"""Characters of a subject with fields, and of what is filled in: a message must not become ever so much longer."""
NOT_PUBLISHED = ("filesystem", "path", "uid", "uri")
NOT_PUBLISHED_S3 = ("dataset", "collection", "filename", "compress", "tst", "uri", "uid", "file_list", "path")


class Plan(Protocol):
    """What the two programs do differently."""

    opener: Opener
    rights: Rights

    def place(self, fields: Mapping[str, Any]) -> Place:
        """Where the file of a message is. Raises `MalformedMessage`, `Denied`."""

    def path(self, fields: Mapping[str, Any], place: Place) -> str:
        """Where it shall be. Raises `DestinationInvalid`."""

    def report(self, subject: str, fields: Mapping[str, Any], path: str) -> tuple[str, dict[str, Any]]:
        """Subject and data of the message about it."""


class FetcherPlan:
    """As a message says, within what is allowed."""

    def __init__(self, settings: FetcherSettings, session: SessionSettings):
        self.rights = Rights(settings.allowed_protocols, settings.allowed_hosts)
        options = {name: dict(more) for name, more in settings.filesystem_options.plain().items()}
        self.opener = Opener(options, settings.allowed_origins, session, self.rights)
        assert settings.destination is not None
        self._directory = Template(settings.destination)

    def place(self, fields: Mapping[str, Any]) -> Place:
        return place_of(fields)

    def path(self, fields: Mapping[str, Any], place: Place) -> str:
        try:
            directory = self._directory.compose(_with_dates(fields))
        except ConfigurationError as error:
            raise DestinationInvalid(str(error)) from error
        if not os.path.isabs(directory):
            directory = os.path.abspath(directory)
        check_relative("/".join((*(part for part in directory.split("/") if part), place.name)))
        return os.path.join(directory, place.name)

    def report(self, subject: str, fields: Mapping[str, Any], path: str) -> tuple[str, dict[str, Any]]:
        said = {name: value for name, value in fields.items() if name not in NOT_PUBLISHED}
        try:
            subject = _filled(subject, fields)
        except ConfigurationError as error:
            logger.warning("the subject %s is published as it is: %s", subject[:LONGEST_IN_SUBJECT], error)
        return subject, {**said, "uri": path, "uid": os.path.basename(path)}


class S3DownloaderPlan:
    """From one bucket, or from the buckets that uris name."""

    def __init__(self, settings: S3DownloaderSettings, session: SessionSettings):
        self.rights = Rights(("s3",), ())
        self.opener = Opener({"s3": settings.s3_kwargs.plain()}, (), session, self.rights)
        self._bucket = settings.bucket
        self._directory = os.path.abspath(settings.download_destination)
        self._topic = settings.publish_topic

    def place(self, fields: Mapping[str, Any]) -> Place:
        uri = str(fields.get("uri") or "")
        scheme, host = host_of(uri)
        key = local_path(uri).lstrip("/")
        if scheme.lower() == "s3" and (not self._bucket or host == self._bucket):
            place = Place("s3", f"{host}/{key}", {})
        elif self._bucket:
            place = Place("s3", f"{self._bucket}/{os.path.basename(key)}", {})
        else:
            raise MalformedMessage("its uri is not that of an object (s3://bucket/key); set bucket where the files are in one")
        if place.name in ("", ".", ".."):
            raise MalformedMessage("its uri names no file")
        return place

    def path(self, fields: Mapping[str, Any], place: Place) -> str:
        return os.path.join(self._directory, os.path.basename(place.path))

    def report(self, subject: str, fields: Mapping[str, Any], path: str) -> tuple[str, dict[str, Any]]:
        said = {name: value for name, value in fields.items() if name not in NOT_PUBLISHED_S3}
        return self._topic, {**said, "uri": path}


class Fetching(Deliveries):
    """Belongs to the loop."""

    role = "fetcher"
    verbs = ("fetch", "fetched")

    def __init__(self, settings: FetchingSettings, journal: Journal, workers: Workers, envelope: Envelope, results: Results):
        super().__init__(settings.name, settings.give_up_after, journal, workers, results)
        self._envelope = envelope
        self._refused = Sparingly(logger)
        self.configure(settings)

    def configure(self, settings: FetchingSettings) -> None:
        """Follow *settings* from now on; what is under way goes on as it was begun."""
        self.settings = settings
        self.give_up_after = settings.give_up_after
        self._plan, self._receiving = plan_and_receiver(settings)
        self.set_hosts({})

    def host(self, place: str) -> Host | None:
        """Messages name the servers, so all are served alike."""
        return Host(self.settings.transfers_per_host, False)

    # Hearing.

    def rows(self, message: Message) -> Iterable[tuple[Any, ...]]:
        """What to write of a message: a row of `add_file` for each of its files that may be fetched."""
        for trigger in triggers_of(message):
            try:
                place = self._plan.place(trigger.fields)
                self._plan.rights.check(place)
            except (MalformedMessage, Denied) as error:
                self._refused.say("[%s] %s from %s is not fetched: %s", self.name, message.subject, message.sender, error)
                continue
            now = time.time()
            line = step_line(State.ANNOUNCED, now, trigger.sender, 0, trigger.subject)
            name = str(trigger.fields.get("uid") or place.name)
            yield (self._journal.new_file(), self.name, name, trigger.key, State.ANNOUNCED, now, line, now,
                   None, None, None, None, None, place.server, trigger.encoded(self._envelope.version), "", 0, now)

    # Delivering.

    def prepare(self, row: Any) -> Delivery | None:
        try:
            trigger = read_trigger(row["message"], row["key"])
            place = self._plan.place(trigger.fields)
            self._plan.rights.check(place)
            path = self._plan.path(trigger.fields, place)
        except (MalformedMessage, Denied, DestinationInvalid) as error:
            logger.error("[%s] %s cannot be fetched: %s", self.name, row["identity"], error)
            self.end(row, str(error))
            return None
        run = partial(fetch, self._plan.opener, self._receiving, place, path, self.transfer(row, path))
        return Delivery(run, str(place), path, trigger, path)

    def report(self, flight: Flight, receipt: Receipt) -> tuple[str, bytes] | None:
        trigger: Trigger = flight.delivery.subject
        subject, data = self._plan.report(trigger.subject, trigger.fields, receipt.uri)
        try:
            return subject, self._envelope.encode(subject, "file", data)
        except MalformedMessage as error:
            logger.error("nothing is published of %s: %s", receipt.uri, error)
            return None

    def tell_failure(self, flight: Flight, error: str, *, final: bool) -> None:
        if final:
            self._journal.alarm(self.name, f"{flight.delivery.shown} could not be fetched and is given up: {error}"[:1000])


def plan_and_receiver(settings: FetchingSettings) -> tuple[Plan, Receiving]:
    """What a configuration comes to."""
    bandwidth = of_this_process()
    bandwidth.limit(settings.name, settings.bandwidth)
    session = SessionSettings(
        connect_timeout=settings.connect_timeout, stall_timeout=settings.stall_timeout,
        directory_mode=settings.directory_mode if settings.directory_mode is not None else 0o777,
        file_mode=settings.file_mode, bandwidth=bandwidth, section=settings.name)
    receiving = Receiving(session, sync=settings.fsync == "always", largest=settings.max_size)
    if isinstance(settings, S3DownloaderSettings):
        return S3DownloaderPlan(settings, session), receiving
    assert isinstance(settings, FetcherSettings)
    return FetcherPlan(settings, session), receiving


def fetch(opener: Opener, receiving: Receiving, place: Place, path: str, transfer: str,
          sessions: Sessions | None = None) -> Receipt:
    """Fetch one file. Raises a `MoveError`."""
    with opener.opened(place) as found:
        return receiving.receive(found.stream, found.size, path, transfer)


def _filled(subject: str, fields: Mapping[str, Any]) -> str:
    """A subject with its fields filled in. Raises `ConfigurationError`."""
    if "{" not in subject and "}" not in subject:
        return subject
    if len(subject) > LONGEST_IN_SUBJECT:
        raise ConfigurationError(f"it has fields and more than {LONGEST_IN_SUBJECT} characters")
    template = Template(subject)
    if any(len(str(fields.get(name, ""))) > LONGEST_IN_SUBJECT for name in template.fields):
        raise ConfigurationError(f"a field of it has more than {LONGEST_IN_SUBJECT} characters")
    return template.compose(_with_dates(fields))


def _with_dates(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value if name in ("uid", "uri", "path") else dated(value) for name, value in fields.items()}
