"""Documentation that can fail: tables, configurations and commands are what the programs have."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.faults.network import Recorder
from tests.support.eventually import eventually
from tests.support.ports import free_ports
from tests.support.programs import CHECKOUT, Program
from tests.unit.cli.asking import STARTERS, ask
from trollmoves.cli.guessing import guess
from trollmoves.cli.umbrella import COMMANDS
from trollmoves.config.documenting import MODELS, PARAMETERS, with_tables

PAGES = [CHECKOUT / "README.md", CHECKOUT / "examples" / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]
EXAMPLES = sorted(path for ending in ("ini", "yaml") for path in (CHECKOUT / "examples").glob(f"**/*.{ending}"))
YAML_OPTIONS = ("dispatch_configs", "subscriber_config", "subscribe-topic")
OF_OTHERS = {"pip", "mkdir", "echo", "cat", "kill", "posttroll-generate-keys"}


def blocks(kind: str) -> list[tuple[str, str]]:
    """Name of the page, and text, of every block of that kind."""
    fence = re.compile(rf"^```{kind}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [(page.name, block) for page in PAGES for block in fence.findall(page.read_text())]


def commands() -> list[str]:
    return sorted({line for _, block in blocks("console") for line in block.splitlines()})


def test_the_tables_are_those_of_the_programs() -> None:
    found = [name for page in PAGES for name in re.findall(r"<!-- settings: (\w+) -->", page.read_text())]
    assert set(found) == set(MODELS)
    found = [name for page in PAGES for name in re.findall(r"<!-- parameters: (\w+) -->", page.read_text())]
    assert sorted(found) == sorted(PARAMETERS)
    for page in PAGES:
        assert page.read_text() == with_tables(page.read_text()), f"run python -m trollmoves.config.documenting {page.name}"


def test_the_tables_are_renewed_by_one_command(tmp_path: Path) -> None:
    text = (CHECKOUT / "README.md").read_text()
    page = tmp_path / "page.md"
    page.write_text(re.sub(r"^\| `topic` \|.*$", "", text, flags=re.M))
    assert page.read_text() != text
    subprocess.run([sys.executable, "-m", "trollmoves.config.documenting", page], check=True, timeout=60, cwd=CHECKOUT)
    assert page.read_text() == text


@pytest.mark.parametrize("page, text", blocks("ini"))
def test_every_configuration_is_right(page: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.ini"
    path.write_text(text)
    kind = guess(path)
    answer = ask("move_it.py" if kind == "move" else f"move_it_{kind}.py", "--check-config", path, state=tmp_path)
    warnings = [line for line in answer.err.splitlines() if "of this machine; nothing can be unpacked" not in line]
    assert (answer.status, warnings) == (0, [])


@pytest.mark.parametrize("page, text", [block for block in blocks("yaml") if any(word in block[1] for word in YAML_OPTIONS)])
def test_every_configuration_in_yaml_is_right(page: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    answer = ask("trollmoves", "check", path, state=tmp_path)
    assert (answer.status, answer.err) == (0, "")


def test_there_are_configurations_of_all_programs(tmp_path: Path) -> None:
    kinds = set()
    for _, text in blocks("ini"):
        (tmp_path / "x.ini").write_text(text)
        kinds.add(guess(tmp_path / "x.ini"))
    assert kinds == {"server", "client", "mirror", "move"}


@pytest.mark.parametrize("line", commands())
def test_every_command_and_its_options_exist(line: str, tmp_path: Path) -> None:
    assert line.startswith("$ ")
    program, *words = shlex.split(line.removeprefix("$ "))
    if program in OF_OTHERS:
        return
    options = [word for word in words if word.startswith("-")]
    program = re.sub(r"^(\.venv/bin/|bin/(?=.*\.py$))", "", program)
    if program.startswith("bin/"):
        script = CHECKOUT / program
        assert os.access(script, os.X_OK)
        subprocess.run(["bash", "-n", script], check=True, timeout=20)
        assert program != "bin/demo" or "trollmoves.cli.umbrella demo" in script.read_text()
        return
    command = [words[0]] if program == "trollmoves" else []
    assert program in STARTERS and set(command) <= set(COMMANDS)
    answer = ask(program, *command, "--help", state=tmp_path)
    assert answer.status == 0 and [option for option in options if option not in answer.out.replace(",", " ").split()] == []


def test_the_readme_begins_with_the_two_commands() -> None:
    assert (CHECKOUT / "README.md").read_text().startswith("# trollmoves\n\n```console\n$ bin/demo\n$ bin/test\n```\n")


def test_links_lead_somewhere() -> None:
    missing = [f"{page.name}: {target}" for page in [*PAGES, CHECKOUT / "CONTRIBUTING.md", CHECKOUT / "CHANGELOG.md"]
               for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
               if not target.startswith("https://") and not (page.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_right(path: Path, tmp_path: Path) -> None:
    answer = ask("trollmoves", "check", path, state=tmp_path)
    assert (answer.status, answer.err) == (0, "")
    assert path.name in (path.parent / "README.md").read_text()


def test_a_file_crosses_with_the_examples(tmp_path: Path) -> None:
    ports = dict(zip(("9010", "9011", "9094"), map(str, free_ports(3)), strict=True))
    (tmp_path / "outgoing").mkdir()
    for name in ("server", "client"):
        text = (CHECKOUT / "examples" / f"{name}.ini").read_text().replace("/tmp/trollmoves-example", str(tmp_path))
        for old, new in ports.items():
            text = text.replace(old, new)
        (tmp_path / f"{name}.ini").write_text(text + "listen_address = 127.0.0.1\n")
    server = Program.ours("server", "-p", ports["9010"], "--journal", tmp_path / "s.journal", tmp_path / "server.ini",
                          log=tmp_path / "server.log")
    client = Program.ours("client", "--journal", tmp_path / "c.journal", tmp_path / "client.ini", log=tmp_path / "client.log")
    with server, client:
        server.wait_for("watches")
        client.wait_for("listens to")
        staged = tmp_path / "staged"
        staged.write_text("hello\n")
        staged.rename(tmp_path / "outgoing" / "demo_20260101120000_00001.dat")
        arrived = tmp_path / "incoming" / "demo" / "demo_20260101120000_00001.dat"
        eventually(lambda: arrived.read_text() == "hello\n", message="the file crosses")
        assert [client.stop(), server.stop()] == [0, 0]


def test_the_examples_of_a_server_that_listens_and_of_one_nobody_can_ask(tmp_path: Path) -> None:
    names = ("9010", "9011", "9094", "9013", "9096", "9014")
    ports = dict(zip(names, map(str, free_ports(len(names))), strict=True))
    (tmp_path / "outgoing").mkdir()
    (tmp_path / "archives").mkdir()
    programs = {}
    for name, program, port in (("server", "server", "9010"), ("client", "client", ""), ("listen", "server", "9013"),
                                ("standalone", "server", "9014")):
        text = (CHECKOUT / "examples" / f"{name}.ini").read_text().replace("/tmp/trollmoves-example", str(tmp_path))
        for old, new in ports.items():
            text = text.replace(old, new)
        text = re.sub(r"(?m)^(topic = .*)$", r"\1\nlisten_address = 127.0.0.1", text)
        (tmp_path / f"{name}.ini").write_text(text)
        arguments = ["-p", ports[port]] if port else []
        programs[name] = Program.ours(program, *arguments, "--journal", tmp_path / f"{name}.journal", tmp_path / f"{name}.ini",
                                      log=tmp_path / f"{name}.log")
    relayed, alone = Recorder(int(ports["9013"])), Recorder(int(ports["9014"]))
    numbers = iter(range(1, 1000))

    def comes_through() -> bool:  # nobody tells when all of them are connected
        staged = tmp_path / "staged"
        staged.write_text("hello")
        staged.rename(tmp_path / "outgoing" / f"demo_20260101120000_{next(numbers):05d}.dat")
        with tarfile.open(staged, "w") as archive:
            archive.add(tmp_path / "server.ini", "server.ini")
        staged.rename(tmp_path / "archives" / f"{next(numbers)}.tar")
        texts = [" ".join(text.split(" ", 2)[:2]) for recorder in (relayed, alone) for text in list(recorder.texts)]
        return {"pytroll://example/relayed file", "pytroll://example/fetch file",
                "pytroll://example/members dataset"} <= set(texts)

    with programs["server"], programs["client"], programs["listen"], programs["standalone"]:
        eventually(comes_through, 60, interval=0.5, message="all kinds of messages")
        assert [program.stop() for program in programs.values()] == [0, 0, 0, 0]
    relayed.close()
    alone.close()
