"""A journal that is put back as it was some time ago: numbers that it gave out since are not given out again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.mirrors import Node, Nodes, arrived, gone


def back_up(journal: Path, copy: Path) -> None:
    """As the manual says."""
    with closing(sqlite3.connect(journal)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def put_back(journal: Path, copy: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{journal}{suffix}").unlink(missing_ok=True)
    copy.rename(journal)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    with Nodes(tmp_path) as nodes:
        yield nodes


def files(node: Node, start: str, count: int) -> dict[str, bytes]:
    wanted = {f"{start}{number}.dat": f"{start} {number}".encode() for number in range(count)}
    for name, content in wanted.items():
        node.put(name, content)
    return wanted


def test_who_was_away_after_a_server_was_set_back_misses_nothing(tmp_path: Path, nodes: Nodes) -> None:
    server = nodes.server()
    client = nodes.client("client", [server.address])
    other = nodes.client("other", [server.address])
    nodes.start()
    arrived(client, files(server, "before", 3))
    back_up(server.journal, tmp_path / "backup")
    since = files(server, "since", 10)
    arrived(client, since)
    eventually(lambda: client.find("SELECT position FROM cursors") == [(13,)], 20, message="a beat tells it how far it is")
    server.program.kill()
    client.program.kill()
    for name in since:
        (server.files / name).unlink()
    put_back(server.journal, tmp_path / "backup")
    server.start()
    wanted = files(server, "new", 4)  # has numbers that the client has heard
    arrived(other, wanted)  # so that it is not held back until somebody hears it
    client.start()
    arrived(client, wanted, 30)


def test_a_client_that_lost_its_journal_is_told_by_a_mirror_too_what_it_had_before(nodes: Nodes) -> None:
    """The origin is gone, and so is the copy of the mirror: both had been asked to remove what was delivered."""
    server = nodes.server(delete="true", remove_delay="0.2")
    mirror = nodes.mirror("mirror", [server.address], remove_delay="0.2")
    client = nodes.client("client", [mirror.address])
    nodes.start()
    wanted = files(server, "file", 3)
    arrived(client, wanted)
    eventually(gone(server, mirror), 30, message="nobody else has them any more")
    client.stop()
    for path in client.folder.glob("*.journal*"):
        path.unlink()
    client.start()
    arrived(client, wanted)


def test_nobody_waits_for_what_was_replaced_while_its_server_had_no_journal(nodes: Nodes) -> None:
    """The mirror asks for it by its name: the server moved what has that name now, again and again, and it was not what the
    mirror had been told of."""
    server = nodes.server()
    mirror = nodes.mirror("mirror", [server.address])
    nodes.start()
    server.put("one.dat", b"the first content")
    eventually(lambda: mirror.states() == {"one.dat": "announced"}, 30, message="the mirror has heard of it")
    server.program.kill()
    for path in server.folder.glob("*.journal*"):
        path.unlink()
    server.put("one.dat", b"the second")
    server.start()
    eventually(lambda: mirror.find("SELECT count(*) FROM files") == [(2,)], 30, message="the mirror has heard of the second")
    client = nodes.client("client", [mirror.address]).start()
    arrived(client, {"one.dat": b"the second"})
    for node in (client, mirror):
        eventually(lambda node=node: not node.find("SELECT 1 FROM files WHERE state IN ('requested', 'failed', 'given_up')"), 30,
                   message="nobody waits for the first")
    assert ("covered",) in client.find("SELECT state FROM files"), "it was asked for"
