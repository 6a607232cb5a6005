"""What a client chain says of its own publications."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.support.ports import free_port
from trollmoves.bus import Loop
from trollmoves.bus.listening import overheard
from trollmoves.client.chain import Chain
from trollmoves.config.reading import read_client_config
from trollmoves.journal import Journal
from trollmoves.lifecycle import State
from trollmoves.messages import Envelope
from trollmoves.workers import Workers

ENVELOPE = Envelope("somebody@here")


class Publishing:
    """A chain that is not started, its journal, and who hears it."""

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

    def note(self, subject: str) -> int:
        """A publication is in the journal; its position."""
        file, (position, previous), now = self.journal.new_file(), self.journal.new_position(subject), time.time()
        row = (file, "chain", f"f{file}", "", State.PUBLISHING, now, "", None, 1, None, None, None, None, None, "", None, 0, now)
        self.journal.write([("add_file", [row]), ("add_announcement", [(position, file, subject, previous, "", now)])])
        return position

    def publish(self, position: int, subject: str) -> None:
        """It goes out, and the journal has that (the files have the numbers of their publications)."""
        self.chain.stream.publish(ENVELOPE.encode(subject, "file", {"uid": str(position)}), subject, position)
        written: list[bool] = []
        self.journal.write([("step_all", [(State.PUBLISHED, time.time(), "", f"[{position}]")])], written.append, True)
        self.turn_until(lambda: written)

    def turn_until(self, check: Any) -> Any:
        deadline = time.monotonic() + 20
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
        waits, follows, other = publishing.note("/a"), publishing.note("/a"), publishing.note("/b")
        publishing.publish(follows, "/a")
        publishing.publish(other, "/b")
        assert {beat[:2] for beat in next_beats()} == {(0, 0)}
        publishing.publish(waits, "/a")
        assert next(beat for beat in next_beats() if beat[1]) == (0, 3, {"/a": 2, "/b": 3})
        assert next_beats()[-1] == (3, 3, {})
    publishing.close()
