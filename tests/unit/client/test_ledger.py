"""What a client chain knows of a file whose name was given to new content while the old one is on its way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from trollmoves.client.deciding import Known, Verdict
from trollmoves.client.following import Following
from trollmoves.client.ledger import Ledger
from trollmoves.client.recognising import Recognising
from trollmoves.journal import Journal
from trollmoves.lifecycle import State
from trollmoves.messages import Announcement, Envelope, Message, decode, read_announcement

OLD = Known(State.REQUESTED, "k:old", 10, "127.0.0.1:1", "e:1", 1)
NEW = Known(State.REQUESTED, "k:new", 20, "127.0.0.1:1", "e:1", 2)
MESSAGE: Message = decode(Envelope("somebody@here").encode("/a", "file", {"uid": "x", "uri": "/x"}))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    died: list[BaseException] = []

    def call_all(calls: list[tuple[Callable[..., Any], tuple[Any, ...]]]) -> None:
        for function, arguments in calls:
            function(*arguments)
    journal = Journal(tmp_path / "j", call_all, died.append)
    yield Ledger("chain", journal)
    journal.close()
    assert not died


def write(ledger: Ledger, file: int, known: Known, identity: str = "x") -> None:
    """Have the journal keep *known*."""
    done = threading.Event()
    ledger.add("add_file", (file, "chain", identity, known.key, known.state, 1.0, "", None, known.size, None, None, None, None,
                            known.provider, MESSAGE.raw.decode(), None, 1, 1.0))
    ledger.write(done.set)
    assert done.wait(60)


def test_the_old_content_being_asked_for_again_does_not_hide_the_new_one(ledger: Ledger) -> None:
    ledger.remember("x", 1, OLD)
    ledger.remember("x", 2, NEW)
    ledger.remember("x", 1, OLD)
    ledger.look_up([MESSAGE])
    assert ledger.known("x") == (2, NEW)


def test_what_comes_to_an_end_or_fails_is_told_of_no_other_content(ledger: Ledger) -> None:
    ledger.remember("x", 1, OLD)
    ledger.remember("x", 2, NEW)
    assert [ledger.is_unwritten("x", file) for file in (1, 2, 3)] == [True, True, False]
    ledger.amend("x", 1, State.FAILED)
    ledger.amend("y", 1, State.FAILED)
    ledger.forget("x", 1)
    assert ledger.known("x") == (2, NEW)
    assert not ledger.is_unwritten("x", 1)


def test_what_is_being_written_counts_for_more_than_what_was(ledger: Ledger) -> None:
    write(ledger, 1, OLD)
    ledger.remember("x", 1, OLD._replace(state=State.COVERED))
    ledger.look_up([MESSAGE])
    assert ledger.known("x") == (1, OLD._replace(state=State.COVERED))


def test_nor_when_the_new_one_is_published_already(ledger: Ledger) -> None:
    write(ledger, 1, OLD)
    write(ledger, 2, NEW._replace(state=State.PUBLISHED))
    ledger.remember("x", 1, OLD)
    ledger.look_up([MESSAGE])
    file, known = ledger.known("x")
    assert (file, known and known.state) == (2, State.PUBLISHED)


def test_what_is_forgotten_is_not_kept_anywhere(ledger: Ledger) -> None:
    ledger.remember("x", 1, OLD)
    ledger.remember("x", 2, NEW)
    ledger.forget("x", 2)
    ledger.remember("x", 1, OLD)
    ledger.forget("x", 1)
    assert not ledger.versions("x")
    assert not ledger.is_unwritten("x", 1)


def test_only_what_waits_is_worth_keeping(ledger: Ledger) -> None:
    ledger.remember("x", 1, OLD._replace(state=State.ANNOUNCED))
    assert ledger.is_waiting("x", 1)
    ledger.remember("x", 1, OLD._replace(state=State.COVERED))
    assert not ledger.is_waiting("x", 1)
    ledger.forget("x", 1)
    assert not ledger.is_waiting("x", 1)


class Nowhere:
    """Nobody has another address."""

    def leads(self, address: str, epoch: str) -> str:
        return ""


@pytest.mark.parametrize(("key", "offset", "verdict"), [
    ("k:new", 7, Verdict.NEW), ("k:old", 7, Verdict.TELL), ("k:older", 3, Verdict.TELL)])
def test_new_content_is_no_copy_where_its_provider_announced_the_old_one_and_another_was_asked(
        ledger: Ledger, key: str, offset: int, verdict: Verdict) -> None:
    """Two servers of one directory: the second is asked for what the first announced first. New content of the same size was
    confirmed to the first as if it were there, which removed it."""
    def announced(key: str, offset: int) -> Message:
        said = {"version": 1, "epoch": "e:2", "offset": offset, "previous": 0, "key": key, "size": 10, "address": "127.0.0.1:2"}
        data = {"uid": "x", "uri": "/x", "request_address": "127.0.0.1:2", "trollmoves": said}
        return decode(Envelope("somebody@here").encode("/a", "file", data))
    write(ledger, 1, OLD._replace(state=State.PUBLISHED))
    ledger.add("add_source", (1, "127.0.0.1:2", announced("k:old", 5).raw.decode()))
    write(ledger, 2, OLD._replace(provider="127.0.0.1:3"), identity="y")
    ledger.look_up([announced(key, offset)])
    recognising = Recognising(ledger, cast(Following, Nowhere()), relays=False)
    assert recognising.recognise(read_announcement(announced(key, offset)))[0] is verdict


def test_what_a_replay_tells_once_more_is_no_copy_of_newer_content_that_a_mirror_told_before(ledger: Ledger) -> None:
    """A client that was away heard the newer content from the mirror first, and then all again from its server. The newer one was
    taken for what has replaced a copy, and published twice."""
    def announced(key: str, offset: int, epoch: str, address: str) -> Announcement:
        said = {"version": 1, "epoch": epoch, "offset": offset, "previous": 0, "key": key, "size": 10, "address": address}
        data = {"uid": "x", "uri": "/x", "request_address": address, "trollmoves": said}
        return read_announcement(decode(Envelope("somebody@here").encode("/a", "file", data)))

    def of_server(key: str, offset: int) -> Announcement:
        return announced(key, offset, "e:server", "127.0.0.1:1")
    ledger.remember("x", 1, Known.of(State.PUBLISHED, of_server("k:old", 5)))
    ledger.remember("x", 2, Known.of(State.PUBLISHED, announced("k:new", 7, "e:mirror", "127.0.0.1:2")))
    recognising = Recognising(ledger, cast(Following, Nowhere()), relays=False)
    assert recognising.recognise(of_server("k:old", 5))[0] is Verdict.OLD
    assert recognising.recognise(of_server("k:new", 6))[0] is Verdict.TELL
    assert recognising.recognise(of_server("k:newest", 8))[0] is Verdict.NEW


@pytest.mark.parametrize(("doubtful", "state", "verdict"), [
    (True, State.REQUESTED, Verdict.DOUBTFUL), (True, State.COVERED, Verdict.DOUBTFUL), (True, State.PUBLISHED, Verdict.NEW),
    (False, State.REQUESTED, Verdict.NEW)])
def test_what_comes_after_what_is_perhaps_a_copy_is_perhaps_one_too(
        ledger: Ledger, doubtful: bool, state: State, verdict: Verdict) -> None:
    """A client that had the newer content from one server heard both contents of another: the newer one was published twice."""
    def announced(key: str, offset: int, host: str) -> Announcement:
        address = f"{host}:1"
        said = {"version": 1, "epoch": f"e:{host}", "offset": offset, "previous": 0, "key": key, "size": 10, "address": address}
        data = {"uid": "x", "uri": "/x", "request_address": address, "trollmoves": said}
        return read_announcement(decode(Envelope("somebody@here").encode("/a", "file", data)))
    ledger.remember("x", 1, Known.of(State.PUBLISHED, announced("k:one's", 5, "one")))
    ledger.remember("x", 2, Known.of(state, announced("k:other's", 7, "other"))._replace(doubtful=doubtful))
    recognising = Recognising(ledger, cast(Following, Nowhere()), relays=False)
    assert recognising.recognise(announced("k:other's new", 8, "other"))[0] is verdict
