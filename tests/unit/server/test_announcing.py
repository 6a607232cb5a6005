"""What is announced of what comes to one path: not what was seen before it was removed, and never two contents for one."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from trollmoves.config.reading import read_server_config
from trollmoves.journal import Operation
from trollmoves.patterns import Pattern
from trollmoves.server.announcing import REMOVED, Announcing
from trollmoves.watchers.base import Arrival


@pytest.mark.parametrize("there", [False, True])
def test_a_file_that_was_seen_before_we_removed_it_is_not_announced_again(tmp_path: Path, there: bool) -> None:
    path, pattern = tmp_path / "a.dat", Mock()
    pattern.parse.return_value = None
    if there:
        path.write_bytes(b"content")
    announcing = Announcing(Mock(), pattern, Mock(), Mock(), Mock())
    announcing._examine(Arrival(str(path), 1, 2, 7, 99), {os.fsencode(path): (7, 99, REMOVED)})
    assert pattern.parse.called is there


class Slow:
    """A journal that has nothing on the disk yet."""

    def __init__(self) -> None:
        self.new_file = count(1).__next__
        self.rows: list[tuple[Any, ...]] = []
        self.waiting: list[Callable[[], Any]] = []

    def find(self, query: str, parameters: Any) -> list[Any]:
        return []

    def write(self, operations: list[Operation], then: Callable[..., Any], *arguments: Any) -> None:
        self.rows += [row for name, rows in operations if name == "add_file" for row in rows]
        self.waiting.append(lambda: then(*arguments))


def test_contents_that_look_alike_are_told_apart_while_the_journal_is_slow(tmp_path: Path) -> None:
    """The third one has the size and the time of the second, which is not written when the first one is."""
    (tmp_path / "server.ini").write_text(f"[s]\norigin = {tmp_path}/{{name}}\ntopic = /a\nrequest_port = 9999\n")
    settings, journal, announcer = read_server_config(tmp_path / "server.ini").chains["s"], Slow(), Mock(address="127.0.0.1:9999")
    announcing = Announcing(settings, Pattern(settings.origin), announcer, journal, Mock())  # type: ignore[arg-type]
    for inode, size, mtime in ((1, 6, 50), (2, 7, 99)):
        announcing.announce([Arrival(f"{tmp_path}/a.dat", 1, inode, size, mtime)])
    journal.waiting.pop(0)()
    assert announcing.is_unwritten(f"{tmp_path}/a.dat")
    announcing.announce([Arrival(f"{tmp_path}/a.dat", 1, 2, 7, 99), Arrival(f"{tmp_path}/a.dat", 1, 3, 7, 99)])
    assert [row[11] for row in journal.rows] == [1, 2, 3]
    assert len({row[3] for row in journal.rows}) == 3
    for written in journal.waiting:
        written()
    assert not announcing.is_unwritten(f"{tmp_path}/a.dat")
