"""Who is silent for too long, with a hand-set clock."""

from __future__ import annotations

import pytest

from tests.support.clock import Clock
from trollmoves.bus.silence import OURS, UNHEARD, Silence
from trollmoves.messages import EXTENSION, Envelope, Message, decode

ENVELOPE = Envelope("somebody@here")
FILE = decode(ENVELOPE.encode("/a", "file", {"uid": "a"}))


def beat(*, ours: bool) -> Message:
    extension = {EXTENSION: {"version": 1}} if ours else {}
    return decode(ENVELOPE.encode("/heartbeat/x", "beat", {"min_interval": 30, **extension}))


class Ear:
    """A silence with a clock, and what it said."""

    def __init__(self, before: tuple[str, ...] = ()):
        self.clock = Clock()
        self.said: list[str] = []
        self.silence = Silence(lambda name, text: self.said.append(text), lambda name, text: self.said.append(f"{name}: {text}"),
                               before, self.clock)
        self.silence.follow("one")

    def after(self, seconds: float) -> list[str]:
        self.clock.advance(seconds)
        self.silence.look()
        said, self.said = self.said, []
        return said


@pytest.mark.parametrize(("messages", "patience"), [((beat(ours=True),), OURS), ((beat(ours=False),), 90), ((), UNHEARD)])
def test_silence_is_said_once_and_its_end_too(messages: tuple[Message, ...], patience: float) -> None:
    ear = Ear()
    if messages:
        ear.silence.heard("one", messages)
    assert ear.after(patience) == []
    (text,) = ear.after(1)
    assert text.startswith("nothing was heard from one")
    assert ear.after(1000) == []
    ear.silence.heard("one", [FILE])
    assert ear.said == ["one: it is heard again"]


def test_who_never_beats_is_not_expected_to() -> None:
    ear = Ear()
    ear.silence.heard("one", [FILE])
    assert ear.after(10_000) == []


def test_who_may_not_beat_is_expected_to_when_it_did() -> None:
    ear = Ear()
    ear.silence.follow("one", beats=False)
    assert ear.after(10_000) == []
    ear.silence.heard("one", [beat(ours=False)])
    assert len(ear.after(91)) == 1


def test_the_silence_of_an_earlier_process_ends_when_it_is_heard_or_left() -> None:
    ear = Ear(before=("one", "other"))
    ear.silence.leave_others()
    assert ear.after(1000) == ["other: it is listened to no more"]
    ear.silence.heard("one", [FILE])
    ear.silence.heard("stranger", [FILE])
    assert ear.said == ["one: it is heard again"]


def test_who_is_left_is_not_silent() -> None:
    ear = Ear()
    ear.silence.leave("one")
    assert ear.after(1000) == []
