"""Every answer of a provider leads on: to a publication, to another provider, to another try, or to what an operator can see."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.client.test_replacing import Answered
from tests.unit.client.test_waiting import ENVELOPE
from trollmoves.bus import committing
from trollmoves.bus.requesting import Requester
from trollmoves.client import asking, hearing
from trollmoves.client.delivering import BY_ANOTHER
from trollmoves.client.doubting import SAME
from trollmoves.client.flight import Flight
from trollmoves.lifecycle import State
from trollmoves.messages import EXTENSION, decode


class Client(Answered):
    """Notes which requests its providers are told to forget."""

    def __init__(self, directory: Path, settings: str = "", servers: list[str] | None = None):
        self.cancelled: list[str] = []
        super().__init__(directory, settings, servers)

    def refuse(self, file: int, code: str) -> None:
        """The provider will never be able to deliver it."""
        self._answer(file, "err", {"error": "never", EXTENSION: {"version": 1, "code": code, "permanent": True}})

    def say(self, file: int, kind: str, data: Any = None) -> None:
        """A reply without our extension."""
        flight = self._flight(file)
        self.turn_until(lambda: flight.place is not None)
        self.chain._asking._answered(flight, decode(ENVELOPE.encode("/a", kind, data)))

    def say_nothing(self, file: int) -> Flight:
        flight = self._flight(file)
        self.turn_until(lambda: flight.place is not None)
        self.chain._asking._answered(flight, None)
        return flight

    def hear_both(self, content: str = "content", other: str = "") -> Flight:
        """The first provider is asked for what both of them have."""
        self.hear(0, 1, content)
        self.hear(1, 1, other or content)
        self.turn_until(lambda: self.is_asked_for(1) and len(self._flight(1).sources) == 2)
        return self._flight(1)

    def turn_to_the_second(self) -> None:
        """Until the journal says that the second provider is asked."""
        self.turn_until(lambda: (row := self.journal.find_one("file", (1,))) and row["provider"] == self.servers[1])

    def last_step(self, file: int) -> str:
        return self.steps(file)[-1]

    def progress(self) -> list[Any]:
        return list(self.journal.find("under_way", ("chain",)))


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setattr(hearing, "OTHERS_ANNOUNCE", 0.0)
    monkeypatch.setattr(asking, "wait_before", lambda attempt: 600.0)
    monkeypatch.setattr(committing, "COMMIT_TIMEOUT", 1.0)  # no provider gives leave to publish
    found = Client(tmp_path)
    monkeypatch.setattr(Requester, "cancel", lambda self, subject, requests: found.cancelled.extend(requests))
    yield found
    found.close()


def test_the_next_provider_is_asked_at_once_and_under_an_id_of_its_own(client: Client) -> None:
    """What the first one may still deliver is no answer of the second."""
    flight = client.hear_both()
    first = flight.request
    client.fail(1)
    client.turn_to_the_second()
    assert flight.request and flight.request != first
    row = client.journal.find_one("file", (1,))
    assert row is not None and (row["provider"], row["request"], row["attempt"]) == (client.servers[1], flight.request, 2)
    assert [source["provider"] for source in client.journal.find("sources_of", (1,))].count(client.servers[0]) == 1


def test_the_next_process_still_knows_who_was_asked_first(client: Client, tmp_path: Path) -> None:
    """The row of a file names only the provider that is asked."""
    client.hear_both()
    client.fail(1)
    client.turn_to_the_second()
    client.close()
    again = Client(tmp_path, "", client.servers)
    again.turn_until(lambda: again.is_asked_for(1))
    assert set(again._flight(1).sources) == set(client.servers)
    assert again._flight(1).source.provider == client.servers[1]
    again.close()


def test_a_dead_provider_is_told_that_another_one_is_asked(client: Client) -> None:
    """Should it live after all, it would move the file a second time."""
    first = client.hear_both().request
    client.say_nothing(1)
    assert client.cancelled == [first]
    assert client.asked() == [("k:content", client.servers[1])]
    client.turn_to_the_second()
    assert "does not answer" in client.steps(1)[-2]


def test_of_two_dead_providers_the_one_asked_last_is_asked_again_under_the_same_id(client: Client) -> None:
    """It may have delivered it: nothing is moved twice."""
    client.hear_both()
    client.say_nothing(1)
    client.turn_to_the_second()
    second = client.say_nothing(1).request
    client.turn_until(lambda: client.state(1) == State.FAILED and not client.asked())
    client.turn_for(1)
    assert not client.asked(), "nobody is asked who has just not answered"
    client.chain.driven_again()
    client.turn_until(client.asked)
    assert client._flight(1).request == second
    assert client.asked() == [("k:content", client.servers[1])]


def test_nor_is_the_id_another_one_where_the_first_is_heard_of_again_meanwhile(client: Client) -> None:
    """It was asked in this round already."""
    client.hear_both()
    client.say_nothing(1)
    client.turn_to_the_second()
    client.chain.driven_again()
    second = client.say_nothing(1).request
    assert client.cancelled.count(second) == 0
    client.turn_until(lambda: client.state(1) == State.FAILED)
    client.chain.driven_again()
    client.turn_until(lambda: client.is_asked_for(1) and client.state(1) == State.REQUESTED)
    assert client._flight(1).request == second


def test_who_has_just_not_answered_is_not_asked_in_the_place_of_another_dead_one(client: Client) -> None:
    first = client.hear_both().request
    client.chain._asking.providers.rest(client.servers[1])
    client.say_nothing(1)
    client.turn_until(lambda: client.state(1) == State.FAILED)
    assert not client.cancelled
    client.chain._asking.providers.wake(address=client.servers[0])
    client.turn_until(client.asked)
    assert (client.asked(), client._flight(1).request) == ([("k:content", client.servers[0])], first)


def test_a_dead_provider_may_deliver_later_what_no_other_one_can(client: Client) -> None:
    client.hear_both()
    client.say_nothing(1)
    client.turn_to_the_second()
    client.refuse(1, "gone")
    client.turn_until(lambda: client.state(1) in (State.FAILED, State.GIVEN_UP))
    assert client.state(1) == State.FAILED


@pytest.mark.parametrize("for_good", [True, False])
def test_what_the_first_could_not_deliver_may_be_other_content_than_what_the_second_did(client: Client, for_good: bool) -> None:
    """It is asked for, unless it cannot be had any more."""
    client.hear_both("content", "cOntent")
    if for_good:
        client.refuse(1, "gone")
    else:
        client.fail(1, "stalled")
    client.turn_to_the_second()
    client.deliver(1)
    client.turn_until(lambda: client.state(1) == State.PUBLISHED)
    client.turn_for(0.5)
    assert bool(client.steps(2)) is not for_good
    if not for_good:
        client.turn_until(lambda: client.asked() == [("k:content", client.servers[0])])
        assert client._flight(2).doubtful


def test_what_was_answered_is_asked_for_again_under_another_id(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider would give the same answer for ever."""
    monkeypatch.setattr(asking, "wait_before", lambda attempt: 0.1)
    client.hear(0, 1, "content")
    client.turn_until(lambda: client.is_asked_for(1))
    first = client._flight(1).request
    client.fail(1, "stalled")
    client.turn_until(lambda: client.state(1) == State.FAILED and not client.asked())
    client.turn_until(lambda: client.is_asked_for(1))
    assert client._flight(1).request not in ("", first)


