"""The manual is built without a complaint: every page has its place, every link leads somewhere."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.programs import CHECKOUT, clean_environment


def test_the_manual_is_built(tmp_path: Path) -> None:
    site = tmp_path / "site"
    done = subprocess.run([CHECKOUT / "bin" / "docs", "--site-dir", site], capture_output=True, text=True, timeout=100,
                          env=clean_environment())
    assert done.returncode == 0, done.stderr
    assert "move_it_client" in (site / "docs" / "client.html").read_text()
