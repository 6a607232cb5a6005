"""A server of root's knows whose process on its machine asks, whatever hangs up and whatever takes its place."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
import zmq

from tests.support.eventually import eventually
from tests.support.unavailable import need_family
from trollmoves.bus import Loop, owners
from trollmoves.bus.owners import Owners, owner_in_table, owner_of
from trollmoves.bus.replying import Asker, Replier
from trollmoves.bus.sockets import bound, close, descriptor_of, held
from trollmoves.messages import Envelope, Message

NOBODY = 65534
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x05READY" + b"\x0bSocket-Type" + (6).to_bytes(4, "big") + b"DEALER"
ME = Envelope("me@here")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Station:
    """Who asks at a port of ours."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.asked: list[tuple[Asker, Message]] = []
        self.replier = Replier(self.loop, 0, ME, self.asked.extend, address="127.0.0.1")

    def hears(self, count: int) -> list[tuple[str, bool | None]]:
        """What the first *count* requests said, and whether a stranger sent them."""
        def all_there() -> bool:
            self.loop.turn(0.05)
            return len(self.asked) >= count
        eventually(all_there, interval=0.0)
        return [(message.subject, asker.stranger) for asker, message in self.asked]

    def connection(self, user: int, family: int = socket.AF_INET) -> socket.socket:
        need_family(family)
        os.seteuid(user)
        try:
            made = socket.socket(family)
        finally:
            os.seteuid(0)
        made.settimeout(10)
        made.connect(("127.0.0.1" if family == socket.AF_INET else "::ffff:127.0.0.1", self.replier.port))
        return made


@pytest.fixture
def station() -> Iterator[Station]:
    made = Station()
    yield made
    made.replier.close(0)
    made.loop.close()


def introduce(made: socket.socket) -> None:
    made.sendall(GREETING)
    greeting = b""
    while len(greeting) < len(GREETING):
        greeting += made.recv(len(GREETING) - len(greeting))
    made.sendall(b"\x04" + bytes([len(READY)]) + READY)
    assert made.recv(1000)


def say(made: socket.socket, subject: str) -> None:
    raw = ME.encode(subject, "ping")
    made.sendall(b"\x01\x00" + b"\x00" + bytes([len(raw)]) + raw)


@as_root
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_roots_processes_are_told_from_others(station: Station, family: int) -> None:
    with closing(station.connection(0, family)) as ours, closing(station.connection(NOBODY, family)) as other:
        for made, subject in ((ours, "/roots"), (other, "/nobody")):
            introduce(made)
            say(made, subject)
        assert sorted(station.hears(2)) == [("/nobody", True), ("/roots", False)]


@as_root
def test_who_hangs_up_is_not_taken_for_root_who_comes_next(station: Station) -> None:
    """Its request is read when its descriptor is that of the next connection."""
    before = station.connection(NOBODY)
    introduce(before)
    say(before, "/nobody")
    hang_up(before)
    with closing(station.connection(0)) as ours:
        introduce(ours)
        say(ours, "/roots")
        time.sleep(1.0)  # both wait, on a busy machine too
        heard = station.hears(2)
        assert heard == [("/nobody", None), ("/roots", None)], "either may have said either"
        assert station.asked[0][0].descriptor == station.asked[1][0].descriptor, "the descriptor was used again"
        say(ours, "/roots/again")
        assert station.hears(3)[2] == ("/roots/again", False), "when all from before is read it is root's alone"


@as_root
def test_root_that_comes_after_somebody_who_was_heard_is_known_at_once(station: Station) -> None:
    """Both with one descriptor: connections have names of their own, which tell them apart once one was heard."""
    before = station.connection(NOBODY)
    introduce(before)
    say(before, "/nobody")
    assert station.hears(1) == [("/nobody", True)]
    say(before, "/nobody/last")
    hang_up(before)
    with closing(station.connection(0)) as ours:
        introduce(ours)
        say(ours, "/roots")
        time.sleep(0.2)
        assert sorted(station.hears(3))[1][1] is not False
        assert ("/roots", False) in station.hears(3)
    assert len({asker.descriptor for asker, _ in station.asked}) == 1


@as_root
def test_root_that_asks_over_one_connection_after_the_other_is_no_stranger(station: Station) -> None:
    """As upstream's clients do: also when the descriptor is used again before anything is read."""
    for count in range(1, 6):
        ours = station.connection(0)
        introduce(ours)
        say(ours, f"/{count}")
        time.sleep(0.05)  # what began, what ended and what was said wait together
        assert station.hears(count)[-1] == (f"/{count}", False)
        hang_up(ours)
    assert len({asker.descriptor for asker, _ in station.asked}) < 5, "a busy machine may let go of one late, not of all"


@as_root
def test_root_is_known_also_while_so_much_comes_in_that_nothing_is_forgotten() -> None:
    router, port = bound(zmq.ROUTER, "127.0.0.1", 0)
    found, descriptors = Owners(router, port), set()
    try:
        for count in range(120):
            with closing(socket.create_connection(("127.0.0.1", port), 10)) as ours:
                introduce(ours)
                say(ours, f"/{count}")
                assert router.poll(10_000)
                frames = router.recv_multipart(copy=False)
                assert found.is_ours(descriptor_of(frames[-1]), "127.0.0.1", frames[0].bytes)
                descriptors.add(descriptor_of(frames[-1]))
        assert len(descriptors) < 10, "they are used again"
    finally:
        found.close()
        close(router)


