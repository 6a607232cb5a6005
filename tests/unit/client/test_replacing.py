"""Old content never takes the place of newer content of its name that was delivered, nor comes after it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.client.test_waiting import ENVELOPE, Client
from trollmoves.bus import committing
from trollmoves.bus.requesting import Requester
from trollmoves.client import asking, hearing, replacing
from trollmoves.client.deciding import Known
from trollmoves.client.doubting import PERHAPS_COPY
from trollmoves.client.flight import Flight
from trollmoves.lifecycle import State
from trollmoves.messages import EXTENSION, decode

DELIVERED = (State.PUBLISHING, State.PUBLISHED)


class Answered(Client):
    """The test answers in the place of providers."""

    def fail(self, file: int, code: str = "dest_unreachable") -> None:
        """The provider could not deliver it now."""
        said = {"version": 1, "code": code, "permanent": False}
        self._answer(file, "err", {"error": "not now", EXTENSION: said})

    def deliver(self, file: int) -> None:
        asked = self._flight(file).source.announcement.message.fields
        self._answer(file, "file", {**asked, EXTENSION: {"version": 1, "state": "delivered", "verified": "size"}})

    def _answer(self, file: int, kind: str, data: dict[str, object]) -> None:
        flight = self._flight(file)
        self.turn_until(lambda: flight.place is not None)  # it was sent
        self.chain._asking._answered(flight, decode(ENVELOPE.encode("/a", kind, data)))

    def _flight(self, file: int) -> Flight:
        flight = self.chain._asking._flights.get(file)
        assert flight is not None
        return flight

    def state(self, file: int) -> str:
        row = self.journal.find_one("file", (file,))
        return str(row["state"]) if row is not None else ""

    def is_asked_for(self, file: int) -> bool:
        return file in self.chain._asking._flights

    def deliver_newer(self, file: int, server: int, *, mtime: float | None = None, **more: str) -> None:
        """Content that is heard of now is delivered."""
        self.hear(server, 1, "newer content", mtime=mtime, **more)
        self.turn_until(lambda: self.is_asked_for(file))
        self.deliver(file)
        self.turn_until(lambda: self.state(file) in DELIVERED)


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Answered]:
    monkeypatch.setattr(hearing, "OTHERS_ANNOUNCE", 0.0)
    monkeypatch.setattr(asking, "wait_before", lambda attempt: 1.0)
    monkeypatch.setattr(committing, "COMMIT_TIMEOUT", 1.0)  # no provider gives leave to publish
    found = Answered(tmp_path, "", below=getattr(request, "param", ""))
    yield found
    found.close()


def fail_old(client: Answered, *, mtime: float | None = None, **more: str) -> None:
    client.hear(0, 1, "old", mtime=mtime, **more)
    client.turn_until(lambda: client.is_asked_for(1))
    client.fail(1)
    client.turn_until(lambda: client.state(1) == State.FAILED)


def test_what_failed_is_not_tried_again_when_newer_content_was_delivered(client: Answered) -> None:
    fail_old(client)
    client.deliver_newer(2, 1)
    client.turn_until(lambda: client.state(1) == State.COVERED or client.is_asked_for(1))
    assert client.state(1) == State.COVERED
    assert "newer content" in client.steps(1)[-1]


def test_nor_is_what_was_never_asked_for(client: Answered) -> None:
    client.chain._asking.providers.took_off(client.servers[0], 1000)  # which has no room for more
    client.hear(0, 1, "old")
    client.deliver_newer(2, 1)
    assert not client.is_asked_for(1)
    client.chain._asking.providers.landed(client.servers[0], 1000)
    client.turn_until(lambda: client.state(1) == State.COVERED or client.is_asked_for(1))
    assert client.state(1) == State.COVERED


def test_nor_is_another_provider_asked_for_it(client: Answered) -> None:
    client.hear(0, 1, "old")
    client.hear(1, 1, "old")
    client.turn_until(lambda: client.is_asked_for(1))
    client.hear(0, 2, "newer")
    client.turn_until(lambda: client.is_asked_for(2))
    client.deliver(2)
    client.turn_until(lambda: client.state(2) in DELIVERED)
    client.fail(1)
    client.turn_until(lambda: client.state(1) == State.COVERED or ("k:old", client.servers[1]) in client.asked())
    assert client.state(1) == State.COVERED


def test_it_waits_while_newer_content_is_under_way(client: Answered, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_old(client)
    monkeypatch.setattr(asking, "wait_before", lambda attempt: 60.0)
    client.hear(1, 1, "newer")
    client.turn_until(lambda: client.is_asked_for(2))
    client.turn_for(3)
    assert not client.is_asked_for(1)
    client.fail(2)
    client.turn_until(lambda: client.is_asked_for(1))
    assert not client.is_asked_for(2)


def test_another_provider_is_not_asked_for_it_while_newer_content_is_under_way(
        client: Answered, monkeypatch: pytest.MonkeyPatch) -> None:
    client.hear(0, 1, "old")
    client.hear(1, 1, "old")
    client.turn_until(lambda: client.is_asked_for(1))
    client.hear(0, 2, "newer")
    client.turn_until(lambda: client.is_asked_for(2))
    monkeypatch.setattr(asking, "wait_before", lambda attempt: 60.0)
    client.fail(1)
    client.turn_for(3)
    assert not client.is_asked_for(1)
    client.fail(2)
    client.turn_until(lambda: client.is_asked_for(1))


def test_what_a_peer_has_delivered_counts(client: Answered) -> None:
    fail_old(client)
    data = {"uid": "x", "uri": "/newer", "origin": client.servers[1], EXTENSION: {"version": 1, "key": "k:newer", "size": 5}}
    client.chain._hearing._take_in(client.providers[1], [decode(ENVELOPE.encode("/a", "file", data))])
    client.hear(1, 1, "newer")
    client.turn_until(lambda: client.state(2) == State.COVERED)
    client.turn_until(lambda: client.state(1) == State.COVERED or client.is_asked_for(1))
    assert client.state(1) == State.COVERED


@pytest.mark.parametrize("client", ["{kind}/"], indirect=True)
def test_what_goes_elsewhere_is_tried_again(client: Answered) -> None:
    fail_old(client, kind="one")
    client.deliver_newer(2, 1, kind="other")
    client.turn_until(lambda: client.is_asked_for(1) or client.state(1) == State.COVERED)
    assert client.is_asked_for(1)


def test_what_was_written_later_is_tried_again_though_it_was_heard_of_earlier(client: Answered) -> None:
    fail_old(client, mtime=2000.0)
    client.deliver_newer(2, 1, mtime=1000.0)
    client.turn_until(lambda: client.is_asked_for(1) or client.state(1) == State.COVERED)
    assert client.is_asked_for(1)


def test_what_takes_too_long_is_cancelled_when_newer_content_is_there(client: Answered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacing, "OTHER_CONTENT_LASTS", 2.0)
    cancelled: list[str] = []
    monkeypatch.setattr(Requester, "cancel", lambda self, subject, requests: cancelled.extend(requests))
    client.hear(0, 1, "old")
    client.turn_until(lambda: client.is_asked_for(1))
    request = client._flight(1).request
    client.deliver_newer(2, 1)
    client.turn_until(lambda: cancelled)
    assert cancelled == [request]
    client.fail(1, "cancelled")
    client.turn_until(lambda: client.state(1) == State.COVERED)


@pytest.mark.parametrize(("mtime", "is_needless"), [(2000.0, True), (500.0, False)])
def test_what_takes_too_long_is_cancelled_when_another_member_of_the_group_has_newer_content(
        client: Answered, monkeypatch: pytest.MonkeyPatch, mtime: float, is_needless: bool) -> None:
    """It would arrive after that, in its place, and stay."""
    cancelled: list[str] = []
    monkeypatch.setattr(Requester, "cancel", lambda self, subject, requests: cancelled.extend(requests))
    client.hear(0, 1, "old", mtime=1000.0)
    client.turn_until(lambda: client.is_asked_for(1))
    request = client._flight(1).request
    client.turn_until(lambda: client._flight(1).place is not None)
    client.hear(1, 1, "newer content", mtime=mtime)
    client.turn_until(lambda: client.state(2))
    said = {"version": 1, "key": "k:newer content", "size": len("newer content"), "publication": "p:1"}
    word = decode(ENVELOPE.encode("/a", "file", {"uid": "x", "uri": "/there/x", "origin": client.servers[1], EXTENSION: said}))
    client.chain._hearing._take_in(client.providers[1], [word])
    client.turn_until(lambda: client.state(2) == State.COVERED)
    assert cancelled == ([request] if is_needless else [])
    client.fail(1, "cancelled")
    client.turn_until(lambda: client.state(1) in (State.COVERED, State.GIVEN_UP))
    assert (client.state(1) == State.COVERED) == is_needless


def test_what_was_never_answered_is_cancelled_when_newer_content_is_there(
        client: Answered, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its provider may have been stopped for a while, and deliver it then."""
    cancelled: list[str] = []
    monkeypatch.setattr(Requester, "cancel", lambda self, subject, requests: cancelled.extend(requests))
    client.hear(0, 1, "old")
    client.turn_until(lambda: client.is_asked_for(1))
    flight = client._flight(1)
    client.chain._asking._answered(flight, None)
    client.turn_until(lambda: client.state(1) == State.FAILED)
    client.deliver_newer(2, 1)
    client.chain._asking.providers.wake_all()
    client.turn_until(lambda: client.state(1) == State.COVERED or client.is_asked_for(1))
    assert client.state(1) == State.COVERED
    assert cancelled == [flight.request]


