"""Which position an announcement gets, and which is that of the one before it with the same subject."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from trollmoves.journal import Journal, journal


def test_the_one_before_is_known_of_more_subjects_than_are_kept_and_after_a_restart(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SUBJECTS_KEPT", 2)

    def begin() -> Journal:
        return Journal(tmp_path / "j", lambda calls: [function(*arguments) for function, arguments in calls], lambda error: None)

    def announce(opened: Journal, *subjects: str) -> list[tuple[int, int]]:
        found: list[Any] = []
        for subject in subjects:
            found.append(opened.new_position(subject))
            done = threading.Event()
            opened.write([("add_announcement", [(found[-1][0], 1, subject, found[-1][1], "text", 1.0)])], done.set)
            assert done.wait(60)
        return found
    first = begin()
    assert announce(first, "/a", "/b", "/a", "/c", "/a", "/b") == [(1, 0), (2, 0), (3, 1), (4, 0), (5, 3), (6, 2)]
    assert len(first._previous) == 2
    first.close()
    again = begin()
    [(_, before), (_, other)] = announce(again, "/b", "/c")
    assert (before, other) == (6, 4)
    again.close()
