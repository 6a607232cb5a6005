"""A section has another name in the configuration, is divided, or becomes part of another one: what it announced can still be
had, what was on its way goes on, and what it kept for others goes when they have it, and not before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.dispatching import Source
from tests.support.eventually import eventually, never
from tests.support.mirrors import TOPIC, Node, Nodes, arrived
from tests.support.ports import free_port

HEARD = "/heard"


@pytest.fixture
def source() -> Iterator[Source]:
    publisher = Source()
    yield publisher
    publisher.close()


def listener(nodes: Nodes, source: Source, **options: object) -> Node:
    """A server that listens to *source*."""
    return nodes.server(**{"origin": None, "listen": HEARD, "addresses": f"tcp://127.0.0.1:{source.port}", "nameserver": False,
                           **options})


def say(node: Node, source: Source, name: str, content: bytes = b"content") -> None:
    """Tell a server that listens of a file, and wait until it has announced it."""
    node.put(name, content)
    source.wait_for_subscriber(HEARD)
    source.publish({"uid": name, "uri": str(node.files / name)}, subject=HEARD)
    eventually(lambda: node.states().get(name) == "announced", message="it is announced")


@pytest.mark.parametrize("moved", [False, True], ids=["same port", "other port"])
@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
@pytest.mark.parametrize("kind", ["listens", "mirrors"])
def test_what_a_section_announced_is_had_under_its_new_name(tmp_path: Path, source: Source, kind: str, stopped: bool,
                                                            moved: bool) -> None:
    """By a client that has heard nothing before, and learns of it from the replay; then it goes."""
    with Nodes(tmp_path) as nodes:
        if kind == "listens":
            node = server = listener(nodes, source, delete="true", remove_delay="0.5").start()
            say(node, source, "a.dat")
        else:
            server = nodes.server(delete="true", remove_delay="0.5").start()
            node = nodes.mirror("mirror", [server.address]).start()
            server.put("a.dat")
            eventually(lambda: node.states() == {"a.dat": "announced"}, message="the mirror announces it")
        node.rename("renamed", stopped=stopped, **({"request_port": free_port()} if moved else {}))
        client = nodes.client("client", [node.address]).start()
        arrived(client, {"a.dat": b"content"})
        eventually(lambda: not server.names() and not node.names(), 40, message="all have it, so it goes")
        assert len(node.find("SELECT 1 FROM files")) == 1, "it is announced once"


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_a_message_whose_file_is_not_there_yet_is_not_forgotten(tmp_path: Path, source: Source, stopped: bool) -> None:
    with Nodes(tmp_path) as nodes:
        server = listener(nodes, source).start()
        source.wait_for_subscriber(HEARD)
        source.publish({"uid": "late.dat", "uri": str(server.files / "late.dat")}, subject=HEARD)
        eventually(lambda: list(server.states().values()) == ["seen"], message="it is heard")
        server.rename("renamed", stopped=stopped)
        server.put("late.dat")
        eventually(lambda: server.states() == {"late.dat": "announced"}, message="it is announced")


def test_what_was_published_while_a_section_that_listens_was_renamed_is_heard(tmp_path: Path) -> None:
    """Its publisher is ours, and asked for what was missed."""
    with Nodes(tmp_path) as nodes:
        first = nodes.server("first").start()
        client = nodes.client("client", [first.address]).start()
        second = nodes.server("second", origin=None, listen=TOPIC, addresses=f"tcp://{client.address}", nameserver=False,
                              topic="/second").start()
        second.program.wait_for("has a journal that is new to us")
        first.put("a.dat")
        eventually(lambda: second.states() == {"a.dat": "announced"}, message="it is announced again")
        second.stop()
        first.put("b.dat")
        arrived(client, {"b.dat": b"content"})
        second.rename("renamed", stopped=True)
        eventually(lambda: second.states() == {"a.dat": "announced", "b.dat": "announced"}, message="it was not missed")


def test_what_was_being_moved_when_its_section_was_renamed_goes_when_it_is_confirmed(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    with Nodes(tmp_path) as nodes:
        server = nodes.server(delete="true", remove_delay="0.5", bandwidth_per_host="600k").start()
        client = nodes.client("client", [server.address]).start()
        client.program.wait_for("has a journal that is new to us")
        server.put("a.dat", content)
        eventually(lambda: server.find("SELECT 1 FROM transfers WHERE state = 'moving'"), message="it is being moved")
        server.rename("renamed")
        assert server.find("SELECT 1 FROM transfers WHERE state = 'moving'"), "it is too early to be over"
        arrived(client, {"a.dat": content})
        eventually(lambda: not server.names(), 40, message="it goes")


def test_a_copy_nobody_asks_for_any_more_goes_at_its_age(tmp_path: Path) -> None:
    """The client has gone for good before its section was renamed."""
    with Nodes(tmp_path) as nodes:
        server = nodes.server().start()
        mirror = nodes.mirror("mirror", [server.address], delete_after="15s", bandwidth_per_host="100k").start()
        client = nodes.client("client", [mirror.address]).start()
        client.program.wait_for("has a journal that is new to us")
        server.put("a.dat", os.urandom(1_000_000))
        eventually(lambda: mirror.names() == {"a.dat"}, message="the mirror has it")
        client.program.kill()
        mirror.rename("renamed")
        assert mirror.names() == {"a.dat"}
        eventually(lambda: not mirror.names(), message="it goes")


def test_the_rights_are_those_of_the_section_that_serves_now(tmp_path: Path, source: Source) -> None:
    elsewhere = "sftp://somebody@192.0.2.1/in/"
    with Nodes(tmp_path) as nodes:
        server = listener(nodes, source, allowed_destinations="any").start()
        say(server, source, "a.dat")
        server.rename("renamed", allowed_destinations=None)
        nodes.client("client", [server.address], destination=elsewhere).start()
        server.program.wait_for(r"sftp://192\.0\.2\.1/in/ is not allowed for 127\.0\.0\.1.* section \[renamed\]")


class Two:
    """A server with sections as a test wants them, and two clients that it knows, of which one is away."""

    def __init__(self, nodes: Nodes, **sections: str):
        self.server = nodes.server()
        self.here, self.away = (nodes.client(name, [self.server.address], topic=TOPIC) for name in ("here", "away"))
        for folder in "ab":
            (self.server.files / folder).mkdir()
        self._write(sections)
        self.server.program.start()
        for client in (self.here, self.away):
            client.start().program.wait_for("has a journal that is new to us")
        for folder in "ab":
            self.put(f"{folder}/first-{folder}.dat")
        eventually(lambda: not self.names(), 40, message="both have the first files, and they go")
        self.away.stop()

    def _write(self, sections: dict[str, str]) -> None:
        common = (f"topic = {TOPIC}\nrequest_port = {self.server.request_port}\nrequest_address = 127.0.0.1\n"
                  "listen_address = 127.0.0.1\ndelete = true\nremove_delay = 0.5\n")
        self.server.config.write_text("".join(f"[{name}]\norigin = {self.server.files}/{origin}\n{common}"
                                              for name, origin in sections.items()))

    def follow(self, begins: str, **sections: str) -> None:
        """Change the configuration, and wait until the log has what *begins* then."""
        mark = self.server.program.mark()
        self._write(sections)
        self.server.program.wait_for(begins, since=mark)

    def put(self, name: str) -> None:
        staged = self.server.folder / "staged"
        staged.write_bytes(name.encode())
        staged.rename(self.server.files / name)

    def names(self) -> set[str]:
        return self.server.names()


@pytest.mark.parametrize(("before", "after"), [
    ({"a": "a/{n}.dat", "b": "b/{n}.dat"}, [{"a": "{folder}/{n}.dat"}]),
    ({"a": "a/{n}.dat", "b": "b/{n}.dat"}, [{"c": "{folder}/{n}.dat"}]),
    ({"c": "{folder}/{n}.dat"}, [{"a": "a/{n}.dat", "b": "b/{n}.dat"}]),
    ({"c": "{folder}/{n}.dat", "other": "c/{n}.dat"}, [{"d": "{folder\n", "other": "c/{n}.dat"},
                                                       {"d": "{folder}/{n}.dat", "other": "c/{n}.dat"}]),
], ids=["one becomes part of the other", "two become one", "one is divided", "renamed, with a mistake at first"])
def test_who_is_away_meanwhile_is_waited_for(tmp_path: Path, before: dict[str, str], after: list[dict[str, str]]) -> None:
    with Nodes(tmp_path) as nodes:
        two = Two(nodes, **before)
        wanted = {"a/x.dat", "b/y.dat"}
        for name in sorted(wanted):
            two.put(name)
        eventually(lambda: {"x.dat", "y.dat"} <= two.here.names(), message="one has them")
        for number, sections in enumerate(after, 1):
            two.follow(r"\] watches" if number == len(after) else "origin", **sections)
        two.put("a/z.dat")
        eventually(lambda: "z.dat" in two.here.names(), message="new ones are announced")
        never(lambda: two.names() != wanted | {"a/z.dat"}, 4.0, message="one goes before the other client has it")
        two.away.start()
        arrived(two.away, {os.path.basename(name): name.encode() for name in wanted | {"a/z.dat"}})
        eventually(lambda: not two.names(), 40, message="they go when both have them")
        published = [len(client.find("SELECT 1 FROM announcements")) for client in (two.here, two.away)]
        assert published == [5, 5], "each is published once"


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_a_section_of_a_client_that_is_renamed_is_a_new_client(tmp_path: Path, stopped: bool) -> None:
    """It misses nothing of what the old one had not finished, and publishes again what that had."""
    with Nodes(tmp_path) as nodes:
        server = nodes.server().start()
        client = nodes.client("client", [server.address]).start()
        client.program.wait_for("has a journal that is new to us")
        server.put("a.dat", b"a")
        arrived(client, {"a.dat": b"a"})
        content = (client.files / "a.dat").stat().st_ino
        client.files.rename(tmp_path / "aside")
        client.files.write_text("in the place of the directory")
        server.put("b.dat", b"b")
        client.program.wait_for(r"b\.dat from .* \(again in")
        client.rename("renamed", stopped=stopped)
        client.files.unlink()
        (tmp_path / "aside").rename(client.files)
        arrived(client, {"a.dat": b"a", "b.dat": b"b"})
        assert (client.files / "a.dat").stat().st_ino == content, "what is there is not moved again"
        published = client.find("SELECT chain, identity FROM files WHERE state = 'published' ORDER BY chain, identity")
        assert published == [("renamed", "a.dat"), ("renamed", "b.dat"), ("section", "a.dat")]
