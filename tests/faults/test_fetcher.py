"""A fetcher that is killed at the worst moment: what it had journaled is fetched and published after its restart."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.integration.fetching import TOPIC, Fetching
from tests.integration.moving import arrives
from tests.support.eventually import eventually
from trollmoves.crashing import POINTS

AFTER_THE_JOURNAL = [point for point in POINTS if point.startswith("fetcher") and point != "fetcher.heard"]
NAMES = [f"f{number}.nc" for number in range(6)]


@pytest.mark.parametrize("point", AFTER_THE_JOURNAL)
def test_killed_at_each_point(point: str, tmp_path: Path) -> None:
    count = 1 if point == "fetcher.journaled" else 3
    with Fetching(tmp_path, environment={"TROLLMOVES_CRASH_POINT": f"{point}:{count}"}) as fetching:
        fetching.start()
        items = []
        for name in NAMES:
            (tmp_path / name).write_bytes(name.encode() * 1000)
            items.append({"uid": name, "uri": str(tmp_path / name)})
        fetching.source.publish({"platform": "M9", "dataset": items}, kind="dataset", subject=TOPIC)
        assert fetching.program.wait() == -signal.SIGKILL
        fetching.program = fetching.program_with(None)
        fetching.start()
        for name in NAMES:
            arrives(fetching.into / "M9" / name, name.encode() * 1000)
        eventually(lambda: fetching.states() == ["published"] * len(NAMES))
        eventually(lambda: {data["uid"] for data in fetching.published()} == set(NAMES))
        repeated = [data for data in fetching.published() if data["trollmoves"].get("redelivered")]
        assert len(fetching.published()) - len(repeated) <= len(NAMES)
        assert sorted(path.name for path in (fetching.into / "M9").iterdir()) == NAMES  # nothing half written is left
        assert fetching.program.stop() == 0
