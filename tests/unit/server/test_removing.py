"""What a file was unpacked from is removed with the last of those that came out of it; who is waited for, and how often the whole
journal is gone through for that."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from tests.support.eventually import eventually, never
from tests.support.unpacked import UnpackedScene
from trollmoves.bus import Loop
from trollmoves.config.reading import read_server_config
from trollmoves.errors import JournalError
from trollmoves.journal import Journal
from trollmoves.journal.journal import step_line
from trollmoves.movers.base import Receipt
from trollmoves.server import consumers, removing
from trollmoves.server.beneath import Announced
from trollmoves.server.consumers import Consumers
from trollmoves.server.removing import Removing
from trollmoves.server.requests import Consumer
from trollmoves.workers import Work, Workers

LONG_AGO = 7200.0


class Scene(UnpackedScene):
    """A chain whose archive `p.tar` was unpacked beside itself; it removes what one consumer has, and what is an hour old."""

    def __init__(self, root: Path):
        super().__init__(root, "p.tar", "s")
        self.root = root
        self.workers = Workers(self.loop.call_all, self.loop.fail, 2)
        self.others = list[Consumers]()
        """Of other sections."""
        self.removing = self.removing_of("compression = tar\ndelete = first\ndelete_after = 1h\n")

    def removing_of(self, options: str, name: str = "s") -> Removing:
        """What removes for a section with these options."""
        config = self.root / "server.ini"
        config.write_text(f"[{name}]\norigin = {self.origin}/{{name}}.tar\ntopic = /a\nrequest_port = 9999\nremove_delay = 0.1\n"
                          f"{options}")
        settings = read_server_config(config).chains[name]
        return Removing(settings, (str(self.origin),), self.journal, self.loop, self.workers, lambda: self.others)

    def member(self, name: str, age: float = 0.0) -> int:
        """A file that came out of the archive; its row."""
        return self.add_member(name, "moved", [None], age)[0]

    def confirm(self, *files: int) -> None:
        """A consumer has them."""
        long_ago = time.time() - 60
        self.journal.write([
            ("put_transfer", [(file, str(file), "s", "c", "g", False, "p", "r", "file:///x", "acknowledged", long_ago, 1, "[]")
                              for file in files]), ("add_removal", [(file, "s", long_ago) for file in files])])

    def close(self) -> None:
        self.removing.stop()
        self.workers.stop(5.0)
        super().close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    found = Scene(tmp_path)
    yield found
    found.close()


@pytest.mark.parametrize("age", [0.0, LONG_AGO])
def test_an_archive_goes_with_members_that_go_together(scene: Scene, age: float) -> None:
    """Both confirmed, or one of them confirmed and the other one old: the journal is told of both only afterwards."""
    first, second = scene.member("first"), scene.member("second", age)
    scene.confirm(first, *([] if age else [second]))
    scene.wait_gone("first", "second", "p.tar")


def test_an_archive_stays_while_one_of_its_members_has_not_been_delivered(scene: Scene) -> None:
    files = [scene.member(name) for name in ("first", "second", "third")]
    scene.confirm(*files[:2])
    scene.wait_gone("first", "second")
    assert scene.packed.exists()
    scene.confirm(files[2])
    scene.wait_gone("third", "p.tar")


def test_an_archive_goes_when_what_came_out_of_it_was_replaced_before_it_was_confirmed(scene: Scene) -> None:
    """The one who has it says so late, or never, and it comes to its age."""
    file = scene.member("first")
    path = scene.origin / "first"
    path.rename(scene.origin / "away")
    path.write_bytes(b"newer content")
    scene.journal.write([("add_removal", [(file, "s", time.time() - 60)])])

    def looked() -> bool:
        scene.loop.turn(0.05)
        return not scene.journal.find("due_removals", ("s", time.time(), 1)) and not scene.removing.under_way
    eventually(looked, interval=0.0)
    assert scene.packed.exists()
    scene.confirm(file)
    scene.journal.write([("hurry_removals", [(time.time(), f"[{file}]")])])
    scene.wait_gone("p.tar")
    assert path.exists()


def test_an_archive_goes_with_the_last_member_though_the_journal_is_not_told_of_the_others_yet(scene: Scene) -> None:
    """Its disk is slow. The archive would stay for their sake, and nobody would look at it again."""
    first, second = scene.member("first"), scene.member("second")
    scene.removing._leaving.add(first)
    scene.confirm(first, second)
    scene.wait_gone("second", "p.tar")
    assert (scene.origin / "first").exists(), "nor is what was removed removed again"


def test_an_archive_stays_with_a_member_that_cannot_be_removed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = scene.member("first"), scene.member("second")
    remove = removing.remove

    def refused(roots: tuple[str, ...], announced: Announced) -> bool:
        if announced.path.endswith("/first"):
            raise PermissionError(1, "Operation not permitted")
        return remove(roots, announced)
    monkeypatch.setattr(removing, "remove", refused)
    scene.confirm(first, second)
    scene.wait_gone("second")

    def is_done() -> bool:
        scene.loop.turn(0.05)
        return not scene.removing.under_way
    eventually(is_done, interval=0.0)
    assert scene.packed.exists() and (scene.origin / "first").exists()


def test_an_archive_that_another_section_has_to_deliver_stays_with_what_came_out_of_it(scene: Scene) -> None:
    other, packed, found = scene.removing_of("", "other"), scene.journal.new_file(), scene.packed.stat()
    scene.others.append(other.consumers)
    other.consumers._served.add(("c", "g"))
    file, now = scene.member("first"), time.time()
    scene.journal.write([("add_file", [(packed, "other", "p.tar", "p.tar", "announced", now, step_line("announced", now), None,
                                        found.st_size, os.fsencode(scene.packed), found.st_dev, found.st_ino, found.st_mtime_ns,
                                        None, None, None, 0, now)])])
    scene.confirm(file)

    def is_gone() -> bool:
        scene.loop.turn(0.05)
        return not (scene.packed.exists() and (scene.origin / "first").exists())
    never(is_gone, 2.5, interval=0.0)
    scene.others.clear()
    scene.wait_gone("first", "p.tar")


@pytest.mark.parametrize(("options", "stays"), [("", {"first", "p.tar"}), ("compression = tar\n", {"p.tar"})])
def test_an_origin_stays_where_origins_are_removed_no_more(scene: Scene, options: str, stays: set[str]) -> None:
    """The section removed them when this one was delivered, and was configured otherwise meanwhile. A copy goes all the same."""
    file = scene.member("first")
    scene.removing.stop()
    scene.confirm(file)
    scene.removing = scene.removing_of(f"{options}delete_after = 1h\n")

    def is_decided() -> bool:
        scene.loop.turn(0.05)
        return not scene.removing.under_way and not scene.journal.find("due_removals", ("s", 1e12, 1))
    eventually(is_decided, interval=0.0)
    assert set(os.listdir(scene.origin)) == stays


@pytest.mark.parametrize(("delete", "why", "goes"), [
    ("", removing.DELIVERED, ["copy"]), ("", removing.AGED, ["copy", "own"]),
    ("delete = true\n", removing.DELIVERED, ["copy", "own"])])
def test_of_a_message_about_several_files_the_copies_go_and_origins_where_they_are_removed(
        scene: Scene, delete: str, why: str, goes: list[str]) -> None:
    [file], found = scene.add_member("copy", "moved", [None]), scene.packed.stat()
    content = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
    scene.journal.write([("add_member", [(file, number, os.fsencode(scene.origin / name), *content, None, name == "copy")
                                         for number, name in enumerate(("copy", "own"))])])
    scene.loop.turn(0.05)
    section = scene.removing_of(f"compression = tar\n{delete}")
    assert [os.path.basename(one.path) for one in section._files_of({"file": file}, why)] == goes


def test_a_message_about_several_files_waits_for_who_has_to_deliver_one_of_them(scene: Scene) -> None:
    [file], alone, now = scene.add_member("first", "moved", [None]), scene.journal.new_file(), time.time()
    found = scene.packed.stat()
    own = (scene.origin / "first").stat()
    content = [(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns) for status in (own, found)]
    scene.journal.write([
        ("add_member", [(file, number, os.fsencode(scene.origin / name), *content[number], None, 0)
                        for number, name in enumerate(("first", "p.tar"))]),
        ("add_file", [(alone, "other", "p.tar", "p.tar", "announced", now, step_line("announced", now), None, found.st_size,
                       os.fsencode(scene.packed), found.st_dev, found.st_ino, found.st_mtime_ns, None, None, None, 0, now)])])
    eventually(lambda: (scene.loop.turn(0.05), scene.journal.find("members_of", (file,)))[1], interval=0.0)
    section, other = scene.removing_of("delete = true\n"), scene.removing_of("delete = true\n", "other")
    row = scene.journal.find_one("file", (file,))
    awaited = dict(zip(row.keys(), row, strict=True)) | {"file": file}
    assert not section._is_awaited(awaited)
    scene.others.append(other.consumers)
    other.consumers._served.add(("c", "g"))
    assert section._is_awaited(awaited)


class Asked(Journal):
    """Counts what it is asked."""

    def __init__(self, path: Path, loop: Loop):
        self.asked = Counter[str]()
        super().__init__(path, loop.call_all, loop.fail)

    def find(self, query: str, parameters: Any = ()) -> list[Any]:
        self.asked[query] += 1
        return super().find(query, parameters)


class Consumed:
    """A chain that removes what all known consumers have confirmed, and what is ten minutes old."""

    def __init__(self, root: Path, options: str = "delete = true\nremove_delay = 0\ndelete_after = 10 m\n"):
        self.origin = root / "origin"
        self.origin.mkdir()
        config = root / "server.ini"
        config.write_text(f"[s]\norigin = {self.origin}/{{name}}\ntopic = /a\nrequest_port = 9999\n{options}")
        self.loop = Loop()
        self.journal = Asked(root / "journal", self.loop)
        self.workers = Workers(self.loop.call_all, self.loop.fail, 2)
        settings = read_server_config(config).chains["s"]
        self.removing = Removing(settings, (str(self.origin),), self.journal, self.loop, self.workers)

    def file(self, name: str, age: float = 0.0, section: str = "s") -> int:
        path, row, came = self.origin / name, self.journal.new_file(), time.time() - age
        if not path.exists():
            path.write_text(name)
        found = path.stat()
        self.journal.write([("add_file", [(row, section, name, name, "announced", came, "", None, found.st_size,
                                           os.fsencode(path), found.st_dev, found.st_ino, found.st_mtime_ns, None,
                                           None, None, 0, came)])])
        return row

    def delivered(self, file: int, *clients: str, state: str = "acknowledged", age: float = 1.0) -> None:
        """They have it, and (unless it is only *moved*) have confirmed it."""
        for client in clients:
            scheduled = self.removing.schedule(file, Consumer(client, client, spare=False))
            self.journal.write([("put_transfer", [(file, client, "s", client, client, False, "p", "r", "file:///x", state,
                                                   time.time() - age, 1, "[]")]), *scheduled])

    def turn(self, name: str) -> bool:
        """Whether it is there."""
        self.loop.turn(0.05)
        return (self.origin / name).exists()

    def close(self) -> None:
        self.removing.stop()
        self.workers.stop(5.0)
        self.journal.close()
        self.loop.close()


@pytest.fixture
def consumed(tmp_path: Path) -> Iterator[Consumed]:
    found = Consumed(tmp_path)
    yield found
    found.close()


@pytest.mark.parametrize(("delete", "first_counts"), [("first", True), ("true", False), ("c1@h c2@h", False)])
def test_the_delay_begins_when_the_last_one_that_is_waited_for_has_confirmed(tmp_path: Path, delete: str,
                                                                             first_counts: bool) -> None:
    consumed, now = Consumed(tmp_path, f"delete = {delete}\nremove_delay = 1000\n"), time.time()
    file = consumed.file("a")
    for client, ago in (("c2@h", 100.0), ("c1@h", 500.0)):
        consumed.delivered(file, client, age=ago)
    eventually(lambda: consumed.turn("a") and len(consumed.journal.find("confirmations", (file,))) == 2, interval=0.0)
    found = consumed.removing._due(consumed.journal.find("due_removals", ("s", now + 10_000, 1))[0])
    consumed.close()
    assert found == pytest.approx(now - (500.0 if first_counts else 100.0) + 1000.0, abs=50.0)


@pytest.mark.parametrize(("delete", "lacking"), [("true", "two@h"), ("one@h tow@h", "tow@h"), ("first", "")])
def test_who_has_a_delivered_file_stay_for_long_is_named_once(tmp_path: Path, delete: str, lacking: str,
                                                              caplog: pytest.LogCaptureFixture) -> None:
    consumed = Consumed(tmp_path, f"delete = {delete}\nremove_delay = 0\n")
    lately, *long_ago = (consumed.file(name, age=3000.0) for name in ("lately", "one", "two"))
    consumed.delivered(consumed.file("all", age=3000.0), "one@h", "two@h", age=2000.0)
    consumed.delivered(lately, "one@h", age=1.0)

    def named() -> list[str]:
        return [record.getMessage() for record in caplog.records if "has not confirmed" in record.getMessage()]
    never(lambda: consumed.turn("lately") and lacking != "tow@h" and bool(named()), 2.5, interval=0.0)
    for file in long_ago:
        consumed.delivered(file, "one@h", age=1000.0)
    eventually(lambda: not consumed.turn("one") or named(), interval=0.0)
    never(lambda: consumed.turn("two") and len(named()) > 1, 3.0, interval=0.0)
    consumed.close()
    assert [text.partition("others: ")[2].partition(" has")[0] for text in named()] == ([lacking] if lacking else [])


@pytest.mark.parametrize("age", [1.0, -7200.0], ids=["confirmed", "and the clock was set back since"])
def test_nothing_goes_before_its_delay_is_over(tmp_path: Path, age: float) -> None:
    consumed = Consumed(tmp_path, "delete = true\nremove_delay = 1000\n")
    file = consumed.file("a")
    consumed.delivered(file, "one", age=age)
    consumed.journal.write([("hurry_removals", [(time.time(), f"[{file}]")])])
    never(lambda: not consumed.turn("a"), 2.5, interval=0.0)
    assert not consumed.journal.find("due_removals", ("s", time.time() + 900, 1)), "it was looked at"
    consumed.close()


def test_the_history_of_a_file_says_that_it_was_removed(consumed: Consumed) -> None:
    """Until that is written it is done with all the same; and no longer, as it may be there again."""
    file, done_with, write = consumed.file("a", age=LONG_AGO), list[bool](), consumed.journal.write

    def noted(operations: Any, *then: Any) -> None:
        if "end_removal" in dict(operations):
            done_with.append(file in consumed.removing._leaving)
        write(operations, *then)
    consumed.journal.write = noted  # type: ignore[method-assign]
    consumed.delivered(file, "one")
    eventually(lambda: not consumed.turn("a") and not consumed.journal.find("due_removals", ("s", 1e12, 1)), interval=0.0)
    assert consumed.journal.find_one("file", (file,))["steps"].count('["removed"') == 1
    assert done_with == [True] and not consumed.removing._leaving


def test_a_consumer_is_waited_for_from_its_first_delivery_on(consumed: Consumed) -> None:
    first, second, third = (consumed.file(name) for name in ("first", "second", "third"))
    consumed.delivered(first, "one")
    eventually(lambda: not consumed.turn("first"), interval=0.0)
    consumed.delivered(second, "two", state="moved")
    consumed.delivered(third, "one")
    never(lambda: not consumed.turn("third"), 2.5, interval=0.0)
    consumed.delivered(third, "two")
    eventually(lambda: not consumed.turn("third"), interval=0.0)
    assert consumed.turn("second")


def test_a_file_that_is_away_just_when_it_is_to_be_removed_goes_when_it_is_there_again(consumed: Consumed) -> None:
    """Where its directory is polled nobody notices that it was away."""
    file = consumed.file("a")
    (consumed.origin / "a").rename(consumed.origin / "away")
    consumed.delivered(file, "one")
    eventually(lambda: not consumed.turn("a") and consumed.removing.under_way, interval=0.0)
    eventually(lambda: not consumed.turn("a") and not consumed.removing.under_way, interval=0.0)
    (consumed.origin / "away").rename(consumed.origin / "a")
    eventually(lambda: not consumed.turn("a"), interval=0.0)


def test_a_file_that_stays_away_is_not_looked_for_any_more(consumed: Consumed) -> None:
    file = consumed.file("a")
    (consumed.origin / "a").unlink()
    consumed.delivered(file, "one")
    eventually(lambda: not consumed.turn("a") and "not removed: gone" in consumed.journal.find_one("file", (file,))["steps"],
               interval=0.0)
    eventually(lambda: not consumed.turn("a") and not consumed.journal.find("due_removals", ("s", 1e12, 1)), interval=0.0)


def test_what_was_confirmed_before_the_clock_was_set_back_goes(consumed: Consumed) -> None:
    """While no server ran, so nobody has seen it: the confirmation has a time that is not there yet."""
    consumed.delivered(consumed.file("a"), "one", age=-3600)
    eventually(lambda: not consumed.turn("a"), interval=0.0)


def test_old_files_that_are_away_do_not_keep_others_from_being_removed(
        consumed: Consumed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who polls once in an hour believes only after hours that they are away."""
    monkeypatch.setattr(removing, "AT_ONCE", 2)
    monkeypatch.setattr(consumed.removing, "_away_for_good", 3600.0)
    for name in ("a", "b", "c"):
        consumed.file(name, age=LONG_AGO)
        (consumed.origin / name).unlink()
    consumed.file("d", age=LONG_AGO)
    eventually(lambda: not consumed.turn("d"), interval=0.0)


