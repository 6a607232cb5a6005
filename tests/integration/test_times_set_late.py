"""A file whose time is set after it was closed (unzip, wget, curl -R) is other content than was announced: that is announced at
once, and what was refused meanwhile is nobody's loss."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.checker import rows
from tests.faults.network import Network
from tests.integration.moving import MovingIt, arrives, gone
from tests.integration.test_dead_letters import command
from tests.integration.test_move_it import LOGIN
from tests.support.eventually import eventually, never
from tests.support.ftp_server import ScriptedFtpServer
from tests.support.ports import free_port

PAST = 1_600_000_000.0
SECONDS = 100.0
"""Far less than `reconcile`, far more than is needed."""


def write_late(network: Network, number: int, wait: Callable[[], object]) -> None:
    """Write a file into the origin, close it, and set its time when it has probably been announced."""
    name, content = f"late{number:02}.bin", b"%2d" % number * 500
    network.ledger.note(name, content)
    (network.origins[0] / name).write_bytes(content)
    wait()
    os.utime(network.origins[0] / name, (PAST, PAST))


def announced(network: Network, number: int) -> int:
    return len(rows(network.server_journal(), f"SELECT 1 FROM files WHERE identity = 'late{number:02}.bin'"))


def lost(network: Network) -> list[str]:
    """States that should not be there, of both sides, and alarms."""
    queries = ("SELECT identity, state FROM files WHERE state IN ('given_up', 'failed', 'requested')", "SELECT text FROM alarms")
    journals = network.server_journal(), network.client_journal
    return [str(row) for path in journals for query in queries for row in rows(path, query)]


@pytest.mark.parametrize("polls", [False, True])
def test_all_arrive_soon_and_nothing_is_given_up(tmp_path: Path, capsys: pytest.CaptureFixture[str], polls: bool) -> None:
    network = Network(tmp_path)
    if polls:
        network.servers[0].argv.append("--watchdog")
    with network:
        network.begin(1)
        for number in range(20):
            write_late(network, number, lambda: time.sleep(0.003))
        for number in range(20, 25):  # announced for certain, and asked for mostly
            write_late(network, number, lambda: eventually(lambda: announced(network, number), interval=0.0))  # noqa: B023 - at once
        network.settle(SECONDS)
        eventually(lambda: not lost(network), SECONDS, message="what was refused is covered at both sides")
        network.check()
        for path in (network.server_journal(), network.client_journal):
            assert command(capsys, "status", "--journal", path)[0] == 0


def test_a_file_that_is_touched_after_it_was_announced_arrives(tmp_path: Path) -> None:
    """Its time is that of the moment, as if it were still being written: what was refused is announced after `settle`."""
    with Network(tmp_path, server_options={"settle": "1"}) as network:
        network.servers[0].start().wait_for("watches")
        network.write("late00.bin", b"content")
        eventually(lambda: announced(network, 0))
        (network.origins[0] / "late00.bin").touch()
        network.client.start()
        network.settle(SECONDS)
        eventually(lambda: not lost(network), SECONDS, message="the refused one is covered")
        assert announced(network, 0) == 2


def test_what_was_not_refused_is_not_announced_again(tmp_path: Path) -> None:
    with Network(tmp_path) as network:
        network.begin(1)
        write_late(network, 0, lambda: network.settle(SECONDS))
        never(lambda: announced(network, 0) > 1, 2.0, message="it is announced for its time alone")


def test_a_file_that_changes_all_the_time_is_not_announced_all_the_time(tmp_path: Path) -> None:
    with Network(tmp_path) as network:
        network.begin(1)
        path = network.origins[0] / "late00.bin"
        path.write_bytes(b"x")
        until, when = time.monotonic() + 6.0, PAST
        while time.monotonic() < until:
            when += 1.0
            os.utime(path, (when, when))
            time.sleep(0.0005)
        assert announced(network, 0) <= 4
        network.ledger.note("late00.bin", b"x")
        network.settle(SECONDS)
        eventually(lambda: not lost(network), SECONDS, message="the refused ones are covered")


def test_newer_content_covers_what_was_given_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By an older release, or because it was gone; and `retry` says what it can do."""
    with Network(tmp_path) as network:
        journal = ("--journal", network.server_journal())
        network.servers[0].start().wait_for("watches")
        path = network.origins[0] / "late00.bin"
        path.write_bytes(b"before")
        eventually(lambda: announced(network, 0))
        path.unlink()
        network.client.start()
        eventually(lambda: network.states(network.server_journal()).get("given_up"), message="it is gone: given up")
        assert "late00.bin is not announced again: it is gone" in command(capsys, "retry", "late00.bin", *journal)[1]
        network.write("late00.bin", b"after")
        eventually(lambda: network.states(network.server_journal()).get("given_up", 0) == 0, message="it is covered")
        status, text = command(capsys, "retry", "late00.bin", *journal)
        assert (status, "has failed" in text) == (1, True)
        eventually(lambda: not rows(network.server_journal(), "SELECT 1 FROM alarms WHERE cleared IS NULL"))


