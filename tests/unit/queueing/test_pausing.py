"""Listening is paused while the disk does not follow, and no longer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.ports import free_port
from trollmoves.bus import Loop
from trollmoves.journal import Journal
from trollmoves.messages import Envelope, Message, decode
from trollmoves.queueing import hearing
from trollmoves.queueing.hearing import Hearing

ENVELOPE = Envelope("somebody@here")
MESSAGE = decode(ENVELOPE.encode("/a", "file", {"uid": "x", "uri": "/x"}))


def rows_of(message: Message) -> list[tuple[Any, ...]]:
    """As `add_file` takes them."""
    return [(1, "a", "x", "", "seen", 1.0, "", None, None, None, None, None, None, None, message.raw.decode(), None, 0, 1.0)]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Any]:
    loop = Loop()
    journal = Journal(tmp_path / "journal", loop.call_all, loop.fail)
    found = Hearing("server", journal, rows_of, lambda chains: None)
    found.listen(loop, ENVELOPE, ["/a"], addresses=[("127.0.0.1", free_port())], nameserver=None, services=[], own_port=None)
    yield SimpleNamespace(loop=loop, journal=journal, hearing=found, subscribing=found.subscribing)
    found.close()
    journal.close()
    loop.close()


def test_it_goes_on_when_what_others_write_is_on_the_disk(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when they write much at the moment when the last of what was heard is there."""
    monkeypatch.setattr(hearing, "MUCH_BYTES", 10)
    node.hearing.received([MESSAGE])
    assert node.subscribing.paused
    for _ in range(2 * hearing.LITTLE):  # they are still to be handed to the disk when the message is
        node.loop.call(node.journal.write, [("put_meta", [("some", "thing")])])
    deadline = time.monotonic() + 10
    while node.subscribing.paused:
        assert time.monotonic() < deadline
        node.loop.turn(0.02)
