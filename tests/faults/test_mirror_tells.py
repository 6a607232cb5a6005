"""Who announced what the consumers of a mirror have is told that it may go, whatever dies or cannot be reached in between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.eventually import eventually, never
from tests.support.mirrors import PATIENCE, Node, Nodes, arrived, gone
from tests.support.namespaces import LOOPBACK, Side
from tests.support.tcp_proxy import TcpProxy

REMOVING = {"delete": "true", "remove_delay": "0.2"}
BEHIND = Side(address="127.0.0.2")
BOTH = "/mirrored"


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    with Nodes(tmp_path) as nodes:
        yield nodes


def behind_proxy(nodes: Nodes, name: str, **options: str) -> tuple[Node, TcpProxy]:
    """A server whose requests pass a proxy."""
    server = nodes.server(name, BEHIND, request_address=LOOPBACK.address, trusted_acks="any", **REMOVING, **options)
    return server, TcpProxy(BEHIND.address, server.request_port, port=server.request_port)


def cut(proxy: TcpProxy) -> None:
    proxy.refusing = True
    proxy.cut_all()


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("restarted", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_who_announced_it_as_well_and_could_not_be_reached_is_told_when_it_can(nodes: Nodes, restarted: bool, late: bool) -> None:
    """The very same file, as both look at one directory: before the consumers had it, or *late*, when it was released."""
    first = nodes.server("first", delete="false")
    second, proxy = behind_proxy(nodes, "second", origin=first.options["origin"])
    mirror = nodes.mirror("mirror", [first.address, second.address])
    client = nodes.client("client", [mirror.address])

    def heard_of_the_second() -> None:
        second.program.resume()
        eventually(lambda: mirror.find("SELECT count(*) FROM sources") == [(1,)], PATIENCE, message="it is heard")
        eventually(lambda: mirror.find("SELECT count(*) FROM cursors WHERE position > 0") == [(2,)], PATIENCE,
                   message="nobody is asked again what it announced")
    with proxy:
        for node in (first, second, mirror):
            node.start()
        eventually(lambda: mirror.program.output().count("has a journal that is new") == 2, PATIENCE, message="both are heard")
        second.program.suspend()
        first.put("one.dat")
        eventually(lambda: mirror.states() == {"one.dat": "announced"}, PATIENCE, message="heard of the first")
        if not late:
            heard_of_the_second()
        cut(proxy)
        client.start()
        arrived(client, {"one.dat": b"content"})
        eventually(lambda: first.states() == {"one.dat": "acknowledged"}, PATIENCE, message="who delivered it is told")
        if late:
            heard_of_the_second()
        if restarted:
            mirror.program.kill()
            mirror.start()
        else:
            mirror.program.wait_for("requests given up", 120)
        assert second.states() == {"one.dat": "announced"}
        proxy.refusing = False
        eventually(gone(first), 60, message="the other one removes it")
    eventually(lambda: mirror.find("SELECT count(*) FROM removals") == [(0,)], PATIENCE, message="nobody is left to be told")


def test_what_was_released_is_told_though_there_are_new_consumers_meanwhile(nodes: Nodes) -> None:
    first, proxy = behind_proxy(nodes, "first", topic="/mirrored/one")
    second = nodes.server("second", topic="/mirrored/two", **REMOVING)
    mirror = nodes.mirror("mirror", [first.address, second.address], client_topic=BOTH, remove_delay="3")
    one, two = (nodes.client(name, [mirror.address], topic=f"/mirrored/{name}") for name in ("one", "two"))
    with proxy:
        nodes.start()
        first.put("one.dat")
        arrived(one, {"one.dat": b"content"})
        cut(proxy)
        eventually(gone(mirror), PATIENCE, message="it is released")
        second.put("two.dat")
        arrived(two, {"two.dat": b"content"})
        eventually(lambda: mirror.states().get("two.dat") == "acknowledged", PATIENCE, message="there is another consumer")
        mirror.program.kill()
        mirror.start()
        assert first.names() == {"one.dat"}
        proxy.refusing = False
        eventually(gone(first), PATIENCE, message="its server is told")


def test_what_was_removed_by_its_age_alone_stays_where_it_is_announced_late(nodes: Nodes) -> None:
    """Nobody has confirmed it: it may be the only one."""
    first = nodes.server("first", delete="false")
    second = nodes.server("second", origin=first.options["origin"], trusted_acks="any", **REMOVING)
    mirror = nodes.mirror("mirror", [first.address, second.address], remove_delay="600", delete_after="2")
    client = nodes.client("client", [mirror.address])
    client.armed("client.publishing:1")
    nodes.start()
    second.program.suspend()
    first.put("one.dat")
    eventually(lambda: not client.program.running, PATIENCE, message="the client dies before it can confirm")
    eventually(gone(mirror), PATIENCE, message="the copy is removed")
    second.program.resume()
    eventually(lambda: mirror.find("SELECT count(*) FROM sources") == [(1,)], PATIENCE, message="it is announced late")
    never(lambda: second.states() != {"one.dat": "announced"}, 5)
    client.armed("").start()
    arrived(client, {"one.dat": b"content"})
