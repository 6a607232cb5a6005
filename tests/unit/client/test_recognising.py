"""Whether what is announced is news: in the order in which several servers are heard, and what is known by then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from tests.unit.journal.test_alarms import Opened
from trollmoves.client.deciding import Known, Verdict
from trollmoves.client.doubting import new_row
from trollmoves.client.flight import Flight, Source
from trollmoves.client.ledger import Ledger
from trollmoves.client.recognising import Recognising
from trollmoves.lifecycle import State
from trollmoves.messages import EXTENSION, Announcement, Envelope, decode, read_announcement

PUBLISHED, REQUESTED, COVERED, GIVEN_UP = State.PUBLISHED, State.REQUESTED, State.COVERED, State.GIVEN_UP
NEW, SOURCE, TELL, DOUBTFUL, IGNORE, OLD = (
    Verdict.NEW, Verdict.SOURCE, Verdict.TELL, Verdict.DOUBTFUL, Verdict.IGNORE, Verdict.OLD)


def said(server: str, content: str, position: int, *, size: int = 10, mtime: float | None = None, subject: str = "/a",
         address: str = "", **more: str) -> Announcement:
    """What a *server* announces; of an upstream server without a *position*."""
    address = address or f"{server}:9094"
    extension = {"version": 1, "epoch": f"e:{server}", "offset": position, "previous": 0, "address": address,
                 "key": content and f"k:{content}", "size": size, "mtime": mtime}
    data = {**more, "uid": "x", "uri": f"/data/{server}/x", "request_address": address,
            **({EXTENSION: extension} if position else {})}
    return read_announcement(decode(Envelope("u@h").encode(subject, "file", data)))


class Scene:
    """The journal of a client, or of a mirror, which *relays*."""

    def __init__(self, path: Path, *, relays: bool = False):
        self.opened = Opened(path / "journal")
        self.moved: dict[str, str] = {}
        self._ledger = Ledger("chain", self.opened.journal)
        following = Mock()
        following.leads = lambda address, epoch: self.moved.get(address, address)
        self._recognising = Recognising(self._ledger, following, relays=relays)
        self._last = 0

    def knows(self, announcement: Announcement, state: State = PUBLISHED, *, doubtful: bool = False,
              also: Announcement | None = None) -> None:
        """A row of the journal, which *also* another one announced."""
        self._last += 1
        flight = Flight(self._last, "chain", "x", 1000.0, Source(announcement.address, announcement), doubtful=doubtful)
        self.opened.journal.write([("add_file", [new_row(flight, state, None)])])
        if also is not None:
            self.opened.journal.write([("add_source", [(self._last, also.address, also.message.raw.decode())])])
        self.opened.committed()

    def is_writing(self, announcement: Announcement) -> None:
        """The same of what is perhaps a copy, and not in the journal yet."""
        self._last += 1
        self._ledger.remember("x", self._last, Known.of(State.ANNOUNCED, announcement)._replace(doubtful=True))

    def hears(self, announcement: Announcement) -> tuple[Verdict, int]:
        self._ledger.look_up([announcement.message])
        return self._recognising.recognise(announcement)[:2]


@pytest.fixture
def scene(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    found = Scene(tmp_path, relays=getattr(request, "param", False))
    yield found
    found.opened.journal.close()


mirror = pytest.mark.parametrize("scene", [True], indirect=True)


# A copy, or other content.

def test_what_another_server_has_of_the_same_size_may_be_a_copy(scene: Scene) -> None:
    scene.knows(said("A", "1", 1))
    assert scene.hears(said("B", "2", 1)) == (DOUBTFUL, 1)


def test_what_another_server_has_of_another_size_may_be_a_copy_of_something_older(scene: Scene) -> None:
    scene.knows(said("A", "1", 1))
    assert scene.hears(said("B", "2", 1, size=12)) == (DOUBTFUL, 1)


def test_what_was_given_up_is_compared_with_nothing(scene: Scene) -> None:
    scene.knows(said("A", "1", 1), GIVEN_UP)
    assert scene.hears(said("B", "2", 1))[0] is NEW


@pytest.mark.parametrize("mtime, size, verdict", [(5.0, 10, DOUBTFUL), (6.0, 10, NEW), (5.0, 12, NEW)])
def test_a_server_may_announce_the_same_with_another_key(scene: Scene, mtime: float, size: int, verdict: Verdict) -> None:
    scene.knows(said("A", "1", 1, mtime=5.0))
    assert scene.hears(said("A", "2", 2, mtime=mtime, size=size))[0] is verdict


@pytest.mark.parametrize("size, verdict", [(10, DOUBTFUL), (12, NEW)])
def test_it_may_have_the_same_under_another_subject(scene: Scene, size: int, verdict: Verdict) -> None:
    scene.knows(said("A", "1", 1))
    assert scene.hears(said("A", "2", 2, subject="/b", size=size))[0] is verdict


@pytest.mark.parametrize("written", [True, False])
def test_after_what_was_not_compared_yet_comes_perhaps_a_copy_as_well(scene: Scene, written: bool) -> None:
    if written:
        scene.knows(said("A", "1", 1), State.ANNOUNCED, doubtful=True)
    else:
        scene.is_writing(said("A", "1", 1))
    assert scene.hears(said("A", "2", 2, size=12))[0] is DOUBTFUL


def test_what_was_compared_and_delivered_is_followed_by_other_content(scene: Scene) -> None:
    scene.knows(said("A", "1", 1), doubtful=True)
    assert scene.hears(said("A", "2", 2, size=12))[0] is NEW


def test_who_had_what_was_delivered_has_other_content_then(scene: Scene) -> None:
    """Though a copy of what it had was heard of since."""
    scene.knows(said("A", "1", 1))
    scene.knows(said("B", "2", 1), COVERED)
    assert scene.hears(said("A", "3", 2))[0] is NEW


def test_but_not_where_another_one_had_what_was_delivered_since(scene: Scene) -> None:
    scene.knows(said("A", "1", 1))
    scene.knows(said("B", "2", 1))
    assert scene.hears(said("A", "3", 2)) == (DOUBTFUL, 2)


def test_nor_where_what_it_had_since_was_not_compared(scene: Scene) -> None:
    scene.knows(said("B", "1", 1))
    scene.knows(said("A", "2", 1), State.ANNOUNCED, doubtful=True)
    assert scene.hears(said("A", "3", 2))[0] is DOUBTFUL


def test_after_its_copy_a_server_has_other_content_also_for_the_next_process(scene: Scene) -> None:
    scene.knows(said("B", "1", 1), also=said("A", "2", 1))
    assert scene.hears(said("A", "3", 2))[0] is NEW


# What is heard late.

def test_what_is_told_again_is_no_copy_of_what_came_later(scene: Scene) -> None:
    scene.knows(said("A", "1", 1))
    scene.knows(said("B", "2", 1))
    assert scene.hears(said("A", "1", 1))[0] is OLD
    assert scene.hears(said("A", "3", 2))[0] is DOUBTFUL, "it may be what the other one had"


def test_nor_is_it_had_in_the_place_of_what_is_under_way(scene: Scene) -> None:
    scene.knows(said("A", "1", 1))
    scene.knows(said("B", "2", 1), REQUESTED)
    assert scene.hears(said("A", "1", 1))[0] is OLD


def test_what_a_server_announces_anew_it_has_again(scene: Scene) -> None:
    """Other content was delivered meanwhile."""
    scene.knows(said("A", "1", 1))
    scene.knows(said("B", "2", 1, size=12))
    assert scene.hears(said("A", "1", 2))[0] is not OLD


@pytest.mark.parametrize("source", [True, False])
def test_who_cannot_deliver_it_any_more_is_told(scene: Scene, source: bool) -> None:
    """The newer content was taken for a copy, or came before that of another one."""
    if source:
        scene.knows(said("B", "2", 1), also=said("A", "1", 5))
    else:
        scene.knows(said("A", "1", 5))
        scene.knows(said("B", "2", 1))
    assert scene.hears(said("A", "0", 3))[0] is TELL


@pytest.mark.parametrize("state, verdict", [(PUBLISHED, TELL), (REQUESTED, SOURCE), (GIVEN_UP, OLD)])
def test_a_copy_of_what_was_replaced_is_known_as_that(scene: Scene, state: State, verdict: Verdict) -> None:
    scene.knows(said("M", "1", 1), state)
    scene.knows(said("M", "2", 2, size=12))
    assert scene.hears(said("A", "1", 1)) == (verdict, 1)


def test_it_is_so_also_after_another_copy_of_the_same_server(scene: Scene) -> None:
    """Else it would be had once more, and replace what is newer."""
    scene.knows(said("M", "1", 1), REQUESTED)
    assert scene.hears(said("A", "0", 1)) == (SOURCE, 1)
    scene.knows(said("M", "2", 2, size=12))
    assert scene.hears(said("A", "1", 2)) == (SOURCE, 1)


# Files of one name in several directories, which their metadata tell apart.

def test_it_is_a_copy_of_what_has_its_metadata(scene: Scene) -> None:
    scene.knows(said("A", "1", 1, kind="p"))
    scene.knows(said("A", "2", 2, kind="q"))
    assert scene.hears(said("B", "3", 1, kind="p")) == (DOUBTFUL, 1)


def test_it_is_none_of_what_has_others_though_written_at_its_time(scene: Scene) -> None:
    scene.knows(said("A", "1", 1, kind="q", mtime=100.0))
    scene.knows(said("B", "2", 1, kind="p", mtime=200.0))
    assert scene.hears(said("C", "3", 1, kind="p", mtime=100.0)) == (DOUBTFUL, 2)


def test_where_each_server_has_metadata_of_its_own_they_tell_nothing_apart(scene: Scene) -> None:
    scene.knows(said("A", "1", 1, kind="p"))
    scene.knows(said("B", "2", 1, kind="q"))
    assert scene.hears(said("A", "3", 2, kind="p")) == (DOUBTFUL, 2)


# A server that has another address.

@pytest.mark.parametrize("followed, verdict", [(True, IGNORE), (False, TELL)])
def test_what_it_tells_again_from_there_is_no_news(scene: Scene, followed: bool, verdict: Verdict) -> None:
    scene.knows(said("A", "1", 1))
    scene.moved = {"A:9094": "A:9095"} if followed else {}
    assert scene.hears(said("A", "1", 1, address="A:9095")) == (verdict, 1)


@pytest.mark.parametrize("state", [PUBLISHED, REQUESTED])
def test_what_it_has_new_is_new(scene: Scene, state: State) -> None:
    scene.knows(said("A", "1", 1), state)
    assert scene.hears(said("A", "2", 2, address="A:9095"))[0] is NEW


# Upstream servers tell names only.

@pytest.mark.parametrize("state, verdict", [(REQUESTED, SOURCE), (PUBLISHED, TELL)])
def test_what_another_upstream_server_has_is_the_same(scene: Scene, state: State, verdict: Verdict) -> None:
    scene.knows(said("U", "", 0), state)
    assert scene.hears(said("V", "", 0)) == (verdict, 1)


def test_it_is_not_older_for_having_no_position(scene: Scene) -> None:
    scene.knows(said("U", "", 0))
    scene.knows(said("A", "1", 1), REQUESTED)
    assert scene.hears(said("U", "", 0)) == (SOURCE, 2)


# A mirror: its clients take for newer what it announces later, and listen to some subjects only.

@mirror
def test_what_comes_under_another_subject_is_another_file_to_a_mirror(scene: Scene) -> None:
    scene.knows(said("A", "1", 1))
    assert scene.hears(said("A", "1", 2, subject="/b")) == (NEW, 0)
    scene.knows(said("A", "1", 2, subject="/b"))
    assert scene.hears(said("A", "1", 1)) == (IGNORE, 1)
    assert scene.hears(said("B", "1", 1, subject="/b")) == (TELL, 2)


@mirror
def test_a_mirror_compares_keys_itself(scene: Scene) -> None:
    scene.knows(said("A", "1", 1))
    assert scene.hears(said("B", "2", 1)) == (TELL, 1)


@mirror
def test_after_a_copy_that_it_has_replaced_a_server_has_other_content(scene: Scene) -> None:
    scene.knows(said("A", "2", 6, size=12))
    scene.knows(said("M", "1", 1))
    assert scene.hears(said("A", "1", 5)) == (TELL, 2)
    assert scene.hears(said("A", "3", 7))[0] is NEW


@pytest.mark.parametrize("scene, verdict", [(True, OLD), (False, NEW)], indirect=["scene"])
def test_what_was_replaced_is_announced_by_no_mirror(scene: Scene, verdict: Verdict) -> None:
    scene.knows(said("A", "2", 5))
    assert scene.hears(said("A", "1", 3, size=12))[0] is verdict
