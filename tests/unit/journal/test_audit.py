"""The audit: records in order, each with a digest of all before it; bounded, without secrets, and kept over restarts."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from trollmoves.cli.umbrella import main
from trollmoves.journal import Journal, Reader
from trollmoves.journal import audit as auditing
from trollmoves.journal.alarms import SILENT
from trollmoves.journal.audit import NOT_REMOVED, RAISED, REFUSED, Audit, first_changed, in_audit


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "j"


@pytest.fixture
def start(place: Path) -> Iterator[Callable[[], Journal]]:
    opened: list[Journal] = []

    def call_all(calls: list[tuple[Callable[..., Any], tuple[Any, ...]]]) -> None:
        for function, arguments in calls:
            function(*arguments)

    def begin() -> Journal:
        for one in opened:
            one.close()
        opened.append(Journal(place, call_all, lambda error: print(error)))
        return opened[-1]
    yield begin
    for one in opened:
        one.close()


def committed(journal: Journal) -> None:
    done = threading.Event()
    journal.write([], done.set)
    assert done.wait(60)


def written(place: Path) -> list[dict[str, Any]]:
    with Reader(place) as reader:
        return [json.loads(row["record"]) for row in reader.find("audit")]


def change(place: Path, sql: str) -> None:
    with closing(sqlite3.connect(place)) as connection:
        connection.execute(sql)
        connection.commit()


def test_records_are_numbered_in_one_row_over_restarts(start: Callable[[], Journal], place: Path) -> None:
    assert start().audit.record(REFUSED, "hrit", address="192.0.2.1") == 1
    journal = start()
    assert journal.audit.record(REFUSED, "hrit", address="192.0.2.2") == 2
    committed(journal)
    assert [(one["number"], one["what"], one["section"], one["address"]) for one in written(place)] == [
        (1, "refused", "hrit", "192.0.2.1"), (2, "refused", "hrit", "192.0.2.2")]
    assert main(["audit", "--verify", "--journal", str(place)]) == 0


@pytest.mark.parametrize("harm", [
    "UPDATE audit SET record = replace(record, '192.0.2.2', '192.0.2.9') WHERE position = 2",
    "DELETE FROM audit WHERE position = 2",
    "UPDATE audit SET digest = '' WHERE position = 2",
])
def test_a_record_that_was_changed_or_taken_away_is_found(start: Callable[[], Journal], place: Path, harm: str,
                                                          capsys: pytest.CaptureFixture[str]) -> None:
    journal = start()
    for number in range(4):
        journal.audit.record(REFUSED, "hrit", address=f"192.0.2.{number + 1}")
    journal.close()
    change(place, harm)
    assert main(["audit", "--verify", "--journal", str(place)]) == 1
    assert f"record {3 if 'DELETE' in harm else 2} is not as it was written" in capsys.readouterr().out


def test_the_oldest_records_go_and_the_others_still_fit(start: Callable[[], Journal], place: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "KEPT", 3)
    journal = start()
    for _ in range(10):
        journal.audit.record(REFUSED, "")
    journal.write(journal.audit.forget())
    committed(journal)
    assert [one["number"] for one in written(place)] == [8, 9, 10]
    with Reader(place) as reader:
        assert first_changed(reader.find("audit")) is None


def test_what_strangers_say_is_cut_and_printable_and_passwords_are_taken_out(start: Callable[[], Journal], place: Path) -> None:
    journal = start()
    journal.audit.record(REFUSED, "", destination="ftp://me:verysecret@host/in", uri="a\n\x1b[31m\udcff" + 100_000 * "x", why="")
    committed(journal)
    record, = written(place)
    assert record["destination"] == "ftp://***@host/in"
    assert record["uri"].startswith("a\\n\\x1b[31m\\udcffxx")
    assert len(record["uri"]) == auditing.LONGEST
    assert b"verysecret" not in place.read_bytes() + Path(f"{place}-wal").read_bytes()


def test_without_room_on_the_disk_records_are_counted_and_the_next_one_says_so() -> None:
    wrote: list[Any] = []
    full = [True]

    class Nothing:
        def find_one(self, query: str) -> None:
            return None
    audit = Audit(Nothing(), wrote.append, lambda: full[0])  # type: ignore[arg-type]
    assert [audit.record(REFUSED, ""), audit.record(REFUSED, "")] == [0, 0]
    assert in_audit(0) == ""
    assert wrote == []
    full[0] = False
    assert audit.record(REFUSED, "") == 1
    assert audit.record(REFUSED, "") == 2
    assert [json.loads(rows[0][1]).get("unwritten") for (_, rows), in wrote] == [2, None]


def test_alarms_and_files_that_stay_are_recorded_once(start: Callable[[], Journal], place: Path,
                                                      caplog: pytest.LogCaptureFixture) -> None:
    journal = start()
    for _ in range(3):
        journal.alarms.raise_("hrit", SILENT, "host:1", "nothing is heard")
    journal.alarms.clear("hrit", SILENT, "host:1", "it is heard again")
    ends = [journal.audit.not_removed("hrit", "/in/a", "read-only file system", tries) for tries in (1, 2, 3)]
    assert ends == [" (audit 3)", "", ""]
    committed(journal)
    assert [(one["what"], one.get("outcome", one.get("path"))) for one in written(place)] == [
        (RAISED, None), ("alarm over", "it is heard again"), (NOT_REMOVED, "/in/a")]
    assert "nothing is heard (audit 1)" in caplog.text
    assert "(it is heard again) (audit 2)" in caplog.text


def test_records_are_listed_by_age_and_section(start: Callable[[], Journal], place: Path,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    journal = start()
    journal.audit.record(REFUSED, "hrit", address="192.0.2.1", why="not announced")
    journal.audit.record(REFUSED, "eps", address="192.0.2.2", why="not announced")
    journal.close()
    assert main(["audit", "--journal", str(place), "--chain", "eps", "--since", "1h"]) == 0
    text = capsys.readouterr().out
    assert "2 " in text
    assert "[eps] refused: address: 192.0.2.2 · why: not announced" in text
    assert "192.0.2.1" not in text
    assert main(["audit", "--journal", str(place), "--json"]) == 0
    assert [one["section"] for one in json.loads(capsys.readouterr().out)] == ["hrit", "eps"]
