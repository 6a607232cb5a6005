"""What is heard is in the journal, together with how far was heard, before anything is done about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.client.test_waiting import ENVELOPE, Client
from trollmoves.client import hearing
from trollmoves.client.delivering import BY_ANOTHER
from trollmoves.errors import JournalError
from trollmoves.journal import Journal
from trollmoves.journal.journal import step_line
from trollmoves.journal.ordering import DISMISSED
from trollmoves.messages import EXTENSION, Message, decode


class Listening(Client):
    """Notes what is handed to the journal, and how far it was heard."""

    def __init__(self, directory: Path, servers: list[str] | None = None):
        super().__init__(directory, "", servers)
        self.hearing = self.chain._hearing
        self.written: list[list[str]] = []
        write = self.journal.write

        def noted(operations: Any, then: Callable[..., Any] | None = None, *arguments: Any) -> None:
            self.written.append([name for name, _ in operations])
            write(operations, then, *arguments)
        self.journal.write = noted  # type: ignore[method-assign]

    def said(self, position: int, name: str, **more: Any) -> Message:
        address = self.servers[0]
        extension = {"version": 1, "epoch": "e:0", "offset": position, "previous": 0, "address": address, "key": f"k:{name}",
                     "size": 1, **more}
        said = {"uid": name, "uri": f"/{name}", "request_address": address, EXTENSION: extension}
        return decode(ENVELOPE.encode("/a", "file", said))

    def page(self, *messages: Message, then: Callable[[], Any] | None = None) -> None:
        """What was missed comes, up to position 9."""
        self.hearing._catch_ups[self.providers[0]]._page(list(messages), "e:0", 9, then or (lambda: None))

    def cursor(self) -> int | None:
        row = self.journal.find_one("cursor", ("chain", str(self.providers[0])))
        return None if row is None else int(row["position"])


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listening]:
    monkeypatch.setattr(hearing, "OTHERS_ANNOUNCE", 0.0)
    found = Listening(tmp_path)
    yield found
    found.close()


def test_a_page_is_written_with_its_cursor_and_only_then_the_next_one_is_asked_for(client: Listening) -> None:
    cursors: list[int | None] = []
    client.page(client.said(1, "a"), client.said(2, "b"), then=lambda: cursors.append(client.cursor()))
    [together] = [names for names in client.written if "add_file" in names or "set_cursor" in names]
    assert {"add_file", "set_cursor"} <= set(together)
    assert not cursors
    client.turn_until(lambda: cursors == [9])
    assert client.steps(1) and client.steps(2)


@pytest.mark.parametrize("by_page", [True, False])
def test_the_next_process_goes_on_where_this_one_was(client: Listening, tmp_path: Path, by_page: bool) -> None:
    """Whatever was announced since, and not only as much of it as a new client asks for."""
    if by_page:
        client.page(client.said(1, "a"))
    else:
        client.hearing._catch_ups[client.providers[0]]._moved_on("e:0", 9)
        client.chain._asking.commit()
    client.turn_until(lambda: client.cursor() == 9)
    client.close()
    again = Listening(tmp_path, client.servers)
    first, second = (again.hearing._catch_ups[provider] for provider in again.providers)
    assert (first._epoch, first._position, first._new) == ("e:0", 9, False)
    assert second._new
    again.close()


def test_what_nobody_can_ask_for_keeps_no_other_announcement_away(client: Listening) -> None:
    bad = decode(ENVELOPE.encode("/a", "file", {"uri": "/a", "request_address": 7}))
    client.page(bad, client.said(1, "a"), bad)
    client.turn_until(lambda: client.steps(1) and client.cursor() == 9)


@pytest.mark.parametrize("dismissed", [False, True])
def test_of_what_an_operator_dismissed_nobody_is_told_that_we_have_it(client: Listening, monkeypatch: pytest.MonkeyPatch,
                                                                      dismissed: bool) -> None:
    """Whoever announces it later would remove what nobody has."""
    told: list[Any] = []
    monkeypatch.setattr(client.chain._asking.acknowledging, "tell", told.append)
    client.hear(0, 1, "old")
    client.turn_until(lambda: len(client.steps(1)) == 2)
    client.chain.dismissed([1])
    assert not client.asked()
    line = step_line("covered", 1.0, detail=DISMISSED if dismissed else BY_ANOTHER)
    client.journal.write([("dismiss", [{"id": 1, "now": 1.0, "line": line}])])
    client.turn_until(lambda: len(client.steps(1)) == 3)
    client.hear(1, 1, "old")
    client.turn_for(0.1)
    assert bool(told) != dismissed


def test_others_are_told_what_a_peer_has_when_the_journal_says_so(client: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those who do not answer it is asked later who they are: while the journal is full it would say nobody."""
    told: list[Any] = []
    asking = client.chain._asking
    monkeypatch.setattr(asking.acknowledging, "tell_others", lambda flight: told.append(client.steps(1)[-1]))
    client.hear(0, 1, "content")
    client.turn_until(lambda: asking.is_under_way(1) and len(client.steps(1)) == 2)
    [flight] = asking._flights
    asking._answered(flight, decode(ENVELOPE.encode("/a", "covered", {})))
    client.turn_until(lambda: told)
    assert BY_ANOTHER in told[0]


