"""What waits to be asked for: until there is room, and while other content of its name is on its way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.ports import free_port
from trollmoves.bus import Loop
from trollmoves.client import flight, hearing, replacing, waiting
from trollmoves.client.chain import Chain
from trollmoves.config.reading import read_client_config
from trollmoves.journal import Journal
from trollmoves.messages import EXTENSION, Envelope, decode
from trollmoves.workers import Workers

ENVELOPE = Envelope("somebody@here")


class Client:
    """A client chain and its journal. Nobody answers where it asks; what it hears is told by the test."""

    def __init__(self, directory: Path, settings: str, servers: list[str] | None = None, below: str = ""):
        self.servers = servers or [f"127.0.0.1:{free_port()}" for _ in range(2)]
        (directory / "client.ini").write_text(
            f"[chain]\nproviders = {' '.join(self.servers)}\ntopic = /a\npublish_port = {free_port()}\nnameservers = false\n"
            f"listen_address = 127.0.0.1\ndestination = file://{directory}/{below}\n" + settings.format(*self.servers))
        self.loop = Loop()
        self.workers = Workers(self.loop.call_all, self.loop.fail, 1)
        self.journal = Journal(directory / "journal", self.loop.call_all, self.loop.fail)
        read = read_client_config(directory / "client.ini").chains["chain"]
        self.providers = read.providers
        self.chain = Chain(read, "chain@here", self.journal, self.loop, ENVELOPE, self.workers)
        self.chain.start()
        self.turn_until(lambda: self.chain._hearing._catch_ups)

    def hear(self, server: int, position: int, content: str, name: str = "x", mtime: float | None = None, **more: str) -> None:
        """The *server* has *content*; as a rule all contents have one name."""
        address = self.servers[server]
        said = {"version": 1, "epoch": f"e:{server}", "offset": position, "previous": 0, "address": address,
                "key": f"k:{content}", "size": len(content), "mtime": mtime}
        data = {**more, "uid": name, "uri": f"/{content}", "request_address": address, EXTENSION: said}
        raw = ENVELOPE.encode("/a", "file", data)
        self.chain._hearing._take_in(self.providers[server], [decode(raw)])

    def asked(self) -> list[tuple[str, str]]:
        """Which content is asked for, and of whom."""
        return [(flight.source.announcement.key, flight.source.provider) for flight in self.chain._asking._flights]

    def steps(self, file: int) -> list[str]:
        row = self.journal.find_one("file", (file,))
        return str(row["steps"]).splitlines() if row is not None else []

    def turn_until(self, check: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 30
        while not check():
            assert time.monotonic() < deadline
            self.loop.turn(0.02)

    def turn_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        self.turn_until(lambda: time.monotonic() > until)

    def close(self) -> None:
        self.chain.stop()
        self.workers.stop(1)
        self.journal.close()
        self.loop.close()


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Client]:
    monkeypatch.setattr(hearing, "OTHERS_ANNOUNCE", 0.0)
    found = Client(tmp_path, getattr(request, "param", ""))
    yield found
    found.close()


@pytest.mark.parametrize("client", ["in_flight = 16\n"], indirect=True)
def test_a_few_large_ones_that_take_all_room_are_followed_at_once(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not when it is looked for the next time, as where nothing waits."""
    monkeypatch.setattr(waiting, "REFILL_EVERY", 1000.0)
    for position in range(1, 5):
        client.hear(0, position, "content", f"x{position}", pad="x" * 130_000)
    assert len(client.asked()) == 2  # each has the weight of nine
    client.turn_for(1)
    flights = client.chain._asking._flights
    client.chain._asking._answered(flights.get(1), decode(ENVELOPE.encode("/a", "covered")))
    client.turn_until(lambda: [flight.id for flight in flights] == [2, 3])


@pytest.mark.parametrize("client", ["lease_servers = {1}\n"], indirect=True)
def test_it_waits_also_where_one_of_lease_servers_is_asked_in_the_place_of_the_first(client: Client) -> None:
    client.hear(0, 1, "old")
    client.turn_until(client.asked)
    client.hear(0, 2, "newer")
    client.hear(1, 1, "newer")
    client.turn_until(lambda: len(client.asked()) > 1 or any("other content" in step for step in client.steps(2)))
    assert client.asked() == [("k:old", client.servers[0])]


def test_its_history_tells_once_that_it_waits(client: Client) -> None:
    client.hear(0, 1, "old")
    client.turn_until(client.asked)
    client.hear(1, 1, "newer")
    client.turn_for(6)
    assert client.asked() == [("k:old", client.servers[0])]
    assert ["other content" in step for step in client.steps(2)] == [False, True]


