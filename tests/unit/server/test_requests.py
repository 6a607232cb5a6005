"""What a request says, read strictly."""

from __future__ import annotations

from typing import Any

import pytest

from trollmoves.bus import Asker
from trollmoves.bus.requesting import PUSHES
from trollmoves.errors import DestinationInvalid
from trollmoves.messages import EXTENSION, Envelope, Message, decode
from trollmoves.movers.moving import temporary_name
from trollmoves.server.requests import Consumer, backups, group, is_about, is_confirmation, transfer_id
from trollmoves.uris import parse_destination

ROW = {"id": 5, "key": "k:1"}


def test_two_servers_that_send_the_same_file_to_the_same_place_use_two_temporary_names() -> None:
    message = decode(Envelope("a@b").encode("/topic", "push", {"uid": "a.dat"}))
    consumer, destination = Consumer("client@host", "group", False), parse_destination("sftp://host/in/")
    transfers = [transfer_id(ROW, consumer, destination, "r:1", message, epoch) for epoch in ("e:1", "e:2", "e:1")]
    assert transfers[0] == transfers[2]
    first, second = (temporary_name("/in/a.dat", transfer) for transfer in transfers[:2])
    assert first != second


def push(extension: Any = None, **data: Any) -> Message:
    return decode(Envelope("a@b").encode("/topic", "push", {"uid": "a.dat", EXTENSION: extension, **data}))


def test_only_so_many_backup_targets_are_taken() -> None:
    """Each is a host to look up and to try."""
    assert len(backups(push(backup_targets=["host"] * 20))) == 20
    for targets in (["host"] * 21, [""], [1], "host", {"host": 1}):
        with pytest.raises(DestinationInvalid):
            backups(push(backup_targets=targets))


def test_only_so_many_pushes_come_at_once() -> None:
    assert len(group(push({PUSHES: [[1, "r:1"]] * 1000}))) == 1000
    for pairs in ([[1, "r:1"]] * 1001, [], [[1, "r:1"], [2]], {"1": "r:1"}):
        with pytest.raises(DestinationInvalid):
            group(push({PUSHES: pairs}))


@pytest.mark.parametrize("pair", [
    [0, "r:1"], [-1, "r:1"], [True, "r:1"], [2**63, "r:1"], ["1", "r:1"], [1, "1"], [1, "r:" + "x" * 63], [1, 1], [1], "r:1",
    None, [1, "r:1", 1]])
def test_what_is_no_place_and_request(pair: object) -> None:
    assert not is_confirmation(pair)
    assert is_confirmation([1, "r:" + "x" * 62])


@pytest.mark.parametrize(("name", "kept"), [("x" * 200, True), ("x" * 201, False), ("", False), (7, False), (None, False)])
@pytest.mark.parametrize("which", ["client", "group"])
def test_who_gives_itself_a_name_that_is_none_goes_by_its_address(which: str, name: object, kept: bool) -> None:
    """Names are kept in the journal, for a day."""
    found = Consumer.of(Asker(b"", "192.0.2.7"), push({"client": "me", "group": "us", "priority": 1, which: name}))
    assert (found.group != "", found.client == "192.0.2.7") == (kept, not kept)


def test_what_waits_to_be_unpacked_or_was_replaced_is_not_served() -> None:
    for state, expected in (("announced", True), ("acknowledged", True), ("seen", False), ("covered", False)):
        assert is_about({"state": state, "path": b"/a"}, ("/a",)) is expected
    for uris in (("/b",), ("/a", "/b"), ()):
        assert not is_about({"state": "announced", "path": b"/a"}, uris)
