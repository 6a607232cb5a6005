"""What `trollmoves status` reads. Monitoring asks it now and then, and a journal may have a million files."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trollmoves.cli.status import RATE_WINDOW, status
from trollmoves.journal import Journal, Reader


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "j", lambda calls: [function(*arguments) for function, arguments in calls], lambda error: None)
    for chain in ("one", "two", "three"):
        add(opened, chain, "published", time.time())
    yield opened
    opened.close()


def add(journal: Journal, chain: str, state: str, when: float) -> None:
    done, file = threading.Event(), journal.new_file()
    journal.write([("add_file", [(file, chain, f"f{file}", "", state, when, "", None, 1, None, None, None, None, "p:1", None,
                                  None, 0, when)])], done.set)
    assert done.wait(60)


def test_all_files_are_gone_through_for_what_there_is_only(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, find_one = Counter[str](), Reader.find_one

    def counted(reader: Reader, query: str, parameters: Any = ()) -> Any:
        asked[query] += 1
        return find_one(reader, query, parameters)
    monkeypatch.setattr(Reader, "find_one", counted)
    add(journal, "one", "published", time.time() - 3600)
    assert {chain: said["rate"] for chain, said in status(journal.path)["chains"].items()} \
        == dict.fromkeys(("one", "two", "three"), round(1 / RATE_WINDOW, 3))
    assert not asked.keys() & {"oldest_waiting", "last_failure", "finished_since"}
    add(journal, "two", "announced", time.time() - 100)
    add(journal, "three", "given_up", time.time())
    chains = status(journal.path)["chains"]
    assert (asked["oldest_waiting"], asked["last_failure"]) == (1, 1)
    assert chains["two"]["oldest_waiting"]["seconds"] >= 100
    assert chains["three"]["last_error"]["uid"]
