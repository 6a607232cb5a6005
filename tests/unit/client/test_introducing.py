"""A provider is told who we are before it is asked for anything: once for each of its processes, and now and again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.unit.bus.test_lost_messages import ENVELOPE, EPOCH, Provider, beat
from tests.unit.client.test_waiting import Client
from trollmoves.client import introducing
from trollmoves.messages import EXTENSION, Message, decode


class Known(Client):
    """A client that hears heartbeats of a provider."""

    def __init__(self, directory: Path, provider: Provider):
        super().__init__(directory, "")
        self.provider = provider
        self.name = self.providers[0]

    def hear(self, message: Message) -> None:
        self.chain._hearing._beat(self.name, message)

    def beat(self, **more: Any) -> None:
        self.hear(beat(0, 0, self.provider.port, **more))

    def tells(self, kind: str = "pong") -> Message:
        """What the provider is told; it answers with a *kind* of message, or not."""
        found: list[Message] = []

        def told() -> bool:
            found.extend(filter(None, [self.provider.answer(kind)]))
            return bool(found)
        self.turn_until(told)
        for _ in range(20):
            self.loop.turn(0.01)
        return found[0]

    @property
    def is_quiet(self) -> bool:
        for _ in range(20):
            self.loop.turn(0.01)
        return self.provider.answer("pong") is None


@pytest.fixture
def provider() -> Iterator[Provider]:
    context: zmq.Context[Any] = zmq.Context()
    found = Provider(context)
    yield found
    found.socket.close(0)
    context.term()


@pytest.fixture
def client(tmp_path: Path, provider: Provider) -> Iterator[Known]:
    found = Known(tmp_path, provider)
    yield found
    found.close()


def test_it_is_told_with_its_first_heartbeat_what_we_listen_to(client: Known) -> None:
    client.beat()
    asked = client.tells()
    said = asked.extension
    assert (asked.type, said["client"], said["group"], said["topics"]) == ("ping", "chain@here", "chain", ["/a"])
    client.beat()
    assert client.is_quiet


@pytest.mark.parametrize("more", [{"started": 2}, {"epoch": "e:another"}])
def test_another_process_is_told_as_well(client: Known, more: dict[str, Any]) -> None:
    client.beat()
    client.tells()
    client.beat(**more)
    assert client.tells().type == "ping"


@pytest.mark.parametrize("answer", ["err", "unknown"])
def test_one_that_did_not_take_it_is_told_again(client: Known, answer: str) -> None:
    client.beat()
    client.tells(answer)
    client.beat()
    assert client.tells().type == "ping"


def test_it_is_told_again_by_and_by(client: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    client.beat()
    client.tells()
    monkeypatch.setattr(introducing, "AGAIN", 0.0)
    client.beat()
    assert client.tells().type == "ping"


def test_an_upstream_server_and_a_peer_are_told_nothing(client: Known) -> None:
    address = f"127.0.0.1:{client.provider.port}"
    client.hear(decode(ENVELOPE.encode("/heartbeat/move_it_server", "beat", {"min_interval": 30})))
    client.hear(decode(ENVELOPE.encode("/heartbeat/move_it_chain", "beat", {EXTENSION: {
        "epoch": EPOCH, "head": 0, "since": 0, "heads": {}, "address": address, "started": 1}})))
    assert client.is_quiet
