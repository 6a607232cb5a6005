"""How a client tells what it listens to, and what a provider makes of what it is told."""

from __future__ import annotations

from typing import Any

import pytest

from trollmoves.bus.topics import LONGEST_TOPIC, MOST_TOPICS, TOPICS, topics_to_tell, topics_told
from trollmoves.messages import EXTENSION, Envelope, decode

MANY = [f"/{number}" for number in range(MOST_TOPICS)]


@pytest.mark.parametrize(("heard", "told"), [
    (["/a"], ["/a"]), (["/b", "/a", "/b"], ["/a", "/b"]), ([""], [""]), (["/a", ""], ["", "/a"]),
    (["/a file"], ["/a"]), ([" "], [""]),
    (MANY, sorted(MANY)), ([*MANY, "/more"], [""]),
    (["/" * LONGEST_TOPIC], ["/" * LONGEST_TOPIC]), (["/a", "/" * (LONGEST_TOPIC + 1)], [""])])
def test_a_client_tells_all_it_listens_to_or_that_it_is_everything(heard: list[str], told: list[str]) -> None:
    assert topics_to_tell(heard) == told


@pytest.mark.parametrize(("told", "heard"), [
    (["/a", "/b"], ("/a", "/b")), (["/a", "/a"], ("/a",)), ([""], ("",)), (MANY, tuple(MANY)),
    (None, ("",)), ([], ("",)), ("/a", ("",)), ({"/a": 1}, ("",)), (["/a", 1], ("",)), ([["/a"]], ("",)),
    ([*MANY, "/more"], ("",)),
    (["/a", "/" * (LONGEST_TOPIC + 1)], ("",))])
def test_who_tells_nothing_that_can_be_kept_listens_to_everything(told: Any, heard: tuple[str, ...]) -> None:
    said = {"version": 1} if told is None else {"version": 1, TOPICS: told}
    assert topics_told(decode(Envelope("u@h").encode("/a", "push", {EXTENSION: said}))) == heard
