"""`trollmoves faults` itself: it breaks networks, finds what is lost, and touches nothing outside its directory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.checker import tree
from tests.support.eventually import eventually
from tests.support.ports import free_ports
from tests.support.programs import CHECKOUT, Program, clean_environment

QUICK = ("--files", "60", "--seconds", "6", "--strikes", "5", "--json")


def kit(root: Path, *words: str | Path, timeout: float = 110) -> tuple[int, dict[str, object], str]:
    """Exit status, report and what was said."""
    argv = [sys.executable, "-m", "trollmoves.cli.umbrella", "faults", *map(str, words)]
    run = subprocess.run(argv, text=True, timeout=timeout, capture_output=True, cwd=root,
                         env=clean_environment({"PYTHONPATH": str(CHECKOUT)}))
    return run.returncode, json.loads(run.stdout) if run.stdout.startswith("{") else {}, run.stdout + run.stderr


@pytest.mark.slow
@pytest.mark.parametrize("more", [
    (), ("--delete", "--servers", "2"), ("--mirror", "--dispatcher")], ids=["plain", "deleting from two", "all along the way"])
def test_a_run_that_goes_well(tmp_path: Path, more: tuple[str, ...]) -> None:
    status, report, said = kit(tmp_path, *QUICK, "--seed", "42", "--directory", tmp_path / "scratch", *more)
    assert status == 0, said
    assert (report["seed"], report["files"], report["details"]) == (42, 60, [])
    assert report["delivered"] == report["expected"]
    assert report["expected"] == 60 or "--dispatcher" in more  # which does what it has heard of
    assert sum(report["faults"].values()) == 5  # type: ignore[attr-defined]
    assert set(report["violations"].values()) == {0}  # type: ignore[attr-defined]
    assert str(report["again"]).startswith("trollmoves faults --seed 42 --files 60")
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.slow
def test_a_file_that_somebody_takes_away_is_counted_as_lost(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    words = ("--files", "60", "--seconds", "6", "--strikes", "1", "--faults", "end", "--patience", "8", "--directory", scratch)
    with Program([sys.executable, "-m", "trollmoves.cli.faults", *words], tmp_path / "log",
                 environment={"PYTHONPATH": str(CHECKOUT)}) as program:
        place = scratch / "disk" / "destination" / "f00001.bin"
        eventually(place.exists, 60, message="it arrived")
        time.sleep(0.5)
        place.unlink()
        assert program.wait(80) == 1
        program_said = program.output()
    assert "59 of 60" in program_said and "I1: f00001.bin is not at the destination" in program_said
    assert "kept:" in program_said and (scratch / "server0.log").exists()


@pytest.mark.slow
def test_own_configurations_are_tried_and_what_they_name_is_left_alone(tmp_path: Path) -> None:
    publish, request, own = free_ports(3)
    for name in ("out", "in"):
        (tmp_path / "real" / name).mkdir(parents=True)
        (tmp_path / "real" / name / "M9_202601011200_001.dat").write_text("theirs")
    (tmp_path / "server.ini").write_text(
        f"[hrit]\norigin = {tmp_path}/real/out/{{platform}}_{{start_time:%Y%m%d%H%M}}_{{segment:3d}}.dat\ntopic = /1b/hrit\n"
        f"request_port = {request}\ndelete = true\nremove_delay = 600\nconnection_parameters__password = s3cr3t\n")
    (tmp_path / "client.ini").write_text(
        f"[hrit]\nproviders = 127.0.0.1:{publish}\ntopic = /1b\ndestination = ftp://u:s3cr3t@127.0.0.1/{tmp_path}/real/in/{{platform}}\n"
        f"publish_port = {own}\n")
    before = tree([tmp_path / "real"])
    status, report, said = kit(tmp_path, *QUICK, "--directory", tmp_path / "scratch", "server.ini", "client.ini")
    assert status == 0, said
    assert (report["delivered"], report["expected"]) == (60, 60)
    assert "not copied" in said and "connection_parameters__password" in said and "s3cr3t" not in said
    assert tree([tmp_path / "real"]) == before


@pytest.mark.parametrize(("words", "complaint"), [
    (("examples/dispatcher.yaml",), "only servers and clients"),
    (("examples/server.ini",), "at least one client"),
    (("--directory", "examples"), "is not an empty directory"),
])
def test_what_cannot_be_done_is_said(tmp_path: Path, words: tuple[str, ...], complaint: str) -> None:
    words = tuple(str(CHECKOUT / word) if word.startswith("examples") else word for word in words)
    status, _, said = kit(tmp_path, *QUICK, *words)
    assert (status, complaint in said) == (1, True), said


def test_own_sections_that_take_files_of_the_same_names_are_named(tmp_path: Path) -> None:
    for program, options in (("server", "origin = /data/{0}/{{name}}.dat\nrequest_port = 9094"),
                             ("client", "providers = 192.0.2.1:9010\ndestination = /in/{0}/")):
        sections = [f"[{name}]\ntopic = /{name}\n{options.format(name)}\n" for name in ("hrit", "lrit")]
        (tmp_path / f"{program}.ini").write_text("".join(sections))
    status, _, said = kit(tmp_path, *QUICK, "--not-isolated", "server.ini", "client.ini")
    assert status == 1
    assert "could not be told apart: /hrit as {name}.dat, /lrit as {name}.dat" in said


ESCAPING = """
import os, socket, sys
from pathlib import Path
from trollmoves.errors import TrollmovesError
from trollmoves.faults.isolating import isolate
inside, outside = map(Path, sys.argv[1:])
try:
    isolate(inside)
except (TrollmovesError, OSError) as error:
    sys.exit(f"no isolation here: {error}")
(inside / "written").write_text("inside")
for path in (outside / "theirs", outside / "new", inside / ".." / outside.name / "new"):
    try:
        path.write_text("changed")
    except OSError as error:
        print(error.strerror)
try:
    os.unlink(outside / "theirs")
except OSError as error:
    print(error.strerror)
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname(), 5).close()
try:
    socket.create_connection(("192.0.2.1", 9010), 5)
except OSError as error:
    print(error.strerror)
"""


def test_nothing_outside_the_directory_can_be_written_and_nobody_reached(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "theirs").write_text("theirs")
    run = subprocess.run([sys.executable, "-c", ESCAPING, inside, outside], text=True, capture_output=True, timeout=60,
                         env=clean_environment({"PYTHONPATH": str(CHECKOUT)}))
    if "no isolation here" in run.stderr:
        pytest.skip(run.stderr.strip())
    assert run.stdout.splitlines() == ["Read-only file system"] * 4 + ["Network is unreachable"], run.stderr
    assert tree([outside])[str(outside / "theirs")][1] == len("theirs") and (inside / "written").exists()
    assert [path.name for path in outside.iterdir()] == ["theirs"]
