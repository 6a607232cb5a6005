"""What is published and to be confirmed."""

from __future__ import annotations

from trollmoves.bus import Loop, Requesters
from trollmoves.bus.confirming import Confirming
from trollmoves.messages import Envelope


def test_what_is_to_be_confirmed_moves_with_the_clock() -> None:
    loop = Loop()
    requesters = Requesters(loop, Envelope("somebody@here"))
    confirming = Confirming(loop, requesters, "/")
    confirming.add(("127.0.0.1", 9), 1, "r:1", before := 1_700_000_000.0)
    assert confirming.oldest() == before
    confirming.clock_leapt(-3600.0)
    assert confirming.oldest() == before - 3600.0
    confirming.flush()  # it was said now, and nobody has answered
    confirming.clock_leapt(600.0)
    assert confirming.oldest() == before - 3000.0
    confirming.close()
    requesters.close()
    loop.close()
