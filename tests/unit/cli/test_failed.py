"""What `trollmoves failed` tells of files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.journal.test_alarms import Opened
from trollmoves.cli.failed import main
from trollmoves.client.doubting import PERHAPS_COPY
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State


def test_what_was_perhaps_a_copy_is_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its content may be there: that another provider's could not be compared with it may be nobody's loss."""
    opened = Opened(tmp_path / "j")
    for file, detail in enumerate(("", PERHAPS_COPY), 1):
        steps = step_line(State.ANNOUNCED, 1.0, "h:1", 0, detail) + step_line(State.GIVEN_UP, 2.0, "h:1", 1, "no room")
        opened.journal.write([("add_file", [(file, "one", f"f{file}", "", State.GIVEN_UP, 2.0, steps, None, 1, None, None, None,
                                             None, "h:1", None, None, 1, 1.0)])])
    opened.committed()
    assert main(["--journal", str(tmp_path / "j"), "--json"]) == 0
    assert {letter["uid"]: letter["perhaps_copy"] for letter in json.loads(capsys.readouterr().out)} == {"f1": False, "f2": True}
    assert main(["--journal", str(tmp_path / "j")]) == 0
    said = capsys.readouterr().out
    assert "no room\n" in said and "no room; it is perhaps a copy of what another provider has delivered\n" in said
    opened.journal.close()
