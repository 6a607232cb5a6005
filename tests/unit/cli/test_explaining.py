"""`trollmoves explain`: what each program would make of a file or a message, and what decided."""

from __future__ import annotations

import json
import socket
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.asking import ask

SERVER = """
[hrit]
origin = {root}/in/{{platform}}_{{number:03d}}.dat
topic = /1b/hrit
request_port = 9094
request_address = 192.0.2.1
info = sensor=seviri
delete = true
allowed_destinations = sftp://archive/data/**
[alone]
origin = {root}/in/{{name}}.dat
topic = /alone
[archives]
origin = {root}/in/{{name}}.tar
topic = /archives
unpack = tar
[relay]
listen = /heard
topic = /told
request_port = 9095
request_address = 192.0.2.1
"""
CLIENT = """
[get]
providers = 192.0.2.1:9010
topic = /1b/hrit
destination = sftp://archive/data/{platform}/
login = me:secret
[spare]
providers = 192.0.2.1:9010/1b
destination = file:///data/{nothing}/
processing_delay = 5
[other]
providers = 192.0.2.1:9010
topic = /2
destination = file:///data/
"""
DISPATCHER = """
target:
  host: sftp://archive
  directory: /data
  dispatch_configs:
    - topics: [/1b]
      conditions: [{sensor: seviri}]
"""


def message(subject: str, data: dict[str, Any], kind: str = "file") -> str:
    return f"pytroll:/{subject} {kind} a@b 2026-01-01T00:00:00 v1.2 application/json {json.dumps(data)}"


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "server.ini").write_text(SERVER.format(root=tmp_path))
    (tmp_path / "client.ini").write_text(CLIENT)
    (tmp_path / "dispatcher.yaml").write_text(DISPATCHER)
    return tmp_path


def explained(configs: Path, sample: str | Path, *names: str) -> dict[str, str]:
    """What is said of each section."""
    answer = ask("trollmoves", "explain", sample, *(configs / name for name in names), state=configs)
    assert (answer.status, answer.err) == (0, "")
    parts = answer.out.split("\n  [")[1:]
    return {part.partition("]")[0]: part.partition("]")[2] for part in parts}


def test_a_file_at_a_server(configs: Path) -> None:
    path = configs / "in" / "M9_001.dat"
    path.write_text("content")
    said = explained(configs, path, "server.ini")
    announced = {"sensor": "seviri", "platform": "M9", "number": 1, "uri": str(path), "uid": path.name,
                 "request_address": "192.0.2.1:9094"}
    assert f"yes, origin {configs}/in/" in said["hrit"] and json.dumps(announced, separators=(",", ":")) in said["hrit"]
    assert "requests go to 192.0.2.1:9094; allowed are sftp://archive/data/**" in said["hrit"]
    assert "removed 30 s after every known client" in said["hrit"]
    assert f"ssh://{socket.gethostname()}{path}" in said["alone"] and "no request_port" in said["alone"]
    assert "no, it listens to /heard" in said["relay"]


@pytest.mark.parametrize("name, content, why", [
    ("M9_001.txt", "x", "does not match origin"), ("M9_xyz.dat", "x", "fields of origin cannot be read"),
    ("M9_001.dat", "", "it is empty")])
def test_why_a_file_is_not_announced(name: str, content: str, why: str, configs: Path) -> None:
    (configs / "in" / name).write_text(content)
    assert why in explained(configs, configs / "in" / name, "server.ini")["hrit"]


def test_an_archive_at_a_server(configs: Path) -> None:
    path = configs / "in" / "a.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(configs / "client.ini", "deep/client.ini")
    said = explained(configs, path, "server.ini")["archives"]
    assert "announced as dataset under /archives" in said
    assert f'"uri":"tar://deep/client.ini::ssh://{socket.gethostname()}{path}"' in said
    path.write_text("no archive")
    said = explained(configs, path, "server.ini")["archives"]
    assert "announced as one file" in said and "announced as file under /archives" in said


def test_a_message_at_a_server(configs: Path) -> None:
    path = configs / "in" / "x"
    path.write_text("content")
    said = explained(configs, message("/heard/it", {"uid": "x", "uri": str(path)}), "server.ini")
    assert "yes, topic /heard; of 1 file(s)" in said["relay"] and '"request_address":"192.0.2.1:9095"' in said["relay"]
    assert "no, it watches a directory" in said["hrit"]
    elsewhere = {"uid": "x", "uri": "ssh://elsewhere.invalid/x"}
    for data, kind, subject, why in ((elsewhere, "file", "/heard", "is not on this machine"),
                                     ({"uid": "x", "uri": str(path)}, "file", "/other", "begins with none of /heard"),
                                     ({"uid": "x", "uri": f"{path}y"}, "dataset", "/heard", "is not there"),
                                     ({"uid": "x"}, "ack", "/heard", "its type is none of")):
        assert why in explained(configs, message(subject, data, kind), "server.ini")["relay"]


def test_a_push_at_a_server(configs: Path) -> None:
    for place, why in (("sftp://u:pw@archive/data/x/", "yes, if it was announced: sftp://archive/data/x/ is allowed"),
                       ("sftp://elsewhere/data/", "allowed_destinations = sftp://elsewhere/data/*")):
        said = explained(configs, message("/1b/hrit", {"uid": "x", "uri": "/x", "destination": place}, "push"), "server.ini")
        assert why in said["hrit"] and "pw" not in said["hrit"]
        assert "no, it has no request_port" in said["alone"] and "is under /told" in said["relay"]


def test_an_announcement_at_a_client(configs: Path) -> None:
    data = {"uid": "M9_001.dat", "uri": "/in/M9_001.dat", "platform": "M9", "request_address": "192.0.2.1:9094"}
    said = explained(configs, message("/1b/hrit", data), "client.ini")
    assert "yes, if it comes from 192.0.2.1:9010" in said["get"]
    assert "asks 192.0.2.1:9094 for sftp://archive/data/M9/ (with the login of the section)" in said["get"]
    assert '"uri":"sftp://me@archive/data/M9/M9_001.dat"' in said["get"] and "secret" not in str(said)
    assert "processing_delay" in said["spare"] and "cannot be asked for" in said["spare"] and "'nothing'" in said["spare"]
    assert "the subject begins with none of /2" in said["other"]
    del data["request_address"]
    assert "no, it has no request_address" in explained(configs, message("/1b/hrit", data), "client.ini")["get"]
    assert "another client asks" in explained(configs, message("/1b/hrit", data, "push"), "client.ini")["get"]


def test_several_programs_and_recorded_messages(configs: Path) -> None:
    data = {"uid": "a.dat", "uri": "/in/a.dat", "platform": "M9", "sensor": "seviri", "request_address": "192.0.2.1:9094"}
    other = {**data, "uid": "b.dat"}
    (configs / "recorded.txt").write_text(message("/1b/hrit", data) + "\n\n" + message("/1b/hrit", other) + "\n")
    said = explained(configs, configs / "recorded.txt", "client.ini", "dispatcher.yaml")
    assert "sensor is 'seviri'" in said["target"] and "sftp://archive/data/a.dat" in said["target"]
    same = ask("dispatcher.py", "--explain", configs / "recorded.txt", configs / "dispatcher.yaml", state=configs)
    assert "[target]" + said["target"].rstrip() in same.out


def test_what_cannot_be_explained(configs: Path) -> None:
    for sample in ("nothing", "pytroll://x file", str(configs)):
        answer = ask("trollmoves", "explain", sample, configs / "server.ini", state=configs)
        assert answer.status == 1 and len(answer.err.splitlines()) == 1
