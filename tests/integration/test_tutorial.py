"""The commands of the tutorial, in its order, as somebody who reads it types them."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from tests.support.ports import free_ports
from tests.support.programs import CHECKOUT, Program

EXAMPLE_DIRECTORY = "/tmp/trollmoves-example"
EXAMPLE_PORTS = ("9010", "9011", "9094")
EXPECTED = {"cat /tmp/trollmoves-example/incoming/demo/demo_20260101120000": "hello",
            "cat /tmp/trollmoves-example/incoming/demo/demo_20260101121500": "world",
            ".venv/bin/trollmoves trace": " published", ".venv/bin/trollmoves status": "'announced 1  acknowledged 1'"}
"""What a command says, sooner or later, that a reader would give a moment."""


def commands() -> list[str]:
    text = (CHECKOUT / "docs" / "tutorial.md").read_text()
    return re.findall(r"^\$ (.*)$", "\n".join(re.findall(r"^```console\n(.*?)^```", text, re.M | re.S)), re.M)


def test_what_the_tutorial_says_happens(tmp_path: Path) -> None:
    changes = {EXAMPLE_DIRECTORY: str(tmp_path / "data"), ".venv/bin/trollmoves": f"{sys.executable} -m trollmoves.cli.umbrella",
               **dict(zip(EXAMPLE_PORTS, map(str, free_ports(3)), strict=True))}

    def changed(text: str) -> str:
        for old, new in changes.items():
            text = text.replace(old, new)
        return text

    for name in ("bin", "trollmoves"):
        (tmp_path / name).symlink_to(CHECKOUT / name)
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    shutil.copytree(CHECKOUT / "examples", tmp_path / "examples")
    for path in (tmp_path / "examples").glob("*.ini"):
        path.write_text(changed(path.read_text()) + "listen_address = 127.0.0.1\n")
    script = ["set -m", "trap 'kill -9 $(jobs -p) 2>/dev/null' EXIT",
              'until_it_says() { local word="$1" said; shift; for _ in $(seq 300); do said="$("$@" 2>&1)"; case "$said" in',
              '*$word*) echo "$said"; return;; esac; sleep 0.1; done; echo "never $word: $said"; exit 1; }',
              'all_have_ended() { for _ in $(seq 300); do [ -z "$(jobs -pr)" ] && return; sleep 0.1; done; jobs; exit 1; }']
    for command in commands():
        line = changed(command)
        expected = next((f"until_it_says {word} " for beginning, word in EXPECTED.items() if command.startswith(beginning)), "")
        script.append(expected + line)
        if command == "kill $!":
            script.append("wait $!; jobs >/dev/null")  # the next line is typed when it has ended, and the shell has forgotten it
    (tmp_path / "typed.sh").write_text("\n".join([*script, "all_have_ended", "echo all typed", ""]))

    typed = Program(["bash", tmp_path / "typed.sh"], tmp_path / "log", directory=tmp_path,
                    environment={"PYTHONPATH": str(CHECKOUT)})
    with typed:
        typed.wait_for("^all typed$", seconds=240)
    said = typed.output()
    for word in ("announced", "requested", "moving", "moved", "acknowledged", "publishing", "published"):
        assert word in said, f"{word}\n{said}"
