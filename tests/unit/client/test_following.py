"""Whom a client believes that files are to be had at another address than was announced."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trollmoves.bus import Loop, Requesters
from trollmoves.client.following import MOST_EPOCHS, MOST_OF_ALL, Following
from trollmoves.client.ledger import Ledger
from trollmoves.config.places import Provider
from trollmoves.journal import Journal
from trollmoves.messages import Envelope

ONE, OTHER = Provider("192.0.2.1", 9010), Provider("192.0.2.2", 9010)
OLD, NEW, EVIL = "127.0.0.1:11", "127.0.0.1:12", "127.0.0.1:666"
EPOCH = "e:1"


class Client:
    """What one section of a client knows, and its journal."""

    def __init__(self, path: Path, providers: Iterable[Provider] = (ONE, OTHER)):
        def call_all(calls: list[tuple[Callable[..., Any], tuple[Any, ...]]]) -> None:
            for function, arguments in calls:
                function(*arguments)
        self.path = path
        self.loop = Loop()
        self.journal = Journal(path, call_all, lambda error: print(error))
        self.requesters = Requesters(self.loop, Envelope("somebody@here"))
        self.ledger = Ledger("chain", self.journal)
        self.heard_of: list[str] = []
        self.following = Following("chain", providers, self.journal, self.ledger, self.requesters, self.heard_of.append)

    def close(self) -> None:
        self.ledger.write(lambda: None)
        self.requesters.close()
        self.journal.close()
        self.loop.close()

    def again(self, *providers: Provider) -> Client:
        """After a restart, with *providers* in the configuration, or the same as always."""
        self.close()
        return Client(self.path, providers or (ONE, OTHER))

    def asks_at(self, address: str = OLD, epoch: str = EPOCH) -> str:
        """Where requests for what was announced with *address* go, by what a new and a used connection say."""
        host, _, port = address.partition(":")
        place = self.requesters.ours(host, int(port), epoch)._place
        assert f"{place[0]}:{place[1]}" == self.following.leads(address, epoch)
        return f"{place[0]}:{place[1]}"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    client = Client(tmp_path / "j")
    yield client
    client.close()


def test_who_announced_it_is_followed_to_another_address_and_back(client: Client) -> None:
    client.following.heard(ONE, EPOCH)
    assert client.asks_at() == OLD
    client.following.told(ONE, EPOCH, {OLD: NEW})
    assert client.asks_at() == NEW
    assert client.heard_of == [OLD], "what waits for it is asked for at once"
    assert client.asks_at(epoch="e:2") == OLD, "another server may be there by now"
    client.following.told(ONE, EPOCH, {NEW: OLD})
    assert (client.asks_at(), client.asks_at(NEW)) == (OLD, OLD)
    client.following.told(ONE, EPOCH, None)
    assert client.asks_at(NEW) == NEW


def test_what_is_outstanding_is_asked_again_at_the_new_address(client: Client) -> None:
    requester = client.requesters.ours("127.0.0.1", 11, EPOCH)
    requester.ask("r:1", "/", "push", {}, lambda reply: None)
    client.following.told(ONE, EPOCH, {OLD: NEW})
    assert client.requesters.ours("127.0.0.1", 11, EPOCH) is requester
    assert (requester._place, len(requester)) == (("127.0.0.1", 12), 1)


def test_a_stranger_to_the_epoch_does_not_lead_elsewhere(client: Client) -> None:
    """Everybody can hear the epoch in a heartbeat."""
    client.following.heard(ONE, EPOCH)
    client.following.told(OTHER, EPOCH, {OLD: EVIL})
    assert client.asks_at() == OLD


@pytest.mark.parametrize("providers", [(ONE, OTHER), (OTHER,)], ids=["silent", "gone"])
def test_nor_after_a_restart_while_the_other_is(tmp_path: Path, providers: tuple[Provider, ...]) -> None:
    client = Client(tmp_path / "k")
    client.following.heard(ONE, EPOCH)
    client = client.again(*providers)
    client.following.told(OTHER, EPOCH, {OLD: EVIL})
    assert client.asks_at() == OLD
    client.close()


def test_who_came_in_the_place_of_another_one_is_followed(tmp_path: Path) -> None:
    """A server that is listened to elsewhere by now, and asked elsewhere; a third one has always been there."""
    new = Provider("192.0.2.3", 9010)
    client = Client(tmp_path / "k")
    client.following.heard(ONE, EPOCH)
    client = client.again(new, OTHER)
    client.following.told(new, EPOCH, {OLD: NEW})
    assert client.asks_at() == NEW
    client.following.told(OTHER, EPOCH, {OLD: EVIL})
    assert client.asks_at() == OLD, "one of them lies"
    client = client.again(new)
    client.following.told(new, EPOCH, {OLD: NEW})
    assert client.asks_at() == OLD, "that is not forgotten"
    client.close()


def test_who_was_there_together_with_another_one_does_not_come_in_its_place(tmp_path: Path) -> None:
    client = Client(tmp_path / "k")
    client.following.heard(ONE, EPOCH)
    for providers in ((OTHER, Provider("192.0.2.3", 9010)), (OTHER,)):
        client = client.again(*providers)
        client.following.told(OTHER, EPOCH, {OLD: EVIL})
        assert client.asks_at() == OLD
    client.close()


def test_nor_when_it_was_there_first(client: Client) -> None:
    client.following.told(OTHER, EPOCH, {OLD: EVIL})
    client.following.heard(ONE, EPOCH)
    assert client.asks_at() == OLD
    client.following.told(ONE, EPOCH, {OLD: NEW})
    assert client.asks_at() == OLD, "one of them lies, and it cannot be known who"


def test_nor_when_the_other_has_a_new_journal(client: Client) -> None:
    """Files of before may still wait."""
    client.following.told(ONE, EPOCH, {})
    client.following.told(ONE, "e:2", {})
    client.following.told(OTHER, EPOCH, {OLD: EVIL})
    assert client.asks_at() == OLD


def test_nor_by_having_its_claim_forgotten(client: Client) -> None:
    """To be the only one again who is known to have announced under it."""
    client.following.heard(OTHER, EPOCH)
    client.following.heard(ONE, EPOCH)
    for number in range(2 * MOST_EPOCHS):
        client.following.heard(OTHER, f"e:other{number}")
    client.following.told(OTHER, EPOCH, {OLD: EVIL})
    assert client.asks_at() == OLD


def test_one_server_that_is_heard_at_two_addresses_is_followed(client: Client) -> None:
    client.following.heard(ONE, EPOCH)
    client.following.heard(OTHER, EPOCH)
    client.following.told(ONE, EPOCH, {OLD: NEW})
    assert client.asks_at() == OLD
    client.following.told(OTHER, EPOCH, {OLD: NEW})
    assert client.asks_at() == NEW


def test_the_topic_makes_no_other_provider(client: Client) -> None:
    client.following.heard(Provider(ONE.host, ONE.port, "/some"), EPOCH)
    client.following.told(Provider(ONE.host, ONE.port, "/other"), EPOCH, {OLD: NEW})
    assert client.asks_at() == NEW


def test_no_provider_fills_the_journal(client: Client) -> None:
    client.following.heard(ONE, "e:" + "x" * 10_000)
    assert not client.following._heard
    for number in range(2 * MOST_EPOCHS):
        client.following.heard(ONE, f"e:{number}")
    assert list(client.following._heard) == [f"e:{number}" for number in range(MOST_EPOCHS, 2 * MOST_EPOCHS)]
    for provider in (Provider("192.0.2.1", port) for port in range(1, 60)):
        for number in range(2 * MOST_EPOCHS):
            client.following.heard(provider, f"e:{provider.port}.{number}")
    assert len(client.following._heard) <= MOST_OF_ALL
    client.following.heard(ONE, "e:" + "x" * 10_000)
    assert len(str(client.following._heard)) < 100_000


@pytest.mark.parametrize("moved", [[], 1, "x", {OLD: 1}, {OLD: []}, {OLD: "nowhere"}, {OLD: ":"}, {"nowhere": NEW},
                                   {OLD: "x" * 9999}, {OLD: {OLD: NEW}}, {f"h:{port}": NEW for port in range(5000)}])
@pytest.mark.parametrize("epoch", [EPOCH, None, 1, [], {}, ""])
def test_whatever_a_provider_says_nothing_breaks(client: Client, epoch: object, moved: object) -> None:
    client.following.told(ONE, epoch, moved)
    client.following.told(ONE, epoch, moved)
    assert client.requesters.ours("127.0.0.1", 11, EPOCH)._place == ("127.0.0.1", 11)
