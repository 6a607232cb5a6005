"""Who listens to what: nobody may be taken for one who does not listen to a subject, and does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.clock import Clock
from tests.support.journals import committed, opened
from trollmoves.bus.topics import MOST_TOPICS
from trollmoves.lifecycle import TOPIC_KNOWN
from trollmoves.server import topics as kept
from trollmoves.server.requests import Consumer
from trollmoves.server.topics import NOTED_AGAIN, Topics

ME, OTHER, SPARE, UPSTREAM = (Consumer("me", "us", False), Consumer("other", "us", False), Consumer("spare", "us", True),
                              Consumer("192.0.2.1", "", False))


class Told:
    """What consumers told; another process of the same journal takes over with `restart`."""

    def __init__(self, path: Path):
        self.path, self.clock = path, Clock()
        self.restart()

    def restart(self, later: float = 0.0) -> None:
        if hasattr(self, "journal"):
            self.journal.write([("move_topics", [{"leap": -later}])])
            committed(self.journal)
            self.journal.close()
        self.clock = Clock(7.0)  # a machine that was started a moment ago
        self.journal = opened(self.path)
        self.topics = Topics(self.journal, self.clock)

    def hear(self, consumer: Consumer, *topics: str) -> None:
        self.topics.hear(consumer, topics)

    def listens(self, subject: str | None, consumer: Consumer = ME) -> bool:
        return self.topics.may_listen((consumer.client, consumer.group), subject)

    @property
    def rows(self) -> list[Any]:
        committed(self.journal)
        return self.journal.find("topics_told", (0.0, 1000))


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    found = Told(tmp_path / "journal")
    yield found
    found.journal.close()


@pytest.mark.parametrize(("topics", "subject", "listens"), [
    (["/a"], "/a", True), (["/a"], "/a/b", True), (["/a"], "/ab", True), (["/a/"], "/a", False), (["/a/b"], "/a", False),
    (["/a"], "/b", False), (["/a"], "/b/a", False), (["/a", "/b"], "/b", True), ([""], "/b", True), (["/"], "/b", True),
    (["/A"], "/a", False), (["/a"], None, True)])
def test_it_listens_to_what_begins_with_what_it_told(told: Told, topics: list[str], subject: str | None, listens: bool) -> None:
    told.hear(ME, *topics)
    assert told.listens(subject) is listens
    told.restart()
    assert told.listens(subject) is listens


def test_who_told_nothing_listens_to_everything(told: Told) -> None:
    told.hear(ME, "/a")
    assert told.listens("/b", OTHER)
    told.hear(UPSTREAM, "/a")
    assert [row["client"] for row in told.rows] == ["me"]


def test_nothing_that_was_told_is_taken_back_before_its_time_is_over(told: Told) -> None:
    """Another one may go by the same name."""
    told.hear(ME, "/a", "/b")
    for _ in range(4):
        told.clock.advance(TOPIC_KNOWN / 5)
        told.hear(ME, "/a")
    assert told.listens("/a") and told.listens("/b") and not told.listens("/c")
    told.clock.advance(TOPIC_KNOWN / 5 + 1)
    assert told.listens("/a") and not told.listens("/b")


def test_one_of_an_earlier_release_that_goes_by_the_name_listens_to_everything(told: Told) -> None:
    told.hear(ME, "/a")
    told.hear(ME, "")
    assert told.listens("/b")
    told.clock.advance(TOPIC_KNOWN - NOTED_AGAIN)
    told.hear(ME, "/a")
    told.clock.advance(NOTED_AGAIN + 1)
    assert told.listens("/a") and not told.listens("/b")


def test_of_whom_nothing_is_known_any_more_listens_to_everything(told: Told) -> None:
    told.hear(ME, "/a")
    told.clock.advance(TOPIC_KNOWN + 1)
    assert told.listens("/b")


def test_what_is_told_again_counts_from_then_on(told: Told) -> None:
    """Also for the next process; and it is not written with every request."""
    told.hear(ME, "/a", "/b")
    first = {row["topic"]: row["time"] for row in told.rows}
    told.hear(ME, "/a", "/b")
    assert {row["topic"]: row["time"] for row in told.rows} == first
    told.clock.advance(NOTED_AGAIN + 1)
    told.hear(ME, "/b")
    assert {row["topic"] for row in told.rows if row["time"] > first[row["topic"]]} == {"/b"}


@pytest.mark.parametrize(("later", "listens"), [(TOPIC_KNOWN - 60, False), (TOPIC_KNOWN + 60, True)])
def test_the_next_process_knows_how_old_it_is(told: Told, later: float, listens: bool) -> None:
    told.hear(ME, "/a")
    told.restart(TOPIC_KNOWN / 2)
    assert not told.listens("/b")
    told.clock.advance(later - TOPIC_KNOWN / 2)
    assert told.listens("/b") is listens
    told.restart(later - TOPIC_KNOWN / 2)
    assert told.listens("/b") is listens


def test_what_a_spare_listens_to_its_primary_is_waited_for_with(told: Told) -> None:
    """It may confirm in its place."""
    told.hear(SPARE, "/b")
    assert told.listens("/c"), "the primary has told nothing"
    told.hear(ME, "/a")
    for _ in range(2):
        assert told.listens("/a") and told.listens("/b") and not told.listens("/c")
        told.restart()
    told.hear(Consumer("spare", "they", True), "/c")
    assert not told.listens("/c")


def test_who_tells_too_much_listens_to_everything(told: Told) -> None:
    for number in range(2 * MOST_TOPICS):
        told.hear(ME, f"/{number}")
    assert told.listens("/other")
    assert len(told.rows) <= MOST_TOPICS + 1


def test_while_too_many_tell_everybody_listens_to_everything(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no room for what somebody who is known listens to besides."""
    monkeypatch.setattr(kept, "MOST_KEPT", 300)
    told.hear(ME, "/a")
    for number in range(400):
        told.hear(Consumer(f"c{number}", f"g{number}", False), "/x")
    told.hear(ME, "/b")
    for _ in range(2):
        assert told.listens("/b") and told.listens("/c")
        assert len(told.rows) <= 300
        told.restart()
    told.clock.advance(TOPIC_KNOWN + 1)
    told.hear(ME, "/a", "/b")
    assert told.listens("/b") and not told.listens("/c")

