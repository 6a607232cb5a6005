"""Two servers have a file of one name and size: a copy of what was delivered, or new content that one of them alone has."""

from __future__ import annotations

import os
import re
from itertools import product
from pathlib import Path

import pytest

from tests.faults.checker import rows
from tests.faults.network import Network
from tests.faults.test_providers import publications
from tests.support.eventually import eventually, never
from tests.support.programs import Program

SMALL, LARGE = 1000, 3 * 2**20
REMOVING = {"delete": "true", "remove_delay": "0.2"}


def written_at(network: Network, name: str, data: bytes, server: int, when: float) -> None:
    """Put a complete file into an origin, which was written at a time of its own."""
    network.ledger.note(name, data)
    staged = network.root / "staged"
    staged.write_bytes(data)
    os.utime(staged, (when, when))
    os.rename(staged, network.origins[server] / name)


def is_gone(network: Network, name: str, server: int) -> bool:
    return not (network.origins[server] / name).exists()


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_new_content_of_the_size_of_the_old_that_only_another_server_announces_is_delivered(tmp_path: Path, size: int) -> None:
    with Network(tmp_path, servers=2, server_options=REMOVING) as network:
        network.start()
        network.write("f.bin", b"o" * size, 0)
        eventually(lambda: publications(network) == 1 and is_gone(network, "f.bin", 0), message="the first is delivered")
        network.write("f.bin", b"n" * size, 1)
        eventually(lambda: is_gone(network, "f.bin", 1), message="it is removed when it is delivered")
        assert (network.destination / "f.bin").read_bytes() == b"n" * size
        assert publications(network) == 2
        assert network.stop() == [0, 0, 0]


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("taken_away", [False, True])
def test_a_copy_is_not_delivered_again_and_goes(tmp_path: Path, size: int, taken_away: bool) -> None:
    """Also where somebody has taken away what was delivered."""
    with Network(tmp_path, servers=2, server_options=REMOVING) as network:
        network.start()
        network.write("f.bin", b"c" * size, 0)
        eventually(lambda: publications(network) == 1 and is_gone(network, "f.bin", 0), message="the first is delivered")
        if taken_away:
            (network.destination / "f.bin").unlink()
        network.write("f.bin", b"c" * size, 1)
        eventually(lambda: is_gone(network, "f.bin", 1), message="the copy is removed")
        never(lambda: publications(network) != 1, 2, message="the copy is published again")
        assert (network.destination / "f.bin").exists() is not taken_away
        assert not any("given_up" in network.states(network.server_journal(number)) for number in range(2))
        assert network.stop() == [0, 0, 0]


def test_new_content_that_is_announced_while_the_old_is_being_moved_is_delivered(tmp_path: Path) -> None:
    options = {**REMOVING, "bandwidth_per_host": "1M"}
    with Network(tmp_path, servers=2, server_options=options) as network:
        network.start()
        network.write("f.bin", b"o" * LARGE, 0)
        eventually(lambda: network.states(network.client_journal) == {"requested": 1}, message="it is asked for")
        network.write("f.bin", b"n" * LARGE, 1)
        eventually(lambda: all(is_gone(network, "f.bin", server) for server in range(2)), message="both are removed")
        assert (network.destination / "f.bin").read_bytes() == b"n" * LARGE
        assert publications(network) == 2
        assert network.stop() == [0, 0, 0]


def test_copies_that_are_announced_while_the_others_are_being_moved_are_published_once(tmp_path: Path) -> None:
    with Network(tmp_path, servers=2, server_options=REMOVING) as network:
        network.start()
        for number in range(50):
            network.feed(number, b"%d" % number * 100)
        network.settle(deletes=True)
        never(lambda: publications(network) != 50, 2, message="copies are published again")
        assert network.stop() == [0, 0, 0]
        network.check(deletes=True)


def test_new_content_is_delivered_though_the_client_was_killed_before_it_had_asked(tmp_path: Path) -> None:
    with Network(tmp_path, servers=2, server_options=REMOVING, killed=True) as network:
        network.start()
        network.write("f.bin", b"old", 0)
        eventually(lambda: is_gone(network, "f.bin", 0), message="the first is delivered")
        network.client.kill()
        client = network.arm("client.requested", 1)
        client.start()
        network.write("f.bin", b"new", 1)
        eventually(lambda: not client.running, message="it dies before it asks")
        network.disarm()
        network.client.start()
        eventually(lambda: is_gone(network, "f.bin", 1), message="it is removed when it is delivered")
        assert (network.destination / "f.bin").read_bytes() == b"new"
        assert publications(network) == 2


def test_a_copy_that_is_gone_before_it_is_compared_is_no_loss(tmp_path: Path) -> None:
    with Network(tmp_path, servers=2, killed=True) as network:
        network.start()
        network.write("f.bin", b"content", 0)
        eventually(lambda: network.states(network.client_journal) == {"published": 1}, message="the first is delivered")
        network.client.kill()
        network.write("f.bin", b"content", 1)
        eventually(lambda: rows(network.server_journal(1), "SELECT 1 FROM files"), message="the second announces it")
        (network.origins[1] / "f.bin").unlink()
        network.client.start()
        network.client.wait_for("it was perhaps a copy of what was delivered")
        eventually(lambda: network.states(network.client_journal) == {"published": 1, "covered": 1}, message="none is given up")
        assert publications(network) == 1


