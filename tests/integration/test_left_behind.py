"""What a move has left at its destination goes when nobody makes that move any more."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.checker import rows
from tests.integration.hostile import Peer, Victim
from tests.support.eventually import eventually, never
from trollmoves.server.left_behind import OLD

ANOTHER = ".another.bin.0123456789abcdef.part"
"""Of a server that somebody else runs."""


def killed_while_it_moves(victim: Victim, place: Path) -> None:
    """The server is killed while it moves a file to *place*, and who asked for it is gone for good."""
    origin = victim.announce("big.bin", b"x" * 4_000_000)
    with Peer(victim.port) as peer:
        peer.send(victim.push(str(origin), f"file://localhost{place}/"))
        eventually(lambda: rows(victim.journal, "SELECT 1 FROM transfers WHERE state = 'moving'"), message="it is journaled")
        victim.program.kill()


@pytest.mark.parametrize("options", [{}, {"connection_parameters__use_tmp_on_transfer": "true"}])
def test_it_waits_for_another_attempt_and_goes_after_a_day(tmp_path: Path, options: dict[str, str]) -> None:
    victim = Victim(tmp_path, {"bandwidth_per_host": "200k", **options})
    place = tmp_path / "in"
    place.mkdir()
    try:
        killed_while_it_moves(victim, place)
        (left,) = place.iterdir()
        assert left.name != "big.bin"
        (place / ANOTHER).write_bytes(b"somebody else's")
        victim.program.restart()
        never(lambda: not left.exists(), 3.0)
        victim.program.kill()
        with closing(sqlite3.connect(victim.journal)) as journal, journal:
            journal.execute("UPDATE transfers SET time = time - ?", (OLD,))
        victim.program.restart()
        eventually(lambda: not left.exists(), message="what is left goes")
        assert [path.name for path in place.iterdir()] == [ANOTHER]
        eventually(lambda: rows(victim.journal, "SELECT receipt FROM transfers WHERE state = 'failed'")
                   == [("left nothing: interrupted",)], message="and is not looked for again")
        assert (victim.origin / "big.bin").exists()
    finally:
        victim.close()


def test_what_is_left_of_an_archive_goes_after_a_day(tmp_path: Path) -> None:
    work = tmp_path / "work"
    old, young = (work / f".unpack-{digit * 32}" for digit in "01")
    for directory in (old, young):
        (directory / "members").mkdir(parents=True)
        (directory / "members" / "part").write_bytes(b"half")
    long_ago = time.time() - OLD - 60
    os.utime(old, (long_ago, long_ago))
    victim = Victim(tmp_path, {"compression": "bzip", "working_directory": str(work)})
    try:
        eventually(lambda: not old.exists(), message="what is left goes")
        never(lambda: not young.exists())
    finally:
        victim.close()
