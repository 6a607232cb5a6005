"""What a hot spare leaves to its primary is remembered until it is heard that the primary has it."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

from trollmoves.client.deciding import Notice
from trollmoves.client.doubting import is_at_others, is_said_by_name
from trollmoves.client.peers import NOTICES_KEPT, Peers, Said, _said
from trollmoves.config.places import Provider
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import Envelope, decode


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
