"""The server program: its chains, the publisher they share, and a `Serving` for each request port."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

import orjson

from trollmoves.attention.orders import FAILED, amended, order_itself
from trollmoves.bus import Publisher
from trollmoves.bus.addresses import own_address
from trollmoves.bus.publishing import AFTER_FIRST_SUBSCRIBER, SUBSCRIBERS_WAIT
from trollmoves.bus.streaming import Stream
from trollmoves.config.reading import Configuration, read_server_config
from trollmoves.config.reloading import after_reload, changes
from trollmoves.config.settings import ServerSettings
from trollmoves.errors import ConfigurationError
from trollmoves.journal.journal import step_line
from trollmoves.messages import renewed
from trollmoves.movers.circuits import of_this_process as circuits_of_this_process
from trollmoves.server.addresses import Addresses
from trollmoves.server.announcer import Announcer
from trollmoves.server.chain import Chain
from trollmoves.server.consumers import Consumers
from trollmoves.server.left_behind import LeftBehind
from trollmoves.server.listening import ListenChain
from trollmoves.server.long_reads import LongReads
from trollmoves.server.recent import Recent
from trollmoves.server.renamed import hand_on
from trollmoves.server.serving import Serving
from trollmoves.server.small_moves import SmallMoves
from trollmoves.server.topics import Topics
from trollmoves.server.transfer import Served
from trollmoves.server.verifying import Verifying, synced
from trollmoves.service import Service
from trollmoves.uris import format_endpoint

logger = logging.getLogger(__name__)

NAME = "move_it_server"
AS_ROOT = ("running as root: other users of this machine get nothing on it but what allowed_destinations has, root's clients get "
           "announced files written anywhere; run it as a user of its own (docs/destinations.md)")
WORKERS = 4
WORKERS_FAR = 32
"""Moves to other machines mostly wait for those: at 20 ms round trip 32 are 13 times as fast as one (measured, sftp)."""
WORKERS_FSYNC = 16
"""Measured: with an fsync for every file, 16 movers in parallel beat 4."""
ANNOUNCED_AGAIN = 500
HANDING_ON = 10.0
"""Seconds for which the thread commits while all files of a section get another name."""
NOT_WRITTEN_OUT = 120.0
"""Seconds; what was written before that the kernel has written out by itself."""
SYNC_WAIT = 1.5
"""Seconds that the end may wait for the disk; otherwise the last deliveries are looked at after the machine's next start."""


class RunningChain(Protocol):
    """A section of a program that serves: of a server, or of a mirror."""

    @property
    def settings(self) -> ServerSettings: ...

    @property
    def served(self) -> Served: ...

    @property
    def does(self) -> str:
        """What it does, for the log."""

    def start(self) -> None: ...

    def is_at(self, address: str) -> None:
        """Announce from now on that we are asked at *address*."""

    def announce_backlog(self) -> None:
        """Announce what was there before we started."""

    def stop_feeding(self) -> None: ...

    def check_health(self, most_restarts: int) -> None: ...

    def stop(self) -> None: ...


