"""Small files go through a process of their own (`server/small_moves.py`): whatever becomes of it, nothing is lost."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.network import Network
from tests.faults.test_killing import seeded
from tests.support.eventually import eventually


def children(pid: int) -> list[int]:
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]


@pytest.mark.parametrize("number", [pytest.param(signal.SIGKILL, id="killed"),
                                    pytest.param(signal.SIGSTOP, id="stopped", marks=pytest.mark.slow)])  # a minute passes
def test_nothing_is_lost_when_the_process_of_small_moves_is(tmp_path: Path, number: signal.Signals) -> None:
    dice = seeded()
    with Network(tmp_path) as network:
        network.start()
        network.write_many(1, "first")
        network.settle()
        network.write_many(1, "second")
        server = network.servers[0].pid
        eventually(lambda: children(server), message="the process of small moves is there")
        for part in range(4):
            network.write_many(300, f"part{part}")
            time.sleep(dice.uniform(0, 0.1))
            for child in children(server):
                with suppress(ProcessLookupError):
                    os.kill(child, number)
        network.settle(120)
        assert set(network.stop()) == {0}
        network.check()
