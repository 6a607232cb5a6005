"""What is heard is journaled once, with how far it was followed; also when nothing of it is news."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trollmoves.bus import Loop
from trollmoves.journal import Journal
from trollmoves.messages import Envelope, Message, decode
from trollmoves.queueing.hearing import Hearing

ENVELOPE = Envelope("somebody@here")
MESSAGE = decode(ENVELOPE.encode("/a", "file", {"uid": "x", "uri": "/x"}))


class Scene:
    def __init__(self, path: Path):
        self.loop = Loop()
        self.journal = Journal(path, self.loop.call_all, self.loop.fail)
        self.key = "m:1"
        self.hearing = self.started()

    def started(self) -> Hearing:
        """A process that has heard nothing yet."""
        return Hearing("dispatcher", self.journal, self.rows_of, lambda chains: None)

    def rows_of(self, message: Message) -> list[tuple[Any, ...]]:
        """As `add_file` takes them."""
        return [(self.journal.new_file(), "a", "x", self.key, "announced", 1.0, "", None, None, None, None, None, None, "p",
                 message.raw.decode(), "to", 0, 1.0)]

    def turn_until(self, check: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 30
        while not check():
            assert time.monotonic() < deadline
            self.loop.turn(0.02)

    @property
    def rows(self) -> int:
        done: list[bool] = []
        self.journal.write([], done.append, True)
        self.turn_until(lambda: done)
        return len(self.journal.find("files_named", ("x",)))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    found = Scene(tmp_path / "journal")
    yield found
    found.hearing.close()
    found.journal.close()
    found.loop.close()


@pytest.mark.parametrize("messages", [[], [MESSAGE]])
def test_a_page_without_news_moves_the_cursor_and_the_next_one_is_asked_for(scene: Scene, messages: list[Message]) -> None:
    scene.hearing.received([MESSAGE])
    done: list[bool] = []
    scene.hearing._take(messages, [("set_cursor", [("", "p:1", "e:1", 7)])], lambda: done.append(True))
    scene.turn_until(lambda: done)
    assert scene.journal.find_one("cursor", ("", "p:1"))["position"] == 7
    assert scene.rows == 1


@pytest.mark.parametrize(("key", "rows"), [("m:1", 1), ("k:1", 2)])
def test_what_was_heard_before_a_restart_is_known_by_the_key_of_its_message(scene: Scene, key: str, rows: int) -> None:
    """Other keys are those of contents, which may be wanted once more."""
    scene.key = key
    scene.hearing.received([MESSAGE])
    assert scene.rows == 1
    scene.started().received([MESSAGE])
    assert scene.rows == rows
