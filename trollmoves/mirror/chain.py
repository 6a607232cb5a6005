"""One section of a mirror: hear -> relay; asked -> fetch -> serve -> release. This is the life of a file on one screen.

    Finding      copies that the journal does not know           finding.py
    -> Hearing   what providers announce and what was missed    client/hearing.py
    -> Relaying  announces it behind, under our address         relaying.py
    Serving      answers who asks for it                        server/serving.py (one per request port, shared by sections)
    -> Fetching  has it brought here when it is not             fetching.py
       -> Asking     asks the providers; retries                client/asking.py
    -> Doubting   asks others for what may be no copy of it     doubting.py
    -> Pushing   moves it on, in a worker                       server/pushing.py
    -> Releasing removes it when all have it; tells providers   releasing.py
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from trollmoves.bus import Loop
from trollmoves.bus.streaming import Stream, Unheard
from trollmoves.bus.topics import TOPICS, topics_to_tell
from trollmoves.client.asking import Asking
from trollmoves.client.hearing import Hearing
from trollmoves.client.ledger import Ledger
from trollmoves.client.recovering import Recovering
from trollmoves.config.mirrors import MirrorSettings
from trollmoves.journal import Journal
from trollmoves.messages import Envelope
from trollmoves.mirror.doubting import Doubting
from trollmoves.mirror.fetching import Fetching
from trollmoves.mirror.finding import Finding
from trollmoves.mirror.parts import Store
from trollmoves.mirror.relaying import Relaying
from trollmoves.mirror.releasing import Releasing
from trollmoves.server.pushing import Pushing
from trollmoves.server.recent import Recent
from trollmoves.server.topics import Topics
from trollmoves.server.transfer import Served
from trollmoves.workers import Workers


class Chain:
    """A configured section that runs; belongs to the loop."""

    def __init__(self, settings: MirrorSettings, client: str, mirror: str, request_address: str, journal: Journal, loop: Loop,
                 envelope: Envelope, stream: Stream, recent: Recent, topics: Topics, workers: Workers):
        """*client* is our name towards providers, *mirror* the one among mirrors. *stream* is where it announces: what the client
        half would publish concerns nobody."""
        self.settings = settings
        front, store = settings.front, Store(settings.front)
        who = {"client": client, "group": client, "priority": 0, "checksum": len(front.providers) > 1,
               TOPICS: topics_to_tell(map(front.topic_at, front.providers))}
        ledger = Ledger(settings.name, journal)
        pushing = Pushing(settings, (store.root,))
        self._journal = journal
        self._loop = loop
        self._fetching = Fetching(settings, store, pushing, journal, workers)
        self._asking = Asking(front, who, ledger, journal, loop, envelope, workers, Unheard(), self._fetching)
        self._recovering = Recovering(settings.name, ledger, journal, self._asking)
        self._fetching.asking = self._asking
        doubting = Doubting(settings.name, ledger, journal, self._asking, several=len(front.providers) > 1)
        self._finding = Finding(settings, store, journal, loop, workers, self._asking)
        self._relaying = Relaying(settings, mirror, request_address, ledger, journal, loop, envelope, stream, recent,
                                  self._asking, self._finding.heard, doubting)
        self._fetching.relaying, self._fetching.doubting = self._relaying, doubting
        self._hearing = Hearing(front, who, ledger, journal, loop, self._asking, self._relaying)
        self.served = Served(settings, pushing, Releasing(settings, journal, loop, workers, self._asking, doubting, topics),
                             self._fetching)
        self._feeding = self._open = True

    @property
    def does(self) -> str:
        """What it does, for the log."""
        providers = ", ".join(str(provider) for provider in self.settings.providers)
        return f"mirrors {self.settings.client_topic or 'everything'} of {providers}"

    def start(self) -> None:
        """Take up what was left, then listen; when all is in the journal that an earlier chain of this name noted."""
        self._loop.call(self._journal.write, [], self._begin)

    def _begin(self) -> None:
        if self._feeding:
            self._recovering.ask_again()
            self._asking.start()
            self._relaying.start()
            self._finding.start(self._hear)

    def _hear(self) -> None:
        if self._feeding:
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

    def is_at(self, address: str) -> None:
        """Announce from now on that we are asked at *address*."""
        self._relaying.address = address

    def announce_backlog(self) -> None:
        """What was announced while we were away is asked for by the catch-up of each provider."""

    def check_health(self, most_restarts: int) -> None:
        """There is no watch to look after: connections heal by themselves."""

    def stop_feeding(self) -> None:
        """Hear nothing new; requests are still served, with what is here or on its way."""
        self._feeding = False
        self._hearing.stop()
        self._relaying.stop()
        self._asking.stop_feeding()
        self.served.removing.stop()

    def stop(self) -> None:
        """End; may be called twice."""
        if self._open:
            self._open = False
            self.stop_feeding()
            self._fetching.close()
            self._asking.close()
