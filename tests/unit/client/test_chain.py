"""What a client chain says of its own publications."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from tests.support.ports import free_port
from trollmoves.bus import Loop
from trollmoves.bus.listening import overheard
from trollmoves.client.chain import Chain
from trollmoves.client.flight import Flight, Source
from trollmoves.config.reading import read_client_config
from trollmoves.journal import Journal
from trollmoves.messages import Envelope, decode, read_announcement
from trollmoves.workers import Workers

ENVELOPE = Envelope("somebody@here")


class Publishing:
    """A chain, its journal, and who hears it."""

    def __init__(self, directory: Path):
        self.port = free_port()
        (directory / "client.ini").write_text(
            f"[chain]\nproviders = 127.0.0.1:9\ndestination = file:///data/\ntopic = /a\npublish_port = {self.port}\n"
            "nameservers = false\nlisten_address = 127.0.0.1\n")
        self.loop = Loop()
        self.workers = Workers(self.loop.call_all, self.loop.fail, 1)
        self.journal = Journal(directory / "journal", self.loop.call_all, self.loop.fail)
        settings = read_client_config(directory / "client.ini").chains["chain"]
        self.chain = Chain(settings, "chain@here", self.journal, self.loop, ENVELOPE, self.workers)
        self.delivering = self.chain._asking.delivering

    def deliver(self, subject: str) -> Flight:
        """A file is delivered by an upstream server, which is not asked for leave to publish it."""
        raw = ENVELOPE.encode(subject, "file", {"uid": subject, "uri": "/there/a", "request_address": "127.0.0.1:9"})
        source = Source("127.0.0.1:9", read_announcement(decode(raw)))
        flight = Flight(self.journal.new_file(), "chain", subject, time.time(), source, attempt=1)
        self.delivering.publish(flight, subject, "file", {"uid": subject})
        return flight

    def turn_until(self, check: Any) -> Any:
        deadline = time.monotonic() + 60
        while not (found := check()):
            assert time.monotonic() < deadline
            self.loop.turn(0.02)
        return found

    def close(self) -> None:
        self.chain.stop()
        self.workers.stop(1)
        self.journal.close()
        self.loop.close()


def test_beats_count_no_publication_as_sent_that_waits_while_later_ones_are_out(tmp_path: Path) -> None:
    publishing = Publishing(tmp_path)
    with overheard("127.0.0.1", publishing.port) as heard:
        def beats() -> list[tuple[int, int, dict[str, int]]]:
            found = [message.extension for message in heard() if message.type == "beat"]
            return [(said["since"], said["head"], said["heads"]) for said in found]

        def next_beats() -> list[tuple[int, int, dict[str, int]]]:
            publishing.chain.stream.beat_soon()
            found: list[tuple[int, int, dict[str, int]]] = publishing.turn_until(beats)
            return found
        assert next_beats()[-1] == (0, 0, {})
        publishing.chain.start()
        publishing.turn_until(lambda: not publishing.delivering._holds)
        waits = publishing.deliver("/a")
        waits.valid_until = 0.0  # another member of the group may be about to publish it
        publishing.deliver("/a")
        publishing.deliver("/b")
        publishing.turn_until(lambda: publishing.chain.stream._head == 3)
        assert {beat[:2] for beat in next_beats()} == {(0, 0)}
        waits.valid_until = math.inf
        publishing.delivering._publish(waits, ENVELOPE.encode("/a", "file", {"uid": "/a"}), "/a", 1)
        assert next(beat for beat in next_beats() if beat[1]) == (0, 3, {"/a": 2, "/b": 3})
        assert next_beats()[-1] == (3, 3, {})
    publishing.close()
