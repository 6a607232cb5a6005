"""A client's destination without a slash at its end, at an upstream server that removes what it has sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compatibility.network import PATIENCE, Make, Network, files, join
from tests.compatibility.tapping import tapped
from tests.support.eventually import eventually


@pytest.mark.parametrize("destination", ["file://{there}/out9", "{there}/{{station}}"])
@pytest.mark.parametrize("made", ["true", "false"])
@pytest.mark.parametrize("temporary", ["true", "false"])
def test_no_file_takes_the_place_of_another(destination: str, made: str, temporary: str, tmp_path: Path) -> None:
    there, wanted = tmp_path / "there", files(10)
    with Network(tmp_path) as network:
        server = network.server(Make.UPSTREAM, delete=True, remove_delay=1, info="station=out9",
                                connection_parameters__use_tmp_on_transfer=temporary)
        client = network.client(Make.OURS, [server.address], destination=destination.format(there=there),
                                create_target_directory=made)
        client.outgoing = there / "out9"
        join(server, client)
        with tapped(client=client.port) as record:
            for name, content in wanted.items():
                server.put(name, content)
            eventually(lambda: set(wanted) <= set(record.uids("client", "file")), PATIENCE, message="all are published")
            eventually(lambda: not set(wanted) & {path.name for path in server.incoming.iterdir()}, PATIENCE,
                       message="all originals are removed")
        found = {path.name: path.read_bytes() for path in client.outgoing.iterdir() if not path.name.startswith("new")}
        assert found == wanted
        uris = {message.fields["uid"]: message.fields["uri"] for message in record.of("client", "file")}
        assert {name: uris[name] for name in wanted} == {name: str(client.outgoing / name) for name in wanted}
