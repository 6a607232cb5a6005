"""A section that listens: hear -> look -> announce -> serve -> remove.

    listen         messages of other publishers       watchers/messages.py
    -> Relaying    journals, has the files looked at, announces them   relaying.py, opening.py
    -> Serving, Pushing, Removing                     as in chain.py
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from trollmoves.bus import Loop
from trollmoves.config.settings import ServerSettings
from trollmoves.journal import Journal
from trollmoves.messages import Envelope
from trollmoves.patterns import Pattern
from trollmoves.server.announcer import Announcer
from trollmoves.server.consumers import Consumers
from trollmoves.server.pushing import Pushing
from trollmoves.server.relaying import Relaying
from trollmoves.server.removing import Removing
from trollmoves.server.transfer import Served
from trollmoves.watchers.messages import listen
from trollmoves.workers import Workers

ROOTS = ("/",)
"""A message may speak of any file, as long as its path leads through no link."""


class ListenChain:
    """A configured section that listens; belongs to the loop."""

    def __init__(self, settings: ServerSettings, announcer: Announcer, journal: Journal, loop: Loop, envelope: Envelope,
                 workers: Workers, own_port: int, others: Callable[[], Iterable[Consumers]] = tuple):
        assert settings.listen is not None
        self.settings = settings
        self.announcer = announcer
        self._journal = journal
        self._loop = loop
        self._envelope = envelope
        self._own_port = own_port
        pattern = None if settings.origin is None else Pattern(settings.origin)
        self._limited = pattern is not None
        self._relaying = Relaying(settings, pattern, announcer, journal, loop, workers)
        self.served = Served(settings, Pushing(settings, ROOTS), Removing(settings, ROOTS, journal, loop, workers, others),
                             parts=lambda row: journal.find("members_of", (row["id"],)))

    @property
    def does(self) -> str:
        """What it does, for the log."""
        return f"listens to {', '.join(self.settings.heard_topics)} and announces under {self.settings.topic}"

    def start(self) -> None:
        self._loop.call(self._journal.write, [], self._begin)  # after what an earlier chain of this name recorded

    def _begin(self) -> None:
        """Take up what was heard before, and only then hear more: what a publisher is asked for again has to be known."""
        if self._relaying.stopped:
            return
        self._relaying.take_up()
        settings = self.settings
        hearing = self._relaying.hearing
        hearing.subscribing = listen(
            self._loop, self._envelope, settings.heard_topics, hearing.received,
            addresses=settings.addresses, nameserver=settings.nameserver or None, services=settings.services,
            follow=settings.addr_listener, timeout=settings.timeout, translate=settings.translate, own_port=self._own_port,
            anybody=self._limited, new_catch_up=hearing.catching_up(self._loop, self._envelope))

    def is_at(self, address: str) -> None:
        """Announce from now on that we are asked at *address*."""
        self.announcer.address = address

    def announce_backlog(self) -> None:
        """What was heard before is in the journal: there is nothing to look for."""

    def check_health(self, most_restarts: int) -> None:
        """Connections come back by themselves."""

    def stop_feeding(self) -> None:
        """Hear and remove nothing more; requests are still served."""
        self._relaying.stop()
        self.served.removing.stop()

    def stop(self) -> None:
        """End; may be called twice."""
        self.stop_feeding()