def test_what_was_asked_for_is_not_asked_for_again_by_the_next_process_when_newer_content_is_there(
        client: Answered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacing, "OTHER_CONTENT_LASTS", 2.0)
    cancelled: list[str] = []
    client.hear(0, 1, "old")
    client.turn_until(lambda: client.is_asked_for(1))
    request = client._flight(1).request
    client.deliver_newer(2, 1)
    client.hear(0, 2, "another", name="y")
    client.turn_until(lambda: client.is_asked_for(3))
    client.close()
    monkeypatch.setattr(Requester, "cancel", lambda self, subject, requests: cancelled.extend(requests))
    after = Answered(tmp_path, "", client.servers)
    try:
        after.turn_until(lambda: after.state(1) == State.COVERED or cancelled == [] and after._flight(1).place is not None)
        assert after.state(1) == State.COVERED
        assert cancelled == [request]
        after.turn_until(lambda: not after.is_asked_for(1))
        assert after.is_asked_for(3)
    finally:
        after.close()


@pytest.mark.parametrize("other", ["content", "cOntent"])
def test_what_another_one_announces_while_a_delivery_is_written_may_be_other_content(client: Answered, other: str) -> None:
    """Who has the very same is told when the journal has it; what only has the same size is asked for, on condition."""
    told: list[str] = []
    client.chain._asking.acknowledging.tell = lambda source, answered=None: told.append(source.provider)  # type: ignore
    client.hear(0, 1, "content")
    client.turn_until(client.asked)
    client.deliver(1)
    flight = client._flight(1)
    client.turn_until(lambda: flight.noted or not client.is_asked_for(1))
    client.chain._asking._flights.add(flight)  # as if the disk were slow
    client.chain._asking._ledger.remember("x", 1, Known.of(State.REQUESTED, flight.source.announcement))
    client.hear(1, 1, other)
    assert not told, "a power loss may still take from us what it would remove"
    client.turn_until(lambda: told == [client.servers[1]] or client.steps(2))
    assert [PERHAPS_COPY in step for step in client.steps(2)[:1]] == ([True] if other != "content" else [])


