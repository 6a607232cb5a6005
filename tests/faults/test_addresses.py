"""A section gets another port while files wait for its clients: they are asked for where it is now."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.checker import rows
from tests.faults.network import Network
from tests.support.eventually import eventually
from tests.support.ports import free_port


def not_confirmed(network: Network) -> int:
    return int(rows(network.server_journal(), "SELECT count(*) FROM transfers WHERE state = 'moved'")[0][0])


def not_asked(network: Network) -> int:
    asked = "SELECT count(*) FROM files WHERE identity LIKE 'wait%' AND state = 'announced'"
    return int(rows(network.server_journal(), asked)[0][0])


@pytest.mark.slow
def test_what_waits_is_asked_for_at_the_new_port(tmp_path: Path) -> None:
    """The server reads its configuration anew, and the client hears of the files afterwards."""
    with Network(tmp_path, killed=True, server_options={"delete": "true", "remove_delay": "0"}) as network:
        network.begin()
        network.client.suspend()
        network.write_many(20, "wait")
        eventually(lambda: not_asked(network) == 20, message="they are announced")
        network.client.kill()
        network.request_ports[0] = free_port()
        mark = network.servers[0].mark()
        network.write_server_config()
        network.servers[0].wait_for(r"\[send\] watches", since=mark)
        network.client.start()
        network.settle(100, deletes=True)
        network.check(deletes=True)


@pytest.mark.slow
def test_what_was_moved_is_confirmed_at_the_new_port(tmp_path: Path) -> None:
    with Network(tmp_path, killed=True, server_options={"delete": "true", "remove_delay": "0"}) as network:
        network.begin()
        network.client.kill()
        armed = network.arm("client.answered", 1)
        armed.start()
        network.write_many(5, "moved")
        eventually(lambda: not armed.running, 40, message="the client crashed when it had the answer")
        eventually(lambda: not_confirmed(network) > 0, message="some are moved, and not confirmed")
        assert network.servers[0].stop() == 0
        network.request_ports[0] = free_port()
        network.write_server_config()
        network.disarm()
        network.servers[0].start()
        network.client.start()
        network.settle(100, deletes=True)
        network.check(deletes=True)
