"""The files that messages speak of."""

from __future__ import annotations

from typing import Any

import pytest

from trollmoves.errors import MalformedMessage
from trollmoves.messages import Envelope, decode
from trollmoves.queueing.triggers import triggers_of


def said(kind: str, data: dict[str, Any]) -> Any:
    return decode(Envelope("somebody@host").encode("/a", kind, data))


def test_every_file_has_what_is_said_of_the_whole() -> None:
    files = [{"uri": f"/data/{number}"} for number in range(1000)]
    found = list(triggers_of(said("dataset", {"platform": "x" * 100, "dataset": files})))
    assert len(found) == 1000 and all(trigger.fields["platform"] == "x" * 100 for trigger in found)


@pytest.mark.parametrize("deep", [False, True])
def test_a_message_does_not_grow_without_end(deep: bool) -> None:
    whole: dict[str, Any] = {"more": "x" * 20_000, "dataset": [{"uri": f"/data/{number}"} for number in range(9000)]}
    message = said("collection", {"collection": [whole]}) if deep else said("dataset", whole)
    assert len(message.raw) < 250_000  # of which 180 MB would become
    with pytest.raises(MalformedMessage, match="says too much of its 9000 files"):
        list(triggers_of(message))
