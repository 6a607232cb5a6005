"""Files of sections that are configured no more: an alarm says so, `retry` promises nothing about them, `dismiss` ends it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.journals import committed
from tests.unit.cli.asking import ask
from trollmoves.attention.left_over import LeftOver
from trollmoves.attention.orders import Orders
from trollmoves.journal import Journal


class Idle:
    """A role that does nothing."""

    def announce_again(self, rows: list[Any]) -> None: ...

    def dismissed(self, files: Collection[int]) -> None: ...

    def driven_again(self) -> None: ...

    def ask_again(self, chain: str, newer_than: float, topics: list[str]) -> bool: ...


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    def call_all(calls: list[tuple[Callable[..., Any], tuple[Any, ...]]]) -> None:
        for function, arguments in calls:
            function(*arguments)
    opened = Journal(tmp_path / "j", call_all, lambda error: print(error))
    for chain, state, provider in (("old", "failed", "p:1"), ("old", "announced", "p:1"), ("old", "published", "p:1"),
                                   ("kept", "failed", "p:1"), ("kept", "announced", "p:1"), ("origin", "announced", None)):
        file, due = opened.new_file(), time.time() + 3600 if state == "failed" else None
        opened.write([("add_file", [(file, chain, f"f{file}", "", state, 0.0, "", due, 1, None, None, None, None, provider, None,
                                     None, 0, 0.0)])])
    yield opened
    opened.close()


def written(journal: Journal, calls: list[tuple[Callable[..., Any], tuple[Any, ...]]]) -> None:
    """As `committed`, with what waits to be called called by this thread, as a loop does: it may look into the journal."""
    done, deadline = threading.Event(), time.monotonic() + 60
    journal.write([], done.set)
    while not done.is_set():
        assert time.monotonic() < deadline
        while calls:
            called, arguments = calls.pop(0)
            called(*arguments)
        time.sleep(0.005)


def texts(journal: Journal) -> list[str]:
    committed(journal)
    return [row["text"] for row in journal.find("open_alarms")]


def test_one_alarm_for_each_section_until_it_is_back(journal: Journal) -> None:
    left_over = LeftOver(journal)
    left_over.follow({"kept"})
    committed(journal)
    left_over.look()
    [text] = texts(journal)
    assert "the section [old] is not in the configuration" in text and "its 2 unfinished file(s)" in text
    left_over.follow({"kept", "old"})
    left_over.look()
    assert texts(journal) == []


def test_retry_says_that_nobody_will_and_dismiss_ends_it(journal: Journal, tmp_path: Path) -> None:
    left_over, place = LeftOver(journal), ("--journal", tmp_path / "j")
    left_over.follow({"kept"})
    committed(journal)
    left_over.look()
    journal.close()
    status = ask("trollmoves", "status", *place, state=tmp_path)
    assert status.status == 1 and "[old]  announced 1  published 1  failed 1  (not in the configuration)" in status.out
    answer = ask("trollmoves", "retry", "--all", *place, state=tmp_path)
    assert answer.status == 1 and "1 file(s) to be tried again" in answer.out, "the one of the other section"
    assert "[old] is not in the configuration" in answer.err and "trollmoves dismiss --all --chain old" in answer.err
    assert "2 file(s) dismissed" in ask("trollmoves", "dismiss", "--all", "--chain", "old", *place, state=tmp_path).out
    calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
    again = Journal(tmp_path / "j", calls.extend, lambda error: None)
    left_over, orders = LeftOver(again), Orders(again, Idle())
    left_over.follow({"kept"})
    written(again, calls)
    orders.look()
    written(again, calls)
    left_over.look()
    written(again, calls)
    assert again.find("open_alarms") == []
    again.close()
    [report] = json.loads(ask("trollmoves", "status", "--json", *place, state=tmp_path).out)
    assert report["chains"]["old"]["counts"] == {"published": 1, "covered": 2} and not report["chains"]["old"]["configured"]
    assert report["chains"]["kept"]["counts"] == {"announced": 1, "failed": 1}


def test_unfinished_files_are_not_looked_for_again_while_one_is_there(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """All files in the journal would be gone through for that, every five seconds for as long as the alarm is open."""
    left_over, asked, find = LeftOver(journal), list[str](), journal.find
    monkeypatch.setattr(journal, "find", lambda query, parameters=(): asked.append(query) or find(query, parameters))
    left_over.follow({"kept"})
    for _ in range(5):
        committed(journal)
        left_over.look()
    assert asked.count("unfinished_of") == 1
    assert len(texts(journal)) == 1
    for file in (1, 2):
        journal.write([("dismiss", [{"id": file, "now": 0.0, "line": ""}])])
        committed(journal)
        left_over.look()
        assert len(texts(journal)) == 2 - file
