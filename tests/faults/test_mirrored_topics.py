"""One file that is announced under two subjects, which one section mirrors: who listens to either has it, once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from tests.faults.network import Recorder
from tests.support.eventually import eventually, never
from tests.support.mirrors import PATIENCE, Node, Nodes, arrived, gone
from trollmoves.messages import Envelope, decode

ONE, TWO, BOTH = "/mirrored/one", "/mirrored/two", "/mirrored"
REMOVING = {"delete": "true", "remove_delay": "0.2"}


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    with Nodes(tmp_path) as nodes:
        yield nodes


def scene(nodes: Nodes, **options: str) -> tuple[Node, Node, Node]:
    """Two servers, and a mirror of both."""
    first, second = nodes.server("first", topic=ONE, **REMOVING), nodes.server("second", topic=TWO, **REMOVING)
    return first, second, nodes.mirror("mirror", [first.address, second.address], client_topic=BOTH, **options)


def published(client: Node) -> list[tuple[object, ...]]:
    return client.find("SELECT subject FROM announcements ORDER BY position")


def told_to(mirror: Node) -> list[tuple[object, ...]]:
    """What its clients listen to, by group."""
    return mirror.find("SELECT consumer_group, topic FROM consumer_topics")


def stays(names: set[str], first: Node, second: Node, mirror: Node) -> None:
    """Nothing but *names*, all of the second server."""
    eventually(lambda: not first.names() and mirror.names() <= names, PATIENCE, message="what all have is removed")
    never(lambda: second.names() != names or mirror.names() != names, 3)


def announced(mirror: Node, count: int) -> None:
    eventually(lambda: mirror.find("SELECT count(*) FROM announcements") == [(count,)], PATIENCE, message="they are announced")


def test_each_client_has_it_under_its_own_subject(nodes: Nodes) -> None:
    first, second, mirror = scene(nodes, delete="first")
    one, two = (nodes.client(name, [mirror.address], topic=topic) for name, topic in (("one", ONE), ("two", TWO)))
    nodes.start()
    first.put("one.dat")
    second.put("one.dat")
    for client in (one, two):
        arrived(client, {"one.dat": b"content"})
    eventually(gone(first, second, mirror), PATIENCE, message="all is removed")
    assert (published(one), published(two)) == ([(ONE,)], [(TWO,)])


@pytest.mark.parametrize("content", [b"content", b"another"])
def test_a_client_of_both_has_each_content_once(nodes: Nodes, content: bytes) -> None:
    first, second, mirror = scene(nodes)
    client = nodes.client("client", [mirror.address], topic=BOTH)
    nodes.start()
    first.put("one.dat")
    announced(mirror, 1)
    second.put("one.dat", content)
    eventually(lambda: (client.files / "one.dat").read_bytes() == content, PATIENCE, message="it arrives")
    eventually(gone(first, second, mirror), PATIENCE, message="all is removed")
    wanted = [(ONE,)] if content == b"content" else [(ONE,), (TWO,)]
    eventually(lambda: sorted(published(client)) == wanted, PATIENCE, message="it is published")
    never(lambda: len(published(client)) > len(wanted), 2)


def test_contents_of_one_size_are_not_mixed_up(nodes: Nodes) -> None:
    first, second, mirror = scene(nodes, delete="first")
    one, two = (nodes.client(name, [mirror.address], topic=topic) for name, topic in (("one", ONE), ("two", TWO)))
    nodes.start()
    names = [f"f{number}.dat" for number in range(10)]
    for name in names:
        first.put(name, b"content")
        second.put(name, b"another")
    arrived(one, dict.fromkeys(names, b"content"))
    arrived(two, dict.fromkeys(names, b"another"))
    eventually(gone(first, second, mirror), PATIENCE, message="all is removed")
    assert (len(published(one)), len(published(two))) == (10, 10)


def test_who_comes_late_to_one_subject_has_it_though_the_other_is_over(nodes: Nodes) -> None:
    """And the server of that subject keeps its file until then."""
    first, second, mirror = scene(nodes, delete="first")
    one, two = (nodes.client(name, [mirror.address], topic=topic) for name, topic in (("one", ONE), ("two", TWO)))
    for node in (first, second, mirror, one):
        node.start()
    first.put("one.dat")
    second.put("one.dat")
    announced(mirror, 2)
    arrived(one, {"one.dat": b"content"})
    eventually(gone(first, mirror), PATIENCE, message="the first is removed")
    never(lambda: second.names() != {"one.dat"}, 3)
    two.start()
    arrived(two, {"one.dat": b"content"})
    eventually(gone(second, mirror), PATIENCE, message="the second is removed")


@pytest.mark.parametrize("point", ["mirror.announced:2", "mirror.published:1"])
def test_a_kill_between_the_two_announcements_loses_neither(nodes: Nodes, point: str) -> None:
    first, second, mirror = scene(nodes, delete="first")
    one, two = (nodes.client(name, [mirror.address], topic=topic) for name, topic in (("one", ONE), ("two", TWO)))
    mirror.armed(point)
    nodes.start()
    first.put("one.dat")
    if point.endswith("2"):
        announced(mirror, 1)
    second.put("one.dat")
    eventually(lambda: not mirror.program.running, PATIENCE, message="it dies")
    mirror.armed("")
    mirror.start()
    for client in (one, two):
        arrived(client, {"one.dat": b"content"})
    eventually(gone(first, second, mirror), PATIENCE, message="all is removed")
    assert (published(one), published(two)) == ([(ONE,)], [(TWO,)])


def test_a_client_that_knows_names_only_is_served_what_it_heard_of(nodes: Nodes, tmp_path: Path) -> None:
    """The servers have it under one path, as hosts that are set up alike do."""
    first, second = nodes.server("first", topic=ONE), nodes.server("second", topic=TWO)
    second.configure(origin=first.options["origin"])
    mirror = nodes.mirror("mirror", [first.address, second.address], client_topic=BOTH, delete="false")
    heard = Recorder(mirror.port)
    try:
        for node in (first, second, mirror):
            node.start()
        first.put("one.dat")
        eventually(lambda: len(heard.files()) == 2, PATIENCE, message="both are announced")
        message = next(message for message in map(decode, (text.encode() for text in heard.texts))
                       if message.subject == ONE and message.type == "file")
    finally:
        heard.close()
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.linger, socket.rcvtimeo = 0, 20_000
        socket.connect(f"tcp://127.0.0.1:{mirror.request_port}")
        for kind in ("push", "ack"):
            socket.send(Envelope.of_this_process().encode_like(message, kind, {"destination": f"file://{tmp_path}/in/"}))
            assert decode(socket.recv()).type in ("file", "ack")

    def steps(server: Node) -> str:
        return str(mirror.find(f"SELECT steps FROM files WHERE provider = '127.0.0.1:{server.request_port}'"))
    eventually(lambda: '"acknowledged"' in steps(first), PATIENCE, message="the ack is noted")
    assert '"requested"' not in steps(second)


def test_a_file_waits_for_those_who_listen_to_its_subject(nodes: Nodes) -> None:
    """Also for one that is away, and when the mirror was started anew."""
    first, second, mirror = scene(nodes)
    one, two, both = (nodes.client(name, [mirror.address], topic=topic, group=name)
                      for name, topic in (("one", ONE), ("two", TWO), ("both", BOTH)))
    nodes.start()
    first.put("a1.dat")
    second.put("a2.dat")
    for client, names in ((one, ["a1.dat"]), (two, ["a2.dat"]), (both, ["a1.dat", "a2.dat"])):
        arrived(client, dict.fromkeys(names, b"content"))
    eventually(gone(first, second, mirror), PATIENCE, message="both are removed")
    two.stop()
    for number in (1, 2):
        first.put(f"b{number}.dat")
        second.put(f"c{number}.dat")
        for client, names in ((one, [f"b{number}.dat"]), (both, [f"b{number}.dat", f"c{number}.dat"])):
            arrived(client, dict.fromkeys(names, b"content"))
        waits = {f"c{each}.dat" for each in range(1, number + 1)}
        stays(waits, first, second, mirror)
        mirror.program.restart()
        stays(waits, first, second, mirror)
    two.start()
    arrived(two, dict.fromkeys(waits, b"content"))
    eventually(gone(first, second, mirror), PATIENCE, message="all is removed")


def test_a_client_is_waited_for_with_a_topic_more_though_it_went_away_before_it_asked_for_a_file_of_it(nodes: Nodes) -> None:
    first, second, mirror = scene(nodes)
    one, two = (nodes.client(name, [mirror.address], topic=topic, group=name) for name, topic in (("one", ONE), ("two", TWO)))
    nodes.start()
    first.put("a1.dat")
    arrived(one, {"a1.dat": b"content"})
    second.put("a2.dat")
    arrived(two, {"a2.dat": b"content"})
    eventually(gone(first, second, mirror), PATIENCE, message="both are removed")
    one.configure(topic=BOTH)
    eventually(lambda: ("one", BOTH) in told_to(mirror), PATIENCE, message="the mirror knows")
    one.stop()
    second.put("b2.dat")
    arrived(two, {"b2.dat": b"content"})
    never(lambda: not second.names() or not mirror.names(), 4)
    one.configure(topic=ONE)  # nothing is taken back
    one.start()
    first.put("b1.dat")
    arrived(one, {"b1.dat": b"content"})
    never(lambda: not second.names() or not mirror.names(), 4)
    one.configure(topic=BOTH)
    one.program.restart()
    second.put("c2.dat")
    arrived(one, {"c2.dat": b"content"})


def test_a_mirror_tells_a_mirror_what_it_listens_to(nodes: Nodes) -> None:
    first, second, near = scene(nodes)
    far = nodes.mirror("far", [near.address], client_topic=ONE, **REMOVING)
    one, two = (nodes.client(name, [at.address], topic=topic, group=name)
                for name, topic, at in (("one", ONE, far), ("two", TWO, near)))
    nodes.start()
    for number in (1, 2):
        first.put(f"a{number}.dat")
        arrived(one, {f"a{number}.dat": b"content"})
        second.put(f"b{number}.dat")
        arrived(two, {f"b{number}.dat": b"content"})
        eventually(gone(first, second, near, far), PATIENCE, message="both are removed")


@pytest.mark.parametrize("name", ["section", "renamed"])
def test_a_section_of_another_name_knows_what_clients_listen_to(nodes: Nodes, name: str) -> None:
    first, second, mirror = scene(nodes)
    one, two, both = (nodes.client(client, [mirror.address], topic=topic, group=client)
                      for client, topic in (("one", ONE), ("two", TWO), ("both", BOTH)))
    nodes.start()
    first.put("a1.dat")
    second.put("a2.dat")
    for client, names in ((one, ["a1.dat"]), (two, ["a2.dat"]), (both, ["a1.dat", "a2.dat"])):
        arrived(client, dict.fromkeys(names, b"content"))
    eventually(gone(first, second, mirror), PATIENCE, message="both are removed")
    two.stop()
    second.put("b2.dat")
    arrived(both, {"b2.dat": b"content"})
    mirror.config.write_text(mirror.config.read_text().replace("[section]", f"[{name}]"))
    mirror.program.restart()
    first.put("c1.dat")
    second.put("c2.dat")
    arrived(one, {"c1.dat": b"content"})
    arrived(both, {"c1.dat": b"content", "c2.dat": b"content"})
    eventually(lambda: mirror.names() == {"b2.dat", "c2.dat"}, PATIENCE, message="what nobody else listens to is removed")
    never(lambda: mirror.names() != {"b2.dat", "c2.dat"}, 3)
    two.start()
    arrived(two, {"b2.dat": b"content", "c2.dat": b"content"})
    # What was announced under both names goes by its age.
    eventually(lambda: mirror.names() <= ({"b2.dat"} if name == "renamed" else set()), PATIENCE, message="all is removed")


def test_where_each_subject_has_a_section_of_its_own_its_clients_wait_for_none_of_the_other(nodes: Nodes) -> None:
    first, second, mirror = scene(nodes)
    one, two = (nodes.client(name, [mirror.address], topic=topic) for name, topic in (("one", ONE), ("two", TWO)))
    nodes.start()
    common = "".join(f"{name} = {value}\n" for name, value in mirror.options.items() if name not in ("providers", "client_topic"))
    mirror.config.write_text(f"[one]\nproviders = {first.address}\nclient_topic = {ONE}\n{common}"
                             f"[two]\nproviders = {second.address}\nclient_topic = {TWO}\n{common}")
    mirror.program.restart()  # nobody was served by the section that was there
    for server, client, name in ((first, one, "a1.dat"), (second, two, "a2.dat"), (second, two, "b2.dat"),
                                 (first, one, "b1.dat")):
        server.put(name)
        arrived(client, {name: b"content"})
        eventually(gone(server, mirror), PATIENCE, message="it is removed")
