"""A server, what it announced, and requests that may get lost on their way to it."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import zmq

from tests.compatibility.network import ask
from tests.compatibility.tapping import Looping
from tests.faults.network import Network, Recorder
from tests.support.eventually import eventually
from tests.support.ports import free_port
from trollmoves.bus import Loop
from trollmoves.bus.requesting import Requester, new_request
from trollmoves.messages import EXTENSION, Envelope, Message, decode

ENVELOPE = Envelope("me@here")
SILENCE = 1.5


class Dropping(Looping):
    """Hands requests and replies on, except that the first so many of a type get lost."""

    def __init__(self, server: int):
        super().__init__()
        self.port = free_port()
        self.to_drop: Counter[str] = Counter()
        """By type, with `request` or `reply` before it."""
        self.passed: list[str] = []
        self._server = server
        self._front = self._context.socket(zmq.ROUTER)
        self._front.bind(f"tcp://127.0.0.1:{self.port}")
        self._backs: dict[bytes, Any] = {}
        self._watch(self._front, self._asked)

    def _is_lost(self, direction: str, raw: bytes) -> bool:
        what = f"{direction} {decode(raw).type}"
        if self.to_drop[what] > 0:
            self.to_drop[what] -= 1
            return True
        self.passed.append(what)
        return False

    def _asked(self) -> None:
        identity, *frames = self._front.recv_multipart()
        if self._is_lost("request", frames[-1]):
            return
        if identity not in self._backs:
            back = self._backs[identity] = self._context.socket(zmq.DEALER)
            back.connect(f"tcp://127.0.0.1:{self._server}")
            self._watch(back, lambda: self._answered(identity, back))
        self._backs[identity].send_multipart(frames)

    def _answered(self, identity: bytes, back: Any) -> None:
        frames = back.recv_multipart()
        if not self._is_lost("reply", frames[-1]):
            self._front.send_multipart([identity, *frames])


class Scene:
    """A server, what it announced, and a relay that loses what it is told to lose."""

    def __init__(self, network: Network, silence: float = SILENCE):
        """*silence* is the client's: after a third of it what is not answered is asked again."""
        self.network = network
        self.server = network.servers[0].start()
        self.server.wait_for("watches")
        self.recorder = Recorder(network.publish_ports[0])
        eventually(lambda: self.recorder.texts, message="the server is heard")  # what it announces before that is not
        self.dropping = Dropping(network.request_ports[0])
        self.dropping.__enter__()
        self.loop = Loop()
        self.requester = Requester(self.loop, ENVELOPE, "127.0.0.1", self.dropping.port, silence=silence)

    def close(self) -> None:
        self.requester.close()
        self.loop.close()
        self.recorder.close()
        self.dropping.__exit__()

    def announced(self, name: str, size: int = 1000) -> Message:
        """A new file's announcement."""
        self.network.write(name, os.urandom(size))
        return eventually(lambda: next(decode(text.encode()) for text in self.recorder.texts if f'"{name}"' in text))

    def push(self, announcement: Message, request: str, destination: str = "", **more: Any) -> dict[str, Any]:
        return {**announcement.fields, "destination": destination or f"file://localhost{self.network.destination}/",
                EXTENSION: {**announcement.extension, "request": request, "client": "me", "group": "us", "commit": True, **more}}

    def outcome(self, announcement: Message, request: str, **more: Any) -> Message:
        """The reply; asked for again under the same id for as long as the server is silent."""
        found: list[Message | None] = []
        data = self.push(announcement, request, **more)

        def is_there() -> bool:
            if not len(self.requester) and (not found or found[-1] is None):
                self.requester.ask(request, announcement.subject, "push", data, found.append)
            self.loop.turn(0.05)
            self.requester.sweep()
            return bool(found) and found[-1] is not None
        eventually(is_there, 60, interval=0.0, message="an outcome")
        assert found[-1] is not None
        return found[-1]

    def confirm(self, announcement: Message, request: str) -> None:
        """Tell the server that what it delivered is published."""
        said = {EXTENSION: {"request": new_request(), "requests": [[announcement.extension["offset"], request]]}}
        reply = ask(self.network.request_ports[0], ENVELOPE.encode("/", "ack", said))
        assert reply is not None
        assert decode(reply).type == "ack"

    def moves(self, name: str) -> int:
        """How often the file was moved; at least once, when that was seen."""
        return eventually(lambda: self.network.observer.moves[name], message=f"{name} is seen to be moved")
