"""move_it that is killed at the worst moment: nothing is lost, nothing is removed that is not at all its destinations."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.moving import MovingIt, arrives, gone
from tests.support.eventually import eventually
from trollmoves.crashing import POINTS

NAMES = [f"f{number}.dat" for number in range(8)]


@pytest.mark.parametrize("point", [point for point in POINTS if point.startswith("move_it")])
def test_killed_at_each_point(point: str, tmp_path: Path) -> None:
    # What is seen, written and removed at a time may be all there is.
    count = 1 if point in ("move_it.seen", "move_it.journaled", "move_it.removed") else 3
    options = f"destinations = {tmp_path}/one/ {tmp_path}/two/\ndelete = true"
    with MovingIt(tmp_path, options, environment={"TROLLMOVES_CRASH_POINT": f"{point}:{count}"}) as moving:
        paths = [moving.write(name) for name in NAMES]
        moving.program.start()
        assert moving.program.wait() == -signal.SIGKILL
        moving.program = moving.program_with(None)
        moving.start()
        for name, path in zip(NAMES, paths, strict=True):
            for place in ("one", "two"):
                arrives(tmp_path / place / name, name.encode() * 100)
            gone(path)
        eventually(lambda: {state for _, _, state in moving.states()} == {"published"})
        eventually(lambda: {data["uri"] for data in moving.published()}
                   == {str(tmp_path / place / name) for place in ("one", "two") for name in NAMES})
        repeated = [data for data in moving.recorder.files() if dict(data["trollmoves"]).get("redelivered")]
        assert len(moving.published()) - len(repeated) <= 2 * len(NAMES)
        assert sorted(path.name for path in (tmp_path / "one").iterdir()) == NAMES
        assert moving.program.stop() == 0


def test_killed_again_and_again(tmp_path: Path) -> None:
    options = f"destinations = {tmp_path}/one/ {tmp_path}/two/\ndelete = true"
    names = [f"f{number}.dat" for number in range(300)]
    with MovingIt(tmp_path, options) as moving:
        moving.start()
        for begin in range(0, 300, 75):
            for name in names[begin:begin + 75]:
                moving.write(name)
            moving.program.restart()
        for name in names:
            arrives(tmp_path / "one" / name, name.encode() * 100)
            arrives(tmp_path / "two" / name, name.encode() * 100)
        eventually(lambda: not list(moving.incoming.iterdir()))
        eventually(lambda: {state for _, _, state in moving.states()} == {"published"})
        assert len(moving.states()) == 600


@pytest.mark.parametrize("taken", [Path.unlink, lambda path: path.write_bytes(b"other content")])
def test_what_a_killed_move_has_left_goes_with_its_original(taken: Callable[[Path], object], tmp_path: Path) -> None:
    place = tmp_path / "one"
    with MovingIt(tmp_path, f"destinations = {place}/", environment={"TROLLMOVES_CRASH_POINT": "server.put:1"}) as moving:
        path = moving.write("f.dat")
        moving.program.start()
        assert moving.program.wait() == -signal.SIGKILL
        assert [name.suffix for name in place.iterdir()] == [".part"]
        taken(path)
        moving.program = moving.program_with(None)
        moving.start()
        eventually(lambda: not list(place.glob(".*")), message="the temporary file is removed")
        assert moving.program.stop() == 0
