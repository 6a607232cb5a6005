"""A section gets another port while files wait for its clients: they are asked for, and confirmed, where it is now."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.checker import rows
from tests.faults.network import TOPIC, Network, Recorder, section
from tests.support.eventually import eventually
from tests.support.mirrors import Node, Nodes, arrived, gone
from tests.support.namespaces import Edge
from tests.support.ports import free_port
from trollmoves.cli.retry import main as retry

DELETING: dict[str, Any] = {"delete": "true", "remove_delay": "0"}


def count(network: Network, query: str) -> int:
    return int(str(rows(network.server_journal(), query)[0][0]))


def announced(network: Network, prefix: str) -> int:
    return count(network, f"SELECT count(*) FROM announcements JOIN files ON files.id = file WHERE identity LIKE '{prefix}%'")


def move(network: Network, more: str = "") -> int:
    """Give the section another port, which the running server reads anew; the one it had."""
    before, network.request_ports[0] = network.request_ports[0], free_port()
    mark = network.servers[0].mark()
    network.write_server_config(more=more)
    network.servers[0].wait_for(r"\[send\] watches", since=mark)
    return before


def restart_elsewhere(network: Network) -> None:
    """Start the server anew with another port."""
    assert network.servers[0].stop() == 0
    network.request_ports[0] = free_port()
    network.write_server_config()
    network.servers[0].start()


@pytest.mark.slow
@pytest.mark.parametrize("restarts", [False, True], ids=["reads its configuration anew", "is started anew"])
def test_a_client_that_is_up_asks_at_the_new_port(tmp_path: Path, restarts: bool) -> None:
    """In the middle of a backlog: some are asked for, some wait in the client's journal, some are not confirmed yet."""
    with Network(tmp_path, server_options=DELETING, client_options={"in_flight": "20"}, killed=True) as network:
        network.begin()
        network.write_many(2000)
        eventually(lambda: count(network, "SELECT count(*) FROM files WHERE state IN ('moved', 'acknowledged')") > 100,
                   message="some are moved")
        restart_elsewhere(network) if restarts else move(network)
        network.settle(40, deletes=True)
        network.check(deletes=True)


@pytest.mark.slow
@pytest.mark.parametrize("asked", [False, True], ids=["nothing is asked for", "files are asked for"])
def test_a_client_that_was_stopped_asks_at_the_new_port(tmp_path: Path, asked: bool) -> None:
    """It has read or will read from its sockets what was said before; what it has sent may be lost."""
    with Network(tmp_path, server_options=DELETING, client_options={"in_flight": "20"}, killed=True) as network:
        network.begin()
        if not asked:
            network.client.suspend()
        network.write_many(1000)
        eventually(lambda: announced(network, "f") > 500, message="they are announced")
        network.client.suspend()
        restart_elsewhere(network)
        network.client.resume()
        network.settle(60, deletes=True)
        network.check(deletes=True)


@pytest.mark.slow
def test_a_client_that_was_down_asks_at_the_new_port(tmp_path: Path) -> None:
    """What it had heard of before waits in its journal, what it missed it is told; the port has changed twice."""
    with Network(tmp_path, server_options=DELETING, client_options={"in_flight": "5"}, killed=True) as network:
        network.begin()
        network.servers[0].suspend()  # so that the client is told nothing of what it asks
        network.servers[0].resume()
        network.write_many(1000, "heard")
        eventually(lambda: len(network.states(network.client_journal)) > 1, message="some wait")
        network.client.kill()
        network.write_many(20, "missed")
        eventually(lambda: announced(network, "missed") == 20, message="the others are announced")
        move(network)
        restart_elsewhere(network)
        network.client.start()
        network.settle(40, deletes=True)
        network.check(deletes=True)


@pytest.mark.slow
def test_a_client_that_is_told_to_listen_elsewhere_asks_elsewhere_too(tmp_path: Path) -> None:
    """As when the server's machine has another address: the client's `providers` is changed as well."""
    with Network(tmp_path, server_options=DELETING, client_options={"in_flight": "5"}, killed=True) as network:
        network.begin()
        network.write_many(300)
        eventually(lambda: announced(network, "f") > 200, message="they are announced")
        network.client.kill()
        assert network.servers[0].stop() == 0
        network.request_ports[0], network.publish_ports[0] = free_port(), free_port()
        network.servers[0] = network._server(0)
        network.write_server_config()
        network.write_client_config()
        network.servers[0].start()
        network.client.start()
        network.settle(40, deletes=True)
        network.check(deletes=True)


