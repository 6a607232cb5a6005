"""Every named crash point is hit, at its first and at a later pass; after a restart without it nothing is lost."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.network import Network
from tests.support.eventually import eventually
from trollmoves.crashing import POINTS

DELETING = {"delete": "true", "remove_delay": "0.5"}


def feed(network: Network, runs: Callable[[], bool], seconds: float = 90.0) -> None:
    """Write files, one after another and in groups, until the armed program has ended."""
    deadline = time.monotonic() + seconds
    number = 0
    while runs() and time.monotonic() < deadline:
        for _ in range(1 + number % 3):
            network.write(f"f{number:05}.bin", os.urandom(3000))
            number += 1
        time.sleep(0.15)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, pytest.param(5, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("point", [
    point for point in POINTS  # unpacked: test_unpacking.py; other programs, and servers that listen, have files of their own
    if point.startswith(("server", "client")) and not point.endswith((".unpacked", "server.heard", "server.journaled"))])
def test_nothing_is_lost_when_a_process_crashes_at(tmp_path: Path, point: str, count: int) -> None:
    # Who may have to unpack first asks for leave to publish.
    options = {"compression": "gzip"} if point in ("server.leased", "client.committed") else {}
    network = Network(tmp_path, server_options=DELETING, client_options=options)
    network.killed = True
    with network:
        armed = network.arm(point, count)
        network.start()
        feed(network, lambda: armed.running)
        assert armed.exit_status == -9, f"{point} was not passed {count} times\n{armed.output()[-2000:]}"
        network.disarm()
        for program in (network.servers[0], network.client):
            if not program.running:
                program.start()
        network.write("after.bin", b"after the crash")
        network.settle(60, deletes=True)
        assert network.stop() == [0, 0]
        network.check(deletes=True)


def test_a_crash_in_the_middle_of_a_large_file_leaves_no_trace(tmp_path: Path) -> None:
    network = Network(tmp_path)
    network.killed = True
    with network:
        armed = network.arm("server.put", 1)
        network.start()
        network.write("large.bin", os.urandom(20_000_000))
        eventually(lambda: not armed.running, message="the server crashed before the rename")
        assert not (network.destination / "large.bin").exists()
        network.disarm()
        network.servers[0].start()
        network.settle()
        network.check()
