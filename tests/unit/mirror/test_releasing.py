"""What becomes of the list of copies when they cannot be removed."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

from trollmoves.bus import Loop
from trollmoves.config.reading import read_mirror_config
from trollmoves.journal import Journal
from trollmoves.mirror.releasing import Releasing
from trollmoves.server.removing import DELIVERED, Leaving
from trollmoves.workers import Workers


def test_an_unforeseen_error_ends_no_mirror_that_has_but_to_tell_the_providers(tmp_path: Path) -> None:
    """Of what is to be told only there is no copy any more."""
    config = tmp_path / "mirror.ini"
    config.write_text(f"[s]\nproviders = 127.0.0.1:9010\ntopic = /a\nrequest_port = 9999\ndestination = file://{tmp_path}/in\n")
    settings = read_mirror_config(config).chains["s"]
    loop = Loop()
    journal, workers = Journal(tmp_path / "journal", loop.call_all, loop.fail), Workers(loop.call_all, loop.fail, 1)
    try:
        releasing = Releasing(settings, journal, loop, workers, Mock(), Mock())
        row = {"file": 1, "identity": "one.dat", "tries": 0}
        releasing._tried([Leaving(row, DELIVERED, [])], RuntimeError("unforeseen"), 1.0)
        assert journal.audit.waits
    finally:
        workers.stop(1.0)
        journal.close()
        loop.close()
