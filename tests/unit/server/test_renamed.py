"""Which sections take the place of which, when the configuration has them no more; what they get then, and who is waited for."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.support.journals import committed, opened
from trollmoves.config.mirrors import MirrorSettings
from trollmoves.config.reading import read_mirror_config, read_server_config
from trollmoves.config.settings import ServerSettings
from trollmoves.journal import Journal
from trollmoves.lifecycle import CONSUMER_KNOWN
from trollmoves.server.addresses import META
from trollmoves.server.renamed import hand_on, places_taken

WATCHES = "origin = /data/{name}.dat\ndelete = true\n"
LISTENS = "listen = /heard\ndelete = true\n"
MIRRORS = "providers = localhost:1\ndestination = /kept/\n"
SERVED = {("one", "one"), ("two", "two")}


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    found = opened(tmp_path / "j")
    yield found
    found.close()


def configured(tmp_path: Path, **sections: str) -> list[ServerSettings | MirrorSettings]:
    """By name the options of sections."""
    config = tmp_path / "server.ini"
    config.write_text("\n".join(f"[{name}]\nrequest_port = 9999\n{options}" for name, options in sections.items()))
    is_mirror = any("providers" in options for options in sections.values())
    return list((read_mirror_config(config) if is_mirror else read_server_config(config)).chains.values())


def handed_on(journal: Journal, starting: list[ServerSettings | MirrorSettings], *others: str) -> None:
    """Have it done what *starting* these means, where *others* are configured as well."""
    journal.write(hand_on(journal, starting, {settings.name for settings in starting} | set(others)))
    committed(journal)


def add(journal: Journal, section: str, path: str | None, *, subject: str = "/a", inode: int = 1, state: str = "announced",
        key: str = "", heard: str = "") -> int:
    """A file of a section."""
    file, now = journal.new_file(), time.time()
    announced = [(journal.new_position(subject)[0], file, subject, 0, "m", now)] if subject else []
    journal.write([("add_file", [(file, section, os.path.basename(path or "m"), key or f"k:{file}", state, now, "", None, 1,
                                  None if path is None else os.fsencode(path), 1, inode, 1, None,
                                  f"pytroll:/{heard} file me@here" if heard else None, None, 0, now)]),
                   ("add_announcement", announced)])
    committed(journal)
    return file


def section_of(journal: Journal, file: int) -> str:
    return str(journal.find_one("file", (file,))["chain"])


@pytest.mark.parametrize(("name", "options", "heard", "waits", "moves"), [
    ("new", WATCHES + "topic = /a\n", "", True, True),
    ("new", WATCHES + "topic = /\n", "", True, False),
    ("new", WATCHES + "topic = /b\n", "", True, False),
    ("new", WATCHES.replace("/data", "/other") + "topic = /a\n", "", False, False),
    ("new", WATCHES.replace("/data", "") + "topic = /a\n", "", False, False),  # `*` takes slashes as well, and its watcher none
    ("new", "origin = /data/{name}.dat\ntopic = /a\n", "", True, True),
    ("new", "origin = /data/{name}.dat\ntopic = /a\ncompression = gzip\n", "", True, True),
    ("new", WATCHES + "topic = /a\n", "/heard/x", True, True),
    ("new", LISTENS + "topic = /a\n", "/heard/x", True, True),
    ("new", LISTENS + "topic = /a\n", "/else", True, False),
    ("new", LISTENS + "topic = /a\n", "", True, False),
    ("new", LISTENS + "topic = /b\n", "/heard/x", False, False),
    ("new", LISTENS + "origin = /other/{name}.dat\ntopic = /a\n", "/heard/x", False, False),
    ("new", MIRRORS + "client_topic = /a\n", "/a", True, True),
    ("new", MIRRORS + "client_topic = /a\norigin = /wherever/{n}.dat\n", "/a", True, True),
    ("new", MIRRORS + "client_topic = /a\norigin = /wherever/{n}.nc\n", "/a", False, False),
    ("new", MIRRORS + "client_topic = /b\n", "/a", False, False),
    ("kept", WATCHES + "topic = /a\n", "", False, False)])
def test_what_announces_the_same_has_what_is_left(tmp_path: Path, journal: Journal, name: str, options: str, heard: str,
                                                  waits: bool, moves: bool) -> None:
    """Of `old` and `kept`, which had the same file, the first is gone; *name* is there, with *options*. Those that were served
    are waited for; what they were told can be asked for."""
    now = time.time()
    add(journal, "kept", "/data/a.dat", key="k:kept")
    file = add(journal, "old", "/data/a.dat", state="acknowledged", heard=heard)
    journal.write([
        ("put_transfer", [(file, client, "old", client, client, spare, "p", "r", "file:///x", "acknowledged", when, 1, "[]")
                          for client, spare, when in (("one", False, now), ("two", False, now), ("spare", True, now),
                                                      ("long ago", False, now - 10 * 86400))]),
        ("add_removal", [(file, "old", now - 1)]), ("set_cursor", [("old", "p", "e", 5)])])
    committed(journal)
    handed_on(journal, configured(tmp_path, **{name: options}), "kept")
    assert places_taken(journal, name) == ({"old"} if waits else set())
    known = {tuple(row) for row in journal.find("consumers", (name, now - CONSUMER_KNOWN))}
    assert known == (SERVED if waits else set())
    assert section_of(journal, file) == (name if moves else "old")
    assert [row["file"] for row in journal.find("due_removals", (name, now, 10))] == ([file] if waits else [])
    assert (journal.find_one("cursor", (name, "p")) is not None) is waits


def test_what_came_out_of_an_archive_is_known_by_that(tmp_path: Path, journal: Journal) -> None:
    """Also when both are removed; the clients of the section may wait for others."""
    add(journal, "old", "/data/a.dat", state="covered", subject="")
    file = add(journal, "old", "/unpacked/a", state="acknowledged")
    journal.write([("put_transfer", [(file, "1", "old", "one", "one", False, "p", "r", "file:///x", "acknowledged", time.time(),
                                      1, "[]")])])
    committed(journal)
    handed_on(journal, configured(tmp_path, new=f"topic = /a\n{WATCHES}compression = gzip\n"))
    assert [tuple(row) for row in journal.find("consumers", ("new", 0.0))] == [("one", "one")]


def test_what_waits_to_be_removed_goes_with_what_it_was_unpacked_from(tmp_path: Path, journal: Journal) -> None:
    file = add(journal, "old", "/unpacked/a", state="acknowledged")
    journal.write([("add_packed", [(file, os.fsencode("/data/a.dat"), 1, 1, 1, 1)]), ("add_removal", [(file, "old", 1.0)])])
    committed(journal)
    handed_on(journal, configured(tmp_path, new=f"topic = /a\n{WATCHES}compression = gzip\n"))
    assert section_of(journal, file) == "new"
    assert [row["file"] for row in journal.find("due_removals", ("new", 2.0, 10))] == [file]


@pytest.mark.parametrize("last", ["third", "first"])
def test_a_section_that_is_renamed_twice_has_what_it_had_before(tmp_path: Path, journal: Journal, last: str) -> None:
    """Under the second name nothing was delivered yet, and then it got a *last* one: another one, or that of before."""
    now, file = time.time(), add(journal, "first", "/data/a.dat", state="moved")
    journal.write([
        ("put_transfer", [(file, "1", "first", "one", "one", False, "p", "r", "file:///x", "moved", now, 1, "[]")]),
        ("add_removal", [(file, "first", now - 1)])])
    committed(journal)
    for name in ("second", last):
        handed_on(journal, configured(tmp_path, **{name: f"topic = /a\n{WATCHES}"}))
    assert places_taken(journal, last) == {"first", "second"} - {last}
    assert [tuple(row) for row in journal.find("consumers", (last, now - 60))] == [("one", "one")]
    assert [row["file"] for row in journal.find("due_removals", (last, now, 10))] == [file]


def test_of_a_section_that_is_divided_each_part_has_its_own(tmp_path: Path, journal: Journal) -> None:
    """And what neither would find stays where it is."""
    now = time.time()
    here, there, nowhere = (add(journal, "old", f"/data/{name}/x.dat") for name in ("a", "b", "c"))
    journal.write([("add_removal", [(file, "old", now - 1) for file in (here, there, nowhere)])])
    committed(journal)
    handed_on(journal, configured(tmp_path, **{name: f"origin = /data/{name}/{{n}}.dat\ntopic = /a\n" for name in "ab"}))
    assert [section_of(journal, file) for file in (here, there, nowhere)] == ["a", "b", "old"]
    assert [[row["file"] for row in journal.find("due_removals", (name, now, 9))] for name in ("a", "b", "old")] == [
        [here], [there], [nowhere]]


def test_a_section_gets_what_another_one_left_that_became_part_of_it(tmp_path: Path, journal: Journal) -> None:
    """It keeps its own, and follows a publisher from where the one began that was not so far."""
    own, other = add(journal, "kept", "/data/a/x.dat"), add(journal, "old", "/data/b/x.dat", inode=2)
    journal.write([("set_cursor", [("kept", "p", "e", 7), ("old", "p", "e", 5), ("kept", "q", "e", 7), ("old", "q", "f", 5)]),
                   ("put_meta", [(META + "kept", '[["here:1", 2.0]]'), (META + "old", '[["here:2", 1.0]]')])])
    committed(journal)
    handed_on(journal, configured(tmp_path, kept="origin = /data/{folder}/{n}.dat\ntopic = /a\n"))
    assert [section_of(journal, file) for file in (own, other)] == ["kept", "kept"]
    assert [journal.find_one("cursor", ("kept", name))["position"] for name in "pq"] == [5, 7]
    assert orjson.loads(journal.find_one("meta", (META + "kept",))["value"]) == [["here:2", 1.0], ["here:1", 2.0]]


def test_what_was_heard_and_waits_goes_to_who_hears_it(tmp_path: Path, journal: Journal) -> None:
    heard, other = (add(journal, "old", None, state="seen", subject="", heard=topic) for topic in ("/heard/x", "/else"))
    handed_on(journal, configured(tmp_path, new=LISTENS + "topic = /a\n", watching=WATCHES + "topic = /a\n"))
    assert [section_of(journal, file) for file in (heard, other)] == ["new", "old"]


def test_of_sections_that_are_configured_nothing_is_handed_on(tmp_path: Path, journal: Journal) -> None:
    """Such as one with a mistake, which is back when that is mended."""
    file = add(journal, "broken", "/data/a.dat")
    assert hand_on(journal, configured(tmp_path, new=WATCHES + "topic = /a\n"), {"new", "broken"}) == []
    assert section_of(journal, file) == "broken"


def test_addresses_are_kept_once_however_often_a_section_has_its_old_name_again(tmp_path: Path, journal: Journal) -> None:
    add(journal, "a", "/data/one.dat")
    journal.write([("put_meta", [(META + "a", orjson.dumps([[f"host:{port}", float(port)] for port in range(1, 7)]).decode())])])
    for turn in range(30):
        name = "ba"[turn % 2]
        handed_on(journal, configured(tmp_path, **{name: f"topic = /a\n{WATCHES}"}))
        kept = orjson.loads(journal.find_one("meta", (META + name,))["value"])
        assert kept == [[f"host:{port}", float(port)] for port in range(1, 7)]
