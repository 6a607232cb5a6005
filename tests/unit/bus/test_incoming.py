"""Messages without an end: who sends one is cut off before it fills the memory, and nobody else is."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
import zmq

from trollmoves.bus import Loop, incoming
from trollmoves.bus.incoming import Incoming
from trollmoves.bus.listening import Listener
from trollmoves.bus.publishing import Publisher
from trollmoves.bus.replying import Replier
from trollmoves.bus.requesting import Requester
from trollmoves.bus.sockets import end_context
from trollmoves.messages import Envelope, Message

ENVELOPE = Envelope("somebody@somewhere")
MOST = 4 * 2**20
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
PART = b"\x01\xff" + b"\x07" * 255
"""A frame after which another one of the same message comes (ZMTP 3.0)."""
NOTHING = b"\x01\x00"
"""The same without anything in it: 66 bytes of memory for two."""


def ready(kind: bytes) -> bytes:
    body = b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind + b"\x08Identity" + bytes(4)
    return b"\x04" + bytes([len(body)]) + body


class Endless:
    """Speaks ZeroMQ over *connection*, and sends parts of one message as long as somebody takes them."""

    def __init__(self, connection: socket.socket, kind: bytes):
        self.part = PART
        self._connection = connection
        connection.settimeout(20)
        connection.sendall(GREETING + ready(kind))
        self._receive(len(GREETING))
        self._receive(self._receive(2)[1])  # before it is ready nothing else may be sent
        connection.setblocking(False)
        self._rest = b""
        self.sent = 0

    def _receive(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            found += self._connection.recv(count - len(found))
        return found

    def send_some(self) -> None:
        """As much as is taken now; nothing when it was cut off."""
        with suppress(OSError):
            for _ in range(20):
                self._rest = self._rest or self.part * 1000
                written = self._connection.send(self._rest)
                self._rest = self._rest[written:]
                self.sent += written


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loop]:
    monkeypatch.setattr(incoming, "EVERY", 0.1)
    loop = Loop()
    loop.incoming = Incoming(MOST)
    loop.look_at_incoming()
    yield loop
    loop.close()
    end_context()  # nothing is left open


def heard(messages: list[Message]) -> None:
    """Nobody here minds."""


def replier(loop: Loop, stack: ExitStack) -> Endless:
    found = Replier(loop, 0, ENVELOPE, lambda requests: None, address="127.0.0.1")
    stack.callback(found.close, 0)
    return Endless(stack.enter_context(socket.create_connection(("127.0.0.1", found.port))), b"DEALER")


def publisher(loop: Loop, stack: ExitStack) -> Endless:
    found = Publisher(loop, 0, address="127.0.0.1")
    stack.callback(found.close, 0)
    return Endless(stack.enter_context(socket.create_connection(("127.0.0.1", found.port))), b"SUB")


def listener(loop: Loop, stack: ExitStack) -> Endless:
    server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    stack.callback(Listener(loop, *server.getsockname(), ("/a",), heard).close)
    return Endless(stack.enter_context(server.accept()[0]), b"PUB")


def requester(loop: Loop, stack: ExitStack) -> Endless:
    server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    stack.callback(Requester(loop, ENVELOPE, *server.getsockname()).close)
    return Endless(stack.enter_context(server.accept()[0]), b"ROUTER")


@pytest.mark.parametrize("role", [replier, publisher, listener, requester])
def test_who_sends_a_message_without_an_end_is_cut_off(loop: Loop, role: Callable[[Loop, ExitStack], Endless]) -> None:
    with ExitStack() as stack:
        stranger, deadline = role(loop, stack), time.monotonic() + 60
        while not loop.incoming.cut.times:
            assert time.monotonic() < deadline, f"{stranger.sent} bytes were taken"
            stranger.send_some()
            loop.turn(0.01)
        assert stranger.sent > MOST


def test_frames_of_nothing_are_cut_off_long_before(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "MOST_UNFINISHED", MOST // 16)
    with ExitStack() as stack:
        stranger, deadline = replier(loop, stack), time.monotonic() + 60
        stranger.part = NOTHING
        while not loop.incoming.cut.times:
            assert time.monotonic() < deadline and stranger.sent < 64 * MOST
            if stranger.sent < MOST // 2:
                stranger.send_some()
            loop.turn(0.01)


def test_a_message_of_very_many_frames_is_not_kept(loop: Loop) -> None:
    with ExitStack() as stack:
        found = Replier(loop, 0, ENVELOPE, lambda requests: None, address="127.0.0.1")
        stack.callback(found.close, 0)
        context: zmq.Context[Any] = zmq.Context()
        peer = stack.enter_context(context.socket(zmq.DEALER))
        peer.connect(f"tcp://127.0.0.1:{found.port}")
        peer.send_multipart([b""] * 20_000)
        received, real = [], loop.incoming.receive

        def noted(*arguments: Any, **options: Any) -> list[zmq.Frame]:
            received.append(real(*arguments, **options))
            return received[-1]
        loop.incoming.receive = noted  # type: ignore[method-assign]
        deadline = time.monotonic() + 20
        while not received:
            assert time.monotonic() < deadline
            loop.turn(0.01)
        assert [len(frames) for frames in received] == [incoming.MOST_FRAMES] and found.malformed.times == 1


def test_heartbeats_of_months_cut_nobody_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """They come in, and nobody takes them."""
    day, connections = 86400.0, 500
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(incoming, "_open_sockets", lambda: [(number, 1) for number in range(connections)])
    monkeypatch.setattr(incoming, "_is_of_zeromq", lambda descriptor: True)
    monkeypatch.setattr(incoming, "_received", lambda descriptor: int(now * 6))
    cut: list[int] = []
    guard = Incoming()
    monkeypatch.setattr(guard, "_cut_off", lambda descriptor, size: cut.append(descriptor))
    while now < 300 * day:
        guard.look()
        now += day
    assert not cut


@pytest.mark.parametrize("unread", [0, 10_000])
def test_a_little_of_very_many_connections_is_much(monkeypatch: pytest.MonkeyPatch, unread: int) -> None:
    """What the system has of it, which is bounded, does not count."""
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(incoming, "_open_sockets", lambda: [(number, 1) for number in range(4000)])
    monkeypatch.setattr(incoming, "_is_of_zeromq", lambda descriptor: True)
    monkeypatch.setattr(incoming, "_received", lambda descriptor: 10_000)
    monkeypatch.setattr(incoming, "_held_by_the_system", lambda descriptor: unread)
    cut: list[int] = []
    guard = Incoming()
    monkeypatch.setattr(guard, "_cut_off", lambda descriptor, size: cut.append(descriptor))
    while now < 2:
        now += guard.look()
    assert cut == [] if unread else len(cut) > 2000


def test_what_nobody_has_read_the_system_has() -> None:
    one, other = socket.socketpair()
    with one, other:
        one.sendall(bytes(1234))
        assert incoming._held_by_the_system(other.fileno()) == 1234


@pytest.mark.parametrize("ours", [(False, True), (True, False)])
def test_who_has_the_descriptor_of_one_before_is_another(monkeypatch: pytest.MonkeyPatch, ours: tuple[bool, bool]) -> None:
    """A connection that a file comes over, of which nothing is counted, and one of ZeroMQ."""
    which, cut = 0, list[int]()
    monkeypatch.setattr(incoming, "_open_sockets", lambda: [(5, which)])
    monkeypatch.setattr(incoming, "_is_of_zeromq", lambda descriptor: ours[which])
    monkeypatch.setattr(incoming, "_received", lambda descriptor: 2 * MOST * which)
    monkeypatch.setattr(incoming, "_held_by_the_system", lambda descriptor: 0)
    guard = Incoming(MOST)
    monkeypatch.setattr(guard, "_cut_off", lambda descriptor, size: cut.append(descriptor))
    guard.look()
    which = 1
    guard.look()
    assert cut == ([5] if ours[1] else [])


def test_what_comes_with_small_messages_besides_them_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of millions it would be much."""
    came, guard, (one, other) = 0, Incoming(MOST), socket.socketpair()
    with one, other:
        place = other.fileno(), os.fstat(other.fileno()).st_ino
        monkeypatch.setattr(incoming, "_open_sockets", lambda: [place])
        monkeypatch.setattr(incoming, "_is_of_zeromq", lambda descriptor: True)
        monkeypatch.setattr(incoming, "_received", lambda descriptor: came)
        for _ in range(100):
            guard.took(place[0], 10_000 * 20, 10_000)
            came += 10_000 * (20 + 9)
            guard.look()
        assert not guard.cut.times


