"""Optional libraries that are not installed: named with what to install, by the check and at the first use."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.programs import CHECKOUT, Program, clean_environment
from tests.unit.cli.asking import Answer

SECTION = "[{name}]\norigin = {folder}/{{x}}\ntopic = /a\nrequest_port = 9094\n{more}\n"
EXTRAS = {"asyncssh": "trollmoves[ssh]", "botocore": "trollmoves[s3]"}


@pytest.fixture
def without(tmp_path: Path) -> dict[str, str]:
    """An environment in which neither library can be imported, as if it were not there."""
    folder = tmp_path / "blocking"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({list(EXTRAS)!r}))\n")
    return {"PYTHONPATH": f"{folder}:{CHECKOUT}", "XDG_STATE_HOME": str(tmp_path), "STATE_DIRECTORY": ""}


def run(words: Sequence[str | Path], environment: dict[str, str]) -> Answer:
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, env=clean_environment(environment))
    assert "Traceback" not in done.stderr, done.stderr
    return Answer(done.returncode, done.stdout, done.stderr)


def server_file(tmp_path: Path, *more: str) -> Path:
    path = tmp_path / "server.ini"
    path.write_text("".join(SECTION.format(name=f"s{number}", folder=tmp_path, more=line) for number, line in enumerate(more)))
    return path


CHECKS = (["-m", "trollmoves.cli.server", "--check-config"], ["-m", "trollmoves.cli.umbrella", "check"])


@pytest.mark.parametrize("check", CHECKS, ids=["--check-config", "check"])
@pytest.mark.parametrize(("option", "library"), [
    ("allowed_destinations = sftp://host/data/*", "asyncssh"),
    ("allowed_destinations = /data/* scp://user@host/data/", "asyncssh"),
    ("allowed_destinations = ssh://host/data/", "asyncssh"), ("allowed_destinations = s3://bucket/*", "botocore"),
    ("connection_parameters__num_ssh_retries = 2", "asyncssh"), ("connection_parameters__profile = x", "botocore"),
])
def test_the_check_names_what_to_install(tmp_path: Path, without: dict[str, str], check: list[str], option: str,
                                         library: str) -> None:
    answer = run([*check, server_file(tmp_path, option)], without)
    assert answer.status == 1
    assert f"[s0] {option.partition('__')[0].partition(' ')[0]}: " in answer.err
    assert library in answer.err and f"pip install '{EXTRAS[library]}'" in answer.err
    with_them = run([*check, server_file(tmp_path, option)], {**without, "PYTHONPATH": str(CHECKOUT)})
    assert (with_them.status, with_them.err) == (0, "")


def test_all_sections_are_looked_at_and_others_need_nothing(tmp_path: Path, without: dict[str, str]) -> None:
    path = server_file(tmp_path, "allowed_destinations = s3://a/", "allowed_destinations = ftp://h/ https://h/ /data/",
                       "connection_parameters__password = x", "allowed_destinations = any", "allowed_destinations = sftp://h/ scp://h/")
    answer = run([*CHECKS[0], path], without)
    assert [line.partition("[")[2][:2] for line in answer.err.splitlines() if line.startswith("error: ")] == ["s0", "s4", "s4"]


def test_a_destination_that_nothing_serves_is_named_too(tmp_path: Path) -> None:
    path = server_file(tmp_path, "allowed_destinations = gopher://host/data/")
    answer = run([*CHECKS[0], path], {"PYTHONPATH": str(CHECKOUT)})
    assert answer.status == 1 and "no mover for 'gopher'" in answer.err


def test_a_client_is_only_warned_because_the_server_moves(tmp_path: Path, without: dict[str, str]) -> None:
    path = tmp_path / "client.ini"
    path.write_text("[a]\nproviders = 192.0.2.1:9010\ndestination = sftp://user:planted@host/{x}/\n")
    answer = run(["-m", "trollmoves.cli.client", "--check-config", path], without)
    assert answer.status == 0 and "planted" not in answer.err
    assert answer.err.startswith("warning: ") and "trollmoves[ssh]" in answer.err and "concerns the server" in answer.err


def test_a_server_starts_without_them(tmp_path: Path, without: dict[str, str]) -> None:
    path = server_file(tmp_path, "listen_address = 127.0.0.1\nallowed_destinations = s3://a/ sftp://host/")
    path.write_text(path.read_text().replace("9094", str(free_port())))
    with Program.ours("server", "-p", "0", "--journal", tmp_path / "journal", path, log=tmp_path / "log",
                      environment=without) as server:
        server.wait_for("watches")
        assert server.stop() == 0
    assert "pip install" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize(("destination", "library"), [
    ("sftp://127.0.0.1:1/x", "asyncssh"), ("scp://127.0.0.1:1/x", "asyncssh"), ("s3://bucket/x", "botocore")])
def test_the_first_use_names_what_to_install(tmp_path: Path, without: dict[str, str], destination: str, library: str) -> None:
    (tmp_path / "origin.dat").write_bytes(b"1")
    program = (f"from trollmoves.errors import MissingLibrary\nfrom trollmoves.movers import move_it\n"
               f"move_it('origin.dat', 'copy.dat')\n"
               f"try: move_it('origin.dat', {destination!r})\nexcept MissingLibrary as error: print(error)\n")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=tmp_path,
                          env=clean_environment(without))
    assert library in done.stdout and f"pip install '{EXTRAS[library]}'" in done.stdout, done.stderr
    assert (tmp_path / "copy.dat").read_bytes() == b"1"


@pytest.mark.parametrize(("compression", "extra", "library"), [
    ("zstd", "zstd", "zlib" if sys.version_info >= (3, 14) else "backports.zstd"), ("xrit", "hrit", "pyPublicDecompWT")])
def test_the_check_says_what_an_unpacker_lacks(tmp_path: Path, compression: str, extra: str, library: str) -> None:
    """Without it every file is announced packed, with an alarm."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util\nimport sys\nsys.modules.update(dict.fromkeys(['backports.zstd', 'compression.zstd']))\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name == 'pyPublicDecompWT' else find(name, *more)\n")
    path = server_file(tmp_path, f"compression = {compression}", "compression = gzip", "compression = xrit\nprog = /bin/true")
    answer = run([*CHECKS[1], path], {"PYTHONPATH": f"{tmp_path}:{CHECKOUT}"})
    assert answer.status == 0
    [line] = answer.err.splitlines()
    assert line.startswith("warning: ") and f"[s0] compression: {compression} needs " in line and f"trollmoves[{extra}]" in line
    pytest.importorskip(library)
    with_them = run([*CHECKS[1], path], {"PYTHONPATH": str(CHECKOUT)})
    assert (with_them.status, with_them.err) == (0, "")


def test_a_fetcher_says_what_it_cannot_read(tmp_path: Path) -> None:
    blocked = ["fsspec", "paramiko", "aiohttp"]
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({blocked!r}))\n")
    path = tmp_path / "fetcher.yaml"
    path.write_text("destination: /data\nsubscriber_config: {topics: [/a]}\nallowed_protocols: [file, ssh, https, s3]\n")
    environment = {"PYTHONPATH": f"{tmp_path}:{CHECKOUT}", "XDG_STATE_HOME": str(tmp_path), "STATE_DIRECTORY": ""}
    answer = run(["-m", "trollmoves.cli.fetcher", "--check-config", path], environment)
    assert answer.status == 0
    assert [line.partition(": [fetcher] allowed_protocols: ")[2] for line in answer.err.splitlines()] == [
        "sftp cannot be read without paramiko: install trollmoves[fetch]",
        "https cannot be read without fsspec: install trollmoves[fetch]",
        "https cannot be read without aiohttp: install trollmoves[fetch]"]
