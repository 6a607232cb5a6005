"""Moves to other machines, which mostly wait, are more at a time than those on this machine; unless the section says how many."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest

from tests.integration.hostile import Peer, Victim
from tests.support.eventually import eventually
from trollmoves.movers.registry import mover_for

FAR = "127.0.0.2"
"""Another address of this machine; moves there go over the network."""


@pytest.mark.parametrize(("options", "expected"), [({}, mover_for("http").abilities.parallel), ({"workers": "3"}, 3),
                                                  ({"transfers_per_host": "2"}, 2)])
def test_so_many_moves_to_another_machine_run_at_a_time(tmp_path: Path, options: dict[str, str], expected: int) -> None:
    victim = Victim(tmp_path, {"connect_timeout": "60", **options})
    held: list[socket.socket] = []
    with contextlib.ExitStack() as stack:
        stack.callback(victim.close)
        silent = stack.enter_context(socket.create_server((FAR, 0)))
        silent.setblocking(False)
        far = stack.enter_context(Peer(victim.port, address=FAR))
        for number in range(40):
            far.send(victim.push(str(victim.origin / "gold.bin"), f"http://{FAR}:{silent.getsockname()[1]}/{number}/"))

        def connections() -> int:
            with contextlib.suppress(BlockingIOError):
                while True:
                    held.append(stack.enter_context(silent.accept()[0]))
            return len(held)

        eventually(lambda: connections() == expected, message=f"{expected} at a time")
        assert victim.healthy(), "and what stays here does not wait for them"
        assert connections() == expected
