"""The files that messages speak of."""

from __future__ import annotations

from typing import Any

import pytest

from trollmoves.errors import MalformedMessage
from trollmoves.fetcher.places import place_of
from trollmoves.messages import Envelope, decode
from trollmoves.queueing.triggers import triggers_of
from trollmoves.watchers.messages import files_in


def said(kind: str, data: dict[str, Any]) -> Any:
    return decode(Envelope("somebody@host").encode("/a", kind, data))


def test_every_file_has_what_is_said_of_the_whole() -> None:
    files = [{"uri": f"/data/{number}"} for number in range(1000)]
    found = list(triggers_of(said("dataset", {"platform": "x" * 100, "dataset": files})))
    assert len({trigger.key for trigger in found}) == 1000 and all(trigger.fields["platform"] == "x" * 100 for trigger in found)


@pytest.mark.parametrize("deep", [False, True])
def test_a_message_does_not_grow_without_end(deep: bool) -> None:
    whole: dict[str, Any] = {"more": "x" * 20_000, "dataset": [{"uri": f"/data/{number}"} for number in range(9000)]}
    message = said("collection", {"collection": [whole]}) if deep else said("dataset", whole)
    assert len(message.raw) < 250_000  # of which 180 MB would become
    with pytest.raises(MalformedMessage, match="says too much of its 9000 files"):
        list(triggers_of(message))


ANNOUNCED = ("/data/blank\u00a0or\u3000two.dat", "/data/nothing\u200bseen.dat", "/data/日本 %41#?.dat")
"""Uris of files that servers announce and clients fetch."""
NO_NAMES = ("/data/a\nb", "/data/\x1b[2J", "/data/\x00", "/data/\ud800")


@pytest.mark.parametrize("uri", ANNOUNCED)
def test_what_servers_announce_is_taken(uri: str) -> None:
    assert [trigger.fields["uri"] for trigger in triggers_of(said("file", {"uri": uri}))] == [uri]
    assert files_in(said("file", {"uri": uri})) == [(uri, None)]
    assert place_of({"uri": uri}).path == uri


@pytest.mark.parametrize("uri", NO_NAMES)
def test_what_can_be_no_name_is_not(uri: str) -> None:
    message = said("file", {"uri": "/data/a"})
    message.fields["uri"] = uri
    assert not list(triggers_of(message))
    with pytest.raises(MalformedMessage):
        files_in(message)
    with pytest.raises(MalformedMessage):
        place_of({"uri": uri})
