"""Faults at the very system call, injected into real programs with strace: SIGKILL at the n-th fsync, rename, unlink or send
(T04), and errors of the disk when reading and syncing (T16)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.network import Network
from tests.support.eventually import eventually
from tests.support.programs import Program
from tests.support.unavailable import need_program

DELETING = {"delete": "true", "remove_delay": "0.3", "workers": "1"}
NAMES = "/^rename(at2?)?$", "/^unlink(at)?$"
SENDS = "/^send(to|msg)$"


def injected(program: Program, calls: str, what: str, *more: str) -> Program:
    """*program* under strace: *what* happens to it at *calls*."""
    strace = [need_program("strace", "strace"), "-D", "-f", "-o", "/dev/null", *more, "-e", f"trace={calls}",
              "-e", f"inject={calls}:{what}"]
    return Program([*strace, *program.argv], program.log, environment=program.environment, name=program.name)


def feed(network: Network, program: Program, files: int) -> None:
    for number in range(files):
        if not program.running:
            break
        network.write(f"f{number:05}.bin", os.urandom(3000))
        eventually(lambda: not program.running or not network.scene().missing(), 60, message="it goes on")


def crash_at(root: Path, role: str, calls: str, number: int) -> None:
    with Network(root, server_options=DELETING, killed=True) as network:
        if role == "server":
            victim = network.servers[0] = injected(network.servers[0], calls, f"signal=KILL:when={number}")
        else:
            victim = network.client = injected(network.client, calls, f"signal=KILL:when={number}")
        network.start()
        feed(network, victim, 8 + number)
        eventually(lambda: not victim.running, message=f"{role} was killed at number {number} of {calls}")
        network.disarm()
        for program in network.programs:
            if not program.running:
                program.start()
        network.write("after.bin", b"after the crash")
        network.settle(60, deletes=True)
        assert network.stop() == [0, 0]
        network.check(deletes=True)


@pytest.mark.slow
@pytest.mark.parametrize(("role", "calls", "number"), [
    ("server", "fsync", 8), ("server", "fsync", 9), ("server", "fdatasync", 9), ("server", NAMES[0], 1), ("server", NAMES[0], 2),
    ("server", NAMES[1], 3), ("server", SENDS, 30),
    ("client", "fdatasync", 7), ("client", "fdatasync", 8), ("client", SENDS, 30)])
def test_nothing_is_lost_when_a_process_is_killed_at_a_system_call(tmp_path: Path, role: str, calls: str, number: int) -> None:
    crash_at(tmp_path, role, calls, number)


@pytest.mark.nightly
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("role", "calls", "most"), [
    ("server", "fsync", 24), ("server", "fdatasync", 24), ("server", NAMES[0], 5), ("server", NAMES[1], 6),
    ("client", "fdatasync", 20), ("server", SENDS, 40), ("client", SENDS, 40)])
def test_nothing_is_lost_whichever_system_call_a_process_is_killed_at(tmp_path: Path, role: str, calls: str, most: int) -> None:
    for number in range(1, most + 1):
        crash_at(tmp_path / str(number), role, calls, number)


@pytest.mark.slow
def test_a_failed_fsync_of_a_delivered_file_is_a_failed_attempt(tmp_path: Path) -> None:
    """What was written is thrown away: after the error nobody knows what of it is on the disk."""
    with Network(tmp_path, server_options={"fsync": "always", "workers": "1"}) as network:
        place = network.destination / "first.bin"
        network.servers[0] = injected(network.servers[0], "fsync", "error=EIO:when=1", "-P", str(network.destination))
        network.start()
        network.servers[0].wait_for("watches")
        network.write("first.bin", b"first" * 1000)
        network.servers[0].wait_for("first.bin.*Input/output error")
        network.settle()
        assert place.read_bytes() == b"first" * 1000
        assert network.stop() == [0, 0]
        network.check()


@pytest.mark.slow
def test_an_origin_that_cannot_be_read_for_a_while_arrives_later(tmp_path: Path) -> None:
    with Network(tmp_path) as network:
        path = network.origins[0] / "first.bin"
        network.servers[0] = injected(network.servers[0], "pread64,copy_file_range", "error=EIO:when=1..2", "-P", str(path))
        network.start()
        network.servers[0].wait_for("watches")
        network.write("first.bin", b"first" * 1000)
        network.servers[0].wait_for("first.bin.*Input/output error")
        network.settle()
        assert network.stop() == [0, 0]
        network.check()


@pytest.mark.slow
@pytest.mark.parametrize("role", ["server", "client"])
def test_a_journal_that_cannot_be_synced_ends_the_process_and_a_restart_goes_on(tmp_path: Path, role: str) -> None:
    """What SQLite could not make last is unknown, so nobody goes on with it."""
    with Network(tmp_path, killed=True) as network:
        if role == "server":
            victim = network.servers[0] = injected(network.servers[0], "fdatasync", "error=EIO:when=8+")
        else:
            victim = network.client = injected(network.client, "fdatasync", "error=EIO:when=8+")
        network.start()
        feed(network, victim, 20)
        assert victim.wait(30) not in (0, -9)
        network.disarm()
        for program in network.programs:
            if not program.running:
                program.start()
        network.settle()
        assert network.stop() == [0, 0]
        network.check()