def test_what_no_provider_can_deliver_is_given_up(client: Client) -> None:
    client.hear_both()
    client.refuse(1, "gone")
    client.turn_until(lambda: client.asked() == [("k:content", client.servers[1])])
    client.refuse(1, "gone")
    client.turn_until(lambda: client.state(1) == State.GIVEN_UP and not client.asked())
    assert "never" in client.last_step(1)


def test_what_is_cancelled_since_the_group_has_newer_content_is_no_loss(client: Client) -> None:
    """Its provider says so before the journal knows that the newer one was published."""
    client.hear(0, 1, "older")
    client.turn_until(lambda: client.is_asked_for(1))
    client.hear(0, 2, "newer")
    client.turn_until(lambda: client.journal.find_one("file", (2,)) is not None)
    client.chain._asking.cancel_overtaken(2, client._flight(1).identity)
    client.refuse(1, "cancelled")
    client.turn_until(lambda: client.state(1) in (State.COVERED, State.GIVEN_UP))
    assert client.state(1) == State.COVERED
    assert "newer content of its name has been delivered" in client.last_step(1)


def test_what_one_of_them_may_deliver_later_is_not_given_up(client: Client) -> None:
    client.hear_both()
    client.fail(1, "stalled")
    client.turn_until(lambda: client.asked() == [("k:content", client.servers[1])])
    client.refuse(1, "gone")
    client.turn_until(lambda: client.state(1) == State.FAILED and not client.asked())
    row = client.journal.find_one("file", (1,))
    assert row is not None and row["due"] > time.time() + 500.0