@pytest.mark.slow
@pytest.mark.parametrize("point", ["client.answered", "client.published"])
def test_what_was_moved_is_confirmed_at_the_new_port(tmp_path: Path, point: str) -> None:
    with Network(tmp_path, killed=True, server_options=DELETING) as network:
        network.begin()
        network.client.kill()
        armed = network.arm(point, 1)
        armed.start()
        network.write_many(5, "moved")
        eventually(lambda: not armed.running, 40, message="the client crashed when it had the answer")
        eventually(lambda: count(network, "SELECT count(*) FROM transfers WHERE state = 'moved'") > 0, message="not confirmed")
        restart_elsewhere(network)
        network.disarm()
        network.client.start()
        network.settle(40, deletes=True)
        network.check(deletes=True)


@pytest.mark.slow
def test_hot_spares_meet_at_the_new_port(tmp_path: Path) -> None:
    """Both members of a group are served, and one publishes."""
    with Network(tmp_path, spares=1, server_options=DELETING, client_options={"in_flight": "20"}, killed=True) as network:
        network.begin()
        network.write_many(1000)
        eventually(lambda: count(network, "SELECT count(*) FROM files WHERE state IN ('moved', 'acknowledged')") > 50,
                   message="some are moved")
        restart_elsewhere(network)
        network.settle(60, deletes=True)
        network.check(deletes=True)


