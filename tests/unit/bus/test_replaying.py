"""What is told again from a journal, and what is said of what it no longer has."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trollmoves.bus.replaying import MOST_BYTES, MOST_MESSAGES, Replaying
from trollmoves.errors import DestinationInvalid
from trollmoves.journal import Journal
from trollmoves.journal.cleaning import Cleaning
from trollmoves.messages import EXTENSION, Envelope, decode

ENVELOPE = Envelope("somebody@here")


class Past:
    """A journal with announcements of two chains."""

    def __init__(self, path: Path):
        def call_all(calls: list[tuple[Callable[..., Any], tuple[Any, ...]]]) -> None:
            for function, arguments in calls:
                function(*arguments)
        self.journal = Journal(path, call_all, lambda error: print(error))

    def announce(self, chain: str, subject: str, count: int = 1, age: float = 0.0, state: str = "published",
                 size: int = 0) -> None:
        when = time.time() - age
        for _ in range(count):
            file = self.journal.new_file()
            position, previous = self.journal.new_position(subject)
            raw = ENVELOPE.encode(subject, "file", {"uid": f"f{position}", "more": "x" * size}).decode()
            row = (file, chain, f"f{file}", "", state, when, "", None, 1, None, None, None, None, None, None, None, 0, when)
            self.journal.write([("add_file", [row]), ("add_announcement", [(position, file, subject, previous, raw, when)])])
        self.committed()

    def committed(self) -> None:
        done = threading.Event()
        self.journal.write([], done.set)
        assert done.wait(60)

    def ask(self, chain: str | None = None, **asked: Any) -> tuple[list[str], dict[str, Any]]:
        """The uids that are told, and all else that is said."""
        question = decode(ENVELOPE.encode("/", "replay", {EXTENSION: {"epoch": self.journal.epoch, "request": "r:1", **asked}}))
        said = decode(Replaying(self.journal, ENVELOPE, chain).answer(question)).extension
        return [decode(raw.encode()).fields["uid"] for raw in said["messages"]], said

    def forget(self, seconds: float) -> None:
        """What is older goes."""
        class Now:
            def after(self, seconds: float, function: Callable[[], Any]) -> None:
                if seconds < 1 or not run:
                    run.append(True)
                    function()
        run: list[bool] = []
        Cleaning(self.journal, Now(), lambda chain: (seconds, 100_000), lambda work, done, _: done(work())).start()
        self.committed()


@pytest.fixture
def past(tmp_path: Path) -> Iterator[Past]:
    found = Past(tmp_path / "j")
    yield found
    found.journal.close()


def test_one_chain_that_publishes_for_itself_is_told_alone(past: Past) -> None:
    past.announce("one", "/a", 2)
    past.announce("two", "/a")
    past.announce("one", "/b")
    uids, said = past.ask("one", since=0)
    assert (uids, said["to"], said["more"]) == (["f1", "f2", "f4"], 4, False)
    assert past.ask("one", since=0, topics=["/b"])[0] == ["f4"]
    assert past.ask("two", since=1)[0] == ["f3"]
    assert past.ask(since=1)[0] == ["f2", "f3", "f4"]


def test_what_waits_to_be_published_is_not_told_and_nothing_behind_it(past: Past) -> None:
    past.announce("one", "/a")
    past.announce("two", "/a", state="publishing")
    past.announce("one", "/a", state="publishing")
    past.announce("one", "/a")
    uids, said = past.ask("one", since=0)
    assert (uids, said["to"], said["more"]) == (["f1"], 2, False)
    uids, said = past.ask("one", since=2)
    assert (uids, said["to"], said["more"]) == ([], 2, False)


def test_a_page_reaches_through_what_others_published_and_no_further_than_what_is_written(past: Past) -> None:
    past.announce("one", "/a", 2)
    past.announce("two", "/a", 2)
    past.journal.new_position("/a")  # on its way to the disk: who thinks it has it never asks for it
    for chain, since, expected in (("one", 0, ["f1", "f2"]), ("one", 2, []), (None, 2, ["f3", "f4"]), (None, 4, [])):
        uids, said = past.ask(chain, since=since)
        assert (uids, said["to"], said["more"], said["head"]) == (expected, 4, False, 5)


def test_a_truncated_history_is_said_with_its_bounds_for_those_whom_it_concerns(past: Past) -> None:
    past.announce("slow", "/slow")  # number 1 stays
    past.announce("fast", "/fast", 3, age=1000)
    past.announce("fast", "/fast")
    past.forget(500)
    uids, said = past.ask(since=1)
    assert (uids, said["truncated"], said["oldest"]) == (["f5"], True, 5)
    assert abs(time.time() - 1000 - said["forgotten"]) < 60
    assert past.ask(since=1, topics=["/slow"])[1]["truncated"] is False
    assert past.ask("slow", since=0)[1]["truncated"] is False
    assert past.ask("fast", since=3)[1]["truncated"] is True
    assert past.ask(since=4)[1]["truncated"] is False


def test_nothing_is_missing_when_all_of_it_was_taken_before_it_went(past: Past) -> None:
    past.announce("one", "/a", 3, age=1000)
    past.forget(500)
    uids, said = past.ask(since=3)
    assert (uids, said["truncated"], said["to"]) == ([], False, 3)


@pytest.mark.parametrize("asked", [{"since": -1}, {"since": "1"}, {"since": True}, {"topics": "/a"}, {"topics": ["/a"] * 101},
                                   {"topics": [1]}])
def test_a_question_that_makes_no_sense(past: Past, asked: dict[str, Any]) -> None:
    with pytest.raises(DestinationInvalid):
        past.ask(**asked)


def test_what_is_asked_for_elsewhere_by_now_is_told_with_the_new_address(past: Past) -> None:
    raw = ENVELOPE.encode("/a", "file", {"uid": "x", "request_address": "a:1", EXTENSION: {"address": "a:1"}}).decode()
    past.journal.write([("add_announcement", [(past.journal.new_position("/a")[0], 1, "/a", 0, raw, 1.0)])])
    past.committed()
    question = decode(ENVELOPE.encode("/", "replay", {EXTENSION: {"since": 0}}))
    page = decode(Replaying(past.journal, ENVELOPE, moved=lambda: {"a:1": "b:2"}).answer(question)).extension["messages"]
    assert [decode(text.encode()).fields["request_address"] for text in page] == ["b:2"]
    assert past.ask(since=0)[0] == ["x"]


def test_who_followed_another_journal_is_told_everything(past: Past) -> None:
    """Positions of a journal that was lost mean nothing in the one that took its place."""
    past.announce("one", "/a", 3)
    uids, said = past.ask(since=2, epoch="e:the one that was lost")
    assert (uids, said["to"]) == (["f1", "f2", "f3"], 3)
    assert past.ask(since=2)[0] == ["f3"]
    assert past.ask(since=2, epoch=None)[0] == ["f3"], "who does not name it means this one"


def test_a_page_has_its_limits_and_holds_at_least_one_message(past: Past) -> None:
    past.announce("one", "/a", size=2 * MOST_BYTES)
    past.announce("one", "/a", MOST_MESSAGES + 1)
    past.announce("one", "/a", 3, size=int(MOST_BYTES * 0.4))
    since, pages = 0, []
    while len(pages) < 10:
        uids, said = past.ask(since=since)
        pages.append(len(uids))
        since = said["to"]
        if not said["more"]:
            break
    assert pages == [1, MOST_MESSAGES, 3, 1]


def test_a_page_that_is_full_before_what_waits_to_be_published_is_not_the_last(past: Past) -> None:
    past.announce("one", "/a", MOST_MESSAGES + 1)
    past.announce("one", "/a", state="publishing")
    _, said = past.ask("one", since=0)
    assert (said["to"], said["more"]) == (MOST_MESSAGES, True)
    uids, said = past.ask("one", since=said["to"])
    assert (len(uids), said["more"]) == (1, False)