@pytest.mark.parametrize(("kind", "data"), [("err", "not reachable"), ("unknown", None), ("error", {"a": 1})])
def test_what_an_upstream_server_refuses_in_whatever_form_is_tried_again(client: Client, kind: str, data: Any) -> None:
    client.hear(0, 1, "content")
    client.turn_until(lambda: client.is_asked_for(1))
    client.say(1, kind, data)
    client.turn_until(lambda: client.state(1) == State.FAILED and not client.asked())
    assert (str(data) if data else kind) in client.last_step(1).replace('\\"', '"')


def test_what_another_member_of_the_group_has_is_not_published_here(client: Client) -> None:
    told: list[str] = []
    client.chain._asking.acknowledging.tell_others = lambda flight: told.append(client.state(1))  # type: ignore[method-assign]
    client.hear_both()
    client.say(1, "covered")
    client.turn_until(lambda: client.state(1) == State.COVERED and not client.asked())
    assert BY_ANOTHER in client.last_step(1)
    assert told == [State.COVERED]


def test_what_the_other_member_did_not_fetch_is_asked_for(client: Client) -> None:
    """Who announced what only has the same size may have other content."""
    client.hear_both("content", "cOntent")
    client.say(1, "covered")
    client.turn_until(lambda: client.state(1) == State.COVERED)
    client.turn_until(lambda: client.asked() == [("k:cOntent", client.servers[1])])
    assert client._flight(2).doubtful


@pytest.mark.parametrize("doubtful", [True, False])
def test_only_who_was_asked_on_condition_may_say_that_it_is_the_same(client: Client, doubtful: bool) -> None:
    """To anybody else nothing was delivered."""
    client.hear(0, 1, "content")
    client.turn_until(lambda: client.is_asked_for(1))
    client._flight(1).doubtful = doubtful
    client.fail(1, "same")
    client.turn_until(lambda: client.state(1) == (State.COVERED if doubtful else State.FAILED))
    assert (SAME in client.last_step(1)) == doubtful


@pytest.mark.parametrize("fence", [7, None])
def test_what_is_delivered_carries_what_its_provider_says_of_it(client: Client, fence: int | None) -> None:
    """Its content, and our right to publish it."""
    received: list[Flight] = []
    client.chain._asking._receive = lambda flight, reply: received.append(flight)
    client.hear(0, 1, "content")
    client.turn_until(lambda: client.is_asked_for(1))
    checksum = "sha256:" + "0" * 64
    lease = {} if fence is None else {"fence": fence, "valid_until": 5.0, "maybe_published": True, "confirm": True}
    client._answer(1, "file", {EXTENSION: {"version": 1, "state": "delivered", "checksum": checksum, **lease}})
    [flight] = received
    assert flight.checksum == checksum
    assert (flight.fence, flight.valid_until, flight.maybe_published, flight.confirms) == (
        (7, 5.0, True, True) if fence else (0, math.inf, False, False))


