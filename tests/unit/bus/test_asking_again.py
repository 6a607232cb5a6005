"""Publishers that come and go are asked for the past when they are there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.unit.bus.test_lost_messages import ENVELOPE, Provider, beat, provider, turning
from trollmoves.bus import Loop, Requesters
from trollmoves.bus.catching_up import CatchUp
from trollmoves.bus.subscribing import Subscribing

__all__ = ["provider"]


class Scene:
    """A subscriber to /a that knows of no publisher yet; one is to answer as *provider*."""

    def __init__(self, provider: Provider):
        self.loop = Loop()
        self._provider = provider
        self._requesters = Requesters(self.loop, ENVELOPE)
        self._place = ("127.0.0.1", provider.port)
        self.ended: list[str] = []
        self.subscribing = Subscribing(self.loop, ENVELOPE, ["/a"], lambda messages: None, addresses=[], nameserver=None,
                                       services=[], own_port=None, new_catch_up=self._new_catch_up)

    def _new_catch_up(self, name: str, topics: Sequence[str]) -> CatchUp:
        return CatchUp(self.loop, self._requesters, name, topics, cursor=None, past=0.0,
                       page=lambda messages, epoch, position, then: then(), moved_on=lambda epoch, position: None,
                       restarted=lambda address: None, alarm=lambda about, text: None)

    def order(self, name: str, topic: str, newer_than: float) -> None:
        self.subscribing.ask_again(newer_than, [topic], lambda: self.ended.append(name))

    def comes(self) -> None:
        """The name server tells of the publisher, which beats."""
        self.tell(True)
        self.subscribing._take(self._place, [beat(10, 10, self._provider.port)])

    def tell(self, status: bool) -> None:
        self.subscribing._follow({"URI": f"tcp://127.0.0.1:{self._provider.port}", "service": ["x"], "status": status})

    def asked(self, kind: str = "replay") -> dict[str, Any]:
        """What the publisher is asked for; it answers with a message of that *kind*."""
        answer = {"epoch": "e", "to": 10, "messages": [], "more": False}
        return dict(turning(self.loop, lambda: self._provider.answer(kind, **answer)).extension)

    def close(self) -> None:
        self.subscribing.close()
        self._requesters.close()
        self.loop.close()


@pytest.fixture
def scene(provider: Provider) -> Iterator[Scene]:
    found = Scene(provider)
    yield found
    found.close()


def test_an_order_that_is_nothing_to_a_new_publisher_leaves_the_next_one(scene: Scene) -> None:
    scene.order("nothing of it is heard", "/b", 1.0)
    scene.order("wanted", "/a", 2.0)
    scene.comes()
    assert scene.asked()["newer_than"] == 2.0
    turning(scene.loop, lambda: scene.ended == ["nothing of it is heard", "wanted"])


def test_who_goes_away_while_it_is_asked_is_asked_again_when_it_is_back(scene: Scene) -> None:
    scene.comes()
    scene.order("wanted", "/a", 2.0)
    scene.asked(kind="")
    scene.tell(False)
    scene.comes()
    assert scene.asked()["newer_than"] == 2.0
    turning(scene.loop, lambda: scene.ended == ["wanted"])
    scene.tell(False)
    scene.comes()
    for _ in range(10):
        scene.loop.turn(0.02)
    assert scene.ended == ["wanted"] and scene._provider.answer("replay") is None
