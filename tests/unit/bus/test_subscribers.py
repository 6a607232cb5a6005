"""Looking after who subscribes to what costs nothing that stays."""

from __future__ import annotations

import os
from pathlib import Path

from trollmoves.bus.subscribers import Address


def test_a_descriptor_that_is_a_file_by_now_is_not_kept_open(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        before = len(os.listdir("/proc/self/fd"))
        gone = Address({(file.fileno(), ("127.0.0.2", 1)): 100})
        gone.forget_closed()
        assert not gone.connections
        assert len(os.listdir("/proc/self/fd")) == before
