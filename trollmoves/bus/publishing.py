"""Publishing: an XPUB socket, so that we notice when somebody subscribes; to posttroll's subscribers it is a plain publisher."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import zmq

from trollmoves.bus.addresses import Reachable
from trollmoves.bus.advertising import Advertising
from trollmoves.bus.loop import Loop
from trollmoves.bus.sockets import NOW, bound, close, descriptor_of
from trollmoves.bus.subscribers import Subscribers

logger = logging.getLogger(__name__)

SUBSCRIBERS_WAIT = 3.0
"""Seconds after the start within which subscribers are expected to connect; the first one that does ends the waiting. What is
sent before anybody has connected is heard by nobody."""
AFTER_FIRST_SUBSCRIBER = 0.25
"""Seconds for the others."""
MOST_WAITING = 2
"""Messages of one connection that wait; the rest stays with who sent them. ZeroMQ takes in all subscriptions that wait before it
gives us the first: with room for more it would find ever more, as long as somebody sends them faster than they are taken in. One
would be too few: where newer posttroll has connections authenticated, who it is takes the first place, and nothing else came."""
LONGEST_SUBSCRIPTION = 1024
"""Bytes; ZeroMQ keeps a node in memory for each, and cuts off a peer that sends more. Taking in one that is longer lasts long
enough for the next to come."""


class Publisher:
    """Sends messages to whoever subscribed; belongs to the loop."""

    def __init__(self, loop: Loop, port: int, *, address: str = "*", subscribed: Callable[[str], Any] | None = None):
        """Listen on *port* (0: a free one). *subscribed* is called with the text of each new subscription."""
        self._loop = loop
        self._subscribed = subscribed
        self._socket, self.port = bound(zmq.XPUB, address, port, {
            zmq.XPUB_VERBOSE: 1, zmq.MAXMSGSIZE: LONGEST_SUBSCRIPTION, zmq.RCVHWM: MOST_WAITING})
        self._subscriptions: set[bytes] = set()
        self._awaiting: list[Callable[[], Any]] = []
        """What is called when subscribers have had time to connect."""
        self._subscribers = Subscribers(self.port)
        self._address = address
        self._advertising: Advertising | None = None
        loop.register(self._socket, self._read)
        loop.incoming.crowd.ports.add(self.port)

    @property
    def is_heard(self) -> bool:
        """Whether anybody has subscribed to anything."""
        return bool(self._subscriptions)

    def subscribed_by(self, subscribed: Callable[[str], Any]) -> None:
        """Have *subscribed* called with the text of each new subscription, if nobody else is."""
        if self._subscribed is None:
            self._subscribed = subscribed

    def once_heard(self, ready: Callable[[], Any]) -> None:
        """Have *ready* called once: a moment after somebody has subscribed, or when those who are expected had time to; never
        after `close`."""
        self._awaiting.append(ready)
        self._loop.after(SUBSCRIBERS_WAIT, self._waited)

    def _waited(self) -> None:
        waiting, self._awaiting = self._awaiting, []
        for ready in waiting:
            ready()

    def send(self, raw: bytes) -> None:
        """Publish one encoded message. Never blocks: a subscriber whose queue is full misses it (and asks for it later)."""
        self._socket.send(raw, NOW)

    def advertise(self, name: str, nameservers: Sequence[str] | None) -> None:
        """Tell posttroll's name servers (none given: all that listen to multicast) where to find us, every two seconds."""
        self._advertising = Advertising(self._loop, name, Reachable(self._address, self.port).now, nameservers or ())

    def _read(self) -> None:
        for _ in range(100):
            try:
                received = self._socket.recv(NOW, copy=False)
            except zmq.Again:
                return
            self._loop.incoming.took(descriptor_of(received), len(received))
            self._subscribers.count(received)
            frame = received.bytes
            if frame[:1] == b"\x00":  # the last one with this subscription has gone
                self._subscriptions.discard(frame[1:])
            elif frame[:1] == b"\x01":
                self._subscriptions.add(frame[1:])
                if self._awaiting:
                    self._loop.after(AFTER_FIRST_SUBSCRIBER, self._waited)
                if self._subscribed is not None:
                    self._subscribed(frame[1:].decode("utf-8", "replace"))

    def close(self, linger: int = 1000) -> None:
        """Stop; *linger* milliseconds for queued messages to leave."""
        self._loop.unregister(self._socket)
        self._loop.incoming.crowd.ports.discard(self.port)
        self._awaiting.clear()
        if self._advertising is not None:
            self._advertising.stop()
        close(self._socket, linger)
