"""Which sections an operator can ask about."""

from __future__ import annotations

from pathlib import Path

import pytest

from trollmoves.bus import Loop
from trollmoves.cli.umbrella import main
from trollmoves.journal import Journal


@pytest.mark.parametrize(("section", "status"), [("send", 0), ("slip", 1)])
def test_a_configured_section_is_known_before_it_has_files(section: str, status: int, tmp_path: Path,
                                                           capsys: pytest.CaptureFixture[str]) -> None:
    loop, path = Loop(), tmp_path / "journal"
    journal = Journal(path, loop.call_all, loop.fail)
    journal.write([("put_meta", [("sections", '["send"]')])])
    journal.close()
    loop.close()
    assert main(["failed", "--chain", section, "--journal", str(path)]) == status
    assert ("no journal knows a section" in capsys.readouterr().err) == bool(status)
