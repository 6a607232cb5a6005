"""Announcements that nobody can ask for."""

from __future__ import annotations

import time
from pathlib import Path

from trollmoves.bus import Loop
from trollmoves.bus.streaming import Unheard
from trollmoves.config.reading import read_server_config
from trollmoves.journal import Journal
from trollmoves.lifecycle import State
from trollmoves.messages import EXTENSION, Envelope, decode
from trollmoves.queueing.results import ON_ITS_WAY
from trollmoves.server.announcer import Announcer
from trollmoves.server.recent import Recent

ENVELOPE = Envelope("somebody@here")


class Heard(Unheard):
    """Keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, raw: bytes) -> None:
        self.sent.append(raw)


def test_what_is_sent_again_says_so_and_counts_as_sent_when_it_had_time_to_leave(tmp_path: Path) -> None:
    (tmp_path / "server.ini").write_text(f"[alone]\norigin = {tmp_path}/{{name}}\ntopic = /a\n")
    loop, stream, now = Loop(), Heard(), time.time()
    journal = Journal(tmp_path / "journal", loop.call_all, loop.fail)
    announcer = Announcer(read_server_config(tmp_path / "server.ini").chains["alone"], None, loop, journal, ENVELOPE, stream,
                          Recent())
    numbered = announcer.compose(journal.new_file(), "file", {"uid": "a", "uri": "ssh://here/a"}, "k:1", 1, 0)
    row = (numbered.file, "alone", "a", "k:1", State.ANNOUNCED, now, "", None, 1, b"/a", 1, 1, 1, None, None, None, 0, now)
    journal.write([("add_file", [row]), ("add_announcement", [numbered.row("/a", now)])])

    def when_it_is(state: State) -> float:
        deadline = time.monotonic() + 60
        while not (found := [row["time"] for row in journal.find("files_named", ("a",)) if row["state"] == state]):
            loop.turn(0.02)
            assert time.monotonic() < deadline
        return float(found[0])
    when_it_is(State.ANNOUNCED)
    sent = time.time()
    announcer.repeat(journal.find("unasked_announcements", ("alone", 0, 1, 10)))
    assert when_it_is(State.PUBLISHED) >= sent + 0.9 * ON_ITS_WAY, "a kill before then may have kept it in the process"
    [message] = map(decode, stream.sent)
    assert message.extension == {**decode(numbered.raw).fields[EXTENSION], "redelivered": True}
    journal.close()
    loop.close()
