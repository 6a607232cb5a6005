"""A dispatcher that is killed at the worst moment: what it had journaled is dispatched and reported after its restart."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.dispatching import SUBJECT, Dispatching, arrives
from tests.support.eventually import eventually
from trollmoves.crashing import POINTS

TARGETS = f"""
one:
  host: ""
  directory: {{root}}/one
  publish_topic: /dispatched
  dispatch_configs:
    - topics: [{SUBJECT}]
two:
  host: ""
  directory: {{root}}/two
  dispatch_configs:
    - topics: [{SUBJECT}]
"""
AFTER_THE_JOURNAL = [point for point in POINTS if point.startswith("dispatcher") and point != "dispatcher.heard"]


def publish_dataset(dispatching: Dispatching, count: int) -> list[str]:
    names = [f"file{number}" for number in range(count)]
    items = [{"uid": name, "uri": str(dispatching.file(name))} for name in names]
    dispatching.source.publish({"dataset": items}, kind="dataset")
    return names


@pytest.mark.parametrize("point", AFTER_THE_JOURNAL)
def test_what_was_journaled_is_dispatched_and_reported(point: str, tmp_path: Path) -> None:
    count = 1 if point == "dispatcher.journaled" else 3
    with Dispatching(tmp_path, TARGETS.format(root=tmp_path),
                     environment={"TROLLMOVES_CRASH_POINT": f"{point}:{count}"}) as dispatching:
        dispatching.start()
        names = publish_dataset(dispatching, 10)
        assert dispatching.program.wait() == -signal.SIGKILL
        dispatching.program = dispatching.program_with(None)
        dispatching.start()
        for name in names:
            for place in ("one", "two"):
                arrives(tmp_path / place / name, dispatching.incoming / name)
        eventually(lambda: Counter(dispatching.states().values()) == {"published": 20})
        eventually(lambda: {data["uid"] for _, data in dispatching.published()} == set(names))
        published = dispatching.published()
        repeated = [data for _, data in published if data["trollmoves"].get("redelivered") is True]
        assert len(published) - len(repeated) <= 10
        assert sorted(path.name for path in (tmp_path / "one").iterdir()) == names  # nothing half written is left
        assert dispatching.program.stop() == 0


def test_killed_again_and_again(tmp_path: Path) -> None:
    with Dispatching(tmp_path, TARGETS.format(root=tmp_path)) as dispatching:
        dispatching.start()
        names = publish_dataset(dispatching, 200)
        eventually(lambda: len(dispatching.states()) == 400)
        for _ in range(4):
            before = dispatching.program.mark()
            dispatching.program.restart()
            dispatching.program.wait_for(r"\[two\] dispatched ", since=before)
        for name in names:
            for place in ("one", "two"):
                arrives(tmp_path / place / name, dispatching.incoming / name)
        eventually(lambda: Counter(dispatching.states().values()) == {"published": 400})


def test_what_a_killed_move_has_left_goes_with_its_original(tmp_path: Path) -> None:
    killed = {"TROLLMOVES_CRASH_POINT": "server.put:1"}
    with Dispatching(tmp_path, TARGETS.format(root=tmp_path), environment=killed) as dispatching:
        dispatching.start()
        path = dispatching.announce("f")
        assert dispatching.program.wait() == -signal.SIGKILL
        left = [*(tmp_path / "one").glob(".*"), *(tmp_path / "two").glob(".*")]
        assert left
        path.unlink()
        dispatching.program = dispatching.program_with(None)
        dispatching.start()
        eventually(lambda: not any(name.exists() for name in left), message="the temporary file is removed")
        assert dispatching.program.stop() == 0
