"""What waits for a peer that does not read, wherever it waits."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from trollmoves.bus import unread
from trollmoves.bus.unread import Unread, acknowledged
from trollmoves.faults.waiting import eventually

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as ours:
        theirs, _ = server.accept()
        with theirs:
            yield ours, theirs


def test_what_was_not_even_handed_to_the_system_waits_as_well(pair: Pair) -> None:
    ours, _ = pair
    waiting = Unread()
    waiting.takes(b"a", ours.fileno(), 1000)
    ours.sendall(bytes(400))
    eventually(lambda: waiting.of(b"a", ours.fileno()) == 600)
    waiting.takes(b"a", ours.fileno(), 500)
    assert waiting.of(b"a", ours.fileno()) == 1100


def test_what_was_taken_waits_no_more_and_nothing_is_saved_up(pair: Pair) -> None:
    """Small replies are not counted, and must not make room for large ones later."""
    ours, _ = pair
    waiting = Unread()
    waiting.takes(b"a", ours.fileno(), 1000)
    ours.sendall(bytes(50_000))
    eventually(lambda: waiting.of(b"a", ours.fileno()) == 0)
    eventually(lambda: (acknowledged(ours.fileno()) or 0) >= 50_000)
    waiting.takes(b"a", ours.fileno(), 700)
    assert waiting.of(b"a", ours.fileno()) == 700


def test_many_who_do_not_read_share_what_may_wait(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unread, "MOST_IN_ALL", 4000)
    monkeypatch.setattr(unread, "MOST_UNREAD", 1000)
    ours, _ = pair
    waiting = Unread()
    for name in range(4):
        waiting.takes(bytes([name]), ours.fileno(), 900)
    assert waiting.takes(b"\0", ours.fileno(), 10)
    assert waiting.takes(b"\4", ours.fileno(), 10)
    assert not waiting.takes(b"\0", ours.fileno(), 10)
    assert waiting.of(b"\0", ours.fileno()) == 910, "what is not sent is not counted"
    assert waiting.takes(b"\4", ours.fileno(), 10), "whoever reads gets more"


def test_the_system_is_asked_once_for_a_reply(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(unread, "acknowledged", lambda descriptor: asked.append(descriptor) or 0)
    waiting, (ours, _) = Unread(), pair
    assert waiting.takes(b"a", ours.fileno(), 10) and waiting.takes(b"a", ours.fileno(), 10)
    assert asked == [ours.fileno()] * 2


def test_connections_are_told_apart_by_their_identities(pair: Pair) -> None:
    ours, _ = pair
    waiting = Unread()
    waiting.takes(b"a", ours.fileno(), 1000)
    assert waiting.of(b"b", ours.fileno()) == 0
    waiting.forget(b"a")
    assert waiting.of(b"a", ours.fileno()) == 0


def test_nothing_is_held_against_a_peer_whose_connection_is_not_known(pair: Pair) -> None:
    ours, _ = pair
    waiting = Unread()
    waiting.takes(b"a", ours.fileno(), 1000)
    with open("/dev/null") as other:
        assert waiting.of(b"a", other.fileno()) == 0
        waiting.takes(b"b", other.fileno(), 1000)
    waiting.takes(b"b", -1, 1000)
    assert waiting.of(b"a", -1) == waiting.of(b"b", -1) == 0


def test_of_many_connections_those_that_are_over_are_forgotten(pair: Pair) -> None:
    """Whoever made a thousand could be sent as much again over the ones before, which it did not read either."""
    waiting, (ours, _) = Unread(), pair
    waiting.takes(b"kept", ours.fileno(), 10)
    with socket.create_server(("127.0.0.1", 0)) as server:
        for number in range(2 * unread.MANY_CONNECTIONS):
            with socket.create_connection(server.getsockname()) as other, server.accept()[0]:
                waiting.takes(str(number).encode(), other.fileno(), 10)
    assert waiting.of(b"kept", ours.fileno()) == 10
    assert len(waiting) <= unread.MANY_CONNECTIONS
