"""Our client with an upstream server, an upstream client with our server: real processes, configurations in upstream's terms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compatibility.network import PATIENCE, Make, Network, delivered, files, join, put_new
from tests.compatibility.tapping import tapped
from tests.support.eventually import eventually, never

OURS, UPSTREAM = Make.OURS, Make.UPSTREAM
PAIRS = [pytest.param(UPSTREAM, OURS, id="upstream-server-our-client"),
         pytest.param(OURS, UPSTREAM, id="our-server-upstream-client")]
BURST = {OURS: 100, UPSTREAM: 60}
"""Files in a burst, by the make of the server."""


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with Network(tmp_path) as network:
        yield network


@pytest.mark.parametrize(("server_make", "client_make"), PAIRS)
class TestPairs:
    def test_single_files_and_a_burst_arrive_and_are_published_once(self, network: Network, server_make: Make,
                                                                   client_make: Make) -> None:
        server = network.server(server_make, info="sensor=seviri;channels=vis006,vis008")
        client = network.client(client_make, [server.address])
        with tapped(client=client.port) as record:
            join(server, client)
            single, burst = files(3, "single"), files(BURST[server_make], "burst")
            for name, content in single.items():
                server.put(name, content)
                delivered(client, {name: content})
            for name, content in burst.items():
                server.put(name, content)
            delivered(client, burst)
            wanted = {*single, *burst}
            eventually(lambda: wanted <= set(record.uids("client", "file")), PATIENCE, message="all are published")
            published = [uid for uid in record.uids("client", "file") if uid in wanted]
            assert sorted(published) == sorted(wanted)
            assert set(record.uids("client", "push")) >= wanted
            assert set(record.uids("client", "ack")) >= wanted
        for message in (message for message in record.of("client", "file") if message.fields["uid"] in single):
            assert message.subject == "/test/files"
            assert message.fields["sensor"] == "seviri"
            assert message.fields["channels"] == ["vis006", "vis008"]
            assert message.fields["start_time"] == "2024-01-02T03:04:00"
            assert message.fields["uri"] == str(client.outgoing / message.fields["uid"])
            assert message.fields["origin"] == server.request_address
            assert "request_address" not in message.fields and "destination" not in message.fields

    def test_files_from_before_the_start_arrive_when_the_client_was_first(self, network: Network, server_make: Make,
                                                                         client_make: Make) -> None:
        backlog = files(20, "old")
        server = network.server(server_make, ready=False)
        server.program.kill()
        for name, content in backlog.items():
            server.put(name, content)
        client = network.client(client_make, [server.address])
        server.program.start()
        delivered(client, backlog)

    def test_delivered_files_are_removed_after_the_delay(self, network: Network, server_make: Make, client_make: Make) -> None:
        server = network.server(server_make, delete=True, remove_delay=1)
        client = network.client(client_make, [server.address])
        join(server, client)
        wanted = files(5)
        for name, content in wanted.items():
            server.put(name, content)
        delivered(client, wanted)
        eventually(lambda: not set(wanted) & {path.name for path in server.incoming.iterdir()}, PATIENCE, message="they are gone")
        delivered(client, wanted)

    def test_undelivered_files_stay(self, network: Network, server_make: Make, client_make: Make) -> None:
        server = network.server(server_make, delete=True, remove_delay=0)
        client = network.client(client_make, [server.address], destination="file:///proc/nowhere/")
        names = set()
        with tapped(client=client.port) as record:
            def asked() -> bool:
                names.add(put_new(server))
                return bool(record.uids("client", "push")) or "/proc/nowhere" in client.program.output()
            eventually(asked, PATIENCE, interval=0.5, message="a file is asked for")
            never(lambda: names - {path.name for path in server.incoming.iterdir()}, 2.5, message="a file is removed")
            assert not record.uids("client", "file")

    def test_a_server_that_restarts_delivers_what_came_meanwhile(self, network: Network, server_make: Make,
                                                                client_make: Make) -> None:
        server = network.server(server_make)
        client = network.client(client_make, [server.address])
        join(server, client)
        server.program.kill()
        meanwhile = files(10, "meanwhile")
        for name, content in meanwhile.items():
            server.put(name, content)
        server.program.start()
        delivered(client, meanwhile)
        join(server, client)

    def test_a_client_that_restarts_gets_what_comes_then(self, network: Network, server_make: Make, client_make: Make) -> None:
        server = network.server(server_make)
        client = network.client(client_make, [server.address])
        join(server, client)
        client.program.restart()
        later = files(10, "later")
        join(server, client)
        for name, content in later.items():
            server.put(name, content)
        delivered(client, later)


def test_a_client_section_of_two_words_works_as_at_upstream(network: Network) -> None:
    """Its beats need a subject without white space: upstream's own, with it, end whoever reads them."""
    server = network.server(UPSTREAM)
    client = network.client(OURS, [server.address], chain="eumetcast hrit")
    with tapped(client=client.port) as record:
        join(server, client)
        eventually(lambda: record.of("client", "beat"), PATIENCE, message="it beats")
    assert {message.subject for message in record.of("client", "beat")} == {"/heartbeat/move_it_eumetcast_hrit"}


def test_asked_to_stop_ours_end_well_beside_upstream(network: Network) -> None:
    server = network.server(OURS)
    client = network.client(UPSTREAM, [server.address])
    join(server, client)
    assert server.program.stop() == 0
    assert "Thank you for using pytroll/move_it_server" in server.program.output()


@pytest.mark.parametrize("client_make", [OURS, UPSTREAM])
def test_a_file_of_two_servers_is_delivered_once_and_the_other_is_told(network: Network, client_make: Make) -> None:
    ours = network.server(OURS, "ours", delete=True, remove_delay=1, trusted_acks="any")
    theirs = network.server(UPSTREAM, "theirs", delete=True, remove_delay=1)
    client = network.client(client_make, [ours.address, theirs.address])
    join(ours, client)
    join(theirs, client)
    wanted = files(10, "both")
    with tapped(client=client.port) as record:
        for name, content in wanted.items():
            ours.put(name, content)
            theirs.put(name, content)
        delivered(client, wanted)
        for server in (ours, theirs):
            eventually(lambda server=server: not set(wanted) & {path.name for path in server.incoming.iterdir()}, PATIENCE,
                       message=f"the {server.make} server removed what it knows to be delivered")
    published = [uid for uid in record.uids("client", "file") if uid in wanted]
    assert len(published) == len(set(published))


@pytest.mark.parametrize("order", [(OURS, UPSTREAM), (UPSTREAM, OURS)], ids=["ours-first", "upstream-first"])
def test_our_client_turns_to_the_other_server_when_one_fails(network: Network, order: tuple[Make, Make]) -> None:
    """The first announces and is gone when it is asked; the other has the file as well."""
    first, second = (network.server(make, f"server-{make}") for make in order)
    client = network.client(OURS, [first.address, second.address], transfer_req_timeout=2)
    join(first, client)
    join(second, client)
    first.program.suspend()
    name, content = "only_202401020304.txt", b"whatever"
    second.put(name, content)
    delivered(client, {name: content})
    first.program.resume()
