"""What an upstream server announced while our client was away is not here: an alarm names it. Upstream clients take no notice of
our alarms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compatibility.network import PATIENCE, Make, Network, delivered, files, join
from tests.faults.checker import rows
from tests.support.eventually import eventually

OURS, UPSTREAM = Make.OURS, Make.UPSTREAM


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with Network(tmp_path) as network:
        yield network


@pytest.mark.slow
def test_names_that_an_upstream_server_told_to_nobody_are_an_alarm(network: Network) -> None:
    server = network.server(UPSTREAM)
    client = network.client(OURS, [server.address])
    journal = next(client.folder.rglob("*.journal"))
    join(server, client)
    before, missed, after = files(3, "before"), files(2, "missed"), files(1, "after")
    for name, content in before.items():
        server.put(name, content)
    delivered(client, before)
    client.program.kill()
    for name, content in missed.items():
        server.put(name, content)
    eventually(lambda: all(name in server.program.output() for name in missed), PATIENCE, message="upstream announced them")
    client.program.start()
    join(server, client)
    for name, content in after.items():
        server.put(name, content)
    delivered(client, after)
    (text,) = eventually(lambda: [str(text) for (text,) in rows(journal, "SELECT text FROM alarms WHERE kind = 'gap'")], PATIENCE,
                         message="an alarm")
    assert "announced while we did not listen are not here" in text
    assert all(name in text for name in missed)
