"""A file that is sent again, with the time of change that it had before: what `cp -p`, `rsync -t` and unpackers make."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.eventually import eventually, never
from tests.support.mirrors import PATIENCE, TOPIC, Node, Nodes, gone
from trollmoves.cli import umbrella

WRITTEN = 1_700_000_000


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    with Nodes(tmp_path) as nodes:
        yield nodes


def put(server: Node, content: bytes) -> None:
    """A new file under the same name, of the same time."""
    staged = server.folder / "staged"
    staged.write_bytes(content)
    os.utime(staged, (WRITTEN, WRITTEN))
    staged.rename(server.files / "one.dat")


def arrives(client: Node, content: bytes, times: int) -> None:
    eventually(lambda: (client.files / "one.dat").read_bytes() == content, PATIENCE, message="it arrives")
    published = [("published",)] * times
    eventually(lambda: client.find("SELECT state FROM files") == published, PATIENCE, message="it is published")


def test_other_content_of_the_same_size_and_time_is_fetched_and_passed_on(nodes: Nodes) -> None:
    server = nodes.server()
    mirror = nodes.mirror("mirror", [server.address])
    clients = [nodes.client("client", [server.address]), nodes.client("behind", [mirror.address])]
    nodes.start()
    for times, content in enumerate((b"first", b"other", b"third"), 1):
        put(server, content)
        for client in clients:
            arrives(client, content, times)
    assert umbrella.main(["retry", "--since", "1h", "--journal", str(server.journal)]) == 0
    server.put("last.dat")
    eventually(lambda: (clients[0].files / "last.dat").exists(), PATIENCE, message="what comes then is fetched")
    never(lambda: clients[0].find(f"SELECT 1 FROM files WHERE created > {WRITTEN} AND identity = 'one.dat' LIMIT 1 OFFSET 3"), 1)
    assert len(server.find(f"SELECT DISTINCT key FROM files WHERE identity = 'one.dat' AND '{TOPIC}' <> ''")) == 3


@pytest.mark.parametrize("size", [7, 3 * 2**20], ids=["small", "large"])
def test_what_comes_again_after_it_was_removed_is_removed_again_and_published_no_more(nodes: Nodes, size: int) -> None:
    """Of a large file from a single provider no checksum is known at first: it is fetched once more, and then it is."""
    server = nodes.server(delete="true", remove_delay="0.2")
    client = nodes.client("client", [server.address])
    nodes.start()
    content = b"c" * size
    for times in range(1, 5):
        put(server, content)
        eventually(lambda times=times: len(client.find("SELECT 1 FROM files")) == times, PATIENCE,  # type: ignore[misc]
                   message="it is announced again")
        eventually(gone(server), PATIENCE, message="it is removed")
    assert (client.files / "one.dat").read_bytes() == content
    states = [row[0] for row in client.find("SELECT state FROM files ORDER BY id")]
    published = 1 if size < 2**20 else 2
    assert states == ["published"] * published + ["covered"] * (4 - published)


def test_other_content_that_is_gone_before_it_is_fetched_is_a_loss_that_is_told(nodes: Nodes) -> None:
    server = nodes.server()
    client = nodes.client("client", [server.address])
    nodes.start()
    put(server, b"first")
    arrives(client, b"first", 1)
    client.program.kill()
    put(server, b"other")
    eventually(lambda: len(server.find("SELECT 1 FROM files")) == 2, PATIENCE, message="it is announced")
    (server.files / "one.dat").unlink()
    client.program.start()
    eventually(lambda: client.find("SELECT state FROM files ORDER BY id DESC LIMIT 1") == [("given_up",)], PATIENCE)
