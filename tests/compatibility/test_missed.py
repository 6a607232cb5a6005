"""What an upstream server announced while our client was away is not here: an alarm names it. Upstream clients take no notice of
our alarms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compatibility.network import PATIENCE, Make, Network, Server, ask, delivered, files, join
from tests.faults.checker import rows
from tests.support.eventually import eventually
from trollmoves.messages import Envelope, decode

OURS, UPSTREAM = Make.OURS, Make.UPSTREAM


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with Network(tmp_path) as network:
        yield network


def announced(server: Server) -> set[str]:
    """The names of what a server says it has announced; upstream does not log them."""
    question = Envelope.of_this_process("v1.01").encode(server.topic, "info", {})
    reply = ask(server.request_port, question)
    assert reply is not None
    return {name.rpartition("/")[2] for name in decode(reply).fields["files"]}


@pytest.mark.slow
def test_names_that_an_upstream_server_told_to_nobody_are_an_alarm(network: Network) -> None:
    # with its backlog it would announce all that is there once more, three seconds after its start, perhaps to our client
    server = network.server(UPSTREAM, arguments=("--disable-backlog",))
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
    eventually(lambda: missed.keys() <= announced(server), PATIENCE, message="upstream announced them")
    mark = client.program.mark()
    client.program.start()
    client.program.wait_for("listens to", since=mark)  # or more new ones would come in vain than an alarm shows
    join(server, client)
    for name, content in after.items():
        server.put(name, content)
    delivered(client, after)
    (text,) = eventually(lambda: [str(text) for (text,) in rows(journal, "SELECT text FROM alarms WHERE kind = 'gap'")], PATIENCE,
                         message="an alarm")
    assert "announced while we did not listen are not here" in text
    assert all(name in text for name in missed)
