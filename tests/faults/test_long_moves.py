"""A move that takes long is one move: told of every few seconds, shown by `trollmoves status`, published in the end; or
cancelled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.compatibility.tapping import Record, Relay
from tests.faults.checker import rows
from tests.faults.network import Network
from tests.support.eventually import eventually
from tests.support.programs import CHECKOUT, Program, clean_environment
from tests.support.unavailable import need_program, unavailable
from trollmoves.bus.requesting import SILENCE

LONGEST_SILENCE = SILENCE / 3
"""Seconds within which a client hears how its request stands, or it would ask again. 10 are promised; the rest is for a machine
that is busy."""


class Slow(Network):
    """A network with a relay in which requests and replies are seen, and little bandwidth."""

    def __init__(self, root: Path, rate: int):
        self.relay: Relay | None = None
        super().__init__(root, server_options={"bandwidth_per_host": str(rate)}, killed=True)
        self.record = Record()
        self.relay = Relay(self.publish_ports[0], self.request_ports, self.record)
        self.write_client_config()

    def write_client_config(self, more: str = "") -> None:
        super().write_client_config(more)
        if self.relay is not None:
            text = self.client_config.read_text()
            self.client_config.write_text(text.replace(f"127.0.0.1:{self.publish_ports[0]}", f"127.0.0.1:{self.relay.port}"))

    def status(self, journal: Path) -> list[dict[str, object]]:
        """What `trollmoves status` says is under way."""
        done = subprocess.run([sys.executable, "-m", "trollmoves.cli.umbrella", "status", "--json", "--journal", journal],
                              capture_output=True, check=True, timeout=60, env=clean_environment({"PYTHONPATH": str(CHECKOUT)}))
        chains = json.loads(done.stdout)[0]["chains"]
        return [one for chain in chains.values() for one in chain["under_way"]]


@contextmanager
def stalled_disk(program: Program) -> Iterator[None]:
    """What *program* wants to have on the disk takes minutes, in each of its threads; it has begun to wait for it."""
    if os.geteuid() != 0:
        unavailable("only root may trace a program that runs")
    strace = Program([need_program("strace", "strace"), "-f", "-p", str(program.pid), "-e", "trace=fdatasync,fsync",
                      "-e", "inject=fdatasync,fsync:delay_enter=120s"], program.log.with_suffix(".strace"))
    with strace:
        strace.wait_for(r"sync\(\d")
        yield


def one_move(network: Slow, seconds: float, rate: int) -> None:
    assert network.relay is not None
    with network.relay, network:
        network.start()
        network.client.wait_for("listens to")
        network.write("long.bin", os.urandom(int(seconds * rate)))
        began = time.monotonic()
        for journal in (network.server_journal(), network.client_journal):
            shown = eventually(lambda journal=journal: network.status(journal), 30, interval=0.5, message="status shows it")
            assert shown[0]["uid"] == "long.bin"
            assert 0 < int(str(shown[0]["done"])) <= int(str(shown[0]["total"])) == int(seconds * rate)
        silences, heard, count = [], time.monotonic(), 0
        while "long.bin" not in {data["uid"] for data in network.recorder.files()}:
            assert time.monotonic() - began < 2 * seconds + 60
            time.sleep(0.1)
            replies = len(network.record.of("reply"))
            if replies > count:
                count = replies
                silences.append(time.monotonic() - heard)
                heard = time.monotonic()
        network.settle()
        assert max(silences) <= LONGEST_SILENCE
        assert network.observer.moves["long.bin"] == 1
        assert rows(network.server_journal(), "SELECT attempt FROM transfers") == [(1,)]
        assert not network.status(network.server_journal())
        assert not network.status(network.client_journal)
        network.check()


@pytest.mark.slow
def test_a_long_move_is_one_move_and_is_published(tmp_path: Path) -> None:
    one_move(Slow(tmp_path, 40_000), 20, 40_000)


@pytest.mark.slow
@pytest.mark.parametrize("role", ["server", "client"])
def test_how_a_move_stands_is_told_while_the_disk_of_a_journal_stalls(tmp_path: Path, role: str) -> None:
    """That promises nothing which would have to be written; nor may it wait for other files, of which something is."""
    network = Slow(tmp_path, 20_000)
    assert network.relay is not None
    with network.relay, network:
        network.start()
        network.client.wait_for("listens to")
        network.write("long.bin", os.urandom(5_000_000))
        program, journal = (network.client, network.client_journal) if role == "client" else \
            (network.servers[0], network.server_journal())
        eventually(lambda: network.status(journal), message="it takes long")
        with stalled_disk(program):
            network.write("other.bin", b"another one")
            for _ in range(2):  # the first may have been under way
                count = len(network.record.of("reply"))
                eventually(lambda: len(network.record.of("reply")) > count, LONGEST_SILENCE, message="told")  # noqa: B023


@pytest.mark.nightly
@pytest.mark.timeout(1500)
def test_a_move_of_a_quarter_of_an_hour_is_one_move_and_is_published(tmp_path: Path) -> None:
    one_move(Slow(tmp_path, 20_000), 900, 20_000)


def test_removing_the_section_of_a_client_cancels_its_moves(tmp_path: Path) -> None:
    with Network(tmp_path, server_options={"bandwidth_per_host": "20k"}, killed=True) as network:
        network.start()
        network.client.wait_for("listens to")
        network.write("long.bin", os.urandom(5_000_000))
        eventually(lambda: any(network.destination.iterdir()), message="bytes move")
        other = network.client_config.read_text().replace("[recv]", "[other]").replace("/faults", "/nothing")
        network.client_config.write_text(other)
        network.servers[0].wait_for("cancelled 1 requests, of which 1 were under way")
        eventually(lambda: not any(network.destination.iterdir()), message="nothing is left of it")


@pytest.mark.parametrize(("spares", "later"), [(0, 0.0), (1, 0.0), (1, 6.0)])
def test_an_operator_cancels_a_move(tmp_path: Path, spares: int, later: float) -> None:
    """For good: a hot spare, which asks for it after some seconds, gives it up as well."""
    with Network(tmp_path, server_options={"bandwidth_per_host": "20k"}, killed=True, spares=spares) as network:
        network.start()
        for program in (network.client, *network.spares):
            program.wait_for("listens to")
        network.write("long.bin", os.urandom(5_000_000))
        request = eventually(lambda: rows(network.server_journal(), "SELECT request FROM transfers WHERE state = 'moving'"))[0][0]
        time.sleep(later)
        done = subprocess.run([sys.executable, "-m", "trollmoves.cli.umbrella", "req", "cancel", str(request),
                               f"127.0.0.1:{network.request_ports[0]}"], capture_output=True, text=True, timeout=60,
                              env=clean_environment({"PYTHONPATH": str(CHECKOUT)}))
        assert (done.returncode, done.stderr) == (0, "")
        assert "is cancelled" in done.stdout
        for journal in (network.client_journal, *map(network.spare_journal, range(spares))):
            eventually(lambda journal=journal: network.states(journal) == {"given_up": 1}, 120, message="the client gives it up")
        eventually(lambda: not any(network.destination.iterdir()), message="nothing is left of it")
