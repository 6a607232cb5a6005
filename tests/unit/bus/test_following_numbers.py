"""What the numbers of messages and beats tell, one by one: what is missing is asked for, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.bus.test_lost_messages import ENVELOPE, EPOCH, Following, Provider, announcement, provider
from trollmoves.messages import EXTENSION, Message, decode

__all__ = ["provider"]  # a fixture

OTHER = "e:fedcba9876543210"


def publication(epoch: str, offset: Any, previous: Any) -> Message:
    said = {"epoch": epoch, "offset": offset, "previous": previous}
    return decode(ENVELOPE.encode("/a", "file", {"uid": "x", "uri": "/x", EXTENSION: said}))


def beat_of(port: int, subject: str = "/heartbeat/move_it_server", **said: Any) -> Message:
    data = {"epoch": EPOCH, "head": 12, "since": 10, "heads": {"/a": 12}, "address": f"127.0.0.1:{port}", "started": 1, **said}
    return decode(ENVELOPE.encode(subject, "beat", {EXTENSION: data}))


def test_where_all_comes_in_turn_nothing_is_asked_for(provider: Provider) -> None:
    """And the next process goes on from there."""
    following = Following(provider)
    for offset in (11, 12):
        following.catch_up.announced(announcement(offset, offset - 1, provider.port))
    following.beat(12, 10)
    assert following.is_quiet()
    assert following.cursors == [(EPOCH, 12)]
    following.beat(12, 10)
    assert following.cursors == [(EPOCH, 12)], "told once"
    following.close()


def test_subjects_are_counted_each_for_itself(provider: Provider) -> None:
    following = Following(provider)
    following.catch_up.announced(announcement(11, 10, provider.port))
    following.catch_up.announced(announcement(12, 11, provider.port, subject="/a/b"))
    assert following.asks(12)["since"] == 10, "what was before under that subject is another message"
    following.close()


def test_what_comes_again_later_takes_nothing_back(provider: Provider) -> None:
    """A publisher may repeat what it had said before."""
    following = Following(provider)
    for offset, previous in ((11, 10), (12, 11), (11, 10), (13, 12)):
        following.catch_up.announced(announcement(offset, previous, provider.port))
    assert following.is_quiet()
    following.close()


@pytest.mark.parametrize(("epoch", "offset", "previous", "asks"), [
    (EPOCH, 13, 12, True), (EPOCH, 13, 10, False), (OTHER, 13, 12, False), (EPOCH, "13", 12, False), (EPOCH, 13, "12", False),
    (EPOCH, 13, None, False)])
def test_the_number_of_a_publication_counts_in_the_journal_that_is_followed(provider: Provider, epoch: str, offset: Any,
                                                                           previous: Any, asks: bool) -> None:
    following = Following(provider)
    following.beat(10, 10)  # from now on it is known where to ask
    following.catch_up.published(publication(epoch, offset, previous))
    assert following.is_quiet() is not asks
    following.close()


@pytest.mark.parametrize("said", [
    {"head": "12"}, {"head": -1}, {"head": None}, {"since": "10"}, {"since": None}, {"epoch": 7}, {"epoch": "e" * 501},
    {"subject": "/" + "x" * 500}])
def test_a_beat_that_is_none_moves_nothing(provider: Provider, said: dict[str, Any]) -> None:
    following = Following(provider)
    following.catch_up.beat(beat_of(provider.port, **said))
    assert following.is_quiet() and not following.cursors and not following.catch_up.stream
    following.close()


@pytest.mark.parametrize("said", [
    {"heads": {"/a": 13}, "head": 13}, {"heads": {"/a": "12"}}, {"heads": None}, {"since": 11}, {"heads": {"/a/other": 11}}])
def test_a_beat_that_tells_of_more_than_came_closes_no_gap(provider: Provider, said: dict[str, Any]) -> None:
    following = Following(provider)
    following.catch_up.announced(announcement(12, 10, provider.port))
    following.catch_up.beat(beat_of(provider.port, **said))
    assert not following.cursors
    assert following.asks(13)["since"] == 10
    following.close()


def test_beats_under_two_subjects_are_of_two_streams(provider: Provider) -> None:
    following = Following(provider)
    for subject in "/heartbeat/one", "/heartbeat/" + "x" * 489:
        following.catch_up.beat(beat_of(provider.port, subject))
        assert following.catch_up.stream == subject
    following.close()


def test_what_is_not_listened_to_is_not_missing(provider: Provider) -> None:
    following = Following(provider)
    following.catch_up.beat(beat_of(provider.port, heads={"/b": 12, "/": 11}))
    assert following.is_quiet() and following.cursors == [(EPOCH, 12)]
    following.close()
