"""What a request says, read strictly."""

from __future__ import annotations

from trollmoves.messages import Envelope, decode
from trollmoves.movers.moving import temporary_name
from trollmoves.server.requests import Consumer, transfer_id
from trollmoves.uris import parse_destination

ROW = {"id": 5, "key": "k:1"}


def test_two_servers_that_send_the_same_file_to_the_same_place_use_two_temporary_names() -> None:
    message = decode(Envelope("a@b").encode("/topic", "push", {"uid": "a.dat"}))
    consumer, destination = Consumer("client@host", "group", False), parse_destination("sftp://host/in/")
    transfers = [transfer_id(ROW, consumer, destination, "r:1", message, epoch) for epoch in ("e:1", "e:2", "e:1")]
    assert transfers[0] == transfers[2]
    first, second = (temporary_name("/in/a.dat", transfer) for transfer in transfers[:2])
    assert first != second
