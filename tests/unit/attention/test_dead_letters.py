"""The alarm of files that were given up: raised with the first one, told anew in time, over with the last one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.auditing import audited
from trollmoves.attention.dead_letters import DeadLetters
from trollmoves.journal import Journal
from trollmoves.journal.alarms import Alarm
from trollmoves.journal.audit import GIVEN_UP


class Scene:
    """A journal in which files are given up, looked at every second of a clock of its own."""

    def __init__(self, path: Path):
        self.now = 1000.0
        self.told: list[Alarm] = []
        self.journal = Journal(path, lambda calls: [function(*arguments) for function, arguments in calls], lambda error: None)
        self.journal.alarms.tell_by(self.told.append)
        self.dead_letters = DeadLetters(self.journal, lambda: self.now)

    def give_up(self) -> int:
        file = self.journal.new_file()
        self.write(("add_file", [(file, "s", f"f{file}", "", "given_up", self.now, "", None, 1, None, None, None, None, "p:1",
                                  None, None, 0, self.now)]))
        return file

    def write(self, *operations: tuple[str, list[Any]]) -> None:
        done = threading.Event()
        self.journal.write(operations, done.set)
        assert done.wait(60)

    def look(self, seconds: int = 1, before: Callable[[], Any] = bool) -> None:
        for _ in range(seconds):
            before()
            self.dead_letters.look()
            self.now += 1
        self.write()  # what was raised is told by now


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    found = Scene(tmp_path / "j")
    yield found
    found.journal.close()


def test_a_number_that_grows_and_grows_is_told_once_a_minute(scene: Scene) -> None:
    """Each time is a line in the log, and a message; a host that is down for good has files given up every second."""
    scene.look(600, before=scene.give_up)
    assert scene.told[0].text.startswith("1 file is given up")
    assert len(scene.told) <= 17
    scene.look(60)
    assert scene.told[-1].text.startswith("600 files are given up")


def test_it_is_over_at_once(scene: Scene) -> None:
    files: list[int] = []
    scene.look(100, before=lambda: files.append(scene.give_up()))
    scene.write(("dismiss", [{"id": file, "now": scene.now, "line": ""} for file in files]))
    scene.look()
    assert scene.told[-1].over


def test_one_that_is_dealt_with_while_it_is_looked_at_ends_no_program(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Newer content of its name arrives between two questions to the journal, say."""
    file, find = scene.give_up(), scene.journal.find

    def found(query: str, *parameters: Any) -> Any:
        rows = find(query, *parameters)
        if query == "dead_letters":
            scene.write(("dismiss", [{"id": file, "now": scene.now, "line": ""}]))
        return rows
    monkeypatch.setattr(scene.journal, "find", found)
    scene.look(2)
    assert scene.told == []


def test_what_comes_after_a_while_is_told_at_once(scene: Scene) -> None:
    scene.look(100, before=scene.give_up)
    scene.look(200)
    scene.give_up()
    scene.look()
    assert scene.told[-1].text.startswith("101 files are given up")


def test_of_many_that_are_given_up_at_once_some_are_in_the_audit_and_the_others_counted(scene: Scene) -> None:
    for _ in range(130):
        scene.now += 0.001
        scene.give_up()
    scene.look()
    assert scene.journal.audit.write_out() == ""
    records = audited(scene.journal.path, GIVEN_UP)
    assert [record["more"] for record in records if "more" in record] == ["30"]
    assert [record["uid"] for record in records if "uid" in record] == [f"f{number}" for number in range(31, 131)]


def recorded(scene: Scene) -> list[str]:
    assert scene.journal.audit.write_out() == ""
    return [record["uid"] for record in audited(scene.journal.path, GIVEN_UP)]


def test_each_is_in_the_audit_once_also_after_a_restart(scene: Scene) -> None:
    scene.now = time.time() - 1000
    for expected in (["f1"], ["f1", "f2"]):
        scene.give_up()
        scene.look()
        assert recorded(scene) == expected
        scene.dead_letters = DeadLetters(scene.journal, lambda: scene.now)
        scene.look()
        assert recorded(scene) == expected


def test_what_is_given_up_after_a_clock_that_was_ahead_is_in_the_audit(scene: Scene) -> None:
    scene.now = time.time() + 1e6
    scene.give_up()
    scene.look()
    assert recorded(scene) == ["f1"]
    scene.now = time.time() + 60  # later than it is now
    scene.dead_letters = DeadLetters(scene.journal, lambda: scene.now)
    scene.give_up()
    scene.look()
    assert "f2" in recorded(scene)
