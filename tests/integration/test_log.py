"""What the pages say of the log."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import yaml

from tests.support.eventually import eventually
from tests.support.ports import free_ports
from tests.support.programs import CHECKOUT, Program


def test_a_line_for_every_move(tmp_path: Path) -> None:
    """And for nothing else."""
    first, more = re.findall(r"```yaml\n(.*?)```", (CHECKOUT / "docs/operating.md").read_text(), re.S)
    settings = yaml.safe_load(first) | yaml.safe_load(more)
    port, requests, published = free_ports(3)
    (tmp_path / "in").mkdir()
    (tmp_path / "server.ini").write_text(f"[one]\norigin = {tmp_path}/in/{{name}}.dat\ntopic = /t\nrequest_port = {requests}\n"
                                         "request_address = 127.0.0.1\nlisten_address = 127.0.0.1\n")
    (tmp_path / "client.ini").write_text(f"[two]\nproviders = 127.0.0.1:{port}\ntopic = /t\ndestination = {tmp_path}/out/\n"
                                         f"publish_port = {published}\nnameservers = False\nlisten_address = 127.0.0.1\n")
    programs = []
    for role, words in (("server", ["-p", str(port)]), ("client", [])):
        settings["handlers"]["file"]["filename"] = str(tmp_path / f"{role}.txt")
        (tmp_path / f"{role}.yaml").write_text(yaml.safe_dump(settings))
        programs.append(Program.ours(role, *words, "-c", tmp_path / f"{role}.yaml", "--journal", tmp_path / f"{role}.journal",
                                     tmp_path / f"{role}.ini", log=tmp_path / f"{role}.log"))

    def debug_lines(role: str) -> list[str]:
        path = tmp_path / f"{role}.txt"
        return [line for line in path.read_text().splitlines() if " DEBUG " in line] if path.exists() else []
    with programs[0].start(), programs[1].start():
        (tmp_path / "in" / "a.dat").write_text("a")
        eventually(lambda: len(debug_lines("client")) == len(debug_lines("server")) == 1, 60, message="a line for the move")
    [at_server], [at_client] = debug_lines("server"), debug_lines("client")
    assert f"moved {tmp_path}/in/a.dat: " in at_server and f"{tmp_path}/out/a.dat 1 bytes" in at_server
    assert at_client.endswith(f"[two] moved a.dat: from 127.0.0.1:{requests}")


def test_a_server_that_runs_as_root_says_what_that_means(tmp_path: Path) -> None:
    """Who is on its machine needs no leave for paths there (docs/destinations.md)."""
    port, requests = free_ports(2)
    (tmp_path / "in").mkdir()
    (tmp_path / "server.ini").write_text(f"[one]\norigin = {tmp_path}/in/{{name}}.dat\ntopic = /t\nrequest_port = {requests}\n"
                                         "request_address = 127.0.0.1\nlisten_address = 127.0.0.1\n")
    server = Program.ours("server", "-p", str(port), "--journal", tmp_path / "server.journal", tmp_path / "server.ini",
                          log=tmp_path / "server.log")
    with server.start():
        server.wait_for("watches")
    assert ("WARNING" in server.output() and "running as root" in server.output()) == (os.geteuid() == 0)


def test_a_log_that_was_renamed_is_begun_anew_at_a_signal(tmp_path: Path) -> None:
    """As logrotate does it: what is logged later does not go into the old file, which is compressed and removed."""
    port, requests = free_ports(2)
    (tmp_path / "in").mkdir()
    (tmp_path / "server.ini").write_text(f"[one]\norigin = {tmp_path}/in/{{name}}.dat\ntopic = /t\nrequest_port = {requests}\n"
                                         "request_address = 127.0.0.1\nlisten_address = 127.0.0.1\n")
    handler = {"class": "logging.FileHandler", "filename": str(tmp_path / "server.txt")}
    (tmp_path / "log.yaml").write_text(yaml.safe_dump({"version": 1, "handlers": {"file": handler},
                                                       "root": {"handlers": ["file"], "level": "INFO"}}))
    text, renamed = tmp_path / "server.txt", tmp_path / "server.txt.1"
    server = Program.ours("server", "-p", str(port), "-c", tmp_path / "log.yaml", "--journal", tmp_path / "server.journal",
                          tmp_path / "server.ini", log=tmp_path / "server.log")
    with server.start():
        eventually(lambda: text.exists() and "watches" in text.read_text(), 60, message="it runs")
        text.rename(renamed)
        server.signal(signal.SIGHUP)
        eventually(lambda: text.exists() and "reloading" in text.read_text(), 30, message="it goes on in a new file")
        assert server.stop() == 0
    assert "stopping" in text.read_text()
    assert "reloading" not in renamed.read_text()
