"""What the demo shows where."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from tests.support.programs import CHECKOUT

PROGRAM = "from trollmoves.cli.watching import new_display; import sys; print(type(new_display()).__name__, file=sys.stderr)"


@pytest.mark.parametrize("terminal, shown", [("xterm", "BarDisplay"), ("dumb", "PlainDisplay"), (None, "PlainDisplay")])
def test_bars_are_for_terminals_that_can_redraw_them(terminal: str | None, shown: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TERM"}
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run([sys.executable, "-c", PROGRAM], stdout=theirs, stderr=subprocess.PIPE, text=True, timeout=60,
                              cwd=CHECKOUT, env=environment | ({"TERM": terminal} if terminal else {}))
    finally:
        os.close(ours)
        os.close(theirs)
    assert (done.returncode, done.stderr) == (0, f"{shown}\n")
