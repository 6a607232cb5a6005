"""Units and container file name programs, options and extras that exist."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.programs import CHECKOUT
from tests.unit.cli.asking import STARTERS, ask
from trollmoves.cli.umbrella import COMMANDS

CONTRIB = CHECKOUT / "contrib"
UNITS = sorted((CONTRIB / "systemd").glob("*.service"))
EXAMPLES = {"server": "server.ini", "client": "client.ini", "dispatcher": "dispatcher.yaml", "clean": "remove_it.ini",
            "mirror": "mirror.ini", "move": "move_it.ini", "fetch": "fetcher.yaml",
            "s3": "s3downloader.yaml"}


def kind_of(unit: Path) -> str:
    return unit.name.removeprefix("trollmoves-").partition("@")[0]


def command_of(unit: Path, config: Path) -> list[str]:
    """The words of ExecStart, without the folder of the program, for *config*."""
    text = unit.read_text()
    line = re.search(r"^ExecStart=/opt/trollmoves/bin/(.*)$", text, re.M)
    assert line is not None
    given = dict(re.findall(r"^Environment=(\w+)=(\S+)$", text, re.M))
    words = [re.sub(r"\$\{(\w+)\}", lambda found: given[found[1]], word) for word in shlex.split(line[1])]
    assert re.fullmatch(r"/etc/trollmoves/%i\.(ini|yaml)", words[-1])
    return [*words[:-1], str(config)]


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit_starts_a_program_that_takes_these_options(unit: Path, tmp_path: Path) -> None:
    program, *words = command_of(unit, CHECKOUT / "examples" / EXAMPLES[kind_of(unit)])
    assert program in STARTERS
    answer = ask(program, "--check-config", *words, state=tmp_path)
    assert (answer.status, answer.err) == (0, "")


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    shutil.copytree(CONTRIB / "systemd", tmp_path / "units")
    for path in (tmp_path / "units").rglob("*.*"):
        if path.is_file():
            path.write_text(re.sub(r"/opt/trollmoves/bin/\S+", sys.executable, path.read_text()))
    names = [str(path).replace("@.", "@example.") for path in (tmp_path / "units").glob("*@.*")]
    for path in (tmp_path / "units").glob("*@.*"):
        shutil.copy(path, str(path).replace("@.", "@example."))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *names], capture_output=True, text=True, timeout=60)
    complaints = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "trollmoves" in line]
    assert (done.returncode, complaints) == (0, [])


def test_the_image_is_made_of_what_there_is() -> None:
    text = (CONTRIB / "Containerfile").read_text().replace("\\\n", " ")
    copied = [word for line in re.findall(r"^COPY (.*)$", text, re.M) for word in line.split()[:-1]]
    assert copied and all((CHECKOUT / name).exists() for name in copied)
    extras = re.search(r'"/build\[(.*?)\]"', text)
    known = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras is not None and set(extras[1].split(",")) <= set(known)
    assert json.loads(re.findall(r"^ENTRYPOINT (.*)$", text, re.M)[0]) == ["trollmoves"]
    used = re.search(r"\btrollmoves (\w+) -p \d+", text)
    assert used is not None and used[1] in COMMANDS
