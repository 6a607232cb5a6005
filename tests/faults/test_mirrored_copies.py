"""Two servers behind one mirror have a file of one name and size: a copy, or new content that one of them alone has."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.eventually import eventually, never
from tests.support.mirrors import Node, Nodes, arrived, gone

REMOVING = {"delete": "true", "remove_delay": "0.2"}


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    with Nodes(tmp_path) as nodes:
        yield nodes


def scene(nodes: Nodes, **options: str) -> tuple[Node, Node, Node, Node]:
    """Two servers, a mirror of both, a client of the mirror."""
    first, second = nodes.server("first", **REMOVING), nodes.server("second", **REMOVING)
    mirror = nodes.mirror("mirror", [first.address, second.address], **options)
    return first, second, mirror, nodes.client("client", [mirror.address])


def publications(client: Node) -> int:
    return len(client.find("SELECT 1 FROM announcements"))


@pytest.mark.parametrize("released", [True, False])
def test_new_content_that_only_the_second_server_announces_is_passed_on(nodes: Nodes, released: bool) -> None:
    first, second, mirror, client = scene(nodes, remove_delay="0.3" if released else "5")
    nodes.start()
    first.put("one.dat", b"first")
    arrived(client, {"one.dat": b"first"})
    if released:
        eventually(gone(first, mirror), 60, message="the first is released")
    second.put("one.dat", b"other")
    arrived(client, {"one.dat": b"other"})
    eventually(gone(first, second, mirror), 60, message="all is removed when the client has it")
    assert publications(client) == 2


@pytest.mark.parametrize("released", [True, False])
def test_a_copy_is_published_once_and_goes(nodes: Nodes, released: bool) -> None:
    first, second, mirror, client = scene(nodes, remove_delay="0.3" if released else "5")
    nodes.start()
    first.put("one.dat", b"content")
    arrived(client, {"one.dat": b"content"})
    if released:
        eventually(gone(first, mirror), 60, message="the first is released")
    second.put("one.dat", b"content")
    eventually(gone(first, second, mirror), 60, message="the copy is removed, too")
    never(lambda: publications(client) != 1, 2, message="it is published again")
    assert mirror.find("SELECT count(*) FROM announcements") == [(1,)], "it is announced once"


@pytest.mark.parametrize("second_content", [b"content", b"another"])
def test_what_was_announced_before_anybody_asked_is_decided_when_one_is_fetched(nodes: Nodes, second_content: bytes) -> None:
    first, second, mirror, client = scene(nodes)
    for node in (first, second, mirror):
        node.start()
    mirror.program.wait_for("has a journal that is new to us")
    first.put("one.dat", b"content")
    eventually(lambda: mirror.states() == {"one.dat": "announced"}, 60, message="heard of the first")
    second.put("one.dat", second_content)
    eventually(lambda: mirror.find("SELECT count(*) FROM sources") == [(1,)], 60, message="and of the second")
    client.start()
    arrived(client, {"one.dat": second_content})
    eventually(gone(first, second, mirror), 60, message="all is removed when the client has it")
    assert publications(client) == len({b"content", second_content})


@pytest.mark.parametrize("point", ["client.requested", "client.answered", "mirror.fetched", "mirror.kept"])
def test_new_content_is_passed_on_though_the_mirror_was_killed(nodes: Nodes, point: str) -> None:
    first, second, mirror, client = scene(nodes, remove_delay="0.3")
    nodes.start()
    first.put("one.dat", b"first")
    arrived(client, {"one.dat": b"first"})
    eventually(gone(first, mirror), 60, message="the first is released")
    mirror.stop()
    mirror.armed(f"{point}:1")
    mirror.start()
    second.put("one.dat", b"other")
    eventually(lambda: not mirror.program.running, 60, message="it dies")
    mirror.armed("")
    mirror.start()
    arrived(client, {"one.dat": b"other"})
    eventually(gone(first, second, mirror), 60, message="all is removed when the client has it")


def test_what_the_mirror_never_fetched_is_no_measure(nodes: Nodes) -> None:
    """Its clients have the first content from elsewhere: what the second server has is left where it is, and the log says so."""
    first, second, mirror, client = scene(nodes, trusted_acks="127.0.0.1")
    second.configure(trusted_acks="127.0.0.1")
    client.configure(providers=f"{first.address} {mirror.address}")
    for node in (first, second, mirror):
        node.start()
    mirror.program.wait_for("has a journal that is new to us")
    first.put("one.dat", b"first")
    eventually(lambda: mirror.states() == {"one.dat": "announced"}, 60, message="heard of the first")
    second.put("one.dat", b"other")
    eventually(lambda: mirror.find("SELECT count(*) FROM sources") == [(1,)], 60, message="and of the second")
    mirror.stop()
    client.start()
    arrived(client, {"one.dat": b"first"})
    mirror.start()
    mirror.program.wait_for("one.dat of .* is left where it is")
    never(lambda: second.names() != {"one.dat"}, 3, message="it is removed")


def test_a_server_that_lost_its_journal_keeps_what_is_not_released_yet(nodes: Nodes) -> None:
    """Though its content is that of a copy, whose server was told."""
    first, second, mirror, client = scene(nodes, remove_delay="600")
    nodes.start()
    first.put("one.dat", b"content")
    arrived(client, {"one.dat": b"content"})
    second.put("one.dat", b"content")
    eventually(gone(second), 60, message="the copy is removed")
    first.program.kill()
    for path in first.folder.glob("first.journal*"):
        path.unlink()
    first.start()
    epoch = str(first.find("SELECT value FROM meta WHERE name = 'epoch'")[0][0])
    eventually(lambda: mirror.find(f"SELECT count(*) FROM sources WHERE message LIKE '%{epoch}%'") == [(1,)], 60,
               message="the mirror has heard it anew")
    never(lambda: first.names() != {"one.dat"}, 3, message="it is removed")
    assert mirror.find("SELECT count(*) FROM files") == [(2,)]


@pytest.mark.parametrize("content", [b"content", b"another"])
def test_what_was_given_up_before_it_was_compared_is_compared_when_it_is_announced_anew(nodes: Nodes, content: bytes) -> None:
    first, second, mirror, client = scene(nodes)
    nodes.start()
    first.put("one.dat", b"content")
    arrived(client, {"one.dat": b"content"})
    mirror.stop()
    mirror.armed("client.requested:1")
    mirror.start()
    second.put("one.dat", content)
    eventually(lambda: not mirror.program.running, 60, message="it dies when it has asked")
    with closing(sqlite3.connect(mirror.journal)) as journal, journal:
        journal.execute("UPDATE files SET state = 'given_up' WHERE state = 'requested'")
        journal.execute("DELETE FROM cursors")
    mirror.armed("")
    mirror.start()
    eventually(gone(first, second, mirror), 60, message="all is removed")
    eventually(lambda: (client.files / "one.dat").read_bytes() == content, 60, message="it arrives")
    wanted = len({b"content", content})
    eventually(lambda: publications(client) == wanted, 60, message="it is published")
    never(lambda: publications(client) > wanted, 2)
    assert mirror.find("SELECT count(*) FROM announcements") == [(wanted,)]


@pytest.mark.parametrize(("content", "lost"), [(b"content", False), (b"another", False), (b"another", True)])
def test_what_a_farther_mirror_announces_before_anybody_asked_is_compared_later(nodes: Nodes, content: bytes, lost: bool) -> None:
    """It is not asked in the place of the server; where that has lost its file it is asked all the same."""
    first, second = nodes.server("first", **REMOVING), nodes.server("second", **REMOVING)
    farther = nodes.mirror("farther", [second.address])
    mirror = nodes.mirror("mirror", [first.address, farther.address])
    client = nodes.client("client", [mirror.address])
    for node in (first, second, farther, mirror):
        node.start()
    mirror.program.wait_for("has a journal that is new to us")
    first.put("one.dat", b"content")
    eventually(lambda: mirror.states() == {"one.dat": "announced"}, 60, message="heard of the first")
    second.put("one.dat", content)
    eventually(lambda: mirror.find("SELECT count(*) FROM files") == [(2,)], 60, message="and of the second")
    mirror.program.kill()
    if lost:
        (first.files / "one.dat").unlink()
    mirror.start()
    assert mirror.find("SELECT count(*) FROM announcements") == [(1,)]
    client.start()
    eventually(lambda: (client.files / "one.dat").read_bytes() == content, 60, message="it arrives")
    eventually(gone(first, second, farther, mirror), 60, message="all is removed")
    wanted = 1 if lost else len({b"content", content})
    eventually(lambda: publications(client) == wanted, 60, message="it is published")
    never(lambda: publications(client) > wanted, 2)


def test_what_was_left_where_it_is_stays_also_when_it_is_announced_anew(nodes: Nodes) -> None:
    """By a farther mirror that has lost its journal: it was told that it may go, and nobody had compared it with anything."""
    trusting = {"trusted_acks": "127.0.0.1"}
    first, second = nodes.server("first", **REMOVING), nodes.server("second", **REMOVING, **trusting)
    farther = nodes.mirror("farther", [second.address], **trusting)
    mirror = nodes.mirror("mirror", [first.address, farther.address], **trusting)
    client = nodes.client("client", [first.address, mirror.address])
    for node in (first, second, farther, mirror):
        node.start()
    mirror.program.wait_for("has a journal that is new to us")
    first.put("one.dat", b"first")
    eventually(lambda: mirror.states() == {"one.dat": "announced"}, 60, message="heard of the first")
    second.put("one.dat", b"other")
    eventually(lambda: mirror.find("SELECT count(*) FROM files") == [(2,)], 60, message="and of the second")
    mirror.stop()
    client.start()
    arrived(client, {"one.dat": b"first"})
    mirror.start()
    mirror.program.wait_for("one.dat of .* is left where it is")
    farther.program.kill()
    for path in farther.folder.glob("farther.journal*"):
        path.unlink()
    farther.start()
    eventually(lambda: mirror.find("SELECT count(*) FROM sources WHERE file = 2") == [(1,)], 60, message="it is announced anew")
    never(lambda: second.names() != {"one.dat"}, 5, message="it is removed")