def test_a_connection_that_a_file_comes_over_is_left_alone() -> None:
    guard = Incoming(MOST)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as one:
        other, _ = server.accept()
        with other:
            guard.look()
            for _ in range(2 * MOST // 2**16):
                one.sendall(bytes(2**16))
                other.recv(2**16, socket.MSG_WAITALL)
            guard.look()
            one.sendall(b"the rest")
            assert other.recv(100) == b"the rest" and guard.cut.times == 0


@pytest.mark.parametrize("another", [True, False])
def test_nobody_is_cut_off_for_who_had_the_descriptor_before(another: bool) -> None:
    """A connection may end, and its descriptor be another one's, in the moment in which it is found to have sent too much."""
    guard = Incoming()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as one:
        other, _ = server.accept()
        with other:
            number = other.fileno()
            guard._connections[number] = incoming.Connection(os.fstat(number).st_ino + another, ours=True)
            assert guard._cut_down({number: 1e9}, MOST) == 0
            one.settimeout(10)
            if another:
                other.sendall(b"still there")
            assert one.recv(100) == (b"still there" if another else b"")
            assert guard.cut.times == (0 if another else 1)


@pytest.fixture
def honest(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Honest]:
    monkeypatch.setattr(incoming, "MOST_UNFINISHED", MOST // 16)
    with ExitStack() as stack:
        yield Honest(loop, stack)


class Honest:
    """A publisher, and who listens to it."""

    def __init__(self, loop: Loop, stack: ExitStack):
        self.loop = loop
        context: zmq.Context[Any] = zmq.Context()
        self.socket = stack.enter_context(context.socket(zmq.PUB))
        port = self.socket.bind_to_random_port("tcp://127.0.0.1")
        self.taken = 0
        self.listener = Listener(loop, "127.0.0.1", port, ("/a",), self._heard)
        stack.callback(self.listener.close)
        self.turn_until(lambda: self.send(1) or self.taken > 0)

    def _heard(self, messages: list[Message]) -> None:
        self.taken += len(messages)

    def send(self, count: int) -> None:
        for _ in range(count):
            self.socket.send(ENVELOPE.encode("/a", "file", {"pad": "x" * 10_000}))

    def turn_until(self, check: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 30
        while not check():
            assert time.monotonic() < deadline
            self.loop.turn(0.01)


def test_a_pause_of_ours_cuts_nobody_off(honest: Honest) -> None:
    """What waits meanwhile waits because we do not take it; also at the moment when we begin to."""
    honest.listener.pause()
    taken, until = honest.taken, time.monotonic() + 2.5
    honest.send(200)
    honest.turn_until(lambda: time.monotonic() > until)
    honest.listener.resume()
    honest.loop.incoming.look()
    honest.turn_until(lambda: honest.taken >= taken + 200)
    assert not honest.loop.incoming.cut.times


def test_a_loop_that_was_busy_cuts_nobody_off(honest: Honest) -> None:
    """A slow disk, or a slow name server: what came meanwhile could not be taken."""
    taken, until = honest.taken, time.monotonic() + 0.5
    honest.turn_until(lambda: time.monotonic() > until)

    def busy() -> None:
        honest.send(200)
        time.sleep(2.5)
    honest.loop.call(busy)
    honest.turn_until(lambda: honest.taken >= taken + 200)
    assert not honest.loop.incoming.cut.times


def test_who_sends_much_that_is_taken_is_not(loop: Loop) -> None:
    """More than may wait comes in, in whole messages, over one connection."""
    context: zmq.Context[Any] = zmq.Context()
    socket = context.socket(zmq.PUB)
    socket.setsockopt(zmq.SNDHWM, 0)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    taken: list[int] = []
    listener = Listener(loop, "127.0.0.1", port, ("/a",), lambda messages: taken.append(sum(len(each.raw) for each in messages)))
    raw = ENVELOPE.encode("/a", "file", {"pad": "x" * 100_000})
    deadline = time.monotonic() + 60
    while sum(taken) < 5 * MOST:
        assert time.monotonic() < deadline
        socket.send(raw)
        loop.turn(0.01)
    assert not loop.incoming.cut.times
    listener.close()
    socket.close(0)
    with suppress(zmq.ZMQError):
        context.term()
