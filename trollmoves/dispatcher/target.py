"""One target of a dispatcher: which files it wants, where they go, and what is said of them. The rest is `queueing`."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from trollmoves.config.targets import TargetSettings
from trollmoves.dispatcher.destinations import Route
from trollmoves.dispatcher.reporting import report_failure, report_success
from trollmoves.dispatcher.sending import Sending, runner
from trollmoves.errors import DestinationInvalid, MalformedMessage, MissingLibrary
from trollmoves.journal import Journal
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import Envelope
from trollmoves.movers.base import Receipt
from trollmoves.queueing.deliveries import NO_MORE, Deliveries, Delivery, Flight, Host
from trollmoves.queueing.results import Results
from trollmoves.queueing.triggers import Trigger, read_trigger
from trollmoves.workers import Workers

logger = logging.getLogger(__name__)


class Target(Deliveries):
    """Belongs to the loop."""

    role = "dispatcher"
    verbs = ("dispatch", "dispatched")

    def __init__(self, settings: TargetSettings, journal: Journal, workers: Workers, envelope: Envelope, results: Results | None):
        super().__init__(settings.name, settings.give_up_after, journal, workers, results)
        self._envelope = envelope
        self._warned: set[str] = set()
        self.configure(settings)

    def configure(self, settings: TargetSettings) -> None:
        """Follow *settings* from now on; what is under way goes on as it was begun."""
        self.settings = settings
        self.give_up_after = settings.give_up_after
        self._sendings: dict[str, Sending] = {}
        for item in settings.dispatch_configs:
            route = Route(item)
            self._sendings.setdefault(route.label, Sending(settings, route))
        self._routes = [Route(item) for item in settings.dispatch_configs]
        self._warned.clear()
        hosts: dict[str, Host] = {}
        for sending in self._sendings.values():
            hosts.setdefault(sending.route.place, self._host(sending))
        self.set_hosts(hosts)

    def _host(self, sending: Sending) -> Host:
        try:
            return Host(sending.limit(), sending.route.host.is_local)
        except (DestinationInvalid, MissingLibrary) as error:
            logger.error("[%s] %s cannot be used: %s", self.name, sending.route.place, error)
            return Host(1, sending.route.host.is_local)

    # Hearing.

    def records(self, trigger: Trigger) -> list[tuple[Any, ...]]:
        """What to journal when this target wants the file of *trigger*: a row of `add_file` for each place."""
        return [self._record(trigger, route) for route in self._wanted(trigger).values()]

    def _wanted(self, trigger: Trigger) -> Mapping[str, Route]:
        found: dict[str, Route] = {}
        for route in self._routes:
            if route.takes(trigger.subject) is None:
                continue
            decision = route.decide(trigger.fields)
            for field in decision.unusable:
                self._warn_once(field)
            if decision.accepted:
                found.setdefault(route.label, route)
        return found

    def _warn_once(self, field: str) -> None:
        """The names come from the configuration, so there are not many."""
        if field not in self._warned:
            self._warned.add(field)
            logger.warning("[%s] a condition on %r cannot be checked: messages lack it, or have something else", self.name, field)

    def _record(self, trigger: Trigger, route: Route) -> tuple[Any, ...]:
        now = time.time()
        line = step_line(State.ANNOUNCED, now, trigger.sender, 0, f"{trigger.subject} for {route.label}")
        return (self._journal.new_file(), self.name, trigger.identity, trigger.key, State.ANNOUNCED, now, line, now,
                None, None, None, None, None, route.place, trigger.encoded(self._envelope.version), route.label, 0, now)

    # Delivering.

    def prepare(self, row: Any) -> Delivery | None:
        try:
            trigger = read_trigger(row["message"], row["key"])
        except MalformedMessage as error:
            self.end(row, f"the journal has no message for it: {error}")
            return None
        sending = self._sendings.get(row["request"])
        if sending is None:
            self._reroute(row, trigger)
            return None
        run = runner(sending, trigger, self.transfer(row, sending.route.label), row["attempt"] + 1,
                     begun=self.was_begun(row))
        return Delivery(run, trigger.path, sending.route.label, (sending.route, trigger))

    def _reroute(self, row: Any, trigger: Trigger) -> None:
        """The place this file was to go to is configured no more: ask the configuration anew."""
        known = {other["request"] for other in self._journal.find("files_of", (row["identity"], self.name))
                 if other["key"] == row["key"]}
        fresh = [self._record(trigger, route) for label, route in self._wanted(trigger).items() if label not in known]
        self.end(row, NO_MORE, [("add_file", fresh)] if fresh else [])

    def report(self, flight: Flight, receipt: Receipt) -> tuple[str, bytes] | None:
        route, trigger = flight.delivery.subject
        return report_success(self._envelope, route, trigger, receipt)

    def tell_failure(self, flight: Flight, error: str, *, final: bool) -> None:
        route, trigger = flight.delivery.subject
        report = report_failure(self._envelope, self.name, route, trigger, error, final=final) if self._results else None
        if report is not None and self._results is not None:
            self._results.send(report[1])
