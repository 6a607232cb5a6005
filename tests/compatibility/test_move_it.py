"""One configuration, upstream's move_it and ours: the same files at the same places, the same messages about them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.faults.network import Recorder
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.programs import Program
from tests.support.upstream import upstream_program
from trollmoves.messages import EXTENSION

CONFIG = """[sat]
origin = {root}/incoming/{{platform}}_{{start_time:%Y%m%d%H%M}}_{{segment:3d}}.dat
destinations = {root}/one/ file://{root}/two/
topic = /moved
info = sensor=seviri;areas=a,b
"""
NAME = "M9_202601021200_007.dat"
FOLDERS = ("incoming", "one", "two")


def moved(root: Path, who: str) -> tuple[list[dict[str, Any]], list[str]]:
    """What is published of one file, without our extension, and which files there are then, by *who* moves."""

    for name in FOLDERS:
        (root / name).mkdir(parents=True)
    config, port = root / "move_it.ini", free_port()
    config.write_text(CONFIG.format(root=root))
    if who == "ours":
        program = Program.ours("move_it", "-p", str(port), "--journal", root / "journal", config, log=root / "log")
    else:
        program = Program([*upstream_program("move_it.py"), "-p", str(port), config], log=root / "log")
    recorder = Recorder(port)
    try:
        with program:
            eventually(lambda: any(" beat " in text for text in recorder.texts), 60, message="a beat")
            (root / "new").write_text("contents")
            os.replace(root / "new", root / "incoming" / NAME)
            eventually(lambda: len(recorder.files()) == 2, 60)
            program.stop()
    finally:
        recorder.close()
    files = [{name: value for name, value in data.items() if name != EXTENSION} for data in recorder.files()]
    said = sorted(files, key=lambda data: str(data["uri"]))
    places = sorted(str(path.relative_to(root)) for name in FOLDERS for path in (root / name).rglob("*"))
    return said, places


@pytest.mark.slow
def test_the_same_files_and_messages(tmp_path: Path) -> None:
    theirs, ours = moved(tmp_path / "a", "theirs"), moved(tmp_path / "b", "ours")
    here = [{**data, "uri": str(data["uri"]).replace(str(tmp_path / "b"), str(tmp_path / "a"))} for data in ours[0]]
    assert here == theirs[0]
    assert [list(data) for data in ours[0]] == [list(data) for data in theirs[0]]
    assert ours[1] == theirs[1] == [f"incoming/{NAME}", f"one/{NAME}", f"two/{NAME}"]
