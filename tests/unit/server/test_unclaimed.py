"""What `delete_after` removes and nobody ever got is a warning and one alarm for the section; what somebody got is neither."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trollmoves.journal import Journal
from trollmoves.server.unclaimed import Unclaimed


def opened(path: Path) -> Journal:
    def call_all(calls: list[tuple[Callable[..., Any], tuple[Any, ...]]]) -> None:
        for function, arguments in calls:
            function(*arguments)
    return Journal(path, call_all, lambda error: print(error))


def committed(journal: Journal) -> None:
    done = threading.Event()
    journal.write([], done.set)
    assert done.wait(60)


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
