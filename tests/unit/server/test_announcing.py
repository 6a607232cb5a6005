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
        self.known: list[dict[str, Any]] = []
        self.operations: list[str] = []
        self.packed: list[tuple[int, bytes]] = []
        self.rows: list[tuple[Any, ...]] = []
        self.waiting: list[Callable[[], Any]] = []

    def find(self, query: str, parameters: Any) -> list[Any]:
        return self.known if query == "announced_files" else []

    def find_one(self, query: str, parameters: Any) -> dict[str, Any] | None:
        return {"id": 9} if query == "row_of_path" else None

    def write(self, operations: list[Operation], then: Callable[..., Any], *arguments: Any) -> None:
        self.operations += [name for name, _ in operations]
        self.packed += [row[:2] for name, rows in operations if name == "add_packed" for row in rows]
        self.rows += [row for name, rows in operations if name == "add_file" for row in rows]
        self.waiting.append(lambda: then(*arguments))


@pytest.fixture
def announcing(tmp_path: Path) -> Announcing:
    (tmp_path / "server.ini").write_text(f"[s]\norigin = {tmp_path}/{{name}}\ntopic = /a\nrequest_port = 9999\n")
    settings = read_server_config(tmp_path / "server.ini").chains["s"]
    announcer = Mock(address="127.0.0.1:9999")
    announcer.compose.side_effect = lambda file, *said: Mock(file=file)
    return Announcing(settings, Pattern(settings.origin), announcer, Slow(), Mock())  # type: ignore[arg-type]


def test_what_comes_is_told_when_it_is_written_and_done_with_when_it_is_told(announcing: Announcing, tmp_path: Path) -> None:
    done: list[str] = []
    journal: Any = announcing._journal
    announcing._announcer.tell = lambda written: done.append("told")  # type: ignore[method-assign]
    announcing.announce([Arrival(f"{tmp_path}/a.dat", 1, 2, 7, 99)], lambda: done.append("done with"))
    assert not done and journal.operations == ["add_file", "add_announcement"]
    journal.waiting.pop()()
    assert done == ["told", "done with"]


def test_what_could_not_be_had_is_covered_by_what_comes_in_its_place(announcing: Announcing, tmp_path: Path) -> None:
    journal: Any = announcing._journal
    path = os.fsencode(tmp_path / "a.dat")
    journal.known = [{"path": path, "size": 7, "mtime_ns": 99, "inode": 2}]
    announcing.announce([Arrival(f"{tmp_path}/a.dat", 1, 2, 7, 99)])
    assert not journal.rows, "it is known"
    announcing.announce([Arrival(f"{tmp_path}/a.dat", 1, 2, 8, 100)])
    assert journal.operations == ["add_file", "add_announcement", "cover_by_newer"]


def test_what_came_out_of_a_packed_file_is_written_with_it_also_what_is_known_already(announcing: Announcing,
                                                                                      tmp_path: Path) -> None:
    """All have to be done with before it goes; and that it was seen is forgotten in the same transaction."""
    journal: Any = announcing._journal
    journal.known = [{"path": os.fsencode(tmp_path / "a.dat"), "size": 7, "mtime_ns": 99, "inode": 2}]
    members = [Arrival(f"{tmp_path}/{name}.dat", 1, 2, size, 99) for name, size in (("a", 7), ("b", 7), ("empty", 0))]
    announcing.announce_unpacked(Arrival(f"{tmp_path}/p.tar", 1, 5, 20, 9), members, [("note", [])], lambda: None)
    assert len(journal.waiting) == 1 and journal.operations == ["add_file", "add_announcement", "add_packed", "note"]
    assert journal.packed == [(1, os.fsencode(tmp_path / "p.tar")), (9, os.fsencode(tmp_path / "p.tar"))]


def test_what_is_announced_again_is_the_same_to_those_who_know_it(announcing: Announcing, tmp_path: Path) -> None:
    journal: Any = announcing._journal
    composed: Any = announcing._announcer.compose
    announcing.announce_again({"id": 4, "key": "k:before"}, Arrival(f"{tmp_path}/a.dat", 1, 2, 7, 99))
    assert (composed.call_args.args[0], composed.call_args.args[3]) == (4, "k:before")
    announcing.announce_known(Arrival(f"{tmp_path}/b.dat", 1, 3, 7, 99), 5, [], lambda: None)
    assert composed.call_args.args[0] == 5
    assert journal.operations == ["add_announcement", "step", "add_announcement", "cover_by_newer"]


def test_contents_that_look_alike_are_told_apart_while_the_journal_is_slow(announcing: Announcing, tmp_path: Path) -> None:
    """The third one has the size and the time of the second, which is not written when the first one is."""
    journal: Any = announcing._journal
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
