"""Mirrors that are killed: at every named point, and at random moments, alone, in a row and in a ring. Nothing is lost, and the
origins are removed when the clients have the files, not before."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.network import Recorder
from tests.faults.test_killing import seeded
from tests.support.eventually import eventually
from tests.support.mirrors import Node, Nodes, arrived, gone
from tests.support.ports import free_port
from trollmoves.crashing import POINTS

REMOVING = {"delete": "true", "remove_delay": "0.3"}
HALVES = ("client.requested", "client.answered", "server.moved",
          *(pytest.param(point, marks=pytest.mark.nightly) for point in (
              "client.heard", "client.asked", "server.requested", "server.put", "server.renamed", "server.replied",
              "server.acknowledged")))
"""Points that a mirror passes in what it shares with clients and servers."""


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    with Nodes(tmp_path) as nodes:
        yield nodes


def row_of(nodes: Nodes, count: int) -> tuple[Node, list[Node], Node]:
    """A server, mirrors one behind the other, a client."""
    server = nodes.server(**REMOVING)
    mirrors: list[Node] = []
    for number in range(count):
        provider = mirrors[-1].address if mirrors else server.address
        mirrors.append(nodes.mirror(f"mirror{number}", [provider], remove_delay="0.3"))
    return server, mirrors, nodes.client("client", [mirrors[-1].address])


def all_is_well(server: Node, mirrors: list[Node], client: Node, wanted: dict[str, bytes], recorder: Recorder) -> None:
    """Everything arrives, is published once (or marked), is removed behind, and nothing is left over."""
    arrived(client, wanted, 90)
    eventually(gone(server, *mirrors), 90, message="origins and copies are removed when the client has the files")
    for node in mirrors:
        eventually(lambda node=node: node.find("SELECT count(*) FROM copies") == [(0,)], message="no copy is left in the journal")
        assert node.program.running, node.program.output()[-3000:]
        assert node.find("PRAGMA quick_check") == [("ok",)]
    unmarked = Counter(str(data["uid"]) for data in recorder.files() if not _extension(data).get("redelivered"))
    assert [uid for uid, count in unmarked.items() if count > 1] == []
    hidden = [path for node in (*mirrors, client) for path in node.files.rglob(".*")]
    assert hidden == [], "temporary files are left"


def _extension(data: dict[str, object]) -> dict[str, object]:
    found = data["trollmoves"]
    assert isinstance(found, dict)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, pytest.param(4, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("point", [*HALVES, *(point for point in POINTS if point.startswith("mirror"))])
def test_nothing_is_lost_when_a_mirror_crashes_at(nodes: Nodes, point: str, count: int) -> None:
    server, (mirror,), client = row_of(nodes, 1)
    recorder = Recorder(client.port)
    try:
        mirror.armed(f"{point}:{count}")
        for node in (server, mirror, client):
            node.start()
        # A client that has heard no beat of a provider notices only after some time that it was started anew.
        eventually(lambda: not mirror.program.running or "has a journal that is new to us" in client.program.output(),
                   message="the client has heard a beat")
        wanted: dict[str, bytes] = {}
        deadline = time.monotonic() + 120
        while mirror.program.running and time.monotonic() < deadline:
            for _ in range(1 + len(wanted) % 3):
                put(server, wanted)
            time.sleep(0.15)
        assert mirror.program.exit_status == -9, f"{point} was not passed {count} times\n{mirror.program.output()[-2000:]}"
        mirror.armed("")
        mirror.start()
        put(server, wanted)
        all_is_well(server, [mirror], client, wanted, recorder)
    finally:
        recorder.close()


def put(server: Node, wanted: dict[str, bytes], size: int = 3000) -> None:
    name, content = f"f{len(wanted):05}.dat", os.urandom(size)
    wanted[name] = content
    server.put(name, content)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mirrors", [1, 3], ids=["one mirror", "three in a row"])
def test_nothing_is_lost_when_mirrors_are_killed(nodes: Nodes, mirrors: int) -> None:
    kill_loop(nodes, mirrors, kills=8, seconds=12, files=240)


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_nothing_is_lost_when_mirrors_are_killed_for_long(nodes: Nodes) -> None:
    kill_loop(nodes, 3, kills=60, seconds=120, files=2400)


def kill_loop(nodes: Nodes, count: int, *, kills: int, seconds: float, files: int) -> None:
    dice = seeded()
    server, mirrors, client = row_of(nodes, count)
    recorder = Recorder(client.port)
    try:
        nodes.start()
        wanted: dict[str, bytes] = {}
        began, next_kill = time.monotonic(), 0.5
        while len(wanted) < files:
            put(server, wanted, dice.choice((1000, 1000, 20_000, 300_000)))
            if time.monotonic() - began > next_kill:
                next_kill += dice.uniform(0.3, 1.7) * seconds / kills
                for mirror in mirrors if dice.random() < 0.3 else [dice.choice(mirrors)]:
                    mirror.program.restart()
            time.sleep(seconds / files)
        all_is_well(server, mirrors, client, wanted, recorder)
        for node in (client, *mirrors, server):
            eventually(lambda node=node: node.program.catches_sigterm, message=f"{node.program.name} has started")
            node.stop()
    finally:
        recorder.close()


@pytest.mark.slow
def test_a_ring_of_three_survives_the_loss_of_a_journal(nodes: Nodes) -> None:
    server = nodes.server()
    ports = [free_port() for _ in range(3)]
    mirrors = []
    for number in range(3):
        before = f"127.0.0.1:{ports[number - 1]}"
        mirror = nodes.mirror(f"mirror{number}", [server.address, before] if number == 0 else [before])
        mirror.port = ports[number]
        mirror.armed("")
        mirrors.append(mirror)
    client = nodes.client("client", [mirrors[2].address])
    nodes.start()
    wanted: dict[str, bytes] = {}
    for _ in range(10):
        put(server, wanted)
    arrived(client, wanted)
    eventually(gone(*mirrors), message="all is passed on before the journal is lost")
    mirrors[0].program.kill()
    for suffix in ("", "-wal", "-shm"):
        Path(f"{mirrors[0].journal}{suffix}").unlink(missing_ok=True)
    mirrors[0].start()
    for _ in range(10):
        put(server, wanted)
    arrived(client, wanted)
    late = nodes.client("late", [mirrors[1].address]).start()
    arrived(late, wanted)
    eventually(gone(*mirrors), message="no mirror waits for another one in a circle")


def without_journal(mirror: Node, **options: str) -> Node:
    """The mirror, killed and started anew with other *options* and without its journal."""
    mirror.program.kill()
    for suffix in ("", "-wal", "-shm"):
        Path(f"{mirror.journal}{suffix}").unlink(missing_ok=True)
    mirror.configure(**options)
    return mirror.start()


@pytest.mark.slow
def test_copies_that_were_forgotten_are_released(nodes: Nodes) -> None:
    server = nodes.server(delete="true", remove_delay="0.2")
    mirror = nodes.mirror("mirror", [server.address], remove_delay="600")
    client = nodes.client("client", [mirror.address])
    nodes.start()
    wanted: dict[str, bytes] = {}
    for _ in range(5):
        put(server, wanted)
    arrived(client, wanted)
    assert mirror.names() == set(wanted)
    foreign = [mirror.files / "notes.txt", mirror.files / "below" / "f00000.dat"]
    foreign[1].parent.mkdir()
    for path in foreign:
        path.write_text("somebody's own")
    # Its clients say that they have the files; that it delivered them it does not know any more.
    without_journal(mirror, remove_delay="1", trusted_acks="127.0.0.1")
    mirror.program.wait_for("7 files in .* are not known to the journal")
    left = {"notes.txt", "below/f00000.dat"}
    eventually(lambda: mirror.names() == left, 60, message="what the client has is removed, what is others' stays")
    eventually(gone(server), 60, message="the server is told")
    assert [path.read_text() for path in foreign] == ["somebody's own"] * 2


@pytest.mark.slow
def test_copies_that_were_forgotten_and_are_the_only_ones_are_passed_on(nodes: Nodes) -> None:
    server = nodes.server(delete="first", remove_delay="0.2")
    mirror = nodes.mirror("mirror", [server.address], remove_delay="600")
    near, far = nodes.client("near", [server.address]), nodes.client("far", [mirror.address])
    nodes.start()
    wanted: dict[str, bytes] = {}
    for _ in range(5):
        put(server, wanted)
    for client in (near, far):
        arrived(client, wanted)
    eventually(gone(server), 60, message="the origins are removed")
    without_journal(mirror)
    eventually(lambda: mirror.find("SELECT count(*) FROM copies") == [(5,)], 60, message="the copies are known again")
    late = nodes.client("late", [mirror.address]).start()
    arrived(late, wanted)


@pytest.mark.slow
def test_copies_that_were_forgotten_grow_old(nodes: Nodes) -> None:
    server = nodes.server()
    mirror = nodes.mirror("mirror", [server.address], remove_delay="600", delay="0.5")
    client = nodes.client("client", [mirror.address])
    nodes.start()
    wanted: dict[str, bytes] = {}
    put(server, wanted)
    arrived(client, wanted)
    without_journal(mirror, delete_after="1")
    eventually(gone(mirror), 60, message="delete_after removes them")
    assert server.names() == set(wanted)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_memory_stays_bounded_over_many_uids(nodes: Nodes) -> None:
    memory_stays_flat(nodes, 3_000, forgets=False)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_memory_and_journal_stay_bounded_over_a_hundred_thousand_uids(nodes: Nodes) -> None:
    memory_stays_flat(nodes, 100_000, forgets=True)


def memory_stays_flat(nodes: Nodes, files: int, *, forgets: bool) -> None:
    """The second half of the files makes the mirror no larger than the first one did. The journal, which is cleaned once a
    minute, keeps what it may keep."""
    server, (mirror,), client = row_of(nodes, 1)
    mirror.configure(retention_entries=files // 4)
    nodes.start()
    sizes = []
    for half in range(2):
        for number in range(files // 2):
            server.put(f"u{half}{number:06}.dat", b"x" * 500)
            if number % 500 == 0:  # no faster than they pass through
                floor = half * (files // 2) + number - 1500
                eventually(lambda floor=floor: published(client) >= floor, 120, interval=0.2, message="files pass through")
        eventually(lambda half=half: published(client) == (half + 1) * (files // 2), 120, interval=0.2, message="all have passed")
        sizes.append(resident(mirror))
    assert sizes[1] < sizes[0] + 32 * 2**20, f"resident: {sizes}"
    eventually(gone(server, mirror), 600, interval=0.5, message="all is removed")
    if forgets:
        eventually(lambda: count_of(mirror) <= files // 4 + 2000, 150, interval=1.0, message="the journal forgets")


def published(client: Node) -> int:
    return int(str(client.find("SELECT count(*) FROM files WHERE state = 'published'")[0][0]))


def count_of(mirror: Node) -> int:
    return int(str(mirror.find("SELECT count(*) FROM files")[0][0]))


def resident(node: Node) -> int:
    """Bytes of memory the program holds."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{node.program.pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024