class Server(Service):
    """Runs the sections of one configuration file."""

    program = "server"

    def __init__(self, config_file: Path, journal: Path, port: int, *, disable_backlog: bool = False, polling: bool = False,
                 check_interval: float = 30.0, most_restarts: int = 10, name: str = NAME,
                 read_config: Callable[[Path], Configuration[Any]] = read_server_config):
        """*name* is that of the heartbeats."""
        super().__init__(config_file, read_config, journal, WORKERS)
        self._name = name
        self._port = port
        self._backlog = not disable_backlog
        self._polling = polling
        self._check_interval = check_interval
        self._most_restarts = most_restarts
        self._started = time.monotonic()
        self._chains: dict[str, RunningChain] = {}
        self._not_served: dict[str, Consumers] = {}
        """Of sections that are not started yet, because a port is taken, say."""
        self._to_start: list[ServerSettings] = []
        """Sections that start when what they take over is in the journal."""
        self._handing_on = False
        """That is being written."""
        self._configured: Collection[str] = ()
        """The sections of the configuration that is followed; all others are no more."""
        self._verified: set[str] = set()
        """Sections whose last deliveries need not be looked at (again) for an unclean end of the machine."""
        self.recent = Recent()
        self._serving: dict[int, Serving] = {}
        self._small = SmallMoves(self.loop)
        self.topics: Topics | None = None
        """What consumers listen to, where a section announces under several subjects; ours do under one."""
        self._addresses = Addresses(self.journal)
        self._publisher: Publisher | None = None
        self._stream: Stream | None = None
        self._backlog_waits: set[str] = set()
        self._first_head: int | None = None
        """Position up to which announcements may have been heard by nobody; known once somebody may hear."""
        self.journal.write([("interrupt_files", [(step_line("interrupted", time.time()),)]), ("interrupt_transfers", [()]),
                            ("end_all_progress", [()])])

    def apply(self, configuration: Configuration[ServerSettings]) -> None:
        """Start, change and stop chains. A request port stays open while a chain uses it before and after."""
        self._start_publishing(configuration.chains)
        running = {name: chain.settings for name, chain in self._chains.items()}
        wanted = after_reload(running, configuration)
        difference = changes(running, wanted)
        for name in (*difference.removed, *difference.changed):
            self._stop_chain(name)
        self._not_served.clear()
        self._close_ports(wanted)
        self.wanted = wanted
        self.workers.most = max((self._workers_for(settings) for settings in wanted.values()), default=WORKERS)
        self.workers.most_far = WORKERS_FAR if all(settings.workers is None for settings in wanted.values()) else 0
        self._to_start += [wanted[name] for name in (*difference.changed, *difference.added)]
        self._hand_on(wanted.keys() | configuration.broken)

    def _hand_on(self, configured: Collection[str]) -> None:
        """Start sections, when they have what was left to them by those that are *configured* no more. One after the other: what
        is being handed on the journal does not tell yet."""
        self._to_start = [settings for settings in self._to_start if self.is_to_start(settings)]
        handed_on = [] if self._handing_on else hand_on(self.journal, self._to_start, configured)
        if not handed_on and not self._handing_on:
            self._start_sections()
            return
        for settings in self._to_start:
            self._note_not_served(settings)
        self._configured = configured
        if handed_on:
            self._handing_on = True
            self.journal.spare_loop(HANDING_ON)
            self.journal.write(handed_on, self._handed_on, configured)

    def _handed_on(self, configured: Collection[str]) -> None:
        self._handing_on = False
        self.recent.clear()
        if self._configured is configured:
            self._start_sections()
        else:  # there is another configuration by now
            self._hand_on(self._configured)

    def _start_sections(self) -> None:
        starting, self._to_start = [settings for settings in self._to_start if self.is_to_start(settings)], []
        for settings in starting:
            self._not_served.pop(settings.name, None)
            self.start_section(settings, self._start_chain)
        if starting:
            self.stream.beat_soon()  # of what has moved

    def _start_publishing(self, chains: Mapping[str, ServerSettings]) -> None:
        if self._stream is not None:
            return
        address = next((settings.listen_address for settings in chains.values()), "*")
        publisher = self._publisher = Publisher(self.loop, self._port, address=address, subscribed=self._subscribed)
        logger.info("publishing on port %d", publisher.port)
        if os.geteuid() == 0 and any(settings.request_port is not None for settings in chains.values()):
            logger.warning(AS_ROOT)
        self._stream = Stream(self._name, self.loop, self.journal.epoch, self.journal.head, self.envelope, publisher,
                              self._request_address, self._moved)
        self.loop.every(self._check_interval, self._check_health)
        LeftBehind(lambda: {name: chain.served for name, chain in self._chains.items()}, self.journal, self.loop,
                   self.workers).start()

    def _start_chain(self, settings: ServerSettings) -> None:
        """Raises `ConfigurationError` while its port is taken."""
        try:
            serving = None if settings.request_port is None else self._serving_on(settings)
            chain = self.new_chain(settings)
        except ConfigurationError:
            self._note_not_served(settings)
            raise
        self._not_served.pop(settings.name, None)
        if serving is not None:
            serving.add(chain.served)
        self._chains[settings.name] = chain
        self._note_address(settings)
        chain.start()
        logger.info("[%s] %s", settings.name, chain.does)
        self._wait_for_subscribers(settings.name)

    def _note_not_served(self, settings: ServerSettings) -> None:
        """What a section waits for that is not started yet stays."""
        if settings.name not in self._not_served:
            reads = LongReads(settings.name, self.journal, self.workers)
            self._not_served[settings.name] = Consumers(settings, self.journal, reads, self._consumers, served=False)

    @property
    def stream(self) -> Stream:
        """Where all chains announce."""
        assert self._stream is not None
        return self._stream

    def new_chain(self, settings: Any) -> RunningChain:
        """The chain of a section, not started. Raises `ConfigurationError`."""
        announcer = Announcer(settings, self.address_of(settings), self.loop, self.journal, self.envelope, self.stream,
                              self.recent)
        chain: Chain | ListenChain
        if settings.listen is not None:
            assert self._publisher is not None
            chain = ListenChain(settings, announcer, self.journal, self.loop, self.envelope, self.workers, self._publisher.port,
                                self._consumers)
        else:
            chain = Chain(settings, announcer, self.journal, self.loop, self.workers, polling=self._polling,
                          backlog=self._backlog, others=self._consumers)
        self._verify(settings, chain.served)
        return chain

    def _verify(self, settings: ServerSettings, served: Served) -> None:
        """After an unclean end of the machine look again at what the section delivered last. Once: by the time it is changed,
        its consumers may have taken that away."""
        if self.journal.unclean_boot and settings.name not in self._verified and settings.fsync != "always":
            Verifying(settings.name, served.pushing, self.journal, self.workers).start()
        self._verified.add(settings.name)

    def _consumers(self) -> list[Consumers]:
        return [*(chain.served.removing.consumers for chain in self._chains.values()), *self._not_served.values()]

    def _stop_chain(self, name: str) -> None:
        chain = self._chains.pop(name)
        chain.stop()
        self._addresses.leave(name)
        if chain.settings.request_port is not None:
            self._serving[chain.settings.request_port].remove(name)

    def _serving_on(self, settings: ServerSettings) -> Serving:
        port = settings.request_port
        assert port is not None
        if port not in self._serving:
            self._serving[port] = Serving(port, settings.listen_address, settings.max_request_size, self.loop, self.journal,
                                          self.envelope, self.workers, self._small, self.recent, self._started,
                                          self._addresses.moved, self.topics)
        return self._serving[port]

    def _close_ports(self, wanted: Mapping[str, ServerSettings]) -> None:
        used = {settings.request_port for settings in wanted.values()}
        for port in [port for port in self._serving if port not in used]:
            self._serving.pop(port).close()

    def address_of(self, settings: ServerSettings) -> str | None:
        if settings.request_port is None:
            return None
        return format_endpoint(settings.request_address or own_address(), settings.request_port)

    def _request_address(self) -> str | None:
        return next((address for chain in self._chains.values() if (address := self.address_of(chain.settings))), None)

    def _note_address(self, settings: ServerSettings) -> str | None:
        address = self.address_of(settings)
        if address is not None:
            self._addresses.serve(settings.name, address, chosen=settings.request_address is not None)
        return address

    def _moved(self) -> Mapping[str, Any]:
        """For the heartbeats: what is asked for at another address than it was announced with. This machine may have one too."""
        for section in self._addresses.lost():
            chain = self._chains[section]
            address = self._note_address(chain.settings)
            if address is not None:
                chain.is_at(address)
        moved = self._addresses.moved()
        return {"moved": moved} if moved else {}

    def _workers_for(self, settings: ServerSettings) -> int:
        if settings.workers is not None:
            return settings.workers
        return WORKERS_FSYNC if settings.syncs else WORKERS

    # The backlog waits a little, because what is published before anybody has connected is heard by nobody.

    def _wait_for_subscribers(self, name: str) -> None:
        self._backlog_waits.add(name)
        self.loop.after(SUBSCRIBERS_WAIT, self._announce_backlogs)

    def _subscribed(self, topic: str) -> None:
        if self._stream is not None:
            self._stream.beat_soon()
        self._may_be_heard()
        if self._backlog_waits:
            self.loop.after(AFTER_FIRST_SUBSCRIBER, self._announce_backlogs)

    def _announce_backlogs(self) -> None:
        waiting, self._backlog_waits = self._backlog_waits, set()
        self._may_be_heard()
        for name in waiting & self._chains.keys():
            self._announce_unasked(name, self.first_unasked())
            self._chains[name].announce_backlog()

    def _may_be_heard(self) -> None:
        if self._first_head is None:
            self._first_head = self.journal.head

    def first_unasked(self) -> int:
        """The position after which announcements that nobody asked for are published again."""
        return 0

    def _announce_unasked(self, name: str, after: int) -> None:
        """Publish again what was announced before the last stop, or before anybody could hear it, and never asked for: upstream
        clients cannot ask for a replay."""
        if name not in self._chains or not self._backlog or self._stream is None:
            return
        rows = self.journal.find("unasked_announcements", (name, after, self._first_head, ANNOUNCED_AGAIN))
        chain, moved = self._chains[name], self._addresses.moved()
        if isinstance(chain, Chain) and chain.announcer.address is None:
            chain.announcer.repeat(rows)
        else:
            for row in rows:
                self._stream.send(renewed(row["message"].encode(), moved))
        if len(rows) == ANNOUNCED_AGAIN:
            self.loop.after(0.1, lambda: self._announce_unasked(name, rows[-1]["position"]))

    def _check_health(self) -> None:
        try:
            for chain in self._chains.values():
                chain.check_health(self._most_restarts)
        except Exception as error:
            self.loop.fail(error)

    def publish_alarm(self, chain: str, raw: bytes) -> None:
        if self._stream is not None:
            self._stream.send(raw)

    def forgotten(self, files: set[int]) -> None:
        self.recent.forget(files)

    def driven_again(self) -> None:
        circuits_of_this_process().try_again()

    def announce_again(self, rows: list[Any]) -> None:
        for name, chain in self._chains.items():
            files = [row["id"] for row in rows if row["chain"] == name]
            if files and isinstance(chain, Chain):
                self.journal.write([order_itself("retry", name, {"files": files})])

    def ask_again(self, chain: str, newer_than: float, topics: list[str]) -> bool:
        """Nobody is asked: what came since then and is still here is announced anew, for those who missed it."""
        meant = [name for name, running in self._chains.items() if chain in ("", name) and isinstance(running, Chain)
                 and (not topics or any(map(running.settings.topic.startswith, topics)))]
        for name in meant:
            newest = int(self.journal.find_one("newest_file", ())[0] or 0)
            said = {"newer_than": newer_than, "after": 0, "until": newest}
            self.journal.write([order_itself("replay", name, said)])
        return bool(meant)

    def carry_on(self, order: int, chain: str, said: Mapping[str, Any], end: Callable[[], Any]) -> None:
        running = self._chains.get(chain)
        if not isinstance(running, Chain):
            logger.error("[%s] is not served: what an operator wants announced is not", chain)
            end()
        elif "files" in said:
            rows = self.journal.find("files_among", (orjson.dumps(said["files"]),))
            running.announce_again([row for row in rows if row["state"] in FAILED], end)
        else:
            self._announce_anew(running, order, said, end)

    def _announce_anew(self, running: Chain, order: int, said: Mapping[str, Any], end: Callable[[], Any]) -> None:
        """Announce a portion; the rest later."""
        name = running.settings.name
        rows = self.journal.find("files_since", (name, said["newer_than"], said["after"], said["until"], ANNOUNCED_AGAIN))

        def announced(count: int) -> None:
            logger.info("[%s] an operator has %d of %d files announced anew that are still there", name, count, len(rows))
            if len(rows) < ANNOUNCED_AGAIN:
                end()
                return
            left = {**said, "after": rows[-1]["id"]}
            self.journal.write([amended(order, left)])
            self.loop.after(0.1, lambda: self.carry_on(order, name, left, end))
        running.announce_anew(rows, announced)

    # Stopping.

    def stop_feeding(self) -> None:
        for chain in self._chains.values():
            chain.stop_feeding()

    def is_on_disk(self) -> bool:
        recently = (time.time() - NOT_WRITTEN_OUT,)
        return self.journal.find_one("moved_since", recently) is None or synced(SYNC_WAIT)

    def under_way(self) -> int:
        moves = sum(serving.under_way() for serving in self._serving.values())
        return moves + sum(chain.served.removing.under_way for chain in self._chains.values()) + self.journal.waiting

    def close_chains(self) -> None:
        for name in list(self._chains):
            self._stop_chain(name)
        for port in list(self._serving):
            self._serving.pop(port).close()
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self._small.close()

    def settings_of(self, chain: str) -> ServerSettings | None:
        running = self._chains.get(chain)
        return None if running is None else running.settings