def test_it_waits_no_longer_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacing, "OTHER_CONTENT_LASTS", 4.0)
    before = Client(tmp_path, "")
    before.hear(0, 1, "old")
    before.turn_until(before.asked)
    before.hear(1, 1, "newer")
    before.turn_until(lambda: len(before.steps(2)) > 1)
    before.close()
    client = Client(tmp_path, "", before.servers)
    client.turn_until(client.asked)
    assert client.asked() == [("k:old", client.servers[0])]
    client.turn_until(lambda: ("k:newer", client.servers[1]) in client.asked())
    client.close()


def test_it_does_not_wait_for_what_came_later(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that has new content of the name all the time, and delivers none, would keep it away for ever."""
    monkeypatch.setattr(replacing, "OTHER_CONTENT_LASTS", 3.0)
    client.hear(0, 1, "some")
    client.turn_until(client.asked)
    client.hear(1, 1, "wanted")
    heard, until = 1, time.monotonic() + 12
    while ("k:wanted", client.servers[1]) not in client.asked():
        assert time.monotonic() < until
        heard += 1
        client.hear(0, heard, "more" * heard)
        client.turn_for(1)


def test_it_does_not_wait_for_ever_for_newer_content_that_always_fails(
        client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried once more when its time is over, and given up then; a newer one that comes before makes it needless."""
    monkeypatch.setattr(flight, "EXPIRES_AFTER", 5.0)
    asks, heard = client.chain._asking, 0

    def newer_instead() -> None:
        nonlocal heard
        before, heard = [one for one in asks._flights if one.asked], heard + 1
        for one in before:
            if one.id == 1:  # else the newer one would wait for it
                fail(one)
        client.hear(1, heard, "newer" * heard)
        client.turn_until(lambda: (f"k:{'newer' * heard}", client.servers[1]) in client.asked())
        for one in before:
            if one.id != 1:
                fail(one)

    def fail(one: flight.Flight) -> None:
        asks._failed(one, "timeout", False, "it fails")
        asks.commit()

    client.hear(0, 1, "old")
    client.turn_until(client.asked)
    asks._failed(asks._flights.get(1), "timeout", False, "it fails", 4.0)
    asks.commit()
    client.turn_until(lambda: not client.asked())
    began = time.monotonic()
    newer_instead()
    while not any("given_up" in step for step in client.steps(1)):
        assert time.monotonic() < began + 30
        newer_instead()
        client.turn_for(0.2)
        assert ("k:old", client.servers[0]) not in client.asked() or time.monotonic() > began + 3
    assert sum("requested" in step for step in client.steps(1)) == 2


def test_newer_content_whose_time_is_over_does_not_overtake_older(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """They come from two providers: the older would arrive last, and stay."""
    monkeypatch.setattr(flight, "EXPIRES_AFTER", 1.0)
    client.hear(0, 1, "old")
    client.turn_until(client.asked)
    client.hear(1, 1, "newer")
    client.turn_for(6)
    assert client.asked() == [("k:old", client.servers[0])]


def test_it_waits_no_longer_when_the_clock_is_set_back(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacing, "OTHER_CONTENT_LASTS", 3.0)
    client.hear(0, 1, "old")
    client.turn_until(client.asked)
    before = time.time
    monkeypatch.setattr(time, "time", lambda: before() - 3600.0)
    client.chain.clock_leapt(-3600.0)
    client.hear(1, 1, "newer")
    client.turn_until(lambda: ("k:newer", client.servers[1]) in client.asked())


def held_up(client: Client, *servers: int) -> None:
    """Providers that have no room."""
    for server in servers:
        client.chain._asking.providers.took_off(client.servers[server], 1000)


@pytest.mark.parametrize("kept", [True, False])
def test_what_waits_for_one_that_does_not_answer_is_asked_of_another_one_that_announced_it(
        client: Client, monkeypatch: pytest.MonkeyPatch, kept: bool) -> None:
    """And of nobody who did not announce it."""
    if not kept:
        monkeypatch.setattr(waiting, "KEPT", 0)
    providers = client.chain._asking.providers
    held_up(client, 0, 1)
    client.hear(0, 1, "content", "x")
    client.hear(0, 2, "content", "alone")
    client.turn_until(lambda: client.steps(1) and client.steps(2))
    client.hear(1, 1, "content", "x")
    client.turn_until(lambda: client.journal.find("sources_of", (1,)))
    providers.rest(client.servers[0])
    client.turn_for(3)
    assert not client.asked(), "it has no room"
    providers.landed(client.servers[1], 1000)
    client.turn_until(client.asked)
    client.turn_until(lambda: len(client.steps(1)) == 2)
    client.turn_for(0.5)
    assert client.asked() == [("k:content", client.servers[1])]
    assert client.chain._asking._flights.get(1) is not None and len(client.steps(2)) == 1


def test_what_waits_is_no_older_when_the_clock_is_set(client: Client) -> None:
    """Nor is it given up before its time."""
    held_up(client, 0)
    client.hear(0, 1, "content")
    [kept] = client.chain._asking.waiting._kept.values()
    created = kept.created
    client.chain.clock_leapt(3600.0)
    assert kept.created == created + 3600.0
    client.chain._asking.providers.landed(client.servers[0], 1000)
    client.turn_until(client.asked)
    asked = kept.asked_at
    client.chain.clock_leapt(-60.0)
    assert (kept.created, kept.asked_at) == (created + 3540.0, asked - 60.0)


def test_what_somebody_waits_for_is_asked_for_at_once_of_whom_has_room(client: Client) -> None:
    """However late another try is due."""
    held_up(client, 0, 1)
    client.hear(0, 1, "content")
    client.hear(1, 1, "content")
    client.turn_until(lambda: client.steps(1) and client.journal.find("sources_of", (1,)))
    asks, providers = client.chain._asking, client.chain._asking.providers
    client.journal.write([("hurry_files", [(time.time() + 3600.0, "chain", client.servers[0], 0.0)])])
    client.turn_until(lambda: client.journal.find_one("file", (1,))["due"] > time.time() + 3000.0)
    providers.landed(client.servers[1], 1000)
    client.turn_for(1)
    assert not client.asked()
    asks.fetch(1)
    assert client.asked() == [("k:content", client.servers[1])]
    asks.fetch(1)
    assert len(client.asked()) == 1, "it is on its way"


def test_where_nobody_has_room_it_is_the_next_to_be_asked_for(client: Client) -> None:
    held_up(client, 0)
    client.hear(0, 1, "content")
    client.turn_until(lambda: client.steps(1))
    client.journal.write([("hurry_files", [(time.time() + 3600.0, "chain", client.servers[0], 0.0)])])
    client.turn_until(lambda: client.journal.find_one("file", (1,))["due"] > time.time() + 3000.0)
    row = client.journal.find_one("file", (1,))
    assert client.chain._asking.waiting.ask_now(row)
    client.chain._asking.providers.rest(client.servers[0])
    assert not client.chain._asking.waiting.ask_now(row), "it has not answered lately"
    client.chain._asking.commit()
    client.turn_until(lambda: "has room" in client.steps(1)[-1])
    assert client.journal.find_one("file", (1,))["due"] <= time.time()
    assert not client.asked()
    client.chain._asking.providers.landed(client.servers[0], 1000)
    client.chain.driven_again()
    client.turn_until(client.asked)


@pytest.mark.parametrize("client", ["lease_servers = {0}\n"], indirect=True)
@pytest.mark.parametrize("in_time", [True, False])
def test_the_first_of_lease_servers_is_asked_at_once_when_it_announces_it_in_time(
        client: Client, monkeypatch: pytest.MonkeyPatch, in_time: bool) -> None:
    """What is asked for elsewhere by then stays asked for, also in the journal: the next process would ask anew."""
    if in_time:
        monkeypatch.setattr(hearing, "OTHERS_ANNOUNCE", 600.0)
    client.hear(1, 1, "content")
    if in_time:
        client.turn_until(lambda: client.steps(1))
        client.turn_for(1)
        assert not client.asked()
    else:
        client.turn_until(lambda: len(client.steps(1)) == 2)
    client.hear(0, 1, "content")
    client.turn_until(client.asked)
    client.turn_until(lambda: client.journal.find("sources_of", (1,)))
    client.turn_for(1)
    assert client.asked() == [("k:content", client.servers[0 if in_time else 1])]
    row = client.journal.find_one("file", (1,))
    assert (row["state"], row["due"], row["attempt"]) == ("requested", None, 1)


@pytest.mark.parametrize("client", ["lease_servers = {0}\nprocessing_delay = 600\n"], indirect=True)
def test_a_spare_gives_the_primary_its_time_whoever_announces_it_as_well(client: Client) -> None:
    for server in (1, 0):
        client.hear(server, 1, "content")
        client.turn_until(lambda: client.steps(1))
    client.turn_until(lambda: client.journal.find("sources_of", (1,)))
    client.turn_for(1)
    assert not client.asked()
