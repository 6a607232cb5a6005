"""What is published and to be confirmed."""

from __future__ import annotations

from typing import Any, cast

from trollmoves.bus import Loop, Requesters
from trollmoves.bus.confirming import MOST_KEPT, Confirming
from trollmoves.bus.requesting import Answered
from trollmoves.messages import Envelope


def test_what_is_to_be_confirmed_moves_with_the_clock() -> None:
    loop = Loop()
    requesters = Requesters(loop, Envelope("somebody@here"))
    confirming = Confirming(loop, requesters, "/")
    confirming.add(("127.0.0.1", 9, "e:1"), 1, "r:1", before := 1_700_000_000.0)
    assert confirming.oldest() == before
    confirming.clock_leapt(-3600.0)
    assert confirming.oldest() == before - 3600.0
    confirming.flush()  # it was said now, and nobody has answered
    confirming.clock_leapt(600.0)
    assert confirming.oldest() == before - 3000.0
    confirming.close()
    requesters.close()
    loop.close()


class Silent:
    """In place of all providers: none answers in time."""

    def __init__(self) -> None:
        self.asked: list[Answered] = []

    def ours(self, host: str, port: int, epoch: str) -> Silent:
        return self

    def ask(self, request: str, subject: str, kind: str, data: Any, answered: Answered, timeout: float) -> None:
        self.asked.append(answered)


def test_what_a_server_never_answers_is_not_kept_for_ever() -> None:
    loop, silent = Loop(), Silent()
    confirming, place = Confirming(loop, cast(Requesters, silent), "/"), ("127.0.0.1", 9, "e:1")
    for time in range(3):
        for number in range(MOST_KEPT // 2):
            confirming.add(place, number + 1, f"r:{time}", 0.0)
        late, silent.asked = silent.asked, []
        confirming.flush()
        for answered in late:
            answered(None)
    for answered in silent.asked:
        answered(None)
    assert len(confirming) == MOST_KEPT
    confirming.close()
    loop.close()
