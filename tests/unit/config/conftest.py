from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a configuration file and return its path."""
    def write_file(text: str) -> Path:
        path = tmp_path / "test.ini"
        path.write_text(text, encoding="utf-8")
        return path
    return write_file