def test_a_copy_that_was_away_when_it_was_to_be_compared_goes_when_it_is_back(tmp_path: Path) -> None:
    options = {"delete": "true", "remove_delay": "0", "trusted_acks": "any"}
    with Network(tmp_path, servers=2, killed=True, server_options=options) as network:
        network.start()
        network.write("f.bin", b"content", 0)
        eventually(lambda: network.states(network.client_journal) == {"published": 1}, message="the first is delivered")
        network.client.kill()
        network.write("f.bin", b"content", 1)
        eventually(lambda: rows(network.server_journal(1), "SELECT 1 FROM files"), message="the second announces it")
        away = tmp_path / "away"
        network.origins[1].rename(away)
        network.client.start()
        network.client.wait_for("it was perhaps a copy of what was delivered")
        away.rename(network.origins[1])
        eventually(lambda: is_gone(network, "f.bin", 1), message="it goes when it was compared")
        assert publications(network) == 1


def test_old_content_that_another_server_announces_late_stays_where_it_is(tmp_path: Path) -> None:
    """It was delivered, and newer content since."""
    with Network(tmp_path, servers=2) as network:
        network.start()
        for number, content in enumerate((b"first", b"newer")):
            written_at(network, "f.bin", content, 0, 1_000_000_000 + 1000 * number)
            eventually(lambda number=number: publications(network) == number + 1, message="it is delivered")  # type: ignore[misc]
        written_at(network, "f.bin", b"first", 1, 1_000_000_900)
        eventually(lambda: rows(network.server_journal(1), "SELECT 1 FROM transfers WHERE state = 'acknowledged'"),
                   message="the second server is told")
        never(lambda: publications(network) != 2, 2, message="it is published again")
        assert (network.destination / "f.bin").read_bytes() == b"newer"
        assert network.stop() == [0, 0, 0]


@pytest.mark.parametrize("primary_lives", [True, False])
@pytest.mark.parametrize("second", [b"content", b"another"])
def test_a_hot_spare_knows_what_the_primary_was_delivered(tmp_path: Path, second: bytes, primary_lives: bool) -> None:
    with Network(tmp_path, servers=2, spares=1, server_options=REMOVING, killed=True) as network:
        network.start()
        for program in (network.client, network.spares[0]):
            program.wait_for("listens to")
        network.write("f.bin", b"content", 0)
        eventually(lambda: network.states(network.client_journal) == {"published": 1}, message="the primary publishes it")
        eventually(lambda: network.states(network.spare_journal()) == {"covered": 1}, message="the spare hears of it")
        if not primary_lives:
            network.client.kill()
        network.write("f.bin", second, 1)
        wanted = {b"content": {"covered": 2}, b"another": {"covered": 1 + primary_lives, "published": 1 - primary_lives}}[second]
        eventually(lambda: network.states(network.spare_journal()) == {state: count for state, count in wanted.items() if count},
                   60, message="the spare is done with both")
        eventually(lambda: (network.destination / "f.bin").read_bytes() == second, message="the newest is there")
        published = rows(network.client_journal, "SELECT 1 FROM announcements") + rows(
            network.spare_journal(), "SELECT 1 FROM announcements")
        assert len(published) == (1 if second == b"content" else 2)


def test_a_name_that_comes_again_and_again_from_two_servers_is_published_once_each_time(tmp_path: Path) -> None:
    """Each copy is heard when the other one was delivered."""
    with Network(tmp_path, servers=2) as network:
        network.start()
        for number in range(1, 4):
            for server in range(2):
                network.write("f.bin", b"%d" % number * SMALL, server)
                eventually(lambda number=number, server=server: sum(network.states(network.client_journal).values())  # type: ignore
                           == 2 * number - 1 + server and not network.scene().unfinished(), message="it is settled")
        assert (network.destination / "f.bin").read_bytes() == b"3" * SMALL
        assert publications(network) == 3
        assert network.stop() == [0, 0, 0]


def test_new_content_of_a_third_server_is_asked_for_where_the_copy_of_the_second_cannot_be_compared(tmp_path: Path) -> None:
    with Network(tmp_path, servers=3, client_options={"processing_delay": "4"}) as network:
        network.start()
        network.write("f.bin", b"old", 0)
        eventually(lambda: publications(network) == 1 and not network.scene().unfinished(), message="the first is delivered")
        network.write("f.bin", b"old", 1)
        eventually(lambda: sum(network.states(network.client_journal).values()) == 2, message="the second is heard")
        network.write("f.bin", b"new", 2)
        eventually(lambda: rows(network.client_journal, "SELECT 1 FROM sources"), message="the third is heard")
        (network.origins[1] / "f.bin").unlink()
        eventually(lambda: (network.destination / "f.bin").read_bytes() == b"new", message="the third is asked")
        eventually(lambda: publications(network) == 2, message="it is published")
        assert network.stop() == [0, 0, 0, 0]


