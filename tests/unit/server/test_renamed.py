"""Which sections take the place of which, when the configuration has them under other names; and who is waited for then."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.support.journals import committed, opened
from trollmoves.config.reading import read_server_config
from trollmoves.journal.reader import SECTIONS
from trollmoves.server.renamed import HandedOn, hand_on, places_taken

WATCHES = "origin = /data/{name}.dat\ndelete = true\n"
LISTENS = "listen = /heard\ndelete = true\n"
SERVED = {("one", "one"), ("two", "two")}


@pytest.mark.parametrize(("name", "options", "waits"), [
    ("new", WATCHES + "topic = /a\n", True),
    ("new", WATCHES + "topic = /b\n", True),
    ("new", WATCHES.replace("/data", "/other") + "topic = /a\n", False),
    ("new", "origin = /data/{name}.dat\ntopic = /a\n", False),
    ("new", "origin = /data/{name}.dat\ntopic = /a\ncompression = gzip\n", True),
    ("new", LISTENS + "topic = /a\n", True),
    ("new", LISTENS + "topic = /b\n", False),
    ("kept", WATCHES + "topic = /a\n", False)])
def test_who_was_served_is_handed_on_to_what_announces_the_same(tmp_path: Path, name: str, options: str, waits: bool) -> None:
    """Of `old` and `kept` the first is gone; *name* is there, with *options*."""
    config = tmp_path / "server.ini"
    config.write_text(f"[{name}]\nrequest_port = 9999\n{options}")
    journal, now = opened(tmp_path / "j"), time.time()
    file = journal.new_file()
    journal.write([
        ("put_meta", [(SECTIONS, json.dumps(["kept", "old"]))]),
        ("add_file", [(file, "old", "a.dat", "", "acknowledged", now, "", None, 1, os.fsencode("/data/a.dat"), *[None] * 6, 0,
                       now)]),
        ("add_announcement", [(1, file, "/a/x", 0, "m", now)]),
        ("put_transfer", [(file, client, "old", client, client, spare, "p", "r", "file:///x", "acknowledged", when, 1, "[]")
                          for client, spare, when in (("one", False, now), ("two", False, now), ("spare", True, now),
                                                      ("long ago", False, now - 10 * 86400))])])
    committed(journal)
    expected = SERVED if waits else set()
    handed = hand_on(journal, read_server_config(config).chains.values()).get(name, HandedOn())
    assert handed == HandedOn({"old"} if waits else set(), expected)
    committed(journal)
    assert places_taken(journal, name) == handed.sections
    assert {tuple(row) for row in journal.find("consumers", (name, now - 60))} == expected
    journal.close()


def test_what_came_out_of_an_archive_is_known_by_that(tmp_path: Path) -> None:
    """Also when both are removed; the clients of the section may wait for others."""
    config = tmp_path / "server.ini"
    config.write_text(f"[new]\nrequest_port = 9999\ntopic = /a\n{WATCHES}compression = gzip\n")
    journal, now = opened(tmp_path / "j"), time.time()
    packed, file = journal.new_file(), journal.new_file()
    journal.write([
        ("put_meta", [(SECTIONS, json.dumps(["old"]))]),
        *[("add_file", [(row, "old", "", "", state, now, "", None, 1, os.fsencode(path), *[None] * 6, 0, now)])
          for row, path, state in ((packed, "/data/a.dat", "covered"), (file, "/unpacked/a", "acknowledged"))],
        ("put_transfer", [(file, "1", "old", "one", "one", False, "p", "r", "file:///x", "acknowledged", now, 1, "[]")])])
    committed(journal)
    assert hand_on(journal, read_server_config(config).chains.values()) == {"new": HandedOn({"old"}, {("one", "one")})}
    journal.close()


@pytest.mark.parametrize("last", ["third", "first"])
def test_a_section_that_is_renamed_twice_has_what_it_had_before(tmp_path: Path, last: str) -> None:
    """Under the second name nothing was delivered yet, and then it got a *last* one: another one, or that of before."""
    journal, now = opened(tmp_path / "j"), time.time()
    file = journal.new_file()
    journal.write([
        ("add_file", [(file, "first", "a.dat", "", "moved", now, "", None, 1, os.fsencode("/data/a.dat"), *[None] * 6, 0, now)]),
        ("put_transfer", [(file, "1", "first", "one", "one", False, "p", "r", "file:///x", "moved", now, 1, "[]")]),
        ("add_removal", [(file, "first", now - 1)])])
    for before, name in (("first", "second"), ("second", last)):
        config = tmp_path / "server.ini"
        config.write_text(f"[{name}]\nrequest_port = 9999\ntopic = /a\n{WATCHES}")
        journal.write([("put_meta", [(SECTIONS, json.dumps([before]))])])
        committed(journal)
        handed = hand_on(journal, read_server_config(config).chains.values())[name]
        committed(journal)
    assert handed == HandedOn({"first", "second"} - {last}, {("one", "one")})
    assert places_taken(journal, last) == handed.sections
    assert [row["file"] for row in journal.find("due_removals", (last, now, 10))] == [file]
    journal.close()
