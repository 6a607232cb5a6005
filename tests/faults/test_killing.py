"""Kill loops: SIGKILL of server, client or both at random moments while files are written. Nothing is lost.

The seed is printed with every failure; `TROLLMOVES_TEST_SEED=n` plays it again.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.checker import rows
from tests.faults.network import Network
from tests.support.eventually import eventually
from trollmoves.faults.observing import Sampler

FEW_KILLS = 100
"""Of fewer a single one may meet a whole part of a backlog on its way, and more is repeated than there were kills."""
SIZES = (1000, 1000, 4000, 20_000, 100_000, 1_000_000)


def seeded() -> random.Random:
    seed = int(os.environ.get("TROLLMOVES_TEST_SEED") or random.randrange(10**9))
    print(f"TROLLMOVES_TEST_SEED={seed}")
    return random.Random(seed)


@contextmanager
def writing(network: Network, dice: random.Random, count: int, seconds: float, providers: int) -> Iterator[threading.Thread]:
    """Files written over about *seconds* by a thread; with two providers both get the same ones."""
    def run() -> None:
        for number in range(count):
            data = random.Random(number).randbytes(dice.choice(SIZES))
            for server in range(providers):
                network.write(f"f{number:05}.bin", data, server)
            time.sleep(seconds / count)
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield thread
    finally:
        thread.join()


def kill_loop(network: Network, *, kills: int, files: int, seconds: float, deletes: bool = False) -> None:
    """Kill programs at random; none may lose anything, double anything unflagged, or take much memory."""
    dice = seeded()
    network.killed = True
    victims = network.programs
    sampler = Sampler(lambda: {program.name: program.pid for program in victims if program.running})
    with network:
        network.start()
        sampler.start()
        with writing(network, random.Random(dice.random()), files, seconds, len(network.servers)):
            for _ in range(kills):
                time.sleep(dice.uniform(0.2, max(0.4, 1.6 * seconds / kills)))
                hit = victims if dice.random() < 0.25 else [dice.choice(victims)]
                for program in hit:
                    program.kill()
                time.sleep(dice.choice((0.0, 0.0, 0.3)))
                for program in hit:
                    program.start()
        began = time.monotonic()
        network.settle(90, deletes=deletes)
        for spare in network.root.glob("spare*.journal"):  # one that was killed last hears late of what others have published
            eventually(lambda spare=spare: network.ledger.latest().keys() <= {
                name for (name,) in rows(spare, "SELECT identity FROM files")}, 60, message=f"{spare.name} has all files")
        network.settle(90, deletes=deletes)
        for program in victims:
            assert program.running, f"{program.name} ended by itself\n{program.output()[-3000:]}"
        sampler.stop()
        assert network.stop() == [0] * len(victims)
        network.check(deletes=deletes)
        assert sampler.violations() == []
        repeated = network.scene().flagged()
        print(f"{kills} kills, {files} files: settled {time.monotonic() - began:.1f} s after the last, "
              f"{repeated} marked repetitions, growth {sampler.growth / 2**20:.0f} MiB")
        assert repeated <= max(kills, FEW_KILLS)


DELETING = {"delete": "true", "remove_delay": "1"}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("servers", "options"), [(1, {}), (1, DELETING), (2, {})], ids=["plain", "deleting", "two providers"])
def test_nothing_is_lost_when_processes_are_killed(tmp_path: Path, servers: int, options: dict[str, str]) -> None:
    network = Network(tmp_path, servers=servers, server_options=options)
    kill_loop(network, kills=12, files=400, seconds=15, deletes=bool(options))


@pytest.mark.nightly
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(("servers", "options"), [(1, {}), (1, DELETING), (2, {})], ids=["plain", "deleting", "two providers"])
def test_nothing_is_lost_in_many_kills(tmp_path: Path, servers: int, options: dict[str, str]) -> None:
    network = Network(tmp_path, servers=servers, server_options=options)
    kill_loop(network, kills=300, files=5000, seconds=450, deletes=bool(options))


@pytest.mark.parametrize("absent", ["client", "server", "both"])
def test_files_that_come_while_somebody_is_absent_arrive(tmp_path: Path, absent: str) -> None:
    with Network(tmp_path, killed=True) as network:
        network.begin()
        missing = {"client": [network.client], "server": network.servers, "both": [*network.servers, network.client]}[absent]
        for program in missing:
            program.kill()
        network.write_many(50, "absent")
        if absent == "client":
            network.servers[0].wait_for("publishing on port")
        for program in missing:
            program.start()
        network.settle()
        network.check()


def test_a_file_sent_again_with_new_content_arrives_again(tmp_path: Path) -> None:
    with Network(tmp_path) as network:
        network.start()
        for version in (b"first" * 100, b"second" * 100, b"third!" * 100):  # the last two have the same size
            network.write("same.bin", version)
            network.settle()
        network.check()
        published = [data for data in network.recorder.files() if data["uid"] == "same.bin"]
        assert len({str(data["trollmoves"]["publication"]) for data in published}) == 3  # type: ignore[index]


def test_another_file_of_the_same_size_and_time_arrives(tmp_path: Path) -> None:
    """It takes the place of the announced one before that was asked for; its announcement looks the same."""
    with Network(tmp_path) as network:
        network.begin()
        network.client.suspend()
        network.write("twin.bin", b"1" * 1000)
        path = network.origins[0] / "twin.bin"
        eventually(lambda: rows(network.server_journal(), "SELECT 1 FROM files WHERE identity = 'twin.bin'"))
        time_before = path.stat().st_mtime_ns
        network.ledger.note("twin.bin", b"2" * 1000)
        twin = tmp_path / "twin"
        twin.write_bytes(b"2" * 1000)
        os.utime(twin, ns=(time_before, time_before))
        os.rename(twin, path)
        eventually(lambda: len(rows(network.server_journal(), "SELECT 1 FROM files WHERE identity = 'twin.bin'")) == 2)
        network.client.resume()
        network.settle()
        network.check()


def test_new_content_under_the_same_name_wins_over_the_old_one_also_across_kills(tmp_path: Path) -> None:
    dice = seeded()
    with Network(tmp_path, killed=True) as network:
        network.start()
        for version in range(30):
            for number in range(10):
                network.write(f"same{number}.bin", os.urandom(dice.choice((1000, 1000, 50_000))))
            time.sleep(0.1)
            if version % 6 == 5:
                dice.choice((network.servers[0], network.client)).restart()
        network.settle()
        network.stop()
        network.check()


def stopped_client(network: Network, count: int) -> None:
    sampler = Sampler(lambda: {program.name: program.pid for program in network.programs if program.running})
    with network:
        network.begin()
        sampler.start()
        eventually(lambda: len(sampler.first) == len(network.programs), message="what they take at first is known")
        network.client.suspend()
        started = time.monotonic()
        network.write_many(count, "stopped", size=200)
        time.sleep(max(0.0, 4.0 - (time.monotonic() - started)))
        network.client.resume()
        resumed = time.monotonic()
        network.settle(120)
        sampler.stop()
        print(f"{count} announcements: settled {time.monotonic() - resumed:.1f} s after it went on, "
              f"growth {sampler.growth / 2**20:.0f} MiB")
        assert sampler.violations() == []
        network.check()


def test_announcements_to_a_stopped_client_all_arrive(tmp_path: Path) -> None:
    stopped_client(Network(tmp_path), 3000)


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_twenty_thousand_announcements_to_a_stopped_client_all_arrive(tmp_path: Path) -> None:
    stopped_client(Network(tmp_path), 20_000)


@pytest.mark.slow
def test_another_provider_delivers_what_a_dead_one_was_asked_for(tmp_path: Path) -> None:
    """Both providers announce; the one that was asked dies before it answers, and is asked whether it had the same when it is
    back."""
    with Network(tmp_path, servers=2, killed=True) as network:
        armed = network.arm("server.requested", 1)
        network.start()
        contents = {f"both{number}.bin": os.urandom(1000) for number in range(20)}
        for name, data in contents.items():
            network.write(name, data, 0)
        assert armed.wait(30) == -9
        for name, data in contents.items():
            network.write(name, data, 1)
        eventually(lambda: network.states(network.client_journal).get("published") == len(contents), 90,
                   message="all are published")
        network.disarm()
        network.servers[0].start()
        network.settle(90)
        network.check()


@pytest.mark.slow
@pytest.mark.parametrize(("kills", "files", "seconds"), [
    pytest.param(12, 300, 15, marks=pytest.mark.timeout(600)),
    pytest.param(300, 5000, 450, marks=[pytest.mark.nightly, pytest.mark.timeout(1500)])])
def test_a_mirror_loses_and_doubles_nothing_when_somebody_is_killed(tmp_path: Path, kills: int, files: int,
                                                                       seconds: float) -> None:
    """T03: a server, a mirror of it, a client."""
    kill_loop(Network(tmp_path, mirror=True), kills=kills, files=files, seconds=seconds)


@pytest.mark.slow
@pytest.mark.parametrize(("kills", "files", "seconds"), [
    pytest.param(12, 300, 15, marks=pytest.mark.timeout(600)),
    pytest.param(300, 5000, 450, marks=[pytest.mark.nightly, pytest.mark.timeout(1500)])])
def test_a_group_loses_and_doubles_nothing_when_its_members_are_killed(tmp_path: Path, kills: int, files: int,
                                                                          seconds: float) -> None:
    """T03: a server, a client and two hot spares, all of them killed at random."""
    kill_loop(Network(tmp_path, spares=2), kills=kills, files=files, seconds=seconds)
