"""What `delete_after` removes and nobody ever got is a warning and one alarm for the section; what somebody got is neither."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.clock import Clock
from tests.support.journals import committed, opened
from trollmoves.server import unclaimed as module
from trollmoves.server.unclaimed import Unclaimed


def test_files_nobody_got_are_counted_in_one_alarm(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = opened(tmp_path / "j")
    files = {}
    for name, state in (("a", "announced"), ("b", "failed"), ("got", "acknowledged"), ("told", "published")):
        files[name] = journal.new_file()
        journal.write([("add_file", [(files[name], "s", name, "", state, 0.0, "", None, 1, os.fsencode(f"/{name}"), None, None,
                                      None, None, None, None, 0, 0.0)])])
    committed(journal)
    unclaimed = Unclaimed("s", journal)
    with caplog.at_level(logging.WARNING):
        for name, file in files.items():
            unclaimed.removed(file, f"/{name}")
    assert [message for message in caplog.messages if "nobody ever got it" in message] \
        == [f"/{name} was removed (delete_after), and nobody ever got it" for name in ("a", "b")]
    unclaimed.look()
    committed(journal)
    assert [row["text"] for row in journal.find("open_alarms")] \
        == ["2 file(s) were removed (delete_after), and nobody ever got them; the last one: '/b'"]
    journal.close()
    journal = opened(tmp_path / "j")
    unclaimed = Unclaimed("s", journal)
    unclaimed.removed(files["a"], "/a")
    unclaimed.look()
    assert journal.alarms.open("unclaimed")[0].text.startswith("3 file(s)"), "a restart does not forget the number"
    journal.alarms.clear("s", "unclaimed", "delete_after", "dismissed by an operator")
    committed(journal)
    unclaimed.removed(files["a"], "/a")
    unclaimed.look()
    assert journal.alarms.open("unclaimed")[0].text.startswith("1 file(s)"), "a new alarm begins anew"
    journal.close()


def test_an_alarm_changes_now_and_then_and_ends_when_a_day_has_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, clock = opened(tmp_path / "j"), Clock(1000.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock))
    file, delivered = journal.new_file(), journal.new_file()
    for row in file, delivered:
        journal.write([("add_file", [(row, "s", "a", "", "failed", 0.0, "", None, 1, b"/a", None, None, None, None, None, None, 0,
                                      0.0)])])
    journal.write([("put_transfer", [(delivered, "t", "s", "c", "g", False, "p", "r", "file:///x", "moved", 0.0, 1, "[]")])])
    committed(journal)
    unclaimed = Unclaimed("s", journal)

    def alarms(*, at_once: bool = False) -> list[str]:
        unclaimed.look(at_once=at_once)
        committed(journal)
        return [row["text"].partition(" ")[0] for row in journal.find("open_alarms")]
    unclaimed.removed(delivered, "/a")
    assert alarms() == [], "somebody has it, and wanted it again"
    for _ in range(2):
        unclaimed.removed(file, "/a")
        assert alarms() == ["1"]
    clock.advance(module.TOLD_EVERY + 1)
    assert alarms() == ["2"]
    unclaimed.removed(file, "/a")
    assert alarms(at_once=True) == ["3"], "at the end"
    clock.advance(module.OVER_AFTER - 1)
    assert alarms() == ["3"]
    clock.advance(2)
    assert alarms() == []
    unclaimed.removed(file, "/a")
    assert alarms() == ["1"], "told at once, and from the beginning"
    journal.close()
