"""A primary of one make and a hot spare of the other: each file is fetched once, also when the primary dies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compatibility.network import HOST, PATIENCE, Client, Make, Network, Server, delivered, files, join, put_new
from tests.compatibility.tapping import Record, Relay, tapped
from tests.support.eventually import eventually, never

pytestmark = pytest.mark.slow
OURS, UPSTREAM = Make.OURS, Make.UPSTREAM
PAIRS = [pytest.param(OURS, UPSTREAM, id="our-primary-upstream-spare"),
         pytest.param(UPSTREAM, OURS, id="upstream-primary-our-spare")]
TAKEN_OVER_AFTER = 60.0
"""Seconds our spare leaves to a primary that has said it asks."""


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with Network(tmp_path) as network:
        yield network


def pair(network: Network, server: Server, provider: str, primary_make: Make, spare_make: Make,
         delay: float) -> tuple[Client, Client]:
    """A primary and its spare, as upstream has it: the same section, and the spare listens to the primary too. Returns when
    all hear each other."""
    primary = network.client(primary_make, [provider], "primary", ready=False)
    primary.program.kill()
    spare = network.client(spare_make, [server.address, primary.address], "spare", processing_delay=delay)
    join(server, spare)
    primary.program.start()
    join(server, primary)
    spare_hears_primary(server, primary, spare, delay)
    return primary, spare


def spare_hears_primary(server: Server, primary: Client, spare: Client, delay: float) -> None:
    """Until the spare no longer fetches what the primary does."""

    def left_alone() -> bool:
        name = put_new(server)
        eventually(lambda: primary.has({name}), PATIENCE)
        try:
            never(lambda: spare.has({name}), delay + 1)
        except AssertionError:
            return False
        return True
    eventually(left_alone, PATIENCE, message="the spare hears the primary")


@pytest.mark.parametrize("server_make", [OURS, UPSTREAM])
@pytest.mark.parametrize(("primary_make", "spare_make"), PAIRS)
def test_the_spare_leaves_alone_what_the_primary_fetches(network: Network, server_make: Make, primary_make: Make,
                                                         spare_make: Make) -> None:
    server = network.server(server_make)
    delay = 5.0  # an upstream primary asks for one file after the other, and the spare may not be faster
    primary, spare = pair(network, server, server.address, primary_make, spare_make, delay)
    with tapped(primary=primary.port, spare=spare.port) as record:
        single, burst = files(1, "single"), files(8, "burst")
        for name, content in (single | burst).items():
            server.put(name, content)
        delivered(primary, single | burst)
        never(lambda: spare.names() & {*single, *burst}, delay + 1, message="the spare fetches a file as well")
    assert not {uid for uid in record.uids("spare", "file")} & {*single, *burst}


@pytest.mark.parametrize("server_make", [OURS, UPSTREAM])
@pytest.mark.parametrize(("primary_make", "spare_make"), PAIRS)
def test_the_spare_fetches_when_the_primary_is_gone(network: Network, server_make: Make, primary_make: Make,
                                                    spare_make: Make) -> None:
    server = network.server(server_make)
    delay = 1.5
    primary, spare = pair(network, server, server.address, primary_make, spare_make, delay)
    primary.program.kill()
    wanted = files(5, "alone")
    with tapped(spare=spare.port) as record:
        for name, content in wanted.items():
            server.put(name, content)
        delivered(spare, wanted)
        eventually(lambda: set(wanted) <= set(record.uids("spare", "file")), PATIENCE, message="the spare publishes")
    assert not primary.names() & set(wanted)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("primary_make", [OURS, UPSTREAM])
def test_our_spare_takes_over_what_a_dying_primary_had_asked_for(network: Network, primary_make: Make) -> None:
    """The primary says `push` in public, its request never reaches the server, and it is killed."""
    server = network.server(OURS)
    record = Record()
    delay = 3.0  # until then the primary has to have said so, on a busy machine too
    with Relay(server.port, [server.request_port], record) as relay:
        primary, spare = pair(network, server, f"{HOST}:{relay.port}", primary_make, OURS, delay)
        relay.holding = True
        wanted = files(3, "held")
        with tapped(primary=primary.port) as notices:
            for name, content in wanted.items():
                server.put(name, content)
            eventually(lambda: notices.uids("primary", "push"), PATIENCE, message="the primary says that it asks")
        primary.program.kill()
        never(lambda: spare.has(set(notices.uids("primary", "push"))), delay + 2, message="the spare takes over at once")
        delivered(spare, wanted, TAKEN_OVER_AFTER + PATIENCE)
    assert not primary.names() & set(wanted)