@pytest.mark.slow
def test_sections_that_share_a_port_get_another_one_together(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()

    def more(network: Network, **options: str) -> str:
        return section("more", {"origin": f"{other}/{{name}}.bin", "topic": f"{TOPIC}/more", "request_address": "127.0.0.1",
                                "request_port": str(network.request_ports[0]), "listen_address": "127.0.0.1", **DELETING})
    with Network(tmp_path, server_options=DELETING, client_options={"in_flight": "5"}, killed=True) as network:
        network.write_server_config(more=more(network))
        network.begin()
        network.client.suspend()
        network.write_many(100)
        for number in range(100):
            network.ledger.note(name := f"more{number:05}.bin", data := b"more" * (number + 1))
            (tmp_path / "staging" / name).write_bytes(data)
            (tmp_path / "staging" / name).rename(other / name)
        eventually(lambda: announced(network, "f") >= 100 and announced(network, "more") == 100, message="they are announced")
        network.client.kill()
        before, network.request_ports[0] = network.request_ports[0], free_port()
        assert before != network.request_ports[0]
        mark = network.servers[0].mark()
        network.write_server_config(more=more(network))
        network.servers[0].wait_for(r"\[more\] watches", since=mark)
        network.client.start()
        network.settle(40, deletes=True)
        eventually(lambda: not any(other.iterdir()), 40, message="the origins of the other section are removed")


def test_upstream_clients_are_told_of_the_new_port_with_what_nobody_asked_for(tmp_path: Path) -> None:
    with Network(tmp_path) as network:
        network.servers[0].start()
        network.write_many(3)
        eventually(lambda: announced(network, "f") == 3, message="they are announced")
        restart_elsewhere(network)
        recorder = Recorder(network.publish_ports[0])
        try:
            eventually(lambda: len(recorder.files()) == 3, message="they are announced again")
        finally:
            recorder.close()
        assert {data["request_address"] for data in recorder.files()} == {f"127.0.0.1:{network.request_ports[0]}"}


@pytest.mark.slow
@pytest.mark.parametrize("again", [3000, 4000], ids=["of the same size", "of another size"])
@pytest.mark.parametrize("through", ["a client", "a mirror"])
def test_what_is_told_again_with_the_new_address_is_no_news(tmp_path: Path, through: str, again: int) -> None:
    """Also of content that was replaced meanwhile, which nobody can have any more."""
    with Network(tmp_path, mirror=through == "a mirror", killed=True) as network:
        network.begin()
        for size in (3000, again):
            network.write("f.bin", os.urandom(size))
            network.settle()
        restart_elsewhere(network)
        network.write("late.bin", b"late")
        network.settle()
        journal = network.client_journal if through == "a client" else tmp_path / "mirror.journal"
        query = "SELECT identity, key FROM files ORDER BY id"
        before, program = rows(journal, query), network.client if through == "a client" else network.mirrors[0]
        mark = program.mark()
        assert retry(["--since", "1d", "--journal", str(journal)]) == 0
        program.wait_for("all that was asked for again is here", since=mark)
        network.settle()
        assert rows(journal, query) == before
        network.check()


@pytest.fixture
def row(tmp_path: Path) -> Iterator[tuple[Node, Node, Node]]:
    with Nodes(tmp_path) as nodes:
        server = nodes.server(delete="true", remove_delay="0")
        mirror = nodes.mirror("mirror", [server.address], remove_delay="0.3")
        client = nodes.client("client", [mirror.address], in_flight=5)
        nodes.start()
        yield server, mirror, client


def move_node(node: Node, restarts: bool) -> None:
    node.request_port = free_port()
    if restarts:
        node.stop()
    mark = node.program.mark()
    node.configure(request_port=node.request_port)
    if restarts:
        node.start()
    node.program.wait_for(r"\[section\] (watches|mirrors)", since=mark)


@pytest.mark.slow
@pytest.mark.parametrize("restarts", [False, True], ids=["reads its configuration anew", "is started anew"])
@pytest.mark.parametrize("moved", ["server", "mirror", "both"])
def test_a_mirror_follows_its_server_and_is_followed(row: tuple[Node, Node, Node], moved: str, restarts: bool) -> None:
    server, mirror, client = row
    wanted = {f"f{number:04}.dat": b"content" * (number + 1) for number in range(300)}
    for name, content in wanted.items():
        server.put(name, content)
    eventually(lambda: len(client.names() & wanted.keys()) > 20, message="some are there")
    for node in (server, mirror):
        if moved in (node.folder.name, "both"):
            move_node(node, restarts)
    arrived(client, wanted, 60)
    eventually(gone(server, mirror), 60, message="origins and copies are removed when the client has the files")


@pytest.mark.slow
def test_a_section_that_leaves_a_port_to_another_one_says_what_to_do(tmp_path: Path) -> None:
    """Clients cannot be told: what they know of is an address, which is another section's."""
    with Network(tmp_path, killed=True) as network:
        other = section("other", {"origin": f"{tmp_path}/other/{{name}}.bin", "topic": "/other", "request_address": "127.0.0.1",
                                  "request_port": str(network.request_ports[0]), "listen_address": "127.0.0.1"})
        (tmp_path / "other").mkdir()
        network.write_server_config(more=other)
        network.begin()
        move(network, more=other)
        network.servers[0].wait_for(r"\[send\].*trollmoves retry --since")
        assert not re.search("Traceback", network.servers[0].output())
        network.write_many(5, "after")
        network.settle()


@pytest.mark.slow
def test_a_machine_that_gets_its_network_late_and_another_address_then(tmp_path: Path) -> None:
    """Its server goes on running: what it announced as one that nobody reaches, or at the address it had, is had where it is."""
    with Edge() as edge, Nodes(tmp_path) as nodes:
        if not edge.separate:
            pytest.skip("needs a network of its own")
        server = nodes.server(side=edge.left, request_address=None, listen_address="*", allowed_destinations="any", **DELETING)
        give_address(edge, None)
        server.start()
        wanted: dict[str, bytes] = {}

        def announce(prefix: str, address: str) -> None:
            names = {f"{prefix}{number}.dat": prefix.encode() for number in range(20)}
            for name, content in names.items():
                server.put(name, content)
            query = f"SELECT count(*) FROM announcements WHERE message LIKE '%{prefix}%\"request_address\":\"{address}:%'"
            eventually(lambda: server.find(query) == [(20,)], message=f"they are announced with {address}")
            wanted.update(names)
        announce("early", "127.0.0.1")
        give_address(edge, edge.left.address)
        client = nodes.client("client", [server.address], edge.middle_left).start()
        arrived(client, wanted, 120)
        client.stop()
        announce("then", edge.left.address)
        give_address(edge, "10.231.1.3")
        client.configure(providers=f"10.231.1.3:{server.port}")
        client.start()
        arrived(client, wanted, 120)
        announce("late", "10.231.1.3")
        arrived(client, wanted, 120)
        eventually(gone(server), 60, message="origins are removed")


def give_address(edge: Edge, address: str | None) -> None:
    """To the machine on the left, in the place of the one it has."""
    def ip(*words: str) -> str:
        return subprocess.run([*edge.left.prefix, "ip", *words], check=True, capture_output=True, text=True, timeout=20).stdout
    device = next(line.split(":")[1].split("@")[0].strip() for line in ip("-o", "link").splitlines() if "LOOPBACK" not in line)
    ip("address", "flush", "dev", device)
    if address is not None:
        ip("address", "add", f"{address}/24", "dev", device)
