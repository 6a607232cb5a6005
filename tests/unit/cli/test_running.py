"""Programs that run: ports and journals that are taken, logs, signals, and questions to running and stopped processes."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.programs import Program
from tests.unit.cli.asking import ask
from trollmoves.cli.common import default_journal
from trollmoves.errors import ConfigurationError


def write_config(folder: Path, port: int, more: str = "", name: str = "server.ini") -> Path:
    (folder / "out").mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"[one]\norigin = {folder}/out/{{a}}.dat\ntopic = /t\nrequest_port = {port}\nrequest_address = 127.0.0.1\n"
                    f"listen_address = 127.0.0.1\n{more}")
    return path


def server(folder: Path, config: Path, *words: str | Path, name: str = "server", port: int | None = None) -> Program:
    return Program.ours("server", "-p", str(port or free_port()), *words, config, log=folder / f"{name}.out",
                        environment={"XDG_STATE_HOME": str(folder), "STATE_DIRECTORY": ""}, directory=folder)


def test_a_server_from_start_to_end(tmp_path: Path) -> None:
    config = write_config(tmp_path, free_port())
    with server(tmp_path, config) as program:
        program.wait_for(r"\[one\] watches")
        (tmp_path / "out" / "a.dat").write_text("hello")
        journal = Path(json.loads(eventually(lambda: found(tmp_path), message="the status knows the file"))[0]["journal"])
        assert journal.parent == tmp_path / "trollmoves" and journal.name.startswith("server-server-")
        report = json.loads(ask("trollmoves", "status", "--json", "--config", config, state=tmp_path).out)[0]
        assert report["running"] is True and report["chains"]["one"]["counts"] == {"announced": 1}
        assert program.stop() == 0
    assert program.output().endswith("Thank you for using pytroll/move_it_server. See you soon on pytroll.org!\n")
    answer = ask("trollmoves", "status", state=tmp_path)
    assert (answer.status, answer.err) == (0, "") and "(not running)" in answer.out and "[one]  announced 1" in answer.out
    answer = ask("trollmoves", "trace", "a.dat", state=tmp_path)
    assert answer.status == 0 and "a.dat in [one]" in answer.out and "announced, 5 bytes" in answer.out
    [history] = json.loads(ask("trollmoves", "trace", "a.dat", "--json", "--config", config, state=tmp_path).out)
    assert [step["step"] for step in history["steps"]] == ["announced"] and history["path"] == str(tmp_path / "out" / "a.dat")
    answer = ask("trollmoves", "trace", "b.dat", state=tmp_path)
    assert (answer.status, answer.err) == (1, f"trollmoves trace: no file 'b.dat' in {journal}\n")


def found(folder: Path) -> str:
    out = ask("trollmoves", "status", "--json", state=folder).out
    return out if '"announced": 1' in out else ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_well(number: int, tmp_path: Path) -> None:
    with server(tmp_path, write_config(tmp_path, free_port())) as program:
        program.wait_for(r"\[one\] watches")
        program.signal(number)
        assert program.wait(20) == 0


def test_a_killed_server_leaves_a_journal_that_can_be_read(tmp_path: Path) -> None:
    with server(tmp_path, write_config(tmp_path, free_port())) as program:
        program.wait_for(r"\[one\] watches")
        program.kill()
    answer = ask("trollmoves", "status", state=tmp_path)
    assert answer.status == 0 and "(not running)" in answer.out


def test_two_servers_with_one_journal(tmp_path: Path) -> None:
    config = write_config(tmp_path, free_port())
    with server(tmp_path, config) as program:
        program.wait_for(r"\[one\] watches")
        answer = ask("move_it_server.py", "-p", "0", config, state=tmp_path)
    assert answer.status == 1
    assert answer.err.endswith("is in use by another process; stop it, or choose another place with --journal\n")


def test_a_port_for_announcements_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        taken.listen()
        port = taken.getsockname()[1]
        answer = ask("move_it_server.py", "-p", str(port), write_config(tmp_path, free_port()), state=tmp_path)
    assert answer.status == 1
    assert answer.last_line == (f"move_it_server.py: cannot listen on port {port} of 127.0.0.1: another program listens there "
                                "(choose another port, or stop it)")


def test_an_address_for_announcements_that_is_of_another_machine(tmp_path: Path) -> None:
    config = write_config(tmp_path, free_port())
    config.write_text(config.read_text().replace("listen_address = 127.0.0.1", "listen_address = 192.0.2.77"))
    answer = ask("move_it_server.py", "-p", "0", config, state=tmp_path)
    assert answer.status == 1 and answer.last_line.endswith(": that is no address of this machine (listen_address)")


def test_a_port_that_only_root_may_have(tmp_path: Path) -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 80:
        pytest.skip("everybody may have every port here")
    nobody = [] if os.geteuid() else ["setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service"]
    answer = ask("move_it_server.py", "-p", "80", write_config(tmp_path, free_port()), state=tmp_path, prefix=nobody)
    assert answer.status == 1 and answer.last_line.endswith(": this user may not (choose a port from 1024 on)")


def test_a_request_port_that_is_taken_is_waited_for(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        taken.listen()
        with server(tmp_path, write_config(tmp_path, taken.getsockname()[1])) as program:
            program.wait_for(r"section \[one\] is not started yet: cannot listen on port \d+ of 127.0.0.1: another program")
            taken.close()
            program.wait_for(r"\[one\] watches")
            assert program.output().count("is not started yet") == 1
            assert program.stop() == 0


def test_a_directory_that_is_missing_is_waited_for(tmp_path: Path) -> None:
    config = write_config(tmp_path, free_port())
    (tmp_path / "out").rmdir()
    with server(tmp_path, config) as program:
        program.wait_for(rf"directory {tmp_path}/out does not exist: waiting for it")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "a.dat").write_text("hello")
        eventually(lambda: found(tmp_path), message="the file is announced")


def test_reload_by_signal_and_what_is_wrong_with_it(tmp_path: Path) -> None:
    port = free_port()
    config = write_config(tmp_path, port)
    with server(tmp_path, config) as program:
        program.wait_for(r"\[one\] watches")
        config.write_text("this is nothing\n")
        program.signal(signal.SIGHUP)
        program.wait_for(r"everything goes on as before: \S*server.ini:1: stands before the first section")
        write_config(tmp_path, port, f"[two]\norigin = {tmp_path}/out/{{a}}.txt\ntopic = /u\nrequest_port = {port}\n"
                     "listen_address = 127.0.0.1\n[three]\ntopic = /v\n")
        program.signal(signal.SIGHUP)
        program.wait_for(r"\[two\] watches")
        program.wait_for(r"\[three\] origin: is missing; write for example origin = ")
        assert program.stop() == 0


def test_a_configuration_that_becomes_writable_for_everybody_is_not_taken(tmp_path: Path) -> None:
    port = free_port()
    config = write_config(tmp_path, port)
    with server(tmp_path, config) as program:
        program.wait_for(r"\[one\] watches")
        config.chmod(0o666)
        config.write_text(config.read_text().replace("[one]", "[two]"))
        program.wait_for(r"everything goes on as before: \S*server.ini: may be changed by every user of this machine; "
                         r"run: chmod o-w \S*server.ini")
        config.chmod(0o644)
        program.wait_for(r"\[two\] watches")
        assert program.stop() == 0


def test_a_reload_that_is_asked_for_while_the_program_starts_waits(tmp_path: Path) -> None:
    config = tmp_path / "server.ini"
    os.mkfifo(config)
    with server(tmp_path, config) as program:
        with config.open("w") as writing:  # from here on it reads
            program.signal(signal.SIGHUP)
            writing.write(f"[one]\norigin = {tmp_path}/out/{{a}}.dat\ntopic = /t\nrequest_port = {free_port()}\n")
            config.unlink()
            config.write_text("this is nothing\n")
        program.wait_for(r"everything goes on as before: \S*server.ini:1: stands before the first section")
        assert program.stop() == 0


def test_a_changed_client_takes_its_port_again(tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "client.ini"
    text = (f"[one]\nproviders = 127.0.0.1:{free_port()}\ntopic = /t\ndestination = {tmp_path}/in/\npublish_port = {port}\n"
            "nameservers = False\nlisten_address = 127.0.0.1\n")
    config.write_text(text)
    with Program.ours("client", "--journal", tmp_path / "c.journal", config, log=tmp_path / "client.out") as program:
        program.wait_for(r"\[one\] listens to")
        for number in range(3):
            mark = program.mark()
            config.write_text(f"{text}req_timeout = {number + 2}\n")
            program.wait_for(r"\[one\] listens to", since=mark)
        assert program.stop() == 0


def test_a_log_file_gets_our_own_lines(tmp_path: Path) -> None:
    with server(tmp_path, write_config(tmp_path, free_port()), "-l", tmp_path / "x.log") as program:
        eventually(lambda: "[one] watches" in (tmp_path / "x.log").read_text(), message="the log has our line")
        assert program.stop() == 0
    assert "trollmoves.server.server] publishing on port" in (tmp_path / "x.log").read_text()
    assert "[one] watches" not in program.output()


@pytest.mark.parametrize("words", [("-l", "x.log"), ()])
def test_why_a_program_ends_is_in_its_log_and_once_on_a_terminal(words: tuple[str, ...], tmp_path: Path) -> None:
    said = f"the journal {tmp_path}/x.journal was removed while it was in use"
    config, log = write_config(tmp_path, free_port()), tmp_path / "x.log"
    with server(tmp_path, config, "--journal", tmp_path / "x.journal", *words) as program:
        where = log if words else program.log
        eventually(lambda: where.exists() and "[one] watches" in where.read_text(), message="it runs")
        in_use = ask("move_it_server.py", *words, "--journal", "x.journal", "-p", "0", config, state=tmp_path)
        assert in_use.err.count("is in use by another process") == 1
        (tmp_path / "x.journal").unlink()
        assert program.wait(30) == 1
    assert program.output().count(said) == 1
    if words:
        assert log.read_text().count("CRITICAL") == 2
        assert f"server ends: {said}" in log.read_text() and "is in use by another process" in log.read_text()


@pytest.mark.parametrize("disable", ["", "disable_existing_loggers: false\n"])
def test_a_logging_configuration(disable: str, tmp_path: Path) -> None:
    (tmp_path / "log.yaml").write_text(
        f"version: 1\n{disable}formatters: {{short: {{format: '%(levelname)s %(name)s %(message)s'}}}}\n"
        f"handlers: {{file: {{class: logging.FileHandler, filename: {tmp_path}/x.log, formatter: short}}}}\n"
        "root: {handlers: [file], level: INFO}\n")
    with server(tmp_path, write_config(tmp_path, free_port()), "-c", tmp_path / "log.yaml") as program:
        eventually(lambda: "INFO trollmoves.server.server [one] watches" in (tmp_path / "x.log").read_text(), message="our line")
        assert program.stop() == 0


def test_running_means_that_the_lock_is_held(tmp_path: Path) -> None:
    with server(tmp_path, write_config(tmp_path, free_port()), "--journal", tmp_path / "x.journal") as program:
        program.wait_for(r"\[one\] watches")
        program.stop()
    words = ("status", "--json", "--journal", tmp_path / "x.journal")
    with (tmp_path / "x.journal.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert json.loads(ask("trollmoves", *words, state=tmp_path).out)[0]["running"] is True
    assert json.loads(ask("trollmoves", *words, state=tmp_path).out)[0]["running"] is False


def test_where_journals_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "a.ini"
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    ours = default_journal("server", config)
    assert ours.parent == tmp_path / "state" / "trollmoves" and ours.name.startswith("server-a-")
    assert len({ours, default_journal("client", config), default_journal("server", tmp_path / "b" / "a.ini")}) == 3
    (tmp_path / "link.ini").symlink_to(config)
    assert default_journal("server", tmp_path / "link.ini").name == ours.name.replace("server-a-", "server-link-")
    monkeypatch.setenv("STATE_DIRECTORY", f"{tmp_path}/service:/other")
    assert default_journal("server", config) == tmp_path / "service" / ours.name


def test_who_has_no_home_is_asked_for_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a container that runs as any number: a directory `~` was made where the program was started."""
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    with pytest.raises(ConfigurationError, match="this user has no home directory.*--journal"):
        default_journal("server", tmp_path / "a.ini")