def test_what_was_found_out_long_ago_is_found_out_anew(consumed: Consumed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory did not answer for hours, and others came meanwhile who need the file."""
    monkeypatch.setattr(removing, "DECIDED_FOR", 0.2)
    answers = threading.Event()
    consumed.workers.submit([Work(("remove", "s"), 1, lambda _: answers.wait(60), bool)])
    file = consumed.file("a")
    consumed.delivered(file, "one")
    eventually(lambda: consumed.turn("a") and consumed.removing.under_way, interval=0.0)
    consumed.delivered(file, "two", state="moved")
    never(lambda: not consumed.turn("a"), 0.5, interval=0.0)
    answers.set()
    never(lambda: not consumed.turn("a"), 2.5, interval=0.0)
    consumed.delivered(file, "two")
    eventually(lambda: not consumed.turn("a"), interval=0.0)


def test_what_was_found_out_before_the_end_is_not_begun_after_it(consumed: Consumed) -> None:
    answers = threading.Event()
    consumed.workers.submit([Work(("remove", "s"), 1, lambda _: answers.wait(60), bool)])
    consumed.delivered(consumed.file("a"), "one")
    eventually(lambda: consumed.turn("a") and consumed.removing.under_way, interval=0.0)
    consumed.removing.stop()
    answers.set()
    eventually(lambda: not consumed.turn("a") or not consumed.removing.under_way, interval=0.0)
    assert consumed.turn("a")


def test_the_whole_journal_is_gone_through_now_and_then_only(consumed: Consumed) -> None:
    consumed.file("old", age=3600)
    eventually(lambda: not consumed.turn("old"), interval=0.0)
    for name in ("a", "b", "c"):
        consumed.delivered(consumed.file(name), "one")
        eventually(lambda name=name: not consumed.turn(name), interval=0.0)  # type: ignore[misc]
    assert consumed.journal.asked["due_removals"] >= 4
    assert (consumed.journal.asked["consumers"], consumed.journal.asked["aged_files"]) == (1, 0), "by a worker, but for the first"


def test_who_is_served_is_looked_for_again_by_a_worker(consumed: Consumed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop, which goes through no million deliveries, learns what the journal has."""
    monkeypatch.setattr(consumers, "LAST", 0.0)
    consumed.delivered(consumed.file("a"), "one")
    eventually(lambda: not consumed.turn("a"), interval=0.0)
    file = consumed.file("b")
    consumed.journal.write([("put_transfer", [(file, "x", "s", "two", "two", False, "p", "r", "file:///x", "moved", time.time(),
                                               1, "[]")])])
    consumed.delivered(consumed.file("c"), "one", "two")  # the first look after this is begun for it
    eventually(lambda: not consumed.turn("c"), interval=0.0)
    consumed.delivered(file, "one")
    never(lambda: not consumed.turn("b"), 2.5, interval=0.0)
    consumed.delivered(file, "two")
    eventually(lambda: not consumed.turn("b"), interval=0.0)
    assert consumed.journal.asked["consumers"] == 1


def test_what_has_waited_for_long_is_looked_at_ever_more_rarely(consumed: Consumed) -> None:
    """While a consumer is away for a day too many wait to look at each every few seconds. A confirmation hurries it."""
    file = consumed.file("a", age=300)
    consumed.delivered(file, "one", state="moved")
    eventually(lambda: consumed.turn("a") and not consumed.journal.find("due_removals", ("s", time.time() + 20, 1)), interval=0.0)
    consumed.delivered(file, "one")
    consumed.journal.write([("hurry_removals", [(time.time(), f"[{file}]")])])
    eventually(lambda: not consumed.turn("a"), interval=0.0)


def test_who_was_served_is_waited_for_though_the_journal_cannot_be_read(
        consumed: Consumed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "LAST", 0.0)
    asked = Counter[str]()

    def unreadable(query: str, parameters: object) -> list[Any]:
        asked[query] += 1
        raise JournalError("its disk does not answer")
    monkeypatch.setattr(consumed.removing._reads, "_rows", unreadable)
    file = consumed.file("a")
    consumed.delivered(file, "one")
    consumed.delivered(file, "two", state="moved")
    eventually(lambda: consumed.turn("a") and asked["consumers"] > 4, interval=0.0)


def test_who_was_served_a_moment_ago_is_waited_for_before_the_journal_says_so(consumed: Consumed) -> None:
    """It may be written after the look into the journal was begun."""
    waited_for = []
    consumed.removing.schedule(1, Consumer("two", "two", spare=False))
    for _ in range(3):
        consumed.removing.consumers._know([])
        waited_for.append(consumed.removing.consumers.are_any())
    assert waited_for == [True, True, False]


@pytest.mark.parametrize("when", ["before", "while it is looked"])
def test_nothing_is_removed_for_a_clock_that_was_set_as_long_as_the_times_are_those_of_before(
        consumed: Consumed, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    read = consumed.removing._reads._rows

    def set_meanwhile(query: str, parameters: tuple[Any, ...]) -> list[Any]:
        found = read(query, parameters)
        consumed.journal.leaps += when != "before"
        return found
    monkeypatch.setattr(consumed.removing._reads, "_rows", set_meanwhile)
    consumed.journal.times_to_move = int(when == "before")
    consumed.file("old", age=3600)
    if when == "before":
        consumed.delivered(consumed.file("a"), "one")
        never(lambda: not (consumed.turn("old") and consumed.turn("a")), 2.5, interval=0.0)
    else:
        never(lambda: not consumed.turn("old"), 2.5, interval=0.0)


def test_nobody_comes_for_what_is_covered_or_only_known(consumed: Consumed) -> None:
    """Another section that announced the same file need not wait for that."""
    file = consumed.file("a")

    def awaits(*operations: tuple[str, list[Any]]) -> bool:
        done: list[bool] = []
        consumed.journal.write(operations, done.append, True)
        eventually(lambda: consumed.turn("a") and done, interval=0.0)
        return consumed.removing.consumers.wait_for(consumed.journal.find_one("file", (file,)))
    line = step_line("announced", 1.0)
    assert not awaits()
    assert awaits(("note", [{"line": line, "id": file}]))
    assert not awaits(("step", [("covered", 1.0, 0, line, file)]))


@pytest.mark.parametrize(("client", "group", "spare", "counts"), [
    ("recv@one/a", "us", False, True), ("recv@two/b", "us", True, True), ("recv@two/b", "us", False, False),
    ("recv@one/a", "others", False, False), ("recv@two/b", "others", True, False)])
def test_a_consumer_speaks_for_itself_and_its_spare_for_it(client: str, group: str, spare: bool, counts: bool) -> None:
    row = {"client": client, "consumer_group": group, "spare": spare}
    assert consumers._stands_for(row, ("recv@one/a", "us")) is counts


@pytest.mark.parametrize(("name", "client", "counts"), [
    ("recv@one", "recv@one", True), ("recv@one", "recv@one/a", True), ("recv@one/a", "recv@one/a", True),
    ("recv@one/a", "recv@one/b", False), ("recv@one", "recv@one1/a", False), ("192.0.2.7", "recv@one/a", True),
    ("192.0.2.8", "192.0.2.8", False), ("192.0.2.8", "192.0.2.8/a", False)])
def test_a_name_is_that_of_a_section_on_a_host_or_the_address_of_who_asked(name: str, client: str, counts: bool) -> None:
    assert consumers._is_named({"client": client, "peer": "::ffff:192.0.2.7"}, name) is counts


def test_nothing_is_noted_where_nothing_is_removed(tmp_path: Path) -> None:
    """It would be looked at by nobody, and stay."""
    consumed = Consumed(tmp_path, "")
    assert consumed.removing.schedule(consumed.file("a"), Consumer("c", "g", spare=False)) == []
    consumed.close()


def test_a_spare_is_nobody_to_wait_for(consumed: Consumed) -> None:
    for client, group, spare in ("spare", "g", True), ("127.0.0.1", "", False):
        assert consumed.removing.schedule(consumed.file(client), Consumer(client, group, spare))
        assert not consumed.removing.consumers.are_any()
    assert consumed.removing.schedule(consumed.file("a"), Consumer("primary", "g", spare=False))
    assert consumed.removing.consumers.are_any()


def test_what_arrived_unseen_is_not_noted_to_be_removed(consumed: Consumed, caplog: pytest.LogCaptureFixture) -> None:
    file, seen, unseen = consumed.file("a"), *(Receipt(f"ftp://host/{how}", 1, None, how, 1) for how in ("size", "none"))
    consumer = Consumer("c", "g", spare=False)
    assert consumed.removing.schedule(file, consumer, [seen])
    for _ in range(2):
        assert consumed.removing.schedule(file, consumer, [seen, unseen]) == []
    assert caplog.text.count("host does not say what arrives there") == 1


@pytest.mark.parametrize(("there", "packed_there", "outcome"), [
    ((), False, 0), (("a",), False, None), (("a", "b"), False, None), ((), True, None)])
def test_what_is_awaited_is_no_more_when_nothing_of_it_is_there(consumed: Consumed, there: tuple[str, ...], packed_there: bool,
                                                              outcome: int | None) -> None:
    """Nothing is removed for that."""
    files = {name: Announced(str(consumed.origin / name), 0, 0, 1, 0) for name in ("a", "b", "packed")}
    for name in (*there, *(["packed"] if packed_there else [])):
        path = consumed.origin / name
        path.write_text("x")
        status = path.stat()
        files[name] = Announced(str(path), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    left = sorted(consumed.origin.iterdir())
    leaving = removing.Leaving({}, removing.AWAITED, [files["a"], files["b"]], [files["packed"]], [files["packed"]], True)
    assert consumed.removing._remove(leaving, set()) is outcome
    assert sorted(consumed.origin.iterdir()) == left


def test_an_archive_stays_for_a_member_that_is_looked_at_in_the_same_round_and_waits(scene: Scene) -> None:
    confirmed, waits = scene.member("confirmed"), scene.member("waits")
    scene.confirm(confirmed)
    scene.journal.write([("add_removal", [(waits, "s", time.time() - 120)])])
    scene.wait_gone("confirmed")
    eventually(lambda: (scene.loop.turn(0.05), not scene.removing.under_way)[1], interval=0.0)
    assert sorted(path.name for path in scene.origin.iterdir()) == ["p.tar", "waits"]
    scene.confirm(waits)
    scene.journal.write([("hurry_removals", [(time.time(), f"[{waits}]")])])
    scene.wait_gone("waits", "p.tar")


def under_another_name(consumed: Consumed, name: str, client: str) -> Any:
    """The row of a file that *client* has confirmed, ten hours ago, when the section was called `old`; it is announced under its
    name of now as well."""
    then = time.time() - 36000.0
    old, file = consumed.file(name, section="old"), consumed.file(name, age=36000.0)
    consumed.journal.write([
        ("note", [{"line": step_line("announced", then), "id": file}]),
        ("put_transfer", [(old, client, "old", client, client, False, "p", "r", "file:///x", "acknowledged", then, 1, "[]")])])
    eventually(lambda: consumed.turn(name) and consumed.journal.find("confirmations", (old,)), interval=0.0)
    consumed.removing.consumers.serve(Consumer(client, client, spare=False))
    consumed.removing.consumers._before = {"old"}
    return consumed.journal.find_one("file", (file,))


def test_what_is_confirmed_to_another_section_that_has_the_old_name_by_now_does_not_count(tmp_path: Path) -> None:
    """It has other consumers: the first of them says nothing for ours."""
    consumed = Consumed(tmp_path, "delete = first\n")
    row = under_another_name(consumed, "a", "one")
    assert not consumed.removing.consumers.wait_for(row)
    consumed.removing.consumers._others = lambda: [Mock(_section="old")]
    assert consumed.removing.consumers.wait_for(row)
    consumed.close()


def test_who_confirmed_under_another_name_is_not_told_to_lack_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    consumed = Consumed(tmp_path, "delete = true\n")
    row = under_another_name(consumed, "a", "one")
    consumed.delivered(row["id"], "two", age=3600.0)
    consumed.delivered(row["id"], "three", state="moved")
    eventually(lambda: consumed.turn("a") and consumed.journal.find("confirmations", (row["id"],)), interval=0.0)
    consumed.removing.consumers.tell_lacking({**dict(row), "file": row["id"]}, time.time())
    assert "three has not confirmed it" in caplog.text and "one has not" not in caplog.text
    consumed.close()
