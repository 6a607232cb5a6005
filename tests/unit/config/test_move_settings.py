"""Sections of move_it: as upstream writes them, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path

import pytest

from trollmoves.config.moves import MoveSettings
from trollmoves.config.reading import Configuration, read_move_config

GOOD = """[sat]
origin = /in/{a}.dat
destinations = /out/ ftp://user:planted@host/in/{a}/
               file:///other/
watchdog_timeout = 2.5
connection_uptime = 60
delete = True
"""


def read(tmp_path: Path, text: str) -> Configuration[MoveSettings]:
    (tmp_path / "m.ini").write_text(text)
    return read_move_config(tmp_path / "m.ini")


def test_a_section_as_upstream_has_it(tmp_path: Path) -> None:
    found = read(tmp_path, GOOD)
    settings = found.chains["sat"]
    assert [str(place) for place in settings.destinations] == ["/out/", "ftp://***@host/in/{a}/", "file:///other/"]
    assert (settings.watch_interval, settings.delete, settings.topic) == (2.5, True, "")
    assert settings.connection_parameters.plain() == {"connection_uptime": 60}
    assert [warning.partition("] ")[2].partition(":")[0] for warning in found.warnings] == ["topic", "connection_uptime"]
    assert "planted" not in repr(found)


@pytest.mark.parametrize(("line", "complaint"), [
    ("origin = relative", "absolute"), ("destinations = relative/", "absolute path"),
    ("destinations = ftp://{host}/x", "fields before its path"), ("destinations = /a/../b", ".."),
    ("destinations = /{a", "without partner"),
    ("destinations = ftp://h:x/ /in/ x /a}/", "destinations: number 1 has a malformed host or port; write for example "
                                              "sftp://user@host:22/data/in/; number 3 needs an absolute path, or a uri like "
                                              "sftp://user@host/data/in/; number 4 has a brace"),
    ("delete = maybe", "neither true nor false"), ("compression = rar", "compression"),
    ("fsync = sometimes", "fsync"), ("destinations = " + " ".join(f"/d{number}/" for number in range(50)), "more than 40")])
def test_mistakes(line: str, complaint: str, tmp_path: Path) -> None:
    option = line.partition(" =")[0]
    kept = [kept for kept in GOOD.replace("\n               ", " ").splitlines() if not kept.startswith(option)]
    found = read(tmp_path, "\n".join([*kept, line, ""]))
    assert not found.chains and any(complaint in problem for problem in found.problems), found.problems


def test_what_is_missing(tmp_path: Path) -> None:
    problems = read(tmp_path, "[sat]\ntopic = /a\n").problems
    assert len(problems) == 2 and "origin: is missing" in problems[0] and "destinations: is missing" in problems[1]


@pytest.mark.parametrize(("origin", "place", "warns"), [
    ("/in/{a}.dat", "ftp://me:planted@host/out9", True), ("/in/{a}.dat", "/out/{a}/latest", True),
    ("/in/{a}.dat", "/there/is/none", True), ("/in/{a}.dat", "/tmp", False), ("/in/{a}.dat", "/out/{a}", False),
    ("/in/{a}.dat", "/out/x{t:%Y/%m}", False), ("/in/{a}.dat", "/out/", False), ("/in/{a}.dat", "s3://bucket", False),
    ("/in/one.dat", "/out/one", False)])
def test_a_place_for_one_file_only_is_warned_of(origin: str, place: str, warns: bool, tmp_path: Path) -> None:
    found = read(tmp_path, f"[sat]\ntopic = /t\norigin = {origin}\ndestinations = {place} /other/\n")
    shown = place.replace("me:planted", "***")
    assert found.warnings == tuple(
        f"{tmp_path}/m.ini:4: [sat] destinations: {shown} is the name of one file, unless a directory is called so, and every "
        f"file replaces the one before it; write {shown}/ for a directory" for _ in range(warns))