@as_root
def test_connections_that_nobody_has_noted_yet_hold_up_neither_others_nor_the_end(station: Station) -> None:
    for _ in range(3000):  # more than ZeroMQ has room for, unless told otherwise
        station.connection(0).close()
    with closing(station.connection(0)) as ours:
        introduce(ours)
        say(ours, "/after")
        assert station.hears(1)[0][0] == "/after"
    for _ in range(3000):
        station.connection(0).close()


Accepted = tuple[Owners, int, list[list[tuple[int, int]]]]


@pytest.fixture
def accepted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Accepted]:
    """Owners, the descriptor of a connection of ours to their port, and the events that they will note: those of each look."""
    router, _ = bound(zmq.ROUTER, "127.0.0.1", 0)
    events: list[list[tuple[int, int]]] = []
    monkeypatch.setattr(owners, "_waiting", lambda socket: events.pop(0) if events else [])
    with connected(socket.AF_INET, "127.0.0.1") as (_, other):
        found = Owners(router, other.getsockname()[1])
        yield found, other.fileno(), events
        found.close()
    close(router)


def test_who_ended_while_it_was_looked_at_may_have_been_another(accepted: Accepted) -> None:
    """What was looked at is the next connection already, with its descriptor, of which nobody has told yet."""
    found, descriptor, events = accepted
    events += [[(zmq.EVENT_ACCEPTED, descriptor)], [(zmq.EVENT_DISCONNECTED, descriptor)]]
    assert found.is_ours(descriptor, "127.0.0.1", b"x") is None
    events += [[(zmq.EVENT_ACCEPTED, descriptor)]]
    assert found.is_ours(descriptor, "127.0.0.1", b"x") is None, "it may still be what the first one said"
    found.drained()
    assert found.is_ours(descriptor, "127.0.0.1", b"y") is True


def test_a_descriptor_that_is_of_another_connection_by_now_tells_nothing(accepted: Accepted) -> None:
    found, descriptor, events = accepted
    events += [[(zmq.EVENT_ACCEPTED, descriptor)]]
    assert found.is_ours(descriptor, "127.0.0.1", b"x") is True
    with connected(socket.AF_INET, "127.0.0.1") as (_, another):
        os.dup2(another.fileno(), descriptor)
    assert found.is_ours(descriptor, "127.0.0.1", b"x") is None


def test_a_descriptor_that_is_of_a_connection_to_elsewhere_tells_nothing(accepted: Accepted) -> None:
    """Such as one that this process has made itself."""
    found, descriptor, events = accepted
    found._port += 1
    events += [[(zmq.EVENT_ACCEPTED, descriptor)]]
    assert found.is_ours(descriptor, "127.0.0.1", b"x") is None


def test_of_very_many_connections_of_others_none_becomes_roots(accepted: Accepted, monkeypatch: pytest.MonkeyPatch) -> None:
    found, descriptor, events = accepted
    monkeypatch.setattr(owners, "owner_of", lambda *ends: os.geteuid() + 1)
    events += [[(zmq.EVENT_ACCEPTED, descriptor)], []]
    for _ in range(2 * owners.MOST_FOLLOWED):
        found.note()
        events += [[(zmq.EVENT_DISCONNECTED, descriptor), (zmq.EVENT_ACCEPTED, descriptor)], []]
    found.note()
    monkeypatch.setattr(owners, "owner_of", lambda *ends: os.geteuid())
    assert found.is_ours(descriptor, "127.0.0.1", b"x") is False
    assert len(found._connections[descriptor]) <= owners.MOST_FOLLOWED


def test_who_was_looked_at_while_others_came_and_went_is_looked_at_again(accepted: Accepted) -> None:
    """It may have ended meanwhile, and have been followed by the one that was looked at."""
    found, descriptor, events = accepted
    nobodys = 10**6
    events += [[(zmq.EVENT_ACCEPTED, descriptor)], *([(zmq.EVENT_ACCEPTED, nobodys)] for _ in range(owners.MOST_LOOKS - 1))]
    assert found.is_ours(descriptor, "127.0.0.1", b"x") is None
    assert found.is_ours(descriptor, "127.0.0.1", b"x") is True


def hang_up(made: socket.socket) -> None:
    """Close it; returns when the descriptor of its other end, which is in this process too, may be used again."""
    descriptor, inode = next(found for found in map(other_end, os.listdir("/proc/self/fd")) if found[2] == made.getsockname())[:2]
    made.close()
    eventually(lambda: inode_of(descriptor) != inode)


def other_end(descriptor: str) -> tuple[int, int, object]:
    """A descriptor, what it is of, and to where that is connected."""
    try:
        with held(int(descriptor)) as copy:
            return int(descriptor), os.fstat(copy.fileno()).st_ino, copy.getpeername()
    except (OSError, ValueError):
        return int(descriptor), 0, None


def inode_of(descriptor: int) -> int:
    try:
        return os.fstat(descriptor).st_ino
    except OSError:
        return 0


@contextmanager
def connected(family: int, address: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    need_family(family)
    with (socket.create_server((address, 0), family=family) as listening,
          socket.create_connection(listening.getsockname()[:2]) as one, listening.accept()[0] as other):
        yield one, other


@pytest.mark.parametrize("family, address", [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_the_kernel_and_its_table_say_the_same(family: int, address: str) -> None:
    with connected(family, address) as (one, other):
        for look in (owner_of, owner_in_table):
            assert look(family, other.getpeername(), other.getsockname()) == os.geteuid()
        one.close()
        for look in (owner_of, owner_in_table):
            assert look(family, other.getpeername(), other.getsockname()) is None, "what nobody holds is not root's"
