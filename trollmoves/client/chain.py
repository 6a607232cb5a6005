"""One section of a client: hear -> decide -> ask -> publish. This is the life of a file on one screen.

    Hearing       what providers announce and what was missed      hearing.py (bus/: Listener, CatchUp)
    -> deciding   is it news, whom to ask, when again              deciding.py (no I/O)
    -> Asking     ask, many at a time; retry; other providers      asking.py, sending.py, waiting.py (bus/: Requesters)
    -> Unpacking  where `compression` is set                       unpacking.py
    -> Delivering acknowledge and publish                          delivering.py

A message is journaled (through the `Ledger`, ledger.py) before anything is done about it.
"""

from __future__ import annotations

import logging

from trollmoves.bus import Loop, Publisher
from trollmoves.bus.streaming import Stream
from trollmoves.client.asking import Asking
from trollmoves.client.hearing import Hearing
from trollmoves.client.ledger import Ledger
from trollmoves.config.settings import ClientSettings
from trollmoves.journal import Journal
from trollmoves.messages import Envelope
from trollmoves.workers import Workers

logger = logging.getLogger(__name__)


class Chain:
    """A configured section that runs; belongs to the loop."""

    def __init__(self, settings: ClientSettings, client: str, journal: Journal, loop: Loop, envelope: Envelope, workers: Workers):
        """*client* is our name towards providers. Raises `ConfigurationError` when `publish_port` is taken."""
        self.settings = settings
        who = {"client": client, "group": settings.group, "priority": 1 if settings.processing_delay else 0,
               "commit": settings.compression is None}
        ledger = Ledger(settings.name, journal)
        self._journal = journal
        self._loop = loop
        self._stream = _new_stream(settings, journal, loop, envelope)
        self._asking = Asking(settings, who, ledger, journal, loop, envelope, workers, self._stream)
        self._hearing = Hearing(settings, client, ledger, journal, loop, self._asking)
        self._feeding = self._open = True

    def start(self) -> None:
        """Take up what was left, then listen; when all is in the journal that an earlier chain of this name noted."""
        self._loop.call(self._journal.write, [], self._begin)

    def _begin(self) -> None:
        if self._feeding:
            self._asking.start()
            self._hearing.start()

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
            self._stream.close()


def _new_stream(settings: ClientSettings, journal: Journal, loop: Loop, envelope: Envelope) -> Stream:
    publisher = Publisher(loop, settings.publish_port, address=settings.listen_address,
                          subscribed=lambda topic: stream.beat_soon())
    name = "move_it_" + settings.name
    if settings.nameservers is not False:
        publisher.advertise(name, settings.nameserver_hosts)
    logger.info("[%s] publishes on port %d", settings.name, publisher.port)
    stream = Stream(name, loop, journal.epoch, journal.head, envelope, publisher, lambda: None, {"group": settings.group})
    return stream
