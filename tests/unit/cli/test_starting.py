"""How programs begin and end: signals while they are loaded, output that nobody takes, closed descriptors."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.programs import CHECKOUT, clean_environment
from tests.unit.cli.asking import ask
from trollmoves.cli.starting import ROLES

INSTALLED = "import sys; from trollmoves.cli.starting import {}; sys.exit({}())"
"""What the package index's installer makes of an entry of `project.scripts`."""
SERVER = {"installed": ["-c", INSTALLED.format("move_it_server", "move_it_server")],
          "umbrella": ["-c", INSTALLED.format("umbrella", "umbrella"), "server"],
          "checkout": [str(CHECKOUT / "bin" / "move_it_server.py")]}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    path = tmp_path / "server.ini"
    path.write_text(f"[one]\norigin = {tmp_path}/out/{{a}}.dat\ntopic = /t\nrequest_port = {free_port()}\n"
                    "listen_address = 127.0.0.1\n")
    return path


def begin(folder: Path, *words: str | Path, buffered: bool = True, **streams: int) -> subprocess.Popen[str]:
    environment = clean_environment({"XDG_STATE_HOME": str(folder), "STATE_DIRECTORY": "", "PYTHONPATH": str(CHECKOUT),
                                     "PYTHONUNBUFFERED": "" if buffered else "1"})
    return subprocess.Popen([sys.executable, *map(str, words)], text=True, cwd=folder, env=environment,
                            **({"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} | streams))


def loading(process: subprocess.Popen[str]) -> bool:
    """Whether it has begun to load the libraries: the first ones are mapped."""
    assert process.poll() is None
    return "_pydantic_core" in Path(f"/proc/{process.pid}/maps").read_text()


@pytest.mark.parametrize("words", SERVER.values(), ids=SERVER)
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_program_that_is_stopped_while_it_is_loaded_ends_quietly(words: list[str], number: int, status: int, tmp_path: Path,
                                                                   config: Path) -> None:
    with begin(tmp_path, *words, "-p", str(free_port()), config) as process:
        eventually(lambda: loading(process), message="it is being loaded")
        process.send_signal(number)
        out, _ = process.communicate(timeout=30)
    assert process.returncode in (status, 0) and "Traceback" not in out and "ignored" not in out


@pytest.mark.parametrize("words", SERVER.values(), ids=SERVER)
def test_a_reload_while_a_program_is_loaded_does_not_end_it(words: list[str], tmp_path: Path, config: Path) -> None:
    with begin(tmp_path, *words, "-p", str(free_port()), config) as process:
        eventually(lambda: loading(process), message="it is being loaded")
        process.send_signal(signal.SIGHUP)
        assert process.stdout is not None
        eventually(lambda: "reloading" in process.stdout.readline(), 30, message="it reloads when it runs")
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_check_that_is_ended_has_not_found_all_well(tmp_path: Path) -> None:
    path = tmp_path / "server.ini"
    os.mkfifo(path)
    with begin(tmp_path, *SERVER["installed"], "--check-config", path) as process, path.open("w"):  # from here on it reads
        process.terminate()
        assert process.wait(30) == -signal.SIGTERM


def test_every_program_that_runs_on_is_known_as_such() -> None:
    running = {path.stem for path in (CHECKOUT / "trollmoves" / "cli").glob("*.py") if "set_up_logging(" in path.read_text()}
    assert {f"trollmoves.cli.{name}" for name in running - {"common"}} == ROLES


@pytest.mark.parametrize("buffered", [True, False], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("words", [["move_it_server", "--help"], ["umbrella", "--help"], ["umbrella", "check", "server.ini"]],
                         ids=" ".join)
def test_output_that_nobody_reads_is_no_error(words: list[str], buffered: bool, tmp_path: Path, config: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    program = ["-c", INSTALLED.format(words[0], words[0]), *words[1:]]
    with begin(tmp_path, *program, buffered=buffered, stdout=writing, stderr=subprocess.PIPE) as process:
        os.close(writing)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")


def test_output_that_finds_a_full_disk_is_an_error_in_one_line(tmp_path: Path, config: Path) -> None:
    with open("/dev/full", "w") as full, begin(tmp_path, *SERVER["umbrella"][:-1], "check", config, stdout=full.fileno(),
                                               stderr=subprocess.PIPE) as process:
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (1, "-c: the output could not be written: No space left on device\n")


LASTING = {
    "move_it_server": ["-p", "{port}", "{config}"],
    "move_it": ["{folder}/move_it.ini"],
    "fetcher": ["{folder}/fetcher.yaml"],
    "s3downloader": ["-c", "{folder}/s3downloader.yaml", "-r", "false"]}
"""Programs that run until they are told to end, and what is said to them."""


@pytest.mark.parametrize("name", LASTING)
def test_the_last_word_of_a_program_that_finds_a_full_disk_is_no_error(name: str, tmp_path: Path, config: Path) -> None:
    (tmp_path / "move_it.ini").write_text(f"[one]\norigin = {tmp_path}/out/{{a}}.dat\ndestinations = {tmp_path}/in/\n")
    (tmp_path / "fetcher.yaml").write_text(
        f"destination: {tmp_path}/in\nsubscriber_config: {{topics: [/a], nameserver: false, addresses: ['tcp://127.0.0.1:9']}}\n"
        f"publisher_config: {{name: fetcher, nameservers: false, port: {free_port()}}}\n")
    (tmp_path / "s3downloader.yaml").write_text(
        f"subscribe-topic: /a\npublish-topic: /b\nsubscriber_addresses: tcp://127.0.0.1:9\ndownload_destination: {tmp_path}/in\n")
    words = [word.format(port=free_port(), config=config, folder=tmp_path) for word in LASTING[name]]
    with open("/dev/full", "w") as full, begin(tmp_path, "-c", INSTALLED.format(name, name), *words,
                                               stdout=full.fileno(), stderr=subprocess.PIPE) as process:
        errors = process.stderr
        assert errors is not None
        eventually(lambda: re.search("watches|listens", errors.readline()), 30, message="it runs")
        process.terminate()
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0 and "ignored" not in said


@pytest.mark.parametrize("full", [True, False], ids=["full", "closed"])
def test_a_log_that_nobody_takes_is_no_reason_to_fail(full: bool, tmp_path: Path, config: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    if full:
        os.close(writing)
        writing = os.open("/dev/full", os.O_WRONLY)
    port = free_port()
    with begin(tmp_path, *SERVER["installed"], "-p", str(port), config, stderr=writing) as process:
        os.close(writing)
        eventually(lambda: answers(port), 30, message="it runs")
        process.terminate()
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 0 and out.startswith("Thank you")


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_no_file_takes_the_number_of_an_output_that_is_closed(tmp_path: Path, config: Path) -> None:
    shell = f"exec {sys.executable} \"$@\" <&- >&- 2>&-"
    environment = clean_environment({"XDG_STATE_HOME": str(tmp_path), "STATE_DIRECTORY": "", "PYTHONPATH": str(CHECKOUT)})
    log = tmp_path / "log"
    with subprocess.Popen(["sh", "-c", shell, "sh", *SERVER["installed"], "-l", log, "-p", str(free_port()), config],
                          env=environment, cwd=tmp_path) as process:
        eventually(lambda: log.exists() and "watches" in log.read_text(), 30, message="it runs")
        assert [os.readlink(f"/proc/{process.pid}/fd/{number}") for number in range(3)] == ["/dev/null"] * 3
        process.terminate()
        assert process.wait(30) == 0


@pytest.mark.parametrize("word", ["--help", "--nothing"])
@pytest.mark.parametrize("script", ["check", "test"])
def test_scripts_do_nothing_on_words_they_do_not_know(script: str, word: str) -> None:
    done = subprocess.run([CHECKOUT / "bin" / script, word], capture_output=True, text=True, timeout=60)
    assert done.returncode == (0 if word == "--help" else 2)
    assert f"usage: bin/{script}" in (done.stdout if word == "--help" else done.stderr)


def test_a_nul_in_a_configuration_is_named(tmp_path: Path, config: Path) -> None:
    config.write_text(config.read_text().replace("{a}", "\0{a}"))
    answer = ask("move_it_server.py", "--check-config", config, state=tmp_path)
    assert (answer.status, answer.err) == (
        1, f"move_it_server.py: {config}:2: holds a NUL character; save the file as plain text\n")


@pytest.mark.parametrize("words", [
    ("move_it_server.py", "--check-config"), ("move_it_server.py", "-p", "0"), ("trollmoves", "check")])
def test_a_configuration_that_everybody_may_write_is_refused(words: tuple[str, ...], tmp_path: Path, config: Path) -> None:
    config.chmod(0o666)
    answer = ask(*words, config, state=tmp_path)
    assert answer.status == 1
    assert f"{config}: may be changed by every user of this machine; run: chmod o-w {config}\n" in answer.out + answer.err


def test_a_logging_configuration_that_everybody_may_write_is_refused(tmp_path: Path, config: Path) -> None:
    """It names the functions that are called."""
    log = tmp_path / "log.yaml"
    log.write_text("version: 1\n")
    log.chmod(0o646)
    answer = ask("move_it_server.py", "-p", "0", "-c", log, config, state=tmp_path)
    assert answer.status == 1 and f"run: chmod o-w {log}" in answer.last_line


def test_a_demonstration_where_all_that_is_written_is_everybodys(tmp_path: Path) -> None:
    words = ["sh", "-c", 'umask 0; exec "$@"', "sh", CHECKOUT / "bin" / "demo", "--files", "5", "--directory", tmp_path / "demo"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, env=clean_environment())
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_demonstration_that_is_ended_leaves_nothing_running(number: int, tmp_path: Path) -> None:
    place = tmp_path / "place"
    with begin(tmp_path, "-m", "trollmoves.cli.umbrella", "demo", "--directory", place) as process:
        assert process.stdout is not None
        assert "A server watches" in process.stdout.readline()
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert using(place) == []


def using(place: Path) -> list[str]:
    """The command lines of processes that name *place*."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if os.fsencode(place) in words:
            found.append(words.replace(b"\0", b" ").decode(errors="replace"))
    return found
