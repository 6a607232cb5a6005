"""What becomes of the list of copies when they cannot be removed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from tests.support.auditing import audited
from tests.support.journals import committed, opened
from trollmoves.bus import Loop
from trollmoves.config.reading import read_mirror_config
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import Envelope, decode
from trollmoves.mirror.releasing import Releasing, _has_delivered
from trollmoves.server.removing import AGED, DELIVERED, Leaving
from trollmoves.server.requests import Consumer
from trollmoves.server.topics import Topics
from trollmoves.workers import Workers


@pytest.fixture
def releasing(tmp_path: Path) -> Iterator[Releasing]:
    config = tmp_path / "mirror.ini"
    config.write_text(f"[s]\nproviders = 127.0.0.1:9010\ntopic = /a\nrequest_port = 9999\ndestination = file://{tmp_path}/in\n")
    settings = read_mirror_config(config).chains["s"]
    loop = Loop()
    journal, workers = opened(tmp_path / "journal"), Workers(loop.call_all, loop.fail, 1)
    yield Releasing(settings, journal, loop, workers, Mock(), Mock(), Topics(journal))
    workers.stop(1.0)
    journal.close()
    loop.close()


def test_an_unforeseen_error_ends_no_mirror_that_has_but_to_tell_the_providers(releasing: Releasing) -> None:
    """Of what is to be told only there is no copy any more."""
    row = {"file": 1, "identity": "one.dat", "tries": 0}
    releasing._tried([Leaving(row, DELIVERED, [])], RuntimeError("unforeseen"), 1.0)
    assert releasing._journal.audit.waits


def test_a_copy_for_which_somebody_waits_is_not_released(releasing: Releasing, caplog: pytest.LogCaptureFixture) -> None:
    """It is ours: nobody else removes or replaces it, so that there is nothing to look at in a worker. Who lacks it is named."""
    journal, now, file = releasing._journal, time.time(), releasing._journal.new_file()
    releasing.consumers._served |= {("one", "one"), ("two", "two")}
    journal.write([
        ("add_file", [(file, "s", "a", "a", "acknowledged", now, "", None, 1, *[None] * 4, "p", "m", None, 0, now - 2000)]),
        ("put_transfer", [(file, "1", "s", "one", "one", False, "p", "r", "file:///x", "acknowledged", now - 1000, 1, "[]")]),
        ("add_removal", [(file, "s", now - 60)])])
    committed(journal)
    assert releasing._due_now(now) == ([], False)
    assert "a stays, and so may others: two has not confirmed it" in caplog.text
    releasing.consumers._served -= {("two", "two")}
    releasing.consumers._known.clear()
    journal.write([("hurry_removals", [(now, f"[{file}]")])])
    committed(journal)
    assert [why for _, why in releasing._due_now(now)[0]] == [DELIVERED]


@pytest.mark.parametrize(("told", "subject", "waits"), [
    ("/b", "/a", False), ("/b", "/b/c", True), ("/a", "/a", True), ("", "/a", True), (None, "/a", True), ("/b", None, True)])
def test_a_copy_waits_for_those_who_listen_to_its_subject(releasing: Releasing, caplog: pytest.LogCaptureFixture,
                                                          told: str | None, subject: str | None, waits: bool) -> None:
    """And for who has not told, and where the subject is not known."""
    journal, now, file = releasing._journal, time.time(), releasing._journal.new_file()
    message = None if subject is None else Envelope("u@h").encode(subject, "file", {"uid": "a"}).decode()
    releasing.consumers._served |= {("one", "one"), ("two", "two")}
    assert releasing.consumers._topics is not None
    if told is not None:
        releasing.consumers._topics.hear(Consumer("two", "two", False), [told])
    journal.write([
        ("add_file", [(file, "s", "a", "a", "acknowledged", now, "", None, 1, *[None] * 4, "p", message, None, 0, now - 2000)]),
        ("put_transfer", [(file, "1", "s", "one", "one", False, "p", "r", "file:///x", "acknowledged", now - 1000, 1, "[]")]),
        ("add_removal", [(file, "s", now - 60)])])
    committed(journal)
    assert [why for _, why in releasing._due_now(now)[0]] == ([] if waits else [DELIVERED])
    assert ("two has not confirmed it" in caplog.text) is waits


def test_who_confirmed_a_copy_that_went_for_its_age_is_in_the_audit(releasing: Releasing, tmp_path: Path) -> None:
    """Of what is only old the journal tells as much as of what is due."""
    journal, now, file = releasing._journal, time.time(), releasing._journal.new_file()
    journal.write([
        ("add_file", [(file, "s", "a", "a", "acknowledged", now, "", None, 1, *[None] * 4, "p", "m", None, 0, now - 2000)]),
        ("put_transfer", [(file, "1", "s", "one", "one", False, "p", "r", "file:///x", "acknowledged", now - 1000, 1, "[]")]),
        ("put_copy", [(file, "u", "s", os.fsencode(tmp_path / "a"), 1, 2, 3, 4, now - 2000)])])
    committed(journal)
    row, = journal.find(releasing.aged_query, ("s", now - 1000, 10))
    releasing.consumers._before = {"of another name"}
    releasing._tried([Leaving(row, AGED, releasing._files_of(row, AGED))], [1], 1.0)
    assert not journal.audit.write_out()
    record, = audited(tmp_path / "journal", "removed")
    assert record["confirmed"] == "one (p)"


def test_who_delivered_a_file_is_known_when_many_have_asked_for_it(releasing: Releasing) -> None:
    """Else its provider would get no confirmation, and keep the file."""
    journal, now, file = releasing._journal, time.time(), releasing._journal.new_file()
    steps = step_line(State.ANNOUNCED, now, "p:1") + step_line(State.MOVED, now, "p:1", 1, "verified: size")
    journal.write([("add_file", [(file, "s", "a", "a", State.MOVED, now, steps, None, 1, *[None] * 4, "p:1", "m", "r", 1, now)])])
    committed(journal)
    for number in range(300):
        for state in (State.REQUESTED, State.MOVED):
            journal.write([("step", [(state, now, 1, step_line(state, now, f"192.0.2.1:{number}", 1, "x" * 50), file)])])
            committed(journal)
    row = journal.find_one("file", (file,))
    assert "192.0.2.1:150" not in row["steps"], "its history has lost a part"
    assert _has_delivered(row)


@pytest.mark.parametrize("permanent", [True, False])
def test_a_provider_that_will_never_take_note_is_not_told_again(releasing: Releasing, permanent: bool) -> None:
    """It has lost its journal, say, and the file has other content by now: it refused that every ten seconds."""
    refusal = Envelope("u@h").encode("/a", "err", {
        "error": "other content", "trollmoves": {"version": 1, "code": "not_announced", "permanent": permanent}})
    now, journal = time.time(), releasing._journal
    file = journal.new_file()
    journal.write([
        ("add_file", [(file, "s", "a", "a", "acknowledged", now, "", None, 1, None, None, None, None, "p", "m", None, 0, now)]),
        ("add_removal", [(file, "s", now - 60)])])
    releasing._telling[file] = 1, {"p"}
    releasing._answered([(file, "p")], decode(refusal))
    committed(journal)
    assert len(journal.find("due_removals", ("s", now, 10))) == (0 if permanent else 1)