def test_an_answer_that_comes_after_the_file_has_landed_changes_nothing(client: Client) -> None:
    """It may be that of a provider that was taken for dead."""
    client.hear(0, 1, "content")
    client.turn_until(lambda: client.is_asked_for(1))
    flight = client._flight(1)
    client.say(1, "covered")
    client.turn_until(lambda: client.state(1) == State.COVERED and not client.asked())
    steps = client.steps(1)
    client.chain._asking._answered(flight, decode(ENVELOPE.encode("/a", "err", "late")))
    client.chain._asking.not_delivered(flight, "internal", False, "late")
    client.turn_for(0.3)
    assert client.steps(1) == steps


def test_nothing_is_concluded_from_what_comes_at_the_end(client: Client) -> None:
    """What was asked for is asked for again after the next start."""
    client.hear(0, 1, "content")
    client.turn_until(lambda: client.is_asked_for(1) and client.state(1) == State.REQUESTED)
    flight = client._flight(1)
    client.chain.stop()
    client.chain._asking._answered(flight, decode(ENVELOPE.encode("/a", "err", "late")))
    client.chain._asking.not_delivered(flight, "internal", False, "late")
    client.turn_for(0.3)
    assert client.state(1) == State.REQUESTED


def test_a_reply_that_nobody_can_make_a_publication_of_is_a_failure_that_is_told(client: Client) -> None:
    def breaks(flight: Flight, reply: object) -> None:
        raise RuntimeError("unforeseen")
    client.chain._asking._receive = breaks
    client.hear(0, 1, "content")
    client.turn_until(lambda: client.is_asked_for(1))
    client.deliver(1)
    client.turn_until(lambda: client.state(1) == State.FAILED and not client.asked())
    assert "RuntimeError" in client.last_step(1)


def test_who_does_not_come_back_tells_all_providers_what_they_need_not_deliver(client: Client) -> None:
    for position in (1, 2):
        client.hear(0, position, "content", f"x{position}")
    client.hear(1, 1, "other", "y")
    client.turn_until(lambda: len(client.asked()) == 3)
    requests = {flight.request for flight in client.chain._asking._flights}
    client.chain.cancel()
    assert set(client.cancelled) == requests and len(client.cancelled) == 3


def test_after_a_provider_was_started_anew_it_is_asked_again_and_nobody_else(
        client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have forgotten what it was asked, on any of its ports."""
    restarted: list[Any] = []
    monkeypatch.setattr(Requester, "restarted", lambda self: restarted.append(self))
    client.hear(0, 1, "content", "x")
    client.hear(0, 2, "content", "y")
    client.turn_until(lambda: len(client.asked()) == 2)
    client.chain._asking.repeat("10.0.0.1:9")
    assert not restarted
    client.chain._asking.repeat("127.0.0.1:1")
    assert restarted == [client.chain._asking.requesters.ours(*client._flight(1).asked_for[:3])]


@pytest.mark.parametrize(("done", "total", "is_shown"), [
    (1, 2, True), (2, 2, True), (0, 2, False), (3, 2, False), (True, 2, False), (1.0, 2, False), (1, 2**63, False),
    (None, 2, False)])
def test_how_far_a_move_is_stands_in_the_journal_until_it_has_landed(client: Client, done: Any, total: Any,
                                                                     is_shown: bool) -> None:
    """And nothing there that it cannot keep."""
    client.hear(0, 1, "content")
    client.turn_until(lambda: client.is_asked_for(1))
    client.chain._asking._under_way(client._flight(1), {"done": done, "total": total})
    written: list[bool] = []
    client.journal.write([], written.append, True)
    client.turn_until(lambda: written)
    assert [(row["done"], row["total"]) for row in client.progress()] == ([(done, total)] if is_shown else [])
    client.say(1, "covered")
    client.turn_until(lambda: not client.asked() and not client.progress())
