"""Feeding: what a watcher finds after its section has ended is nobody's."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support.eventually import eventually
from trollmoves.bus import Loop
from trollmoves.patterns import Pattern
from trollmoves.watchers.base import Arrival
from trollmoves.watchers.feeding import Feeding


class AtOnce:
    """In the place of the loop: calls at once, in the thread of the watcher."""

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        function(*arguments)

    def fail(self, error: BaseException) -> None:
        raise error


@pytest.mark.parametrize("ends", [False, True])
def test_what_is_found_late_by_a_watcher_that_was_left_behind(tmp_path: Path, ends: bool) -> None:
    """Its directory did not answer when the section ended; a new section may watch it by now, and announce the same files."""
    (tmp_path / "a").write_bytes(b"1")
    os.utime(tmp_path / "a", (1e9, 1e9))
    asked, answers = threading.Event(), threading.Event()
    taken: list[str] = []

    def is_own(path: str) -> bool:  # asked for each file: here the file system hangs
        asked.set()
        return not answers.wait(60)

    def take(arrivals: Sequence[Arrival], then: Callable[[], Any] | None) -> None:
        taken.extend(arrival.path for arrival in arrivals)

    feeding = Feeding("one", Pattern(f"{tmp_path}/{{name}}"), take, cast("Loop", AtOnce()), is_own, lambda _: None,
                      polling=False, interval=1.0, settle=0.0, reconcile=300.0, backlog=True)
    feeding.start()
    feeding.scan()
    assert asked.wait(60)
    if ends:
        feeding.stop()
    answers.set()
    if ends:
        eventually(lambda: all(thread.name != f"watcher of {tmp_path}" for thread in threading.enumerate()))
        assert taken == []
    else:
        eventually(lambda: taken == [f"{tmp_path}/a"])
        feeding.stop()
