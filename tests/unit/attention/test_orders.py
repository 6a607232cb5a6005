"""Orders in the journal: each is carried out once, whatever it says, and is gone in the transaction that has its effect."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from trollmoves.attention.orders import ASKED_FOR, Orders, amended, asking, order_itself
from trollmoves.journal import Journal

Call = tuple[Callable[..., Any], tuple[Any, ...]]


class Role:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.ends: list[Callable[[], Any]] = []

    def announce_again(self, rows: list[Any]) -> None:
        self.told += [("announce", row["identity"]) for row in rows]

    def carry_on(self, order: int, chain: str, said: Mapping[str, Any], end: Callable[[], Any]) -> None:
        self.told.append(("carry on", order, chain, said))
        self.ends.append(end)

    def dismissed(self, files: Collection[int]) -> None:
        self.told.append(("dismissed", files))

    def driven_again(self) -> None:
        self.told.append("driven")

    def ask_again(self, chain: str, newer_than: float, topics: list[str]) -> bool:
        self.told.append(("ask", chain, newer_than, topics))
        return topics != ["/nobody"]


class Scene:
    def __init__(self, path: Path):
        self.calls: list[Call] = []
        self.journal = Journal(path, self.calls.extend, lambda error: print(error))
        self.role = Role()
        self.orders = Orders(self.journal, self.role)

    def file(self, state: str, provider: str | None, path: bytes | None = b"/f") -> int:
        file, due = self.journal.new_file(), time.time() + 3600
        self.write([("add_file", [(file, "s", f"f{file}", "", state, 1.0, "", due, 1, path, 1, 1, file, provider, None, None, 3,
                                   1.0)]), ("add_removal", [(file, "s", 1e13)])])
        return file

    def write(self, operations: list[Any]) -> None:
        done = threading.Event()
        self.journal.write(operations, done.set)
        self.run(done.is_set)

    def run(self, until: Callable[[], Any]) -> None:
        """What waits to be called, until it is so."""
        deadline = time.monotonic() + 30
        while not until():
            assert time.monotonic() < deadline
            while self.calls:
                function, arguments = self.calls.pop(0)
                function(*arguments)
            time.sleep(0.005)

    def order(self, verb: str, said: str, chain: str = "s") -> None:
        self.write([("add_order", [(1.0, verb, chain, said)])])

    def look(self) -> None:
        self.orders.look()
        self.write([])

    @property
    def left(self) -> list[Any]:
        return self.journal.find("orders", ())

    def state(self, file: int) -> Any:
        return self.journal.find_one("file", (file,))["state"]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    found = Scene(tmp_path / "j")
    yield found
    found.journal.close()


def test_files_are_tried_again_by_who_has_them(scene: Scene) -> None:
    """Ours are announced anew, if they failed; others are asked for."""
    files = [scene.file(state, provider) for provider in (None, "p:1") for state in ("given_up", "failed", "moved")]
    scene.order("retry", str(files))
    scene.look()
    assert scene.role.told == [("announce", "f1"), ("announce", "f2"), "driven"]
    rows = [scene.journal.find_one("file", (file,)) for file in files]
    assert [row["state"] for row in rows] == ["given_up", "failed", "moved", "failed", "failed", "moved"]
    assert [row["revived"] is not None for row in rows] == [False, False, False, True, True, False]
    assert scene.left == []


def test_what_is_dismissed_is_nobodys_any_more(scene: Scene) -> None:
    file, other = scene.file("given_up", "p:1"), scene.file("given_up", "p:1")
    scene.order("dismiss", f"[{file}]")
    scene.look()
    assert (scene.state(file), scene.state(other), scene.left) == ("covered", "given_up", [])
    assert scene.role.told == [("dismissed", [file])]
    assert [row["file"] for row in scene.journal.find("due_removals", ("s", 1e14, 10))] == [other]


@pytest.mark.parametrize(("state", "provider", "path", "ends"), [
    ("failed", "p:1", None, True), ("requested", "p:1", None, True), ("announced", "p:1", None, True),
    ("moved", "p:1", None, False), ("publishing", "p:1", None, False),  # which is here
    ("failed", "p:1", b"/f", False), ("announced", None, b"/f", False)])  # of a dispatcher or mirror, of a server
def test_what_a_client_asks_for_may_be_dismissed(scene: Scene, state: str, provider: str | None, path: bytes | None,
                                                 ends: bool) -> None:
    scene.write([("put_meta", [("sections", '["s"]')])])
    file = scene.file(state, provider, path)
    scene.order("dismiss", f"[{file}]")
    scene.look()
    row = scene.journal.find_one("file", (file,))
    assert (row["state"], row["due"] is None) == (("covered", True) if ends else (state, False))


@pytest.mark.parametrize(("verb", "said"), [
    ("dismiss", "7"), ("dismiss", '["x"]'), ("dismiss", "[null]"), ("replay", "{}"),
    ("replay", "[]"), ("replay", '{"newer_than": null, "topics": []}'), ("replay", '{"newer_than": 1, "topics": 1}')])
def test_what_makes_no_sense_is_left_out(scene: Scene, verb: str, said: str, caplog: pytest.LogCaptureFixture) -> None:
    scene.order(verb, said)
    scene.order("replay", '{"newer_than": 7, "topics": ["/a"]}')
    scene.look()
    assert scene.left == [] and scene.role.told[-1] == ("ask", "s", 7.0, ["/a"])
    assert "makes no sense" in caplog.text


def test_what_a_role_has_ordered_of_itself_is_there_until_it_is_done(scene: Scene) -> None:
    scene.write([order_itself("replay", "s", {"after": 1})])
    for _ in range(3):
        scene.look()
    assert scene.role.told == [("carry on", 1, "s", {"after": 1})]
    scene.write([amended(1, {"after": 2})])
    Orders(scene.journal, scene.role).look()  # as after a restart
    assert scene.role.told[1:] == [("carry on", 1, "s", {"after": 2})]
    scene.role.ends[0]()
    scene.write([])
    assert scene.left == []


def test_who_does_not_answer_is_not_asked_for_ever(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.write([asking("s", 5.0, ["/a"])])
    scene.look()
    ((*_, said),) = scene.role.told
    assert (said["newer_than"], said["topics"]) == (5.0, ["/a"])
    scene.orders.begin_anew("other")
    scene.look()
    assert len(scene.role.told) == 1, "its chain asks already"
    scene.orders.begin_anew("s")
    scene.look()
    assert len(scene.role.told) == 2, "another one has the place of its chain"
    later = time.time() + ASKED_FOR + 1
    monkeypatch.setattr(time, "time", lambda: later)
    Orders(scene.journal, scene.role).look()
    scene.write([])
    assert len(scene.role.told) == 2
    assert scene.left == []


def test_what_is_done_is_not_done_again_because_a_chain_begins_anew_before_that_is_written(scene: Scene) -> None:
    scene.order("replay", '{"newer_than": 1, "topics": []}')
    scene.write([asking("s", 5.0, ["/a"])])
    scene.orders.look()
    scene.role.ends.pop()()
    scene.orders.begin_anew("s")
    scene.look()
    assert [told[0] for told in scene.role.told] == ["ask", "carry on"]
    assert scene.left == []


def test_what_is_ordered_meanwhile_is_done_at_once(scene: Scene) -> None:
    scene.order("replay", '{"newer_than": 1, "topics": []}')
    scene.orders.look()
    scene.journal.write([order_itself("retry", "s", {})])
    scene.run(lambda: len(scene.role.told) == 2)
    assert scene.role.told == [("ask", "s", 1.0, []), ("carry on", 2, "s", {})]
