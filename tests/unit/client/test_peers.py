"""What a hot spare leaves to its primary is remembered until it is heard that the primary has it."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

from trollmoves.client.deciding import Notice
from trollmoves.client.peers import NOTICES_KEPT, Peers, Said
from trollmoves.config.places import Provider


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
