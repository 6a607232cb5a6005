"""The audit: records in a chain, in files of a bounded size, without secrets, over restarts, sudden ends and full disks."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trollmoves.cli.umbrella import main
from trollmoves.journal import Journal, in_use
from trollmoves.journal import audit as auditing
from trollmoves.journal.alarms import SILENT
from trollmoves.journal.audit import CUT_SHORT, NOT_REMOVED, RAISED, REFUSED, UNWRITTEN, Audit, audit_of, in_audit, read, verify


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "j"


@pytest.fixture
def trail(place: Path) -> Path:
    return Path(audit_of(place))


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


def written(place: Path) -> list[dict[str, Any]]:
    return [line.record for line in read(place) if line.record is not None]


def filled(place: Path, count: int) -> None:
    audit = Audit(place)
    for number in range(count):
        audit.record(REFUSED, "hrit", address=f"192.0.2.{number + 1}")
    audit.close()


def is_whole(place: Path) -> bool:
    verdict = verify(read(place))
    return verdict.wrong is None and not verdict.unfinished


def test_records_are_numbered_in_one_row_over_restarts(start: Callable[[], Journal], place: Path, trail: Path) -> None:
    assert start().audit.record(REFUSED, "hrit", address="192.0.2.1") == 1
    journal = start()
    assert journal.audit.record(REFUSED, "hrit", address="192.0.2.2") == 2
    journal.close()
    assert [(one["number"], one["what"], one["section"], one["address"]) for one in written(place)] == [
        (1, "refused", "hrit", "192.0.2.1"), (2, "refused", "hrit", "192.0.2.2")]
    assert main(["audit", "--verify", "--journal", str(place)]) == 0
    assert trail.stat().st_mode & 0o137 == 0, "nobody else reads it"


def test_where_nothing_happened_there_is_no_file(start: Callable[[], Journal], place: Path, trail: Path) -> None:
    start().close()
    assert not trail.exists()
    assert main(["audit", "--verify", "--journal", str(place)]) == 0


@pytest.mark.parametrize(("harm", "line"), [
    (lambda lines: [lines[0], lines[1].replace(b"192.0.2.2", b"192.0.2.9"), *lines[2:]], 3),
    (lambda lines: [lines[0], *lines[2:]], 2),
    (lambda lines: [lines[0], lines[2], lines[1], lines[3]], 2),
    (lambda lines: [*lines[:2], lines[1], *lines[2:]], 3),
    (lambda lines: [*lines[:2], b"nonsense", *lines[2:]], 3),
    (lambda lines: [lines[0], lines[1][:-9], *lines[2:]], 2),
])
def test_the_first_record_that_does_not_fit_is_found(start: Callable[[], Journal], place: Path, trail: Path, line: int,
                                                     harm: Callable[[list[bytes]], list[bytes]],
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    start().close()
    filled(place, 4)
    trail.write_bytes(b"".join(one + b"\n" for one in harm(trail.read_bytes().splitlines())))
    assert main(["audit", "--verify", "--journal", str(place)]) == 1
    assert f"{trail}, line {line}: not as it was written" in capsys.readouterr().out


def test_files_are_of_a_bounded_size_and_number_and_the_chain_goes_through_them(place: Path, trail: Path,
                                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "LARGEST", 2000)
    monkeypatch.setattr(auditing, "KEPT", 3)
    for _ in range(60):
        filled(place, 1)
    names = sorted(path.name for path in trail.parent.iterdir() if path.name.startswith(trail.name))
    assert len(names) == 4, "three old ones, and the one that is written"
    assert all(path.stat().st_size <= 2000 for path in trail.parent.iterdir())
    numbers = [record["number"] for record in written(place)]
    assert numbers == list(range(numbers[0], 61)) and numbers[0] > 1
    assert is_whole(place)
    (trail.parent / sorted(names, key=len)[-2]).unlink()
    assert not is_whole(place), "one of the middle is missing"


def test_a_sudden_end_while_the_next_file_is_begun_leaves_the_chain_whole(place: Path, trail: Path) -> None:
    filled(place, 3)
    trail.rename(f"{trail}.7")
    filled(place, 1)
    assert [record["number"] for record in written(place)] == [1, 2, 3, 4]
    assert is_whole(place)


@pytest.mark.parametrize("left", [b"{", b'{"number":4,"time":1.0,"wha', b"\0" * 5000, b"\n{", b"\n\0\0\n{", b"x" * 200_000])
def test_the_chain_goes_on_after_a_line_that_was_cut_short(place: Path, trail: Path, left: bytes) -> None:
    filled(place, 3)
    with trail.open("ab") as file:
        file.write(left)
    assert verify(read(place)).unfinished
    filled(place, 1)
    filled(place, 1)
    assert [record["what"] for record in written(place)][3:] == [CUT_SHORT, REFUSED, REFUSED]
    assert [record["number"] for record in written(place)] == [1, 2, 3, 0, 4, 5]
    assert is_whole(place)


def test_a_record_that_is_cut_at_any_byte_costs_that_record_alone(place: Path, trail: Path) -> None:
    filled(place, 2)
    whole = trail.read_bytes()
    start = whole.index(b"\n") + 1
    for end in range(start, len(whole)):
        trail.write_bytes(whole[:end])
        filled(place, 1)
        kept = end == len(whole) - 1  # but for the end of its line
        assert [record["number"] for record in written(place) if record["number"]] == [1, 2, 3][:2 + kept], end
        assert is_whole(place), end


def test_what_strangers_say_is_cut_and_in_one_line_and_passwords_are_taken_out(place: Path, trail: Path) -> None:
    audit = Audit(place)
    forged = '\n{"number":9,"time":1.0,"what":"refused","section":"","before":""}\n'
    audit.record(REFUSED, forged, destination="ftp://me:verysecret@host/in", uri="a\n\x1b[31m\udcff" + 100_000 * "x", why=forged)
    audit.close()
    record, = written(place)
    assert len(trail.read_bytes().splitlines()) == 1
    assert record["destination"] == "ftp://***@host/in"
    assert record["uri"].startswith("a\\n\\x1b[31m\\udcffxx")
    assert len(record["uri"]) == auditing.LONGEST
    assert b"verysecret" not in trail.read_bytes()


def test_a_record_of_many_large_letters_is_cut_once_more(place: Path, trail: Path) -> None:
    audit = Audit(place)
    audit.record(REFUSED, "s", **{f"text{number}": 1000 * "\U0001f600" for number in range(9)}, more=7)
    audit.close()
    record, = written(place)
    assert len(trail.read_bytes()) <= auditing.LARGEST_RECORD + 100  # and the digest
    assert (record["text8"], record["more"]) == (auditing.SHORT * "\U0001f600", 7)


def fail_with(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> Callable[[], None]:
    """Have that call fail until the returned function is called."""
    def failing(*_: Any) -> Any:
        raise OSError(number, os.strerror(number))
    real = getattr(os, name)
    monkeypatch.setattr(auditing.os, name, failing)
    return lambda: monkeypatch.setattr(auditing.os, name, real)


@pytest.mark.parametrize(("call", "number"), [("write", errno.ENOSPC), ("open", errno.EACCES), ("write", errno.EIO)])
def test_what_could_not_be_written_is_written_later_or_counted(place: Path, monkeypatch: pytest.MonkeyPatch, call: str,
                                                               number: int) -> None:
    monkeypatch.setattr(auditing, "MOST_WAITING", 3)
    filled(place, 1)
    audit = Audit(place)
    mend = fail_with(monkeypatch, call, number)
    assert [audit.record(REFUSED, "") for _ in range(5)] == [2, 3, 4, 0, 0]
    assert in_audit(0) == ""
    assert os.strerror(number) in audit.write_out()
    assert os.strerror(number) in audit.write_out()
    mend()
    assert audit.write_out() == ""
    assert audit.waits, "what was lost is not written yet"
    assert audit.write_out() == ""
    assert [(one["number"], one["what"], one.get("records")) for one in written(place)] == [
        (1, REFUSED, None), (2, REFUSED, None), (3, REFUSED, None), (4, REFUSED, None), (5, UNWRITTEN, 2)]
    assert is_whole(place)
    audit.close()


def test_a_disk_that_takes_a_part_of_it_has_all_or_nothing(place: Path, trail: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(place, 1)
    audit = Audit(place)
    audit.record(REFUSED, "")
    real = os.write
    monkeypatch.setattr(auditing.os, "write", lambda descriptor, data: real(descriptor, data[:20]))
    before = trail.read_bytes()
    assert "no room" in audit.write_out()
    assert trail.read_bytes() == before
    monkeypatch.setattr(auditing.os, "write", real)
    assert audit.write_out() == ""
    assert is_whole(place)
    audit.close()


def test_a_part_that_cannot_be_taken_back_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(place, 1)
    audit = Audit(place)
    audit.record(REFUSED, "")
    real = os.write
    monkeypatch.setattr(auditing.os, "write", lambda descriptor, data: real(descriptor, data[:20]))
    mend = fail_with(monkeypatch, "ftruncate", errno.EIO)
    assert audit.write_out() != ""
    monkeypatch.setattr(auditing.os, "write", real)
    mend()
    assert audit.write_out() == ""
    assert [record["what"] for record in written(place)] == [REFUSED, CUT_SHORT, REFUSED]
    assert is_whole(place)
    audit.close()


@pytest.mark.parametrize("make", [
    lambda trail, other: trail.symlink_to(other), lambda trail, other: trail.hardlink_to(other),
    lambda trail, other: os.mkfifo(trail), lambda trail, other: trail.mkdir(), lambda trail, other: trail.symlink_to("none"),
])
def test_what_a_stranger_put_at_its_place_is_neither_written_nor_waited_for(
        tmp_path: Path, place: Path, trail: Path, make: Callable[[Path, Path], None]) -> None:
    other = tmp_path / "other"
    other.write_text("precious")
    make(trail, other)
    audit = Audit(place)
    assert audit.record(REFUSED, "") == 0
    assert str(trail) in audit.write_out()
    assert other.read_text() == "precious"
    assert not (tmp_path / "none").exists()
    trail.rmdir() if trail.is_dir() else trail.unlink()
    assert audit.write_out() == ""
    audit.close()
    assert [(one["what"], one["records"]) for one in written(place)] == [(UNWRITTEN, 1)]


def test_a_file_that_was_moved_away_or_cut_is_begun_anew_and_that_shows(place: Path, trail: Path) -> None:
    audit = Audit(place)
    audit.record(REFUSED, "")
    assert audit.write_out() == ""
    trail.rename(f"{trail}.1")
    audit.record(REFUSED, "")
    assert audit.write_out() == ""
    assert is_whole(place), "it was put aside, as if it had been full"
    trail.write_bytes(b"")
    for _ in range(2):
        audit.record(REFUSED, "")
    assert audit.write_out() == ""
    audit.close()
    assert [record["number"] for record in written(place)] == [1, 3, 4]
    assert not is_whole(place)


def test_its_files_are_files_of_the_journal(start: Callable[[], Journal], place: Path, trail: Path) -> None:
    journal = start()
    assert all(journal.owns(path) and in_use.is_own(path) for path in (str(trail), f"{trail}.12"))
    assert not journal.owns(f"{trail}.dat")


def test_alarms_and_files_that_stay_are_recorded_once(start: Callable[[], Journal], place: Path,
                                                      caplog: pytest.LogCaptureFixture) -> None:
    journal = start()
    for _ in range(3):
        journal.alarms.raise_("hrit", SILENT, "host:1", "nothing is heard")
    journal.alarms.clear("hrit", SILENT, "host:1", "it is heard again")
    ends = [journal.audit.not_removed("hrit", "/in/a", "read-only file system", tries) for tries in (1, 2, 3)]
    assert ends == [" (audit 3)", "", ""]
    journal.close()
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
