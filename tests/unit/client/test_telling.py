"""Others are told, until they answer, of what they need not deliver: once they answer again, of all that they have missed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.bus.test_lost_messages import turning
from tests.unit.client.test_doubting import source
from tests.unit.journal.test_alarms import Opened
from trollmoves.bus import Loop
from trollmoves.bus.requesting import Answered
from trollmoves.client import telling
from trollmoves.client.delivering import BY_ANOTHER
from trollmoves.client.doubting import SAME
from trollmoves.client.flight import Source
from trollmoves.client.telling import Telling
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import Envelope, Message, decode, read_announcement

REPLY = decode(b"pytroll://a ack u@h 2026-01-01T00:00:00 v1.01")
REFUSAL = decode(Envelope("u@h").encode("/a", "err", {
    "error": "full", "trollmoves": {"version": 1, "code": "busy", "permanent": False}}))
FIRST, OTHER = "127.0.0.1:1", "127.0.0.1:2"


class Scene:
    """Files that were delivered by the first provider, and announced by the other one as well."""

    def __init__(self, path: Path):
        self.opened = Opened(path / "journal")
        self.loop = Loop()
        self.answers, self.reply = True, REPLY
        self.refused: set[str] = set()
        self.told: list[str] = []
        self.begin()

    def begin(self) -> None:
        self.telling = Telling("chain", self.opened.journal, self.loop, self._tell)

    def _tell(self, source: Source, answered: Answered) -> None:
        self.told.append(source.announcement.key)
        reply: Message | None = self.reply if self.answers else None
        reply = REFUSAL if source.announcement.key in self.refused else reply
        self.loop.after(0.0, lambda: answered(reply))

    def add(self, file: int, state: State = State.PUBLISHED, detail: str = "", when: float = 1000.0, *, key: str = "k:",
            other: str = "", before: str = "") -> None:
        """*key* is the beginning of the key, if it has one; *other* what the other one announced, if not the same; *before* its
        history."""
        first = source(1, f"{key}{file}" if key else "").announcement
        second = source(2, other or f"k:{file}").announcement
        steps = before + step_line(state, when, FIRST, 1, detail)
        self.opened.journal.write([
            ("add_file", [(file, "chain", "x", first.key, state, when, steps, None, 10, None, None, None, None, FIRST,
                           first.message.raw.decode(), None, 1, when)]),
            ("add_source", [(file, OTHER, second.message.raw.decode()), (file, FIRST, first.message.raw.decode())])])
        self.opened.committed()

    def turn(self, seconds: float = 0.0) -> None:
        for _ in range(20):
            self.loop.turn(seconds)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(telling, "AGAIN", 0.01)
    monkeypatch.setattr(telling, "RAREST", 0.02)
    scene = Scene(tmp_path)
    yield scene
    scene.loop.close()
    scene.opened.journal.close()


def test_who_does_not_answer_is_told_again_of_one_file_and_then_of_all(scene: Scene) -> None:
    files = [f"k:{file}" for file in range(1, 6)]
    scene.answers = False
    for file in range(1, 6):
        scene.add(file, when=time.time())
        scene.telling.tell(file, source(2, f"k:{file}"))
    began = scene.telling.oldest()
    turning(scene.loop, lambda: len(scene.told) > 8)
    assert scene.told[:5] == files
    assert set(scene.told[5:]) == {"k:1"}, "one file shows whether it answers"
    assert began - 60 < scene.telling.oldest() <= began
    scene.answers, scene.told = True, []
    turning(scene.loop, lambda: scene.telling.oldest() > began)
    assert sorted(set(scene.told)) == files
    scene.told = []
    scene.turn(0.01)
    assert not scene.told, "there is nothing left to tell"


@pytest.mark.parametrize(("state", "detail", "is_told"), [
    (State.PUBLISHED, "", True),
    (State.PUBLISHING, "", True),
    (State.COVERED, BY_ANOTHER, True),
    (State.COVERED, f"sha256:{'0' * 64}: {BY_ANOTHER}", True),
    (State.COVERED, SAME, True),
    (State.COVERED, "u@h has it", False),
    (State.COVERED, "u@h has published it", False),  # which tells others itself
    (State.COVERED, "newer content of its name has been delivered", False),
    (State.FAILED, "", False),
    (State.GIVEN_UP, "", False)])
def test_after_a_restart_others_are_told_of_what_we_have(scene: Scene, state: State, detail: str, is_told: bool) -> None:
    scene.add(1, state, detail)
    scene.add(2, when=900.0)  # that was told before
    scene.telling.start(1000.0)
    scene.turn()
    assert scene.told == (["k:1"] if is_told else [])


def test_what_may_be_other_content_is_not_said_to_be_had(scene: Scene) -> None:
    scene.add(1, other="k:other")
    scene.add(2)
    scene.telling.start(0.0)
    scene.turn()
    assert scene.told == ["k:2"]


def test_many_are_told_in_portions(scene: Scene) -> None:
    count = 2 * telling.AT_ONCE + 1
    for file in range(1, count + 1):
        scene.add(file)
    scene.telling.start(0.0)
    assert len(scene.told) == telling.AT_ONCE
    scene.turn(0.01)
    assert scene.told == [f"k:{file}" for file in range(1, count + 1)]


def test_what_a_mirror_has_of_an_upstream_server_may_be_other_content(scene: Scene) -> None:
    """Its announcement says nothing of the content, but its reply did: what others have is compared with that."""
    scene.add(1, key="", before=step_line(State.MOVED, 999.0, FIRST, 1, f"verified: sum sha256:{'0' * 64}"))
    scene.add(2, key="", before=step_line(State.MOVED, 999.0, FIRST, 1, "verified: size"))
    scene.telling.start(0.0)
    scene.turn()
    assert scene.told == ["k:2"]


def test_an_upstream_server_is_told_once(scene: Scene) -> None:
    """It removes what has the name, which may be newer content by the time it answers, or we are started again."""
    announcement = read_announcement(decode(Envelope("u@h").encode("/a", "file", {
        "uid": "x", "uri": "/x", "request_address": OTHER})))
    upstream = Source(announcement.address, announcement)
    scene.add(1)
    scene.opened.journal.write([("add_source", [(1, OTHER, announcement.message.raw.decode())])])
    scene.opened.committed()
    scene.answers = False
    scene.telling.tell(1, upstream)
    told = time.time()
    assert scene.telling.oldest() >= told, "nothing is remembered of it"
    scene.turn(0.02)
    scene.begin()
    scene.telling.start(0.0)
    scene.turn(0.02)
    assert len(scene.told) == 1


def test_who_cannot_take_note_now_is_told_again(scene: Scene) -> None:
    scene.add(1, when=time.time())
    scene.reply = REFUSAL
    scene.telling.tell(1, source(2, "k:1"))
    turning(scene.loop, lambda: len(scene.told) > 2)
    scene.reply = REPLY
    began = scene.telling.oldest()
    turning(scene.loop, lambda: scene.telling.oldest() > began)


def test_what_it_cannot_take_note_of_keeps_no_other_waiting(scene: Scene) -> None:
    """Such as of a section that its provider does not serve any more."""
    count = 3 * telling.AT_ONCE
    scene.refused = {"k:1", "k:150"}
    for file in range(1, count + 1):
        scene.add(file)
    scene.telling.start(0.0)
    turning(scene.loop, lambda: set(scene.told) == {f"k:{file}" for file in range(1, count + 1)})
    turning(scene.loop, lambda: scene.told.count("k:150") > 3)
    assert set(scene.told[count:]) == scene.refused, "what it knows it is not told again"
    assert scene.telling.oldest() == 0.0
    scene.refused.clear()
    turning(scene.loop, lambda: scene.telling.oldest() > 0.0)


def test_what_ended_long_before_it_was_told_is_told_again(scene: Scene) -> None:
    """The journal was full meanwhile."""
    scene.add(1, State.COVERED, BY_ANOTHER, when=time.time() - 3600.0)
    scene.answers = False
    scene.telling.tell(1, source(2, "k:1"))
    turning(scene.loop, lambda: len(scene.told) > 2)


def test_nor_is_it_forgotten_where_something_later_is_not_answered_either(scene: Scene) -> None:
    now = time.time()
    scene.answers = False
    scene.add(1, State.COVERED, BY_ANOTHER, when=now - 3600.0)
    scene.add(2, when=now)
    scene.telling.tell(2, source(2, "k:2"))
    turning(scene.loop, lambda: len(scene.told) > 2)
    scene.telling.tell(1, source(2, "k:1"))
    turning(scene.loop, lambda: scene.telling.oldest() <= now - 3600.0)
    scene.answers, scene.told = True, []
    turning(scene.loop, lambda: "k:1" in scene.told)


def test_what_was_not_answered_is_told_again_though_later_ones_were(scene: Scene) -> None:
    """While what it could not take note of is told again."""
    scene.refused = {"k:1"}
    for file in range(1, 4):
        scene.add(file)
    scene.telling.start(0.0)
    turning(scene.loop, lambda: scene.told.count("k:1") > 3)
    scene.answers = False
    scene.telling.tell(2, source(2, "k:2"))
    scene.turn()
    scene.answers, scene.told = True, []
    turning(scene.loop, lambda: "k:2" in scene.told)