def test_an_error_of_one_message_keeps_no_other_away(client: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    unforeseen(client, monkeypatch, RuntimeError("unforeseen"))
    client.page(client.said(1, "a"), client.said(2, "b"))
    client.turn_until(lambda: client.cursor() == 9)
    assert client.steps(1) and not client.steps(2)


def test_nobody_goes_on_behind_what_the_journal_could_not_tell(client: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    unforeseen(client, monkeypatch, JournalError("its disk does not answer"))
    with pytest.raises(JournalError):
        client.page(client.said(1, "a"), client.said(2, "b"))
    client.turn_for(0.2)
    assert client.cursor() is None


def unforeseen(client: Listening, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """It comes up at the first announcement."""
    take, errors = client.hearing._take_announcement, [error]

    def taken(*announced: Any) -> None:
        if errors:
            raise errors.pop()
        take(*announced)
    monkeypatch.setattr(client.hearing, "_take_announcement", taken)


def test_only_what_is_heard_live_says_how_far_the_provider_is(client: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Any] = []
    catch_up = client.hearing._catch_ups[client.providers[0]]
    monkeypatch.setattr(catch_up, "announced", lambda announcement: heard.append(announcement.offset))
    monkeypatch.setattr(catch_up, "published", heard.append)
    notice = decode(ENVELOPE.encode("/a", "file", {"uid": "x", "uri": "/x", "origin": client.servers[1]}))
    client.page(client.said(1, "a"), notice)
    client.hearing._take_in(client.providers[0], [client.said(2, "b"), notice])
    assert heard == [2, notice]


@pytest.mark.parametrize("why", ["full", "much"])
def test_no_more_is_taken_in_than_the_journal_can_write(client: Listening, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    monkeypatch.setattr(hearing, "NOTEWORTHY", 1)
    monkeypatch.setattr(hearing, "MUCH", 1 if why == "much" else 2**30)
    full, done = [why == "full"], list[str]()
    monkeypatch.setattr(Journal, "full", property(lambda _: full[0]))
    for listener in client.hearing._listeners.values():
        monkeypatch.setattr(listener, "pause", lambda: done.append("pause"))
        monkeypatch.setattr(listener, "resume", lambda: done.append("resume"))
    called: list[bool] = []
    client.page(client.said(1, "a"), then=lambda: called.append(True))
    assert done == ["pause", "pause"]
    client.turn_until(lambda: called)
    if why == "full":
        client.turn_for(2.5)
        assert done == ["pause", "pause"]
        full[0] = False
    client.turn_until(lambda: done == ["pause", "pause", "resume", "resume"])
    assert client.hearing._unwritten == 0


@pytest.mark.parametrize(("first", "then", "is_it"), [
    ({"offset": 1}, {"offset": 2}, True), ({"offset": 2}, {"offset": 1}, False), ({"offset": 2}, {"offset": 2}, False),
    ({"offset": 2}, {"offset": 1, "epoch": "e:new"}, True), ({"offset": 1, "key": ""}, {"offset": 1}, True),
    ({"offset": 1}, {"offset": 2, "key": ""}, False)])
def test_what_a_provider_announces_again_is_asked_for_as_it_says_last(client: Listening, first: dict[str, Any],
                                                                     then: dict[str, Any], is_it: bool) -> None:
    """But what tells no content does not take the place of what does: somebody else may speak for the provider."""
    one, again = client.said(1, "a", **first), client.said(1, "a", **then)
    client.hearing._take_in(client.providers[0], [one])
    client.turn_until(client.asked)
    client.hearing._take_in(client.providers[0], [again])
    flight = client.chain._asking._flights.get(1)
    assert flight is not None
    assert flight.sources[client.servers[0]].announcement.message.raw == (again if is_it else one).raw
    written = [names for names in client.written if "add_source" in names]
    assert bool(written) is is_it


def test_who_has_a_file_is_named_by_a_provider_so_often_and_no_more(client: Listening) -> None:
    client.hearing._take_in(client.providers[0], [client.said(1, "a")])
    client.turn_until(client.asked)
    flight = client.chain._asking._flights.get(1)
    assert flight is not None
    for number in range(hearing.MOST_SOURCES + 5):
        message = client.said(number, "a", address=f"127.0.0.1:{number + 1}", epoch=f"e:{number}")
        message.fields["request_address"] = f"127.0.0.1:{number + 1}"
        client.hearing._take_in(client.providers[0], [decode(ENVELOPE.encode("/a", "file", message.fields))])
    assert len(flight.sources) == 1 + hearing.MOST_SOURCES
    assert [names for names in client.written if "add_source" in names], "the next process knows them, too"
