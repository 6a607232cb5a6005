"""Who announced the very file that another provider delivered is told that we have it, whatever dies in between."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.checker import rows
from tests.faults.network import Network
from tests.support.eventually import eventually

OPTIONS = {"bandwidth_per_host": "1M", "trusted_acks": "127.0.0.1"}


class Twice(Network):
    """Two servers that announce the very same files: they look at one directory."""

    def __init__(self, root: Path, *, proxied: bool = False):
        super().__init__(root, servers=2, server_options=OPTIONS, killed=True, proxied=proxied)
        self.origins[1] = self.origins[0]
        self.write_server_config(1)

    def announced_by_both(self) -> int:
        """Write a file, which takes long to be moved; returns the number of the server that is not asked for it."""
        for program in self.servers:
            program.wait_for("watches")
        self.client.wait_for("listens to")
        self.write("f.bin", os.urandom(8 * 2**20))
        source = eventually(lambda: rows(self.client_journal, "SELECT provider FROM sources"), message="both are heard")[0][0]
        eventually(lambda: len(rows(self.client_journal, "SELECT 1 FROM cursors WHERE position > 0")) == 2,
                   message="neither is asked again what it announced")
        return [str(port) for port in self.request_ports].index(str(source).rpartition(":")[2])

    def is_told(self, server: int) -> bool:
        return rows(self.server_journal(server), "SELECT state FROM files WHERE identity = 'f.bin'") == [("acknowledged",)]


def test_who_announced_it_as_well_is_told_though_the_client_is_killed_when_it_has_published(tmp_path: Path) -> None:
    with Twice(tmp_path) as network:
        client = network.arm("client.published", 1)
        network.start()
        other = network.announced_by_both()
        eventually(lambda: not client.running, message="it dies when it has published")
        assert not network.is_told(other)
        network.disarm()
        network.client.start()
        eventually(lambda: network.is_told(1 - other), message="who delivered it is told")
        eventually(lambda: network.is_told(other), message="the other one is told")


@pytest.mark.slow
def test_who_announced_it_as_well_and_could_not_be_reached_is_told_when_it_can(tmp_path: Path) -> None:
    with Twice(tmp_path, proxied=True) as network:
        network.start()
        other = network.announced_by_both()
        between = network.proxies[1 + 2 * other]
        between.refusing = True
        between.cut_all()
        eventually(lambda: network.is_told(1 - other), message="who delivered it is told")
        network.client.wait_for("requests given up", 90)
        between.refusing = False
        eventually(lambda: network.is_told(other), message="the other one is told")
