"""Requests and replies that get lost (T32), transfers that take long (T33), a server that cannot be reached (T39)."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.checker import rows
from tests.faults.network import Network
from trollmoves.faults.observing import taken_by
from trollmoves.faults.proxy import Fault

ATTEMPTS = "SELECT identity, transfers.attempt, steps FROM transfers JOIN files ON files.id = file"


def moves(network: Network) -> dict[str, int]:
    """How often the server moved each file."""
    return {str(identity): str(steps).count('["moved"') for identity, _, steps in rows(network.server_journal(), ATTEMPTS)}


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, pytest.param(3, marks=pytest.mark.nightly)])
@pytest.mark.parametrize(("direction", "after"), [
    ("upward", 0), ("upward", 200), ("upward", 400), ("downward", 0), ("downward", 70), ("downward", 300), ("downward", 700)])
def test_a_lost_request_or_reply_costs_no_second_move(tmp_path: Path, direction: str, after: int, times: int) -> None:
    """The connection is cut after so many bytes, which is in the greeting, in a request or in a reply."""
    with Network(tmp_path, proxied=True, killed=True) as network:
        proxy = network.proxies[1]
        setattr(proxy, direction, Fault(cut_after=after, connections=times))
        network.start()
        network.write_many(5)
        network.settle()
        assert proxy.connections > 1, "nothing was cut"
        assert set(moves(network).values()) == {1}
        assert network.stop() == [0, 0]
        network.check()


@pytest.mark.slow
def test_what_was_on_its_way_over_a_connection_that_is_cut_is_repeated_at_once(tmp_path: Path) -> None:
    """Not only when the server has been silent for long (45 s): it is not."""
    with Network(tmp_path, proxied=True, killed=True) as network:
        network.begin()
        for number in range(15):
            network.write_many(20, f"cut{number:02}-")
            network.proxies[1].cut_all()
        network.settle(30)
        assert set(moves(network).values()) == {1}
        assert network.stop() == [0, 0]
        network.check()


@pytest.mark.slow
def test_replies_that_are_held_back_cost_no_second_move(tmp_path: Path) -> None:
    """Neither does the server answer within the time a client waits, nor is a connection closed."""
    with Network(tmp_path, proxied=True, killed=True, client_options={"transfer_req_timeout": "1"}) as network:
        network.begin(1)
        network.proxies[1].downward = Fault(delay=4.0)
        network.write_many(3, "late")
        network.settle(90)
        assert set(moves(network).values()) == {1}
        assert network.stop() == [0, 0]
        network.check()


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [
    16, pytest.param(900, marks=[pytest.mark.nightly, pytest.mark.timeout(1100)])])
def test_a_long_transfer_is_one_move_and_is_published_once(tmp_path: Path, seconds: int) -> None:
    with Network(tmp_path, server_options={"bandwidth_per_host": "20k"}, client_options={"transfer_req_timeout": "2"}) as network:
        network.start()
        network.write("long.bin", os.urandom(20 * 1024 * seconds))
        network.settle(seconds * 2 + 60)
        assert moves(network) == {"long.bin": 1}
        (attempt,), = rows(network.client_journal, "SELECT attempt FROM files WHERE identity = 'long.bin'")
        assert int(str(attempt)) <= 1
        assert network.stop() == [0, 0]
        network.check()


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [5, pytest.param(600, marks=[pytest.mark.nightly, pytest.mark.timeout(800)])])
@pytest.mark.parametrize("silent", [False, True], ids=["refuses", "is silent"])
def test_a_server_that_cannot_be_reached_costs_nothing_and_is_found_again(tmp_path: Path, seconds: int, silent: bool) -> None:
    """T39: no threads or sockets pile up meanwhile, and it goes on within half a minute."""
    with Network(tmp_path, proxied=True, killed=True) as network, ExitStack() as stack:
        network.begin()
        before = taken_by(network.client.pid)
        for proxy in network.proxies:
            if silent:
                stack.enter_context(proxy.black())
            else:
                proxy.refusing = True
                proxy.cut_all()
        network.write_many(20, "unreachable")
        time.sleep(seconds)
        meanwhile = taken_by(network.client.pid)
        stack.close()
        for proxy in network.proxies:
            proxy.refusing = False
        network.settle(30)
        assert before and meanwhile and meanwhile[1] <= before[1] + 10 and meanwhile[2] <= before[2] + 4
        assert network.stop() == [0, 0]
        network.check()
