"""What a server tells of the addresses its sections had before."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trollmoves.journal import Journal
from trollmoves.server.addresses import KEPT, KEPT_FOR, Addresses

HERE = "192.0.2.7"


class Server:
    """The addresses of a server, which is on a machine of which the test says what it is called."""

    def __init__(self, path: Path):
        self.path = path
        self.hosts: tuple[str, ...] = (HERE,)
        self.now = 1_700_000_000.0
        self.start()

    def start(self) -> None:
        def call_all(calls: list[tuple[Callable[..., Any], tuple[Any, ...]]]) -> None:
            for function, arguments in calls:
                function(*arguments)
        self.journal = Journal(self.path, call_all, lambda error: print(error))
        self.addresses = Addresses(self.journal, lambda: self.hosts[0], lambda: frozenset((*self.hosts, "127.0.0.1")),
                                   lambda: self.now)

    def is_called(self, *hosts: str) -> None:
        """The first is that of the default route."""
        self.hosts = hosts

    def restart(self) -> Server:
        self.close()
        self.start()
        return self

    def close(self) -> None:
        done = threading.Event()
        self.journal.write([], done.set)
        assert done.wait(60)
        self.journal.close()

    def serve(self, address: str, section: str = "send", chosen: bool = True) -> dict[str, str]:
        self.addresses.serve(section, address, chosen=chosen)
        return self.addresses.moved()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "j")
    yield server
    server.close()


def test_what_was_announced_at_every_earlier_address_is_where_the_section_is_now(server: Server) -> None:
    assert server.serve("a:1") == {}
    assert server.restart().serve("a:1") == {}
    assert server.restart().serve("a:2") == {"a:1": "a:2"}
    assert server.restart().serve("b:2") == {"a:1": "b:2", "a:2": "b:2"}
    assert server.restart().serve("a:1") == {"a:2": "a:1", "b:2": "a:1"}


def test_nothing_is_told_of_a_section_that_is_not_served(server: Server) -> None:
    server.serve("a:1")
    server.serve("a:2")
    server.addresses.leave("send")
    assert server.addresses.moved() == {}
    assert server.restart().addresses.moved() == {}


def test_sections_that_shared_a_place_and_left_it_together_have_moved(server: Server) -> None:
    server.serve("a:1", "one")
    server.serve("a:1", "two")
    server.restart().serve("a:2", "one")
    assert server.serve("a:2", "two") == {"a:1": "a:2"}


@pytest.mark.parametrize("one, two", [("a:1", "a:2"), ("a:2", "a:3")], ids=["one stays", "they part"])
def test_what_could_be_of_several_sections_is_told_to_the_operator_only(
        server: Server, one: str, two: str, caplog: pytest.LogCaptureFixture) -> None:
    server.serve("a:1", "one")
    server.serve("a:1", "two")
    server.restart().serve(one, "one")
    with caplog.at_level(logging.WARNING):
        assert server.serve(two, "two") == {}
        assert server.addresses.moved() == {}
    assert [record.getMessage() for record in caplog.records if "retry --since 1d --chain two" in record.getMessage()] != []
    assert len(caplog.records) == len(set(map(str, caplog.messages))), "once"


def test_sections_that_change_places_are_not_told_of(server: Server) -> None:
    server.serve("a:1", "one")
    server.serve("a:2", "two")
    server.restart().serve("a:2", "one")
    assert server.serve("a:1", "two") == {}


def test_a_machine_without_network_has_not_moved(server: Server) -> None:
    server.serve(f"{HERE}:1", chosen=False)
    server.is_called("127.0.0.1")
    assert server.restart().serve("127.0.0.1:1", chosen=False) == {}
    assert list(server.addresses.lost()) == []
    server.is_called(HERE)
    assert list(server.addresses.lost()) == ["send"], "it announces as one that nobody reaches"
    assert server.serve(f"{HERE}:1", chosen=False) == {"127.0.0.1:1": f"{HERE}:1"}, "what it announced meanwhile"
    assert list(server.addresses.lost()) == []


def test_a_machine_that_loses_its_network_keeps_its_address(server: Server) -> None:
    server.serve(f"{HERE}:1", chosen=False)
    server.is_called("127.0.0.1")
    assert list(server.addresses.lost()) == []


def test_a_machine_that_has_another_address_has_moved(server: Server) -> None:
    server.serve(f"{HERE}:1", chosen=False)
    server.is_called("192.0.2.8")
    assert list(server.addresses.lost()) == ["send"]
    assert server.serve("192.0.2.8:1", chosen=False) == {f"{HERE}:1": "192.0.2.8:1"}


def test_a_machine_with_one_more_address_is_where_it_was(server: Server) -> None:
    """The default route may go through a tunnel that clients do not reach."""
    server.serve(f"{HERE}:1", chosen=False)
    server.is_called("10.8.0.1", HERE)
    assert list(server.addresses.lost()) == []
    assert server.restart().serve("10.8.0.1:1", chosen=False) == {}
    server.is_called("10.8.0.1")
    assert server.addresses.moved() == {f"{HERE}:1": "10.8.0.1:1"}, "that one has gone"


def test_an_address_an_operator_chose_is_never_lost(server: Server) -> None:
    server.serve("127.0.0.1:1")
    assert list(server.addresses.lost()) == []
    assert server.serve("127.0.0.1:2") == {"127.0.0.1:1": "127.0.0.1:2"}


def test_few_addresses_are_remembered_and_not_for_ever(server: Server) -> None:
    for port in range(1, 2 * KEPT):
        server.serve(f"a:{port}")
    assert len(server.addresses.moved()) == KEPT - 1
    server.now += KEPT_FOR + 60
    assert server.serve("b:1") == {f"a:{2 * KEPT - 1}": "b:1"}, "that one lasted until now"
