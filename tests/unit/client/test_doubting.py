"""What may be a copy: what histories say was delivered, and what a file is asked for on condition of."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.unit.journal.test_alarms import Opened
from trollmoves.client.addressing import Addressing
from trollmoves.client.doubting import PERHAPS_COPY, checksum_in, checksum_told, fetched_in, in_doubt, is_at_others, is_in_doubt
from trollmoves.client.flight import Flight, Flights, Source
from trollmoves.client.ledger import Ledger
from trollmoves.client.replacing import Replacing
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import Envelope, decode, read_announcement

ONE_DIRECTORY = SimpleNamespace(place=lambda fields: SimpleNamespace(destination="/out/"))
X, Y = "sha256:" + "a" * 64, "sha256:" + "b" * 64
MOVED = step_line(State.MOVED, 1.0, "host:1", 1, f"verified: sum {X}")


@pytest.mark.parametrize(("steps", "checksum"), [
    (MOVED, X),
    (MOVED + step_line(State.PUBLISHING, 2.0), X),
    (MOVED + step_line(State.MOVED, 3.0, "host:1", 2, f"verified: size {Y}"), Y),
    (MOVED + step_line(State.MOVED, 3.0, "host:1", 2, "verified: size"), ""),  # the last delivery told none
    (step_line(State.FAILED, 1.0, "host:1", 1, f"checksum {X} arrived, {Y} was sent"), ""),
    (step_line(State.MOVED, 1.0, "host:1", 1, "delivered by upstream server a@b\u2028c"), ""),
    (step_line(State.COVERED, 1.0, "host:1", 1, f"{X}: another member of the group has published it"), X),
    (step_line(State.COVERED, 1.0, "host:1", 1, "a@b has it"), ""),
    (MOVED + step_line(State.COVERED, 3.0, "host:1", 1, "another member of the group has published it"), X),
    ("", ""),
])
def test_what_a_history_says_was_delivered(steps: str, checksum: str) -> None:
    assert checksum_in(steps) == checksum


@pytest.mark.parametrize(("steps", "checksum"), [
    (MOVED, X),
    (MOVED + step_line(State.MOVED, 3.0, "host:1", 1, "pushed to a client"), X),
    (MOVED + step_line(State.MOVED, 3.0, "host:1", 2, "verified: size"), ""),
    (step_line(State.MOVED, 1.0, "host:1", 1, "pushed to a client"), None),
    ("", None),
])
def test_what_a_history_says_was_fetched(steps: str, checksum: str | None) -> None:
    assert fetched_in(steps) == checksum


@pytest.mark.parametrize(("said", "checksum"), [
    (X, X), (None, ""), (7, ""), ("", ""), (f"{X}: somebody has it", ""), (f"verified: sum {X}\n", ""), (X[:-1], "")])
def test_what_is_told_as_a_checksum_is_one(said: object, checksum: str) -> None:
    message = decode(Envelope("u@h").encode("/a", "file", {"uid": "x", "trollmoves": {"version": 1, "checksum": said}}))
    assert checksum_told(message) == checksum


def test_what_a_history_says_else() -> None:
    assert is_in_doubt(step_line(State.ANNOUNCED, 1.0, "host:1", 0, PERHAPS_COPY))
    assert not is_in_doubt(step_line(State.ANNOUNCED, 1.0, "host:1"))
    assert is_at_others(step_line(State.COVERED, 1.0, "", 0, f"{X}: a@b has it"))
    assert not is_at_others(step_line(State.COVERED, 1.0, "", 0, "the same content was delivered before"))


def source(provider: int, key: str, mtime: float | None = None) -> Source:
    said = {"version": 1, "epoch": f"e:{provider}", "offset": 1, "previous": 0, "key": key, "size": 10,
            "address": f"127.0.0.1:{provider}", "mtime": mtime}
    data = {"uid": "x", "uri": "/x", "request_address": f"127.0.0.1:{provider}", "trollmoves": said}
    announcement = read_announcement(decode(Envelope("u@h").encode("/a", "file", data)))
    return Source(announcement.address, announcement)


def flight(file: int, *sources: Source) -> Flight:
    return Flight(file, "chain", "x", 1.0, sources[0], {one.provider: one for one in sources})


def test_who_has_another_key_is_in_doubt_unless_it_cannot_deliver() -> None:
    first, same, other, last = source(1, "k:1"), source(2, "k:1"), source(3, "k:2"), source(4, "")
    delivered = flight(1, first, same, other, last)
    assert in_doubt(delivered) == [other]
    delivered.refused.add(other.provider)
    assert in_doubt(delivered) == []


@pytest.mark.parametrize(("rows", "mtime", "had"), [
    ([("published", X, 100.0)], 50.0, (X,)),
    ([("published", X, 100.0)], None, (X,)),
    ([("published", X, 100.0), ("published", Y, 200.0)], 300.0, (Y,)),  # the first may be back
    ([("published", X, 100.0), ("published", Y, 200.0)], 150.0, (Y, X)),  # heard late
    ([("published", X, None), ("published", Y, None)], 150.0, (Y,)),
    ([("published", X, 100.0), ("published", "", 200.0)], 300.0, ()),  # of the newest nothing is known
    ([("published", X, 100.0), ("failed", "", 200.0)], 300.0, (X,)),
    ([("published", X, 100.0), ("covered", "", 200.0)], 300.0, (X,)),  # it was a copy
])
def test_what_is_asked_for_on_condition(tmp_path: Path, rows: list[tuple[str, str, float | None]], mtime: float | None,
                                        had: tuple[str, ...]) -> None:
    opened = Opened(tmp_path / "journal")
    try:
        for file, (state, checksum, when) in enumerate(rows, 1):
            announced = source(1, f"k:{file}", when).announcement
            steps = step_line(State.MOVED, 1.0, announced.address, 1, f"verified: sum {checksum}") if checksum else ""
            opened.journal.write([("add_file", [(
                file, "chain", "x", announced.key, state, 1.0, steps, None, 10, None, None, None, None, announced.address,
                announced.message.raw.decode(), None, 1, 1.0)])])
        opened.committed()
        replacing = Replacing(cast(Addressing, ONE_DIRECTORY), Ledger("chain", opened.journal), opened.journal, Flights())
        assert replacing.had(flight(9, source(2, "k:9", mtime))) == had
    finally:
        opened.journal.close()
