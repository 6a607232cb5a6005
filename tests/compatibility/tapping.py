"""Listening in: what programs publish, and what they ask and answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from tests.compatibility.network import HOST, PATIENCE
from tests.support.ports import free_port
from trollmoves.messages import Message, decode


@dataclass(frozen=True)
class Heard:
    """One message and where it was heard: the name of a publisher, or `request` and `reply`."""

    channel: str
    raw: bytes

    @property
    def message(self) -> Message:
        return decode(self.raw)


@dataclass
class Record:
    """What was heard, in order; filled by other threads."""

    entries: list[Heard] = field(default_factory=list)

    def add(self, channel: str, raw: bytes) -> None:
        self.entries.append(Heard(channel, raw))

    def of(self, channel: str, kind: str | None = None, containing: str = "") -> list[Message]:
        """The messages of one channel, of one type if given, whose text holds *containing*."""
        messages = [entry.message for entry in list(self.entries) if entry.channel == channel]
        return [message for message in messages if kind in (None, message.type) and containing in message.raw.decode()]

    def uids(self, channel: str, kind: str) -> list[str]:
        """The uids of those messages, in order."""
        return [str(message.fields.get("uid")) for message in self.of(channel, kind)]


Step = Callable[[], None]
Sockets = dict[Any, Step]


class Looping:
    """A thread with sockets of its own; the base of taps and relays. Entered, it is connected to all publishers that are there
    already: what is published some milliseconds later is not missed."""

    def __init__(self) -> None:
        self._context = zmq.Context()
        self._subscribers: list[zmq.Socket[bytes]] = []
        self._poller = zmq.Poller()
        self._steps: Sockets = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Any:
        for socket in self._subscribers:
            monitor = socket.get_monitor_socket()
            assert monitor.poll(int(PATIENCE * 1000)), "neither connected nor refused"
            recv_monitor_message(monitor)
            socket.disable_monitor()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)
        self._context.destroy(linger=0)

    def _watch(self, socket: zmq.Socket[bytes], step: Step) -> None:
        self._steps[socket] = step
        self._poller.register(socket, zmq.POLLIN)

    def _unwatch(self, socket: zmq.Socket[bytes]) -> None:
        del self._steps[socket]
        self._poller.unregister(socket)

    def _run(self) -> None:
        while not self._over.is_set():
            for socket, _ in self._poller.poll(50):
                if socket in self._steps:
                    self._steps[socket]()

    def _subscribed(self, port: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.SUB)
        socket.setsockopt(zmq.RECONNECT_IVL, 50)
        socket.setsockopt(zmq.RCVHWM, 0)
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_CONNECT_RETRIED)
        socket.connect(f"tcp://{HOST}:{port}")
        self._subscribers.append(socket)
        return socket


class Tap(Looping):
    """Hears all that is published on some ports; the keys of *ports* are the channels."""

    def __init__(self, record: Record, **ports: int):
        super().__init__()
        for channel, port in ports.items():
            self._hear(record, channel, self._subscribed(port))

    def _hear(self, record: Record, channel: str, socket: zmq.Socket[bytes]) -> None:
        self._watch(socket, lambda: record.add(channel, socket.recv()))


class Relay(Looping):
    """Stands between a server and its clients: hands on announcements, with its own address in place of the server's (also those
    that were missed and asked for again), and requests and replies, of which it keeps a record."""

    def __init__(self, port: int, request_ports: list[int], record: Record):
        super().__init__()
        self.port = free_port()
        self.request_ports = {request_port: free_port() for request_port in request_ports}
        self.holding = False
        """Requests are kept back."""
        self._record = record
        self._publisher = self._context.socket(zmq.PUB)
        self._publisher.bind(f"tcp://{HOST}:{self.port}")
        subscriber = self._subscribed(port)
        self._watch(subscriber, lambda: self._publish(subscriber.recv()))
        for theirs, ours in self.request_ports.items():
            self._answer_on(ours, theirs)

    def _publish(self, raw: bytes) -> None:
        self._publisher.send(self._renamed(raw, '"'))

    def _renamed(self, raw: bytes, end: str) -> bytes:
        for theirs, ours in self.request_ports.items():
            raw = raw.replace(f"{HOST}:{theirs}{end}".encode(), f"{HOST}:{ours}{end}".encode())
        return raw

    def _answer_on(self, ours: int, theirs: int) -> None:
        front = self._context.socket(zmq.ROUTER)
        front.bind(f"tcp://{HOST}:{ours}")
        backs: dict[bytes, zmq.Socket[bytes]] = {}

        def asked() -> None:
            identity, *frames = front.recv_multipart()
            self._record.add("request", frames[-1])
            if identity not in backs:
                backs[identity] = self._connect(theirs, front, identity)
            if not self.holding:
                backs[identity].send_multipart(frames)
        self._watch(front, asked)

    def _connect(self, port: int, front: zmq.Socket[bytes], identity: bytes) -> zmq.Socket[bytes]:
        back = self._context.socket(zmq.DEALER)
        back.connect(f"tcp://{HOST}:{port}")

        def answered() -> None:
            frames = back.recv_multipart()
            self._record.add("reply", frames[-1])
            front.send_multipart([identity, *frames[:-1], self._renamed(frames[-1], '\\"')])
        self._watch(back, answered)
        return back


@contextmanager
def tapped(**ports: int) -> Iterator[Record]:
    """A record of what is published on *ports*."""
    record = Record()
    with Tap(record, **ports):
        yield record
