"""Messaging: the only importer of ZeroMQ and of posttroll's sockets.

`Loop` runs everything; `Publisher`, `Listener`, `Replier` and `Requesters` are its sockets.
"""

from trollmoves.bus.listening import Listener
from trollmoves.bus.loop import Loop
from trollmoves.bus.publishing import Publisher
from trollmoves.bus.replying import Asker, Replier
from trollmoves.bus.requesters import Requesters

__all__ = ["Asker", "Listener", "Loop", "Publisher", "Replier", "Requesters"]
