"""What was seen before it was removed is not announced, though what comes to its path is."""

from __future__ import annotations

import os
from pathlib import Path
from unittest.mock import Mock

import pytest

from trollmoves.server.announcing import REMOVED, Announcing
from trollmoves.watchers.base import Arrival


@pytest.mark.parametrize("there", [False, True])
def test_a_file_that_was_seen_before_we_removed_it_is_not_announced_again(tmp_path: Path, there: bool) -> None:
    path, pattern = tmp_path / "a.dat", Mock()
    pattern.parse.return_value = None
    if there:
        path.write_bytes(b"content")
    announcing = Announcing(Mock(), pattern, Mock(), Mock(), Mock())
    announcing._examine(Arrival(str(path), 1, 2, 7, 99), {os.fsencode(path): (7, 99, REMOVED)})
    assert pattern.parse.called is there