@pytest.mark.parametrize("polls", [False, True])
def test_move_it_moves_what_took_the_place_of_a_file_as_soon_as_that_cannot_be_moved(tmp_path: Path, polls: bool) -> None:
    """The destination could not be used at first; then the time of the file was set."""
    port = free_port()
    arguments = ["--watchdog"] if polls else []
    with MovingIt(tmp_path, f"destinations = ftp://{LOGIN}@127.0.0.1:{port}/\ndelete = true", *arguments) as moving:
        moving.start()
        paths = [moving.write(f"late{number}.dat") for number in range(3)]
        eventually(lambda: [state for *_, state in moving.states()] == ["failed"] * 3, message="they cannot be moved")
        for path in paths:
            os.utime(path, (PAST, PAST))
        with ScriptedFtpServer(tmp_path / "ftp", port=port) as server:
            for path in paths:  # the host is left alone for half a minute when it failed often, as on a busy machine
                arrives(server.root / path.name, path.name.encode() * 100, 120)
                gone(path)
            eventually(lambda: sorted(state for *_, state in moving.states()) == ["covered"] * 3 + ["published"] * 3)
            eventually(lambda: moving.removals() == 0)
        assert sorted(str(data["uid"]) for data in moving.published()) == [path.name for path in paths]
        assert rows(moving.journal, "SELECT text FROM alarms WHERE cleared IS NULL") == []


def test_move_it_counts_what_was_given_up_no_more_when_newer_content_came(tmp_path: Path) -> None:
    port = free_port()
    with MovingIt(tmp_path, f"destinations = ftp://{LOGIN}@127.0.0.1:{port}/") as moving:
        moving.start()
        path = moving.write("a.dat", b"before")
        eventually(lambda: [state for *_, state in moving.states()] == ["failed"])
        path.unlink()
        with ScriptedFtpServer(tmp_path / "ftp", port=port) as server:
            eventually(lambda: [state for *_, state in moving.states()] == ["given_up"], message="it is gone")
            moving.write("a.dat", b"after")
            arrives(server.root / "a.dat", b"after")
            eventually(lambda: [state for *_, state in moving.states()] == ["covered", "published"])


def test_move_it_does_not_give_up_what_newer_content_had_covered(tmp_path: Path) -> None:
    """What is lost, when the file is removed before any of it could be moved, is the newer content alone."""
    port = free_port()
    with MovingIt(tmp_path, f"destinations = ftp://{LOGIN}@127.0.0.1:{port}/") as moving:
        moving.start()
        moving.write("a.dat", b"before")
        eventually(lambda: [state for *_, state in moving.states()] == ["failed"], message="it cannot be moved")
        path = moving.write("a.dat", b"after")
        eventually(lambda: [state for *_, state in moving.states()] == ["covered", "failed"], message="nor can the newer content")
        path.unlink()
        with ScriptedFtpServer(tmp_path / "ftp", port=port):
            eventually(lambda: "given_up" in [state for *_, state in moving.states()], 120, message="the newer content is gone")
            never(lambda: [state for *_, state in moving.states()] != ["covered", "given_up"], 3.0, message="the older too")
