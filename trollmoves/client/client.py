"""The client program: its chains, each with its own publisher, providers and requests."""

from __future__ import annotations

import hashlib
import logging
import socket
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from trollmoves.client.chain import Chain
from trollmoves.config.reading import Configuration, read_client_config
from trollmoves.config.reloading import after_reload, changes
from trollmoves.config.settings import ClientSettings
from trollmoves.service import Service

logger = logging.getLogger(__name__)

WORKERS = 4


class Client(Service):
    """Runs the sections of one configuration file."""

    program = "client"

    def __init__(self, config_file: Path, journal: Path):
        super().__init__(config_file, read_client_config, journal, WORKERS)
        self._chains: dict[str, Chain] = {}
        place = hashlib.sha256(str(journal.resolve()).encode("utf-8", "replace")).hexdigest()[:8]
        self._name = f"{socket.gethostname()}/{journal.stem}-{place}"
        """One client is told from another by its journal: those of a pair may run on one machine."""
        self.journal.write([("end_all_progress", [()])])

    def apply(self, configuration: Configuration[ClientSettings]) -> None:
        """Start, change and stop chains; those that did not change go on untouched."""
        running = {name: chain.settings for name, chain in self._chains.items()}
        wanted = after_reload(running, configuration)
        difference = changes(running, wanted)
        for name in difference.removed:
            self._chains[name].cancel()
        for name in (*difference.removed, *difference.changed):
            self._chains.pop(name).stop()
        self.wanted = wanted
        for name in (*difference.changed, *difference.added):
            self.start_section(wanted[name], self._start_chain)

    def _start_chain(self, settings: ClientSettings) -> None:
        """Raises `ConfigurationError` while a port of it is taken."""
        chain = Chain(settings, f"{settings.name}@{self._name}", self.journal, self.loop, self.envelope, self.workers)
        self._chains[settings.name] = chain
        self.begin_orders_anew(settings.name)
        chain.start()
        logger.info("[%s] listens to %s", settings.name, ", ".join(str(provider) for provider in settings.providers))

    def clock_leapt(self, seconds: float) -> None:
        for chain in self._chains.values():
            chain.clock_leapt(seconds)

    def publish_alarm(self, chain: str, raw: bytes) -> None:
        for name, running in self._chains.items():
            if chain in ("", name):
                running.stream.send(raw)

    def ask_again(self, chain: str, newer_than: float, topics: list[str]) -> bool:
        meant = [running for name, running in self._chains.items() if chain in ("", name)]
        return any([running.order_past(newer_than, topics) for running in meant])

    def carry_on(self, order: int, chain: str, said: Mapping[str, Any], end: Callable[[], Any]) -> None:
        if chain in self._chains:
            self._chains[chain].ask_again(said, end)
        elif chain not in self.wanted:  # or it waits for its port
            end()

    def dismissed(self, files: Collection[int]) -> None:
        for chain in self._chains.values():
            chain.dismissed(files)

    def driven_again(self) -> None:
        for chain in self._chains.values():
            chain.driven_again()

    def stop_feeding(self) -> None:
        for chain in self._chains.values():
            chain.stop_feeding()

    def under_way(self) -> int:
        return sum(chain.under_way() for chain in self._chains.values()) + self.journal.waiting

    def close_chains(self) -> None:
        for name in list(self._chains):
            self._chains.pop(name).stop()

    def settings_of(self, chain: str) -> ClientSettings | None:
        running = self._chains.get(chain)
        return None if running is None else running.settings
