"""The programs that fetch: hear messages, journal their files, fetch and publish them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from trollmoves.config.fetching import FetchingSettings, PublisherConfig, SubscriberConfig
from trollmoves.config.reading import Configuration
from trollmoves.fetcher.fetching import Fetching
from trollmoves.fetcher.reading import FetchingConfiguration
from trollmoves.queueing.deliveries import OVERDUE_EVERY, TICK
from trollmoves.queueing.hearing import Hearing
from trollmoves.queueing.outlet import Outlet
from trollmoves.service import Service

logger = logging.getLogger(__name__)

WORKERS = 8


class Fetcher(Service):
    """Runs one configuration file, of pytroll-fetcher or of s3downloader as *read_config* reads it."""

    program = "fetcher"

    def __init__(self, config_file: Path, read_config: Callable[[Path], FetchingConfiguration], journal: Path,
                 adjust: Callable[[FetchingConfiguration], FetchingConfiguration] = lambda configuration: configuration):
        """*adjust* puts in what the command line says."""
        super().__init__(config_file, read_config, journal, WORKERS)
        self._adjust = adjust
        self._fetching: Fetching | None = None
        self._subscriber: SubscriberConfig | None = None
        self._hearing: Hearing | None = None
        self._outlet: Outlet | None = None
        self._ready = False

    def apply(self, configuration: Configuration[FetchingSettings]) -> None:
        """Follow *configuration*; one with a mistake is no configuration. The ports stay as they were begun."""
        if self.draining or not configuration.chains:
            return
        fetching = self._adjust(cast(FetchingConfiguration, configuration))
        settings = next(iter(fetching.chains.values()))
        if self._fetching is None:
            self._start(settings, fetching.publisher)
        elif settings != self._fetching.settings:
            self._fetching.configure(settings)
        self._subscribe(fetching.subscriber)
        self._pump()

    def _start(self, settings: FetchingSettings, publishing: PublisherConfig) -> None:
        ports = publishing.port, settings.replay_port
        self._outlet = Outlet(settings.name, "fetcher", ports, publishing.address, self.loop, self.journal, self.envelope)
        publisher = self._outlet.publisher
        logger.info("publishing on port %d", publisher.port)
        if publishing.nameservers is not False or publishing.port == 0:
            hosts: Sequence[str] | None = publishing.nameservers or None
            publisher.advertise(publishing.name, hosts)
        self._fetching = Fetching(settings, self.journal, self.workers, self.envelope, self._outlet.results)
        self._hearing = Hearing("fetcher", self.journal, self._fetching.rows, lambda _: self._pump())
        publisher.once_heard(self._become_ready)
        self.loop.every(TICK, self._pump)
        self.loop.every(OVERDUE_EVERY, self._fetching.give_up_overdue)

    def _subscribe(self, settings: SubscriberConfig) -> None:
        assert self._hearing is not None and self._outlet is not None
        if settings == self._subscriber:
            return
        self._subscriber = settings
        self._hearing.listen(
            self.loop, self.envelope, settings.topics, addresses=settings.addresses,
            nameserver=settings.nameserver or None, services=settings.services, own_port=self._outlet.publisher.port)
        self.begin_orders_anew("")
        logger.info("listens to %s", ", ".join(settings.topics) or "everything")

    def publish_alarm(self, chain: str, raw: bytes) -> None:
        if self._outlet is not None:
            self._outlet.publisher.send(raw)

    def ask_again(self, chain: str, newer_than: float, topics: list[str]) -> bool:
        return self._hearing is not None and self._hearing.order_past(newer_than, topics)

    def carry_on(self, order: int, chain: str, said: Mapping[str, Any], end: Callable[[], Any]) -> None:
        if self._hearing is not None:
            self._hearing.ask_again(said, end)

    def driven_again(self) -> None:
        if self._fetching is not None:
            self._fetching.try_hosts_again()
        self._pump()

    # Working.

    def _become_ready(self) -> None:
        if self.draining or self._outlet is None:
            return
        self._ready = True
        self._outlet.results.publish_again()
        self._pump()

    def _pump(self) -> None:
        if self._ready and self._fetching is not None and not self.journal.full:
            self._fetching.pump()

    # Stopping.

    def stop_feeding(self) -> None:
        self._ready = False
        if self._hearing is not None:
            self._hearing.close()
        if self._fetching is not None:
            self._fetching.close()

    def under_way(self) -> int:
        if self._fetching is None or self._outlet is None:
            return self.journal.waiting
        return self._fetching.under_way + self._outlet.results.on_their_way + self.journal.waiting

    def close_chains(self) -> None:
        self.stop_feeding()
        if self._outlet is not None:
            self._outlet.close()
            self._outlet = None

    def settings_of(self, chain: str) -> FetchingSettings | None:
        return self._fetching.settings if self._fetching is not None else None
