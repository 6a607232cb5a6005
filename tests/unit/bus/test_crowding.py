"""How many connections stay, and whose."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Iterator

import pytest

from tests.support.eventually import eventually
from trollmoves.bus import Loop, addresses, crowding, incoming
from trollmoves.bus.crowding import Crowd, make_room, room, share_of
from trollmoves.bus.replying import Replier
from trollmoves.bus.sockets import KEPT_ALIVE, end_context
from trollmoves.messages import Envelope


@pytest.mark.parametrize(("counts", "most", "share"), [
    ([5, 1000], 100, 95), ([1000, 1000], 100, 50), ([3], 2, 2), ([], 2, 1), ([1] * 50, 10, 1), ([2, 3, 4], 9, 4)])
def test_who_has_few_keeps_them(counts: list[int], most: int, share: int) -> None:
    assert share_of(counts, most) == share


def test_a_process_may_have_as_many_open_as_the_system_lets_it() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(500, before[1]), before[1]))
        assert room() <= 250
        make_room()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(crowding.DESCRIPTORS, before[1]), before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_six_hundred_clients_that_connect_anew_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """On hosts of their own or on one: each has two connections, and two that broke off and are not over yet."""
    monkeypatch.setattr(resource, "getrlimit", lambda which: (crowding.DESCRIPTORS, crowding.DESCRIPTORS))
    assert share_of([4] * 600, room()) == 4
    assert share_of([4 * 600], room()) == 4 * 600
    assert share_of([4] * 600 + [40_000], room()) >= 4, "nor while somebody has thousands"


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """Ten connections, and their other ends."""
    made = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        for _ in range(10):
            client = socket.create_connection(server.getsockname())
            made.append((server.accept()[0], client))
        yield made
    for ends in made:
        for end in ends:
            end.close()


def test_a_number_that_another_socket_has_by_now_is_nobodys_connection() -> None:
    one, other = socket.socketpair()
    with one, other:
        crowd = Crowd()
        crowd.look({one.fileno(): (True, 0.0), other.fileno(): (True, 0.0)}, most=1)
        one.sendall(b"still there")
        assert other.recv(20) == b"still there"
        assert crowd.cut.times == 0


def is_open(connection: socket.socket) -> bool:
    connection.settimeout(0.05)
    try:
        return connection.recv(1) != b""
    except TimeoutError:
        return True


def test_those_over_which_nothing_has_come_go_first_and_then_the_newest(pairs: list[tuple[socket.socket, socket.socket]]) -> None:
    crowd = Crowd()
    crowd.ports.add(pairs[0][0].getsockname()[1])
    crowd.look({here.fileno(): (number < 3, -float(number)) for number, (here, _) in enumerate(pairs)}, 5)
    assert [number for number, (_, there) in enumerate(pairs) if is_open(there)] == [5, 6, 7, 8, 9]
    assert crowd.cut.times == 5


def test_no_connection_that_we_made_ourselves_goes(pairs: list[tuple[socket.socket, socket.socket]]) -> None:
    crowd = Crowd()
    crowd.ports.add(pairs[0][0].getsockname()[1])
    crowd.look({there.fileno(): (True, 0.0) for _, there in pairs}, 5)
    assert all(is_open(here) for here, _ in pairs)


@pytest.fixture
def no_descriptor(pairs: list[tuple[socket.socket, socket.socket]]) -> Iterator[None]:
    """This process may open nothing more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    addresses.own_address()
    taken = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 2, before[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for descriptor in taken:
            os.close(descriptor)


@pytest.mark.usefixtures("no_descriptor")
def test_who_has_taken_all_descriptors_loses_connections(pairs: list[tuple[socket.socket, socket.socket]],
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowding, "MOST_CONNECTIONS", 4)
    for here, _ in pairs:
        for option, value in zip((socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT), KEPT_ALIVE, strict=True):
            here.setsockopt(socket.IPPROTO_TCP, option, value)
    watched = incoming.Incoming()
    watched.crowd.ports.add(pairs[0][0].getsockname()[1])
    watched.look()
    assert watched.crowd.cut.times == 6
    assert len([there for _, there in pairs if is_open(there)]) == 4
    for here, _ in pairs:
        os.fstat(here.fileno())  # raises if its descriptor was closed behind it


@pytest.mark.usefixtures("no_descriptor")
def test_without_descriptors_a_machine_is_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_known", known := addresses._Known(addresses={"192.0.2.1"}, address="192.0.2.1"))
    assert (addresses.own_address(), addresses.own_addresses()) == ("192.0.2.1", {"192.0.2.1"})
    known.address = ""
    assert addresses.own_address() == "192.0.2.1"


def test_a_port_loses_those_that_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "EVERY", 0.1)
    monkeypatch.setattr(crowding, "MOST_CONNECTIONS", 20)
    loop = Loop()
    replier = Replier(loop, 0, Envelope("somebody@somewhere"), lambda requests: None)
    loop.look_at_incoming()
    connections = [socket.create_connection(("127.0.0.1", replier.port)) for _ in range(50)]
    try:
        def cut() -> bool:
            loop.turn(0.05)
            time.sleep(0.01)
            return loop.incoming.crowd.cut.times >= 30
        eventually(cut, message="30 are cut off")
        assert loop.incoming.crowd.cut.times == 30
    finally:
        for connection in connections:
            connection.close()
        replier.close()
        loop.close()
        end_context()
    assert not loop.incoming.crowd.ports
