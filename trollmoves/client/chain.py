"""One section of a client: hear -> decide -> ask -> publish. This is the life of a file on one screen.

    Hearing       what providers announce and what was missed      hearing.py, peers.py (bus/: Listener, CatchUp)
    Introducing   tell them first what we listen to                introducing.py
    -> recognising is it news, or known by another way             recognising.py, following.py, copies.py
    -> deciding   the rules: what is news, whom to ask, when again deciding.py (no I/O)
    -> Asking     ask, many at a time; retry; other providers      asking.py, sending.py, waiting.py, providers.py
    -> Unpacking  where `compression` is set                       unpacking.py
    -> Delivering publish, once it is ours to do                   delivering.py
    -> Acknowledging  tell the providers                           acknowledging.py, telling.py

A message is journaled (through the `Ledger`, ledger.py) before anything is done about it, so that the next process can take up
what this one leaves (recovering.py). Of two contents of one name the newer one stays: replacing.py, doubting.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any

from trollmoves.bus import Loop, Publisher
from trollmoves.bus.replaying import ReplayPort
from trollmoves.bus.streaming import Stream
from trollmoves.bus.topics import TOPICS, topics_to_tell
from trollmoves.client.asking import Asking
from trollmoves.client.hearing import Hearing, group_sign
from trollmoves.client.ledger import Ledger
from trollmoves.client.recovering import Recovering
from trollmoves.config.settings import ClientSettings
from trollmoves.errors import ConfigurationError
from trollmoves.journal import Journal
from trollmoves.messages import Envelope
from trollmoves.workers import Workers

logger = logging.getLogger(__name__)


class Chain:
    """A configured section that runs; belongs to the loop."""

    def __init__(self, settings: ClientSettings, client: str, journal: Journal, loop: Loop, envelope: Envelope, workers: Workers):
        """*client* is our name towards providers. Raises `ConfigurationError` when a port of ours is taken."""
        self.settings = settings
        who = {"client": client, "group": settings.group, "priority": 1 if settings.processing_delay else 0,
               "commit": settings.compression is None, "checksum": len(settings.providers) > 1,
               TOPICS: topics_to_tell(map(settings.topic_at, settings.providers))}
        ledger = Ledger(settings.name, journal)
        self._journal = journal
        self._loop = loop
        self._replays: ReplayPort | None = None
        self.stream = _new_stream(settings, journal, loop, envelope, self._replay_address, self._first_unsent)
        try:
            if settings.replay_port is not None:
                self._replays = ReplayPort(settings.replay_port, settings.listen_address, loop, journal, envelope, settings.name)
            self._asking = Asking(settings, who, ledger, journal, loop, envelope, workers, self.stream)
        except ConfigurationError:
            self._close_ports()
            raise
        self._recovering = Recovering(settings.name, ledger, journal, self._asking)
        self._hearing = Hearing(settings, who, ledger, journal, loop, self._asking)
        self._feeding = self._open = True

    def start(self) -> None:
        """Take up what was left, then listen; when all is in the journal that an earlier chain of this name noted."""
        self._loop.call(self._journal.write, [], self._begin)

    def _begin(self) -> None:
        if self._feeding:
            self._recovering.ask_again()
            self._recovering.publish()
            self._asking.start()
            self._hearing.start()

    def order_past(self, newer_than: float, topics: list[str]) -> bool:
        """Note that the providers shall be asked for all they announced since a time, under *topics* or all: what is known is no
        news. False when none is heard under *topics*."""
        return self._hearing.order_past(newer_than, topics)

    def ask_again(self, said: Mapping[str, Any], end: Callable[[], Any]) -> None:
        """Do so, and call *end* when all is journaled."""
        self._hearing.ask_again(said, end)

    def dismissed(self, files: Collection[int]) -> None:
        """An operator wants nothing more of these; the journal is about to say so."""
        self._asking.dismissed(files)

    def driven_again(self) -> None:
        """Files that waited are due: ask also those who did not answer."""
        self._asking.providers.wake_all()

    def stop_feeding(self) -> None:
        """Take in and ask for nothing new; what is under way goes on."""
        self._feeding = False
        self._hearing.stop()
        self._asking.stop_feeding()

    def clock_leapt(self, seconds: float) -> None:
        """The clock was set: no file is older for it."""
        self._asking.clock_leapt(seconds)

    def under_way(self) -> int:
        """How many files were asked for and are not published yet."""
        return len(self._asking) + self._asking.delivering.waiting

    def cancel(self) -> None:
        """We do not come back: providers need not go on with what we asked for."""
        self._asking.cancel()

    def stop(self) -> None:
        """End; may be called twice. What was asked for is asked for again after the next start."""
        if self._open:
            self._open = False
            self.stop_feeding()
            self._asking.close()
            self._close_ports()

    def _replay_address(self) -> str | None:
        return None if self._replays is None else self._replays.address

    def _first_unsent(self) -> int | None:
        return self._asking.delivering.first_unsent()

    def _close_ports(self) -> None:
        self.stream.close()
        if self._replays is not None:
            self._replays.close()


def _new_stream(settings: ClientSettings, journal: Journal, loop: Loop, envelope: Envelope,
                replay_address: Callable[[], str | None], unsent: Callable[[], int | None]) -> Stream:
    publisher = Publisher(loop, settings.publish_port, address=settings.listen_address)
    name = "move_it_" + settings.name
    if settings.nameservers is not False:
        publisher.advertise(name, settings.nameserver_hosts)
    logger.info("[%s] publishes on port %d", settings.name, publisher.port)
    more = {"group": group_sign(settings.group)}
    return Stream(name, loop, journal.epoch, journal.head, envelope, publisher, replay_address, lambda: more, unsent)
