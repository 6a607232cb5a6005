"""The ports of a role that publishes what it has delivered: numbered on one, and asked for again on the other."""

from __future__ import annotations

from trollmoves.bus import Loop, Publisher
from trollmoves.bus.replaying import ReplayPort
from trollmoves.bus.streaming import Stream
from trollmoves.journal import Journal
from trollmoves.messages import Envelope
from trollmoves.queueing.results import Results


class Outlet:
    """Belongs to the loop."""

    def __init__(self, name: str, role: str, ports: tuple[int, int], address: str, loop: Loop, journal: Journal,
                 envelope: Envelope):
        """Publish on the first of *ports*, answer on the second (0: a free one). Heartbeats tell the *name*."""
        port, replay_port = ports
        self.publisher = Publisher(loop, port, address=address)
        self._replays = ReplayPort(replay_port, address, loop, journal, envelope)
        self._stream = Stream(name, loop, journal.epoch, journal.head, envelope, self.publisher, lambda: self._replays.address)
        self.results = Results(role, loop, journal, envelope, self._stream)

    def close(self) -> None:
        self._stream.close()
        self._replays.close()
