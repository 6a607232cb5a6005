"""A publisher may give itself ever new names: what is kept of it is bounded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from trollmoves.bus import Loop
from trollmoves.journal import Journal
from trollmoves.messages import EXTENSION, Envelope, decode
from trollmoves.queueing import cursors
from trollmoves.queueing.cursors import MOST_STREAMS, Cursors
from trollmoves.queueing.hearing import Hearing

ENVELOPE = Envelope("me@here")


def test_a_publisher_with_ever_new_journals_fills_no_disk(tmp_path: Path) -> None:
    def call_all(calls: list[tuple[Callable[..., Any], tuple[Any, ...]]]) -> None:
        for function, arguments in calls:
            function(*arguments)
    loop = Loop()
    journal = Journal(tmp_path / "journal", call_all, lambda error: None)
    hearing = Hearing("dispatcher", journal, lambda message: [], lambda chains: None)
    new_catch_up = hearing.catching_up(loop, ENVELOPE)

    def beats(place: str, count: int) -> None:
        catch_up = new_catch_up(place, ["/a"])
        for number in range(count):
            said = {"epoch": f"e:{place}{number}", "head": 0, "since": 0}
            catch_up.beat(decode(ENVELOPE.encode("/heartbeat/x", "beat", {EXTENSION: said})))
    beats("127.0.0.1:1", 1)
    beats("127.0.0.1:2", 500)
    hearing.close()
    journal.close()
    journal = Journal(tmp_path / "journal", call_all, lambda error: None)
    names = {row["provider"] for row in journal.find("cursors_of", ("",))}
    assert {"127.0.0.1:1", "e:127.0.0.1:10 /heartbeat/x", "127.0.0.1:2", "e:127.0.0.1:2499 /heartbeat/x"} <= names
    assert len(names) <= 3 + MOST_STREAMS
    journal.close()
    loop.close()


def test_of_many_publishers_those_are_kept_that_said_something_last(monkeypatch: Any) -> None:
    monkeypatch.setattr(cursors, "MOST", 6)
    found = Cursors(["old", "older"])
    assert [found.moved(f"a{number}", f"s{number}") for number in range(3)] == [[], [], ["old", "older"]]
    found.moved("a0", "s0")
    assert found.moved("a3", "s3") == ["a1", "s1"]
    assert len(found) == 6 and set(found._streams) == {"a0", "a2", "a3"}


def test_each_stream_of_an_address_goes_once() -> None:
    found = Cursors([])
    gone = [found.moved("a", f"s{number}") for number in range(MOST_STREAMS + 3)]
    assert gone == [*([] for _ in range(MOST_STREAMS)), ["s0"], ["s1"], ["s2"]]
