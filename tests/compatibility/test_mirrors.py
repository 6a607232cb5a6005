"""Our mirror between upstream's servers and clients, and ours: all that upstream's mirror, which cannot start, was meant for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.compatibility.network import PATIENCE, Make, Network, delivered, files, join
from tests.compatibility.tapping import tapped
from tests.integration.dispatching import Source
from tests.support.eventually import eventually, never

OURS, UPSTREAM = Make.OURS, Make.UPSTREAM
PAIRS = [pytest.param(UPSTREAM, OURS, id="upstream-server-our-client"),
         pytest.param(OURS, UPSTREAM, id="our-server-upstream-client"),
         pytest.param(UPSTREAM, UPSTREAM, id="upstream-on-both-sides")]


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with Network(tmp_path) as network:
        yield network


@pytest.mark.parametrize(("server_make", "client_make"), PAIRS)
def test_files_pass_and_are_removed_behind(network: Network, server_make: Make, client_make: Make) -> None:
    server = network.server(server_make, delete=True, remove_delay=1, info="sensor=seviri")
    # The fields of this origin have a colon between them in their format, which upstream's mirror stumbles over.
    mirror = network.mirror([server.address], origin="/anywhere/{name}_{start_time:%Y%m%d%H%M}.txt")
    client = network.client(client_make, [mirror.address])
    with tapped(server=server.port, mirror=mirror.port, client=client.port) as record:
        join(server, client)
        burst = files(40)
        for name, content in burst.items():
            server.put(name, content)
        delivered(client, burst)
        eventually(lambda: set(burst) <= set(record.uids("client", "file")), PATIENCE, message="all are published")
        eventually(lambda: not any(mirror.kept.iterdir()) and not any(server.incoming.iterdir()), PATIENCE,
                   message="files are removed at the mirror and at the server")
        heard = {message.fields["uid"]: message for message in record.of("server", "file")}
        announced = [message for message in record.of("mirror", "file") if message.fields["uid"] in burst]
    assert sorted(message.fields["uid"] for message in announced) == sorted(burst)
    for message in announced:
        original = heard[message.fields["uid"]]
        assert message.subject == original.subject
        assert {**plain(message.fields), "request_address": ""} == {**plain(original.fields), "request_address": ""}
    assert {message.type for message in record.of("mirror")} <= {"file", "beat"}
    assert {message.fields["origin"] for message in record.of("client", "file") if message.fields["uid"] in burst} == {
        announced[0].fields["request_address"]}


def plain(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name != "trollmoves"}


@pytest.mark.parametrize("client_make", list(Make))
@pytest.mark.parametrize("kind", ["dataset", "collection"])
def test_files_that_belong_together_pass_together(network: Network, tmp_path: Path, client_make: Make, kind: str) -> None:
    source = Source()
    server = network.server(UPSTREAM, origin=None, listen="/sets", addresses=f"tcp://127.0.0.1:{source.port}", nameserver=False)
    mirror = network.mirror([server.address])
    client = network.client(client_make, [mirror.address])
    contents = files(3, "part")
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    items = [{"uri": str(tmp_path / name), "uid": name} for name in contents]
    data = {"platform_name": "M11", "start_time": "2024-01-01T00:00:00"}
    data |= {"dataset": items} if kind == "dataset" else {"collection": [{"dataset": items[:2]}, items[2]]}
    try:
        with tapped(client=client.port) as record:
            source.wait_for_subscriber("/sets", 60)

            def has_arrived() -> bool:
                source.publish(data, kind=kind, subject="/sets")
                return client.has(set(contents))
            eventually(has_arrived, PATIENCE, interval=1.0, message="the whole set arrives")
            delivered(client, contents)
            eventually(lambda: record.of("client", kind), PATIENCE, message="it is published")
            published = record.of("client", kind)[0]
    finally:
        source.close()
    assert published.subject == "/test/files" and published.fields["platform_name"] == "M11"
    found = published.fields[kind] if kind == "dataset" else [*published.fields[kind][0]["dataset"], published.fields[kind][1]]
    assert [(item["uid"], item["uri"]) for item in found] == [(name, str(client.outgoing / name)) for name in contents]


def test_an_upstream_client_gets_what_takes_longer_than_its_patience(network: Network) -> None:
    server = network.server(UPSTREAM)
    mirror = network.mirror([server.address], bandwidth_per_host="400k")
    client = network.client(UPSTREAM, [mirror.address], transfer_req_timeout=3)
    join(server, client)
    large = {"large_202401010203.txt": b"0123456789abcdef" * 131072}
    server.put(*next(iter(large.items())))
    delivered(client, large)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("content", [b"content", b"another"])
def test_what_two_upstream_servers_have_of_one_name_under_two_topics_is_had_of_both(network: Network, content: bytes,
                                                                                    together: bool) -> None:
    """It was taken for one announcement that is heard twice: what the second had never came, and stayed there."""
    first = network.server(UPSTREAM, "first", delete=True, remove_delay=1, topic="/test/first")
    second = network.server(UPSTREAM, "second", delete=True, remove_delay=1, topic="/test/second")
    mirror = network.mirror([first.address, second.address])
    client = network.client(OURS, [mirror.address], topic="/test")
    name, wanted = "one_202601011200.txt", len({b"content", content})
    with tapped(client=client.port) as record:
        join(first, client)
        join(second, client)
        first.put(name, b"content")
        if not together:
            delivered(client, {name: b"content"})
            eventually(lambda: not any(first.incoming.iterdir()), PATIENCE, message="the first is removed")
        second.put(name, content)
        eventually(lambda: not any([*first.incoming.iterdir(), *second.incoming.iterdir(), *mirror.kept.iterdir()]), PATIENCE,
                   message="all is removed")
        eventually(lambda: record.uids("client", "file").count(name) == wanted, PATIENCE, message="each content is published")
        never(lambda: record.uids("client", "file").count(name) > wanted, 2)


@pytest.mark.parametrize("released", [True, False])
@pytest.mark.parametrize("content", [b"content", b"another"])
def test_what_our_server_has_under_the_name_of_upstreams_file_is_compared_with_that(network: Network, content: bytes,
                                                                                    released: bool) -> None:
    """Upstream tells no checksum: the mirror has that of what came."""
    first = network.server(UPSTREAM, "first", delete=True, remove_delay=1)
    second = network.server(OURS, "second", delete=True, remove_delay=1)
    mirror = network.mirror([first.address, second.address], remove_delay=1 if released else 8)
    client = network.client(OURS, [mirror.address])
    name = "one_202601011200.txt"
    with tapped(client=client.port) as record:
        join(first, client)
        first.put(name, b"content")
        delivered(client, {name: b"content"})
        if released:
            eventually(lambda: not any(first.incoming.iterdir()), PATIENCE, message="the first is removed")
        second.put(name, content)
        delivered(client, {name: content})
        eventually(lambda: not any([*first.incoming.iterdir(), *second.incoming.iterdir(), *mirror.kept.iterdir()]), PATIENCE,
                   message="all is removed")
        wanted = len({b"content", content})
        eventually(lambda: record.uids("client", "file").count(name) == wanted, PATIENCE, message="each content is published")
        never(lambda: record.uids("client", "file").count(name) > wanted, 2)