def test_what_has_the_size_of_what_was_delivered_is_asked_for_on_condition(client: Answered) -> None:
    client.hear(0, 1, "content")
    client.turn_until(client.asked)
    client.deliver(1)
    client.turn_until(lambda: client.state(1) == State.PUBLISHED)
    client.hear(1, 1, "cOntent")
    client.turn_until(lambda: client.steps(2))
    assert client._flight(2).doubtful and PERHAPS_COPY in client.steps(2)[0]


@pytest.mark.parametrize(("server", "content", "is_loss"), [
    (0, "content", False), (0, "elsewhere", True), (1, "elsewhere", False)])
def test_what_was_given_up_is_no_loss_any_more_when_it_is_announced_anew(client: Answered, server: int, content: str,
                                                                         is_loss: bool) -> None:
    """But a file of that name in another directory of its server is another one."""
    client.hear(0, 1, "content")
    client.turn_until(client.asked)
    client._answer(1, "err", {"error": "gone", EXTENSION: {"version": 1, "code": "gone", "permanent": True}})
    client.turn_until(lambda: client.state(1) == State.GIVEN_UP)
    client.hear(server, 2, content)
    client.turn_until(lambda: client.state(2))
    assert client.state(1) == (State.GIVEN_UP if is_loss else State.COVERED)


def test_a_copy_that_is_gone_takes_nobody_else_with_it(client: Answered) -> None:
    """Who announces other content while it is being written that it is gone is asked."""
    client.deliver_newer(1, 0)
    row = client.journal.find_one("file", (1,))
    assert row is not None
    flight = Flight(1, "chain", "x", 1.0, client.chain._asking.waiting.flight_of(row).source)
    client.chain._asking._ledger.remember("x", 1, Known.of(State.REQUESTED, flight.source.announcement))
    flight.unless = ("sha256:" + "0" * 64,)
    flight.sources = {flight.source.provider: flight.source}
    client.chain._asking._flights.add(flight)
    client.chain._asking._failed(flight, "gone", True, "gone")
    client.hear(1, 1, "other content")
    client.turn_until(lambda: client.steps(2))


def test_what_was_delivered_and_is_heard_again_is_no_source_of_newer_content_that_is_under_way(client: Answered) -> None:
    """As after a client was killed that had not noted how far it had heard."""
    client.hear(0, 1, "content")
    client.turn_until(client.asked)
    client.deliver(1)
    client.turn_until(lambda: client.state(1) == State.PUBLISHED)
    client.hear(1, 1, "another")
    client.turn_until(lambda: client.is_asked_for(2))
    client.hear(0, 1, "content")
    client.deliver(2)
    client.turn_until(lambda: client.state(2) == State.PUBLISHED)
    assert not client.steps(3)
