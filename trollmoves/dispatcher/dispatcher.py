"""The dispatcher program: hears messages, journals the files that targets want, and runs the targets."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from trollmoves.config.reading import Configuration
from trollmoves.config.reloading import after_reload, changes
from trollmoves.config.targets import SubscriberSettings, TargetSettings
from trollmoves.dispatcher.reading import DispatcherConfiguration, read_dispatcher_config
from trollmoves.dispatcher.target import Target
from trollmoves.messages import Message
from trollmoves.queueing.deliveries import OVERDUE_EVERY, TICK, ended, overdue
from trollmoves.queueing.hearing import Hearing
from trollmoves.queueing.outlet import Outlet
from trollmoves.queueing.results import Results
from trollmoves.queueing.triggers import triggers_of
from trollmoves.service import Service

logger = logging.getLogger(__name__)

NAME = "dispatcher"
WORKERS = 4
FORGOTTEN_AFTER = 86400.0
"""Seconds that files wait for a target that is configured no more."""


class Dispatcher(Service):
    """Runs the targets of one configuration file."""

    program = NAME

    def __init__(self, config_file: Path, journal: Path, publish_port: int | None = None,
                 publish_nameservers: Sequence[str] | bool | None = None, replay_port: int = 0):
        """Results are published on *publish_port* (0: a free one; None: not at all), and can be asked for again on *replay_port*.
        *publish_nameservers* are told where: None, or empty, is whoever listens to multicast, False nobody."""
        super().__init__(config_file, read_dispatcher_config, journal, WORKERS)
        self._targets: dict[str, Target] = {}
        self._retired: dict[str, Target] = {}
        """Targets that are configured no more."""
        self._subscriber: SubscriberSettings | None = None
        self._hearing = Hearing("dispatcher", self.journal, self._rows, self._pump_targets)
        self._outlet: Outlet | None = None
        self._publish_port = publish_port
        self._replay_port = replay_port
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
            ports = self._publish_port, self._replay_port
            self._outlet = Outlet(NAME, "dispatcher", ports, "*", self.loop, self.journal, self.envelope)
            publisher = self._outlet.publisher
            logger.info("publishing on port %d", publisher.port)
            if self._publish_nameservers is not False or self._publish_port == 0:
                hosts = self._publish_nameservers
                publisher.advertise(NAME, None if isinstance(hosts, bool) else hosts)
            publisher.once_heard(self._become_ready)
        else:
            self.loop.after(0.0, self._become_ready)
        self.loop.every(TICK, self._pump)
        self.loop.every(OVERDUE_EVERY, self._give_up_overdue)

    @property
    def _results(self) -> Results | None:
        return None if self._outlet is None else self._outlet.results

    def _new_target(self, settings: TargetSettings) -> Target:
        target = self._retired.pop(settings.name, None)
        if target is not None:  # moves may still be under way
            target.configure(settings)
            target.open()
            return target
        return Target(settings, self.journal, self.workers, self.envelope, self._results)

    def _introduce(self, settings: TargetSettings) -> None:
        topics = dict.fromkeys(topic for item in settings.dispatch_configs for topic in item.topics)
        logger.info("[%s] dispatches what comes under %s", settings.name, ", ".join(topics))
        if self._outlet is not None and not any(item.publish_topic for item in settings.dispatch_configs):
            logger.error("Publish topic not configured for '%s'", settings.name)

    def _subscribe(self, settings: SubscriberSettings) -> None:
        topics = tuple(dict.fromkeys(topic for target in self._targets.values() for item in target.settings.dispatch_configs
                                     for topic in item.topics))
        if self._hearing.subscribing is not None and settings == self._subscriber:
            self._hearing.subscribing.change_topics(topics)
            return
        self._subscriber = settings
        self._hearing.listen(
            self.loop, self.envelope, topics, addresses=settings.subscribe_addresses, nameserver=settings.nameserver or None,
            services=settings.subscribe_services, own_port=self._outlet.publisher.port if self._outlet is not None else None)
        self.begin_orders_anew("")

    def _rows(self, message: Message) -> Iterable[tuple[Any, ...]]:
        targets = self._targets.values()
        return (row for trigger in triggers_of(message) for target in targets for row in target.records(trigger))

    # Working.

    def _become_ready(self) -> None:
        if self.draining:
            return
        self._ready = True
        if self._results is not None:
            self._results.publish_again()
        self._pump()

    def _pump_targets(self, names: Iterable[str]) -> None:
        for name in names:
            if self._ready and name in self._targets:
                self._targets[name].pump()

    def _pump(self) -> None:
        if self._ready and not self.journal.full:
            for target in self._targets.values():
                target.pump()

    def _give_up_overdue(self) -> None:
        known = {**self._retired, **self._targets}
        for target in known.values():
            target.give_up_overdue()
        for name in [row["chain"] for row in self.journal.find("chains_due") if row["chain"] not in known]:
            rows = overdue(self.journal, name, FORGOTTEN_AFTER)
            if rows:
                self.journal.write(ended(rows, "its target is configured no more"))

    def publish_alarm(self, chain: str, raw: bytes) -> None:
        if self._outlet is not None:
            self._outlet.publisher.send(raw)

    def ask_again(self, chain: str, newer_than: float, topics: list[str]) -> bool:
        return self._hearing.order_past(newer_than, topics)

    def carry_on(self, order: int, chain: str, said: Mapping[str, Any], end: Callable[[], Any]) -> None:
        self._hearing.ask_again(said, end)

    def driven_again(self) -> None:
        for target in self._targets.values():
            target.try_hosts_again()
        self._pump()

    # Stopping.

    def stop_feeding(self) -> None:
        self._ready = False
        self._hearing.close()
        for target in self._targets.values():
            target.close()

    def under_way(self) -> int:
        sent = self._results.on_their_way if self._results is not None else 0
        moving = sum(target.under_way for target in (*self._targets.values(), *self._retired.values()))
        return moving + sent + self.journal.waiting

    def close_chains(self) -> None:
        self.stop_feeding()
        if self._outlet is not None:
            self._outlet.close()
            self._outlet = None

    def settings_of(self, chain: str) -> TargetSettings | None:
        running = self._targets.get(chain)
        return None if running is None else running.settings
