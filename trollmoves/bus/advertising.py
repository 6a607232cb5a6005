"""Advertising: posttroll's name servers are told every two seconds where a publisher is, by multicast or one by one.

No name server is needed, and none is waited for: what does not answer is told again, what is not there is tried again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import zmq
from posttroll import config as posttroll_config
from posttroll.bbmcast import MulticastSender, get_configured_broadcast_port

from trollmoves.bus.loop import Loop
from trollmoves.bus.names import Whereabouts
from trollmoves.bus.sockets import Socket, close, connected, message_version, send_frames
from trollmoves.messages import NEWEST_VERSION, Envelope
from trollmoves.uris import format_endpoint, parse_endpoint

logger = logging.getLogger(__name__)

EVERY = 2.0
"""Seconds."""
SOON = 0.25
"""Seconds between two tries to reach a name server that is not connected (yet)."""
UNREAD = 10
"""Notices that wait for one name server; older ones say the same."""
QUIET = 15
"""Notices without an answer after which a name server is connected to anew: its answering socket may have lost count."""


class Advertising:
    """Tells where one publisher is; belongs to the loop."""

    def __init__(self, loop: Loop, name: str, address: Callable[[], str], nameservers: Sequence[str]):
        """*address* tells host and port of the publisher. *nameservers* are hosts; none given means all that hear multicast."""
        self._loop = loop
        self._address = address
        data = {"service": [name], "supported_message_version": NEWEST_VERSION,
                "backend": posttroll_config.get("backend", "unsecure_zmq")}
        self._envelope, self._subject, self._data = Envelope.of_this_process(message_version()), f"/address/{name}", data
        self._told = [_NameServer(loop, host) for host in nameservers]
        self._multicast = None if nameservers else _Multicast()
        self._open = True
        self._again()

    def _again(self) -> None:
        if not self._open:
            return
        raw = self._envelope.encode(self._subject, "info", {"URI": f"tcp://{self._address()}", **self._data})
        told = [nameserver.tell(raw) for nameserver in self._told]
        if self._multicast is not None:
            self._multicast.send(raw)
        self._loop.after(EVERY if all(told) else SOON, self._again)

    def stop(self) -> None:
        """Tell no more; may be called twice."""
        self._open = False
        for nameserver in self._told:
            nameserver.close()
        if self._multicast is not None:
            self._multicast.close()


class _NameServer:
    """One that is told by name."""

    def __init__(self, loop: Loop, host: str):
        self._loop = loop
        self._host, self._port = _place(host)
        self._where = Whereabouts(loop.names, self._host, self._disconnect)
        self._socket: Socket | None = None
        self._unanswered = 0
        self._complained = False

    def tell(self, raw: bytes) -> bool:
        """Whether that was sent."""
        if self._unanswered >= QUIET:
            self._disconnect()
        if self._where.address is None:
            return False
        try:
            if self._socket is None:
                # Nothing queues for one that is not there.
                self._socket = connected(zmq.DEALER, self._where.address, self._port, {zmq.IMMEDIATE: 1, zmq.SNDHWM: UNREAD})
                self._loop.register(self._socket, self._answered)
            send_frames(self._socket, b"", raw)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if not self._complained:
                logger.warning("cannot tell the name server %s: %s", format_endpoint(self._host, self._port), error)
            self._complained = True
            return False
        self._unanswered += 1
        return True

    def _answered(self) -> None:
        """`ok`, or whatever else it says: it is there."""
        assert self._socket is not None
        try:
            self._loop.incoming.receive(self._socket)
        except zmq.Again:
            return
        self._unanswered = 0

    def close(self) -> None:
        self._where.close()
        self._disconnect()

    def _disconnect(self) -> None:
        self._unanswered = 0
        if self._socket is not None:
            self._loop.unregister(self._socket)
            close(self._socket)
            self._socket = None


class _Multicast:
    """All that listen."""

    def __init__(self) -> None:
        self._sender: MulticastSender | None = None
        self._complained = False

    def send(self, raw: bytes) -> None:
        try:
            if self._sender is None:
                self._sender = MulticastSender(get_configured_broadcast_port())
                self._sender.socket.setblocking(False)
            self._sender(raw.decode())
        except (OSError, ValueError) as error:
            if not self._complained:
                logger.warning("cannot announce a publisher by multicast (%s); trying on. To do without, set nameservers = False",
                               error)
            self._complained = True
            self.close()
        else:
            if self._complained:
                logger.info("announcing publishers by multicast again")
            self._complained = False

    def close(self) -> None:
        if self._sender is not None:
            self._sender.close()
            self._sender = None


def _place(host: str) -> tuple[str, int]:
    """Host and port of a name server as posttroll has it: `host` or `host:port`, with or without `tcp://`."""
    bare = host.removeprefix("tcp://")
    try:
        return parse_endpoint(bare)
    except ValueError:
        return bare, int(get_configured_broadcast_port())
