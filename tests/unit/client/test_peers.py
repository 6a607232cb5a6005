"""What a hot spare leaves to its primary is remembered until it is heard that the primary has it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from tests.unit.client.test_waiting import ENVELOPE, Client
from trollmoves.client import hearing, peers
from trollmoves.client.deciding import Notice
from trollmoves.client.doubting import is_at_others, is_said_by_name
from trollmoves.client.peers import NOTICES_KEPT, Peers, Said, _said
from trollmoves.config.places import Provider
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import EXTENSION, Envelope, decode


class Spare(Client):
    """A hot spare, whose primary is at the address of the second server."""

    def __init__(self, directory: Path):
        super().__init__(directory, "processing_delay = 5\ntransfer_req_timeout = 100\n")
        self.peer = self.providers[1]
        self.peers = self.chain._hearing._peers

    def says(self, kind: str, content: str, server: int = 0, **more: object) -> None:
        """The primary tells of *content* that it asks the *server* for, or has of it."""
        address = self.servers[server]
        said = {"version": 1, "key": f"k:{content}", "size": len(content), **more}
        data = {"uid": "x", "uri": f"/{content}", EXTENSION: said, "origin" if kind == "file" else "request_address": address}
        self.chain._hearing._take_in(self.peer, [decode(ENVELOPE.encode("/a", kind, data))])

    def row(self, file: int) -> Any:
        done: list[bool] = []
        self.chain._asking.commit(lambda: done.append(True))
        self.turn_until(lambda: done)
        return self.journal.find_one("file", (file,))


@pytest.fixture
def spare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spare]:
    monkeypatch.setattr(hearing, "OTHERS_ANNOUNCE", 0.0)
    found = Spare(tmp_path)
    yield found
    found.close()


@pytest.mark.parametrize("ours", [True, False])
def test_of_one_of_our_kind_its_publication_counts(spare: Spare, ours: bool) -> None:
    """It tells the server first that it has it, and may die before it publishes. Upstream's say nothing else."""
    if ours:
        spare.peers.add(spare.peer)
    spare.hear(0, 1, "content")
    spare.says("ack", "content")
    assert spare.row(1)["state"] == (State.ANNOUNCED if ours else State.COVERED)
    spare.says("file", "content", publication="p:1")
    assert spare.row(1)["state"] == State.COVERED


def test_what_it_has_is_not_what_has_the_name_only(spare: Spare) -> None:
    spare.says("file", "older content")
    spare.hear(0, 1, "content")
    spare.says("file", "older content")
    spare.says("file", "cOntent")  # of the same server
    assert spare.row(1)["state"] == State.ANNOUNCED


@pytest.mark.parametrize("written", [True, False])
def test_what_is_perhaps_a_copy_of_what_it_has_is_not_what_it_has(spare: Spare, written: bool) -> None:
    spare.hear(0, 1, "content")
    spare.says("file", "content", publication="p:1")
    assert spare.row(1)["state"] == State.COVERED
    spare.hear(1, 1, "cOntent")
    assert not written or spare.row(2)["state"] == State.ANNOUNCED
    spare.says("file", "content", publication="p:1")
    assert spare.row(2)["state"] == State.ANNOUNCED
    spare.says("file", "cOntent", server=1, publication="p:2")
    assert spare.row(2)["state"] == State.COVERED


@pytest.mark.parametrize("valid", [True, False])
def test_what_it_said_before_the_announcement_counts_for_a_while(
        spare: Spare, monkeypatch: pytest.MonkeyPatch, valid: bool) -> None:
    monkeypatch.setattr(peers, "NOTICES_VALID", 600.0 if valid else -1.0)
    spare.says("file", "content", publication="p:1")
    spare.hear(0, 1, "content")
    assert spare.row(1)["state"] == (State.COVERED if valid else State.ANNOUNCED)


@pytest.mark.parametrize("silent", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_what_it_asks_for_is_left_to_it_until_it_falls_silent(spare: Spare, silent: bool, first: bool) -> None:
    """Also where it was heard of before the announcement."""
    spare.peers.add(spare.peer)
    if first:
        spare.says("push", "content")
    spare.hear(0, 1, "content")
    if not first:
        spare.says("push", "content")
    assert spare.row(1)["due"] > time.time() + 90, "it may wait for the file itself"
    spare.peers.check({spare.peer: time.monotonic() - (13 if silent else 0)})
    assert (spare.row(1)["due"] <= time.time()) is silent


def test_an_upstream_peer_is_always_silent(spare: Spare) -> None:
    spare.hear(0, 1, "content")
    spare.says("push", "content")
    spare.peers.check({})
    assert spare.row(1)["due"] > time.time() + 90


def test_what_a_peer_never_got_is_not_remembered_for_ever() -> None:
    """It asks for thousands of files a day, is never silent for long, and gives up some of them."""
    peer, ledger, asking = Provider("127.0.0.1", 9), Mock(), Mock()
    ledger.known.return_value = 0, None
    peers = Peers(5.0, ledger, asking)
    peers.add(peer)
    for number in range(NOTICES_KEPT + 100):
        peers.leave_to(Said(peer, Notice.ASKED, "", "", None, 0.0, shared=False), number, f"f{number}")
    peers.check({})
    asked: Any = ledger.look_up_identities.call_args[0][0]
    assert list(asked) == [f"f{number}" for number in range(100, NOTICES_KEPT + 100)]


def test_who_publishes_says_more_than_who_has_it_as_upstream_does() -> None:
    """Upstream's know names only; of ours that tell no checksum it is not concluded that they have whatever has that name."""
    def word(**more: object) -> str:
        extension = {"version": 1, "key": "k:1", **more}
        message = decode(Envelope("u@h").encode("/a", "file", {"uid": "x", "uri": "/x", "trollmoves": extension}))
        return _said(Provider("127.0.0.1", 9), Notice.HAS, message, False).word
    assert is_said_by_name(step_line(State.COVERED, 1.0, "", 0, f"u@h {word()}"))
    assert not is_said_by_name(step_line(State.COVERED, 1.0, "", 0, f"u@h {word(publication='p:1')}"))
    assert is_at_others(step_line(State.COVERED, 1.0, "", 0, f"u@h {word(publication='p:1')}"))
