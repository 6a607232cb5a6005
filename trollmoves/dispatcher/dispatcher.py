"""The dispatcher program: hears messages, journals the files that targets want, and runs the targets."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from trollmoves import crashing
from trollmoves.bus import Publisher
from trollmoves.bus.subscribing import Subscribing
from trollmoves.config.reading import Configuration
from trollmoves.config.reloading import after_reload, changes
from trollmoves.config.targets import SubscriberSettings, TargetSettings
from trollmoves.dispatcher.reading import DispatcherConfiguration, read_dispatcher_config
from trollmoves.dispatcher.reporting import report_again
from trollmoves.dispatcher.target import Target, given_up, overdue
from trollmoves.dispatcher.triggers import triggers_of
from trollmoves.errors import MalformedMessage
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import Message, decode
from trollmoves.service import Service

logger = logging.getLogger(__name__)

NAME = "dispatcher"
WORKERS = 4
TICK = 1.0
OVERDUE_EVERY = 60.0
FORGOTTEN_AFTER = 86400.0
"""Seconds that files wait for a target that is configured no more."""
SUBSCRIBERS_WAIT = 3.0
"""Seconds after the start within which those who want to hear of results are expected; the first one ends the waiting."""
AFTER_FIRST_SUBSCRIBER = 0.25
MESSAGES_KEPT = 10_000
"""Digests of messages heard last: who is heard in two ways is heard once."""
MUCH, LITTLE = 2000, 200
"""Groups of records that wait for the disk: no more messages are taken in above the first number, until below the second."""


class Dispatcher(Service):
    """Runs the targets of one configuration file."""

    def __init__(self, config_file: Path, journal: Path, publish_port: int | None = None,
                 publish_nameservers: Sequence[str] | bool | None = None):
        """Results are published on *publish_port* (0: a free one; None: not at all). *publish_nameservers* are told where: None,
        or empty, is whoever listens to multicast, False nobody."""
        super().__init__(config_file, read_dispatcher_config, journal, WORKERS)
        self._targets: dict[str, Target] = {}
        self._retired: dict[str, Target] = {}
        """Targets that are configured no more."""
        self._subscriber: SubscriberSettings | None = None
        self._subscribing: Subscribing | None = None
        self._heard: OrderedDict[bytes, None] = OrderedDict()
        self._publisher: Publisher | None = None
        self._publish_port = publish_port
        self._publish_nameservers = publish_nameservers
        self._ready = self._started = False

    # Following the configuration.

    def apply(self, configuration: Configuration[TargetSettings]) -> None:
        """Start, change and end targets; what waits for a target goes on waiting."""
        if self.draining:
            return
        self._start()
        running = {name: target.settings for name, target in self._targets.items()}
        wanted = after_reload(running, configuration)
        difference = changes(running, wanted)
        for name in difference.removed:
            self._retired[name] = self._targets.pop(name)
            self._retired[name].close()
        for name in difference.changed:
            self._targets[name].configure(wanted[name])
        for name in difference.added:
            self._targets[name] = self._new_target(wanted[name])
        for name in (*difference.added, *difference.changed):
            self._introduce(wanted[name])
        self.workers.most = max(WORKERS, len(self._targets))
        self._subscribe(cast(DispatcherConfiguration, configuration).subscriber)
        self._pump()

    def _start(self) -> None:
        """The first time only."""
        if self._started:
            return
        self._started = True
        if self._publish_port is not None:
            self._publisher = Publisher(self.loop, self._publish_port, subscribed=self._subscribed)
            logger.info("publishing on port %d", self._publisher.port)
            if self._publish_nameservers is not False or self._publish_port == 0:
                hosts = self._publish_nameservers
                self._publisher.advertise(NAME, None if isinstance(hosts, bool) else hosts)
        self.loop.after(SUBSCRIBERS_WAIT if self._publisher is not None else 0.0, self._become_ready)
        self.loop.every(TICK, self._pump)
        self.loop.every(OVERDUE_EVERY, self._give_up_overdue)

    def _new_target(self, settings: TargetSettings) -> Target:
        target = self._retired.pop(settings.name, None)
        if target is not None:  # moves may still be under way
            target.configure(settings)
            target.open()
            return target
        heard = self._publisher is not None
        return Target(settings, self.journal, self.workers, self.envelope, self._publish if heard else None,
                      self._publisher.send if self._publisher is not None else None)

    def _introduce(self, settings: TargetSettings) -> None:
        topics = dict.fromkeys(topic for item in settings.dispatch_configs for topic in item.topics)
        logger.info("[%s] dispatches what comes under %s", settings.name, ", ".join(topics))
        if self._publisher is not None and not any(item.publish_topic for item in settings.dispatch_configs):
            logger.error("Publish topic not configured for '%s'", settings.name)

    def _subscribe(self, settings: SubscriberSettings) -> None:
        topics = tuple(dict.fromkeys(topic for target in self._targets.values() for item in target.settings.dispatch_configs
                                     for topic in item.topics))
        if self._subscribing is not None and settings == self._subscriber:
            self._subscribing.change_topics(topics)
            return
        if self._subscribing is not None:
            self._subscribing.close()
        self._subscriber = settings
        self._subscribing = Subscribing(
            self.loop, self.envelope, topics, self._received, addresses=settings.subscribe_addresses,
            nameserver=settings.nameserver or None, services=settings.subscribe_services,
            own_port=self._publisher.port if self._publisher is not None else None)

    # Hearing.

    def _received(self, messages: list[Message]) -> None:
        rows = [row for message in messages if self._is_news(message) for row in self._records(message)]
        if not rows:
            return
        crashing.point("dispatcher.heard")
        self.journal.write([("add_file", rows)], self._journaled, {row[1] for row in rows})
        if self.journal.waiting > MUCH and self._subscribing is not None:
            self._subscribing.pause()

    def _is_news(self, message: Message) -> bool:
        digest = hashlib.sha256(message.raw).digest()
        if digest in self._heard:
            return False
        self._heard[digest] = None
        if len(self._heard) > MESSAGES_KEPT:
            self._heard.popitem(last=False)
        return True

    def _records(self, message: Message) -> list[tuple[Any, ...]]:
        try:
            targets = self._targets.values()
            return [row for trigger in triggers_of(message) for target in targets for row in target.records(trigger)]
        except MalformedMessage as error:
            logger.warning("%s %s from %s is not dispatched: %s", message.subject, message.type, message.sender, error)
        except Exception:  # whatever we overlooked: a message must not stop those that come after it
            logger.exception("%s %s from %s is not dispatched", message.subject, message.type, message.sender)
        return []

    def _journaled(self, names: set[str]) -> None:
        crashing.point("dispatcher.journaled")
        if self._subscribing is not None and self.journal.waiting < LITTLE:
            self._subscribing.resume()
        for name in names:
            if self._ready and name in self._targets:
                self._targets[name].pump()

    # Working.

    def _subscribed(self, topic: str) -> None:
        if not self._ready:
            self.loop.after(AFTER_FIRST_SUBSCRIBER, self._become_ready)

    def _become_ready(self) -> None:
        if self._ready or self.draining:
            return
        self._ready = True
        for name in [row["chain"] for row in self.journal.find("chains")]:
            for row in self.journal.find("unpublished", (name,)):
                self._publish_again(row["file"], row["message"])
        self._pump()

    def _pump(self) -> None:
        if self._ready and not self.journal.full:
            for target in self._targets.values():
                target.pump()

    def _give_up_overdue(self) -> None:
        known = {**self._retired, **self._targets}
        for target in known.values():
            target.give_up_overdue()
        for name in [row["chain"] for row in self.journal.find("chains") if row["chain"] not in known]:
            rows = overdue(self.journal, name, FORGOTTEN_AFTER)
            if rows:
                self.journal.write(given_up(rows, "its target is configured no more"))

    def _publish(self, file: int, raw: bytes) -> None:
        """Send what the journal has as the publication of *file*."""
        if self._publisher is not None:
            self._publisher.send(raw)
        crashing.point("dispatcher.published")
        now = time.time()
        self.journal.write([("step_all", [(State.PUBLISHED, now, step_line(State.PUBLISHED, now), f"[{file}]")])])

    def _publish_again(self, file: int, text: str) -> None:
        """A result that was journaled before the last stop, and perhaps sent."""
        try:
            self._publish(file, report_again(self.envelope, decode(text.encode())))
        except MalformedMessage as error:
            logger.error("a result in the journal cannot be published: %s", error)

    # Stopping.

    def stop_feeding(self) -> None:
        self._ready = False
        if self._subscribing is not None:
            self._subscribing.close()
        for target in self._targets.values():
            target.close()

    def under_way(self) -> int:
        return sum(target.under_way for target in (*self._targets.values(), *self._retired.values())) + self.journal.waiting

    def close_chains(self) -> None:
        self.stop_feeding()
        if self._publisher is not None:
            self._publisher.close()
            self._publisher = None

    def limits_of(self, chain: str) -> tuple[float, int]:
        running = self._targets.get(chain)
        if running is None:
            return 7 * 86400.0, 200_000
        return running.settings.retention, running.settings.retention_entries