def test_a_hot_spare_asks_a_third_server_for_new_content_after_a_copy_that_its_primary_was_asked_about(tmp_path: Path) -> None:
    """The word of a spare counts for its primary: what a dead one has not got would be removed."""
    with Network(tmp_path, servers=3, spares=1, server_options=REMOVING, killed=True) as network:
        network.start()
        for program in (network.client, network.spares[0]):
            program.wait_for("listens to")
        for server in range(2):
            network.write("f.bin", b"old", server)
            eventually(lambda server=server: network.states(network.spare_journal()) == {"covered": server + 1},  # type: ignore
                       message="the spare is done with it")
        network.client.kill()
        network.write("f.bin", b"new", 2)
        eventually(lambda: is_gone(network, "f.bin", 2), 60, message="it is removed when it is delivered")
        assert (network.destination / "f.bin").read_bytes() == b"new"


@pytest.mark.parametrize("spares", [0, 1])
def test_copies_of_what_takes_the_place_of_copies_are_published_once(tmp_path: Path, spares: int) -> None:
    """Each server announced other content of that name before."""
    with Network(tmp_path, servers=2, spares=spares) as network:
        network.start()
        for number, content in enumerate((b"first", b"newer", b"third")):
            for server in range(2):
                network.write("f.bin", content, server)
                eventually(lambda server=server, number=number: len(rows(  # type: ignore[misc]
                    network.server_journal(server), "SELECT 1 FROM transfers WHERE state = 'acknowledged'")) == number + 1,
                    message="the server is told")
        never(lambda: publications(network) != 3, 2, message="a copy is published again")
        assert (network.destination / "f.bin").read_bytes() == b"third"
        assert set(network.stop()) == {0}


@pytest.mark.parametrize("written", [-1000, 1000])
def test_older_content_that_is_back_at_both_servers_is_delivered_once_more(tmp_path: Path, written: int) -> None:
    """Also with the time it was written at."""
    with Network(tmp_path, servers=2) as network:
        network.start()
        for number, (content, when) in enumerate(((b"first", 0), (b"newer", 10), (b"first", written))):
            for server in range(2):
                written_at(network, "f.bin", content, server, 1_000_000_000 + when + server)
                eventually(lambda server=server, number=number: len(rows(  # type: ignore[misc]
                    network.server_journal(server), "SELECT 1 FROM transfers WHERE state = 'acknowledged'")) == number + 1,
                    message="the server is told")
        assert (network.destination / "f.bin").read_bytes() == b"first"
        never(lambda: publications(network) != 3, 2, message="a copy is published again")
        assert network.stop() == [0, 0, 0]


def test_a_copy_of_what_was_replaced_is_not_delivered_over_newer_content_when_it_took_the_place_of_a_copy(tmp_path: Path) -> None:
    """It is heard late."""
    with Network(tmp_path, servers=2) as network:
        network.start()
        for number, content in enumerate((b"first", b"newer", b"third")):
            written_at(network, "f.bin", content, 0, 1_000_000_000 + 1000 * number)
            eventually(lambda number=number: publications(network) == number + 1, message="it is delivered")  # type: ignore[misc]
            if not number:
                written_at(network, "f.bin", content, 1, 1_000_000_100)
                eventually(lambda: rows(network.server_journal(1), "SELECT 1 FROM transfers WHERE state = 'acknowledged'"),
                           message="the second server is told")
        written_at(network, "f.bin", b"newer", 1, 1_000_001_100)
        eventually(lambda: len(rows(network.server_journal(1), "SELECT 1 FROM transfers WHERE state = 'acknowledged'")) == 2,
                   message="the second server is told again")
        never(lambda: publications(network) != 3, 2, message="it is published again")
        assert (network.destination / "f.bin").read_bytes() == b"third"
        assert network.stop() == [0, 0, 0]


@pytest.mark.nightly
def test_many_copies_are_settled_in_bounded_memory(tmp_path: Path) -> None:
    """Each is asked for by itself, on condition."""
    count = 10_000
    with Network(tmp_path, servers=2) as network:
        network.start()
        before = [resident(program) for program in network.programs]
        for server, number in product(range(2), range(count)):
            network.write(f"f{number:05}.bin", b"%d" % number * 100, server)
        eventually(lambda: network.states(network.client_journal) == {"published": count, "covered": count}, 300, interval=1.0,
                   message="all are settled")
        for server in range(2):
            eventually(lambda server=server: network.states(network.server_journal(server)) == {"acknowledged": count},  # type: ignore
                       message="its server is told of each")
        sizes = [(program.name, grown - size) for program, size, grown in zip(
            network.programs, before, map(resident, network.programs), strict=True)]
        assert max(grown for _, grown in sizes) < 64 * 2**10, f"kB more: {sizes}"
        assert publications(network) == count
        assert network.stop() == [0, 0, 0]


def resident(program: Program) -> int:
    """kB of memory that it has had at most."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{program.pid}/status").read_text())
    assert found is not None
    return int(found[1])
