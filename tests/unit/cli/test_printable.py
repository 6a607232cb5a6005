"""What strangers put into names does not reach a terminal or a log as it is."""

from __future__ import annotations

import json
import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from trollmoves.cli import check, dismiss, explain, failed, retry, status, trace
from trollmoves.config.hiding import HidePasswords
from trollmoves.journal import Journal
from trollmoves.journal.journal import step_line
from trollmoves.uris import printable

EVIL = "a\x1b[2J\u202eb\nc.dat"
SHOWN = r"a\x1b[2J\u202eb\nc.dat"


@pytest.mark.parametrize(("text", "shown"), [
    ("héllo wörld 日本", "héllo wörld 日本"), (EVIL, SHOWN), ("\udcff\x9b\x7f\t", r"\udcff\x9b\x7f\t"), ("", "")])
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "j"
    Journal(path, lambda calls: None, lambda error: None).close()
    with closing(sqlite3.connect(path)) as connection:
        steps = step_line("given_up", 1.0, "peer", 1, f"cannot read {EVIL}")
        connection.execute("INSERT INTO files (chain, identity, key, state, time, steps, created) "
                           "VALUES ('c', ?, '', 'given_up', 1, ?, 1)", (EVIL, steps))
        connection.commit()
    return path


@pytest.mark.parametrize(("program", "words"), [(trace, [EVIL]), (failed, []), (status, [])])
def test_names_are_escaped_in_texts_and_whole_in_json(program: object, words: list[str], journal: Path,
                                                      capsys: pytest.CaptureFixture[str]) -> None:
    program.main([*words, "--journal", str(journal)])  # type: ignore[attr-defined]
    text = capsys.readouterr().out
    assert SHOWN in text and f"cannot read {SHOWN}" in text and "\x1b" not in text and "\u202e" not in text
    program.main([*words, "--journal", str(journal), "--json"])  # type: ignore[attr-defined]
    assert json.dumps(EVIL) in capsys.readouterr().out


@pytest.mark.parametrize(("program", "words"), [
    (retry, ["--journal", "{journal}", "a\x1b[2J\u202eb.dat"]), (dismiss, ["--journal", "{journal}", "a\x1b[2J\u202eb.dat"]),
    (explain, ["{journal}", "a\x1b[2J\u202eb.dat"]), (check, ["a\x1b[2J\u202eb.dat"])])
def test_names_are_escaped_in_what_ends_a_program(program: object, words: list[str], journal: Path,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    """A shell fills in names that strangers gave to files."""
    assert program.main([word.format(journal=journal) for word in words]) == 1  # type: ignore[attr-defined]
    assert r"a\x1b[2J\u202eb.dat" in capsys.readouterr().err


def test_long_names_are_cut_short_in_logs() -> None:
    long = "x" * 1_000_000
    error = OSError(long)
    record = logging.LogRecord("x", logging.ERROR, "p", 1, "begin %s end", (long,), (type(error), error, None))
    assert HidePasswords().filter(record)
    assert record.getMessage().startswith("begin xx") and record.getMessage().endswith("xx end")
    assert len(record.getMessage()) < 11_000 and len(record.exc_text or "") < 11_000


def test_names_are_escaped_in_logs() -> None:
    try:
        raise OSError(f"no {EVIL}")
    except OSError as error:
        record = logging.LogRecord("x", logging.ERROR, "p", 1, "%s is gone", (EVIL,), (type(error), error, error.__traceback__))
    assert HidePasswords().filter(record)
    assert record.getMessage() == f"{SHOWN} is gone"
    assert "\x1b" not in (record.exc_text or "") and "\n" in (record.exc_text or "")
