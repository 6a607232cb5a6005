"""The move_it program: its sections, and the publisher they share."""

from __future__ import annotations

import logging
from pathlib import Path

from trollmoves.config.moves import MoveSettings
from trollmoves.config.reading import Configuration, read_move_config
from trollmoves.config.reloading import after_reload, changes
from trollmoves.move_it.chain import Chain
from trollmoves.move_it.moving import Moving
from trollmoves.queueing.deliveries import OVERDUE_EVERY, TICK
from trollmoves.queueing.outlet import Outlet
from trollmoves.queueing.results import Results
from trollmoves.service import Service

logger = logging.getLogger(__name__)

NAME = "move_it"
WORKERS = 4


class MoveIt(Service):
    """Runs the sections of one configuration file."""

    program = "move_it"

    def __init__(self, config_file: Path, journal: Path, port: int | None = None, *, disable_backlog: bool = False,
                 polling: bool = False, check_interval: float = 30.0, most_restarts: int = 10, replay_port: int = 0):
        """Moved files are published on *port* (None: not at all), and can be asked for again on *replay_port*."""
        super().__init__(config_file, read_move_config, journal, WORKERS)
        self._port, self._replay_port = port, replay_port
        self._backlog = not disable_backlog
        self._polling = polling
        self._check_interval = check_interval
        self._most_restarts = most_restarts
        self._chains: dict[str, Chain] = {}
        self._moving: dict[str, Moving] = {}
        """Of each section there ever was: moves may be under way when it goes."""
        self._outlet: Outlet | None = None
        self._ready = self._started = False

    def apply(self, configuration: Configuration[MoveSettings]) -> None:
        """Start, change and stop chains; what waits goes on waiting in the journal."""
        if self.draining:
            return
        self._start(configuration)
        running = {name: chain.settings for name, chain in self._chains.items()}
        wanted = self.wanted = after_reload(running, configuration)
        difference = changes(running, wanted)
        for name in (*difference.removed, *difference.changed):
            self._chains.pop(name).stop()
        self.workers.most = max(WORKERS, sum(len(settings.destinations) for settings in wanted.values()))
        self._start_missing()

    def _start(self, configuration: Configuration[MoveSettings]) -> None:
        """The first time only."""
        if self._started:
            return
        self._started = True
        if self._port is not None:
            address = next((settings.listen_address for settings in configuration.chains.values()), "*")
            self._outlet = Outlet(NAME, NAME, (self._port, self._replay_port), address, self.loop, self.journal, self.envelope)
            logger.info("publishing on port %d", self._outlet.publisher.port)
            self._outlet.publisher.once_heard(self._become_ready)
        else:
            self.loop.after(0.0, self._become_ready)
        self.loop.every(TICK, self._pump)
        self.loop.every(OVERDUE_EVERY, self._give_up_overdue)
        self.loop.every(self._check_interval, self._check_health)

    @property
    def _results(self) -> Results | None:
        return None if self._outlet is None else self._outlet.results

    def _start_missing(self) -> None:
        """Start the chains that do not run."""
        for name, settings in self.wanted.items():
            if name not in self._chains and self._ready and not self.draining:
                self.start_section(settings, self._start_chain)

    def _start_chain(self, settings: MoveSettings) -> None:
        """Raises `ConfigurationError` while its unpacker cannot be loaded."""
        if settings.name not in self._moving:
            self._moving[settings.name] = Moving(settings, self.journal, self.workers, self.envelope, self._results)
        chain = Chain(settings, self.journal, self.loop, self.envelope, self.workers, self._moving[settings.name],
                      polling=self._polling, backlog=self._backlog)
        self._chains[settings.name] = chain
        chain.start()
        logger.info("[%s] watches %s and moves to %s", settings.name, settings.origin, ", ".join(chain.moving.places))

    # Working.

    def _become_ready(self) -> None:
        """What is published before anybody has connected is heard by nobody, so the moves wait a little."""
        if self.draining:
            return
        self._ready = True
        if self._results is not None:
            self._results.publish_again()
        self._start_missing()

    def _pump(self) -> None:
        if self._ready and not self.draining and not self.journal.full:
            for chain in self._chains.values():
                chain.moving.pump()

    def _give_up_overdue(self) -> None:
        for chain in self._chains.values():
            chain.moving.give_up_overdue()

    def _check_health(self) -> None:
        try:
            for chain in self._chains.values():
                chain.check_health(self._most_restarts)
        except Exception as error:
            self.loop.fail(error)

    # Stopping.

    def stop_feeding(self) -> None:
        for chain in self._chains.values():
            chain.stop_feeding()

    def publish_alarm(self, chain: str, raw: bytes) -> None:
        if self._outlet is not None:
            self._outlet.publisher.send(raw)

    def driven_again(self) -> None:
        for moving in self._moving.values():
            moving.try_hosts_again()
        self._pump()

    def under_way(self) -> int:
        moving = sum(moving.under_way for moving in self._moving.values())
        sent = self._results.on_their_way if self._results is not None else 0
        return moving + sum(chain.removing.under_way for chain in self._chains.values()) + sent + self.journal.waiting

    def close_chains(self) -> None:
        for chain in self._chains.values():
            chain.stop()
        if self._outlet is not None:
            self._outlet.close()
            self._outlet = None

    def settings_of(self, chain: str) -> MoveSettings | None:
        running = self._chains.get(chain)
        return None if running is None else running.settings
