"""`trollmoves explain`: what each program would make of a file or a message, and what decided."""

from __future__ import annotations

import json
import os
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.asking import ask, bound_by_permissions

SERVER = """
[hrit]
origin = {root}/in/{{platform}}_{{number:03d}}.dat
topic = /1b/hrit
request_port = 9094
request_address = 192.0.2.1
info = sensor=seviri
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
MIRROR = """
[edge]
providers = 192.0.2.1:9010
client_topic = /1b
destination = sftp://mirror@edge/data/mirror/{{platform}}/
ftp_root = {root}
origin = /anywhere/M{{name}}.dat
request_port = 9095
request_address = 192.0.2.9
delay = 3
allowed_destinations = sftp://archive/data/**
"""
MOVE = """
[both]
origin = {root}/in/{{platform}}_{{number:03d}}.dat
destinations = sftp://me:secret@archive/data/{{platform}}/ /second/{{nothing}}/
topic = /moved
delete = true
"""
FETCHER = """
destination: /data/in/{{sensor}}
subscriber_config: {{topics: [/s3], nameserver: localhost}}
allowed_protocols: [file, ssh]
allowed_hosts: ["*.example.org"]
allowed_origins: [{root}/in]
"""


def message(subject: str, data: dict[str, Any], kind: str = "file") -> str:
    return f"pytroll:/{subject} {kind} a@b 2026-01-01T00:00:00 v1.2 application/json {json.dumps(data)}"


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "server.ini").write_text(SERVER.format(root=tmp_path))
    (tmp_path / "client.ini").write_text(CLIENT)
    (tmp_path / "dispatcher.yaml").write_text(DISPATCHER)
    for name, text in (("mirror.ini", MIRROR), ("move_it.ini", MOVE), ("fetcher.yaml", FETCHER)):
        (tmp_path / name).write_text(text.format(root=tmp_path))
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
    assert f"ssh://{socket.gethostname()}{path}" in said["alone"] and "no request_port" in said["alone"]
    assert "no, it listens to /heard" in said["relay"]


def test_when_a_server_removes_a_file(configs: Path) -> None:
    path = configs / "in" / "M9_001.dat"
    path.write_text("content")
    (configs / "deleting.ini").write_text(f"[hrit]\norigin = {configs}/in/{{name}}.dat\ntopic = /a\nrequest_port = 9094\n"
                                          "delete = true\n")
    assert "removed 30 s after every known client" in explained(configs, path, "deleting.ini")["hrit"]
    named = (configs / "deleting.ini").read_text().replace("delete = true", "delete = hrit@archive 192.0.2.7")
    (configs / "deleting.ini").write_text(named)
    assert "removed 30 s after hrit@archive and 192.0.2.7 confirmed it" in explained(configs, path, "deleting.ini")["hrit"]


@pytest.mark.parametrize("name, content, why", [
    ("M9_001.txt", "x", "does not match origin"), ("M9_xyz.dat", "x", "fields of origin cannot be read"),
    ("M9_001.dat", "", "it is empty")])
def test_why_a_file_is_not_announced(name: str, content: str, why: str, configs: Path) -> None:
    (configs / "in" / name).write_text(content)
    assert why in explained(configs, configs / "in" / name, "server.ini")["hrit"]


@pytest.mark.parametrize("make, why", [
    (Path.mkdir, "it is a directory: only files are taken, those whose paths match"),
    (os.mkfifo, "it is a named pipe (FIFO): only regular files are taken"),
    (lambda path: socket.socket(socket.AF_UNIX).bind(str(path)), "it is a socket: only regular files are taken"),
    (lambda path: path.symlink_to(path.parent / "M9_002.dat"), "it is a symbolic link (to "),
    (lambda path: path.symlink_to("nothing"), "it is a symbolic link (to nothing), and below "),
])
def test_what_is_no_regular_file(make: Callable[[Path], Any], why: str, configs: Path) -> None:
    (configs / "in" / "M9_002.dat").write_text("content")
    path = configs / "in" / "M9_001.dat"
    make(path)
    for config, section in (("server.ini", "hrit"), ("move_it.ini", "both")):
        said = explained(configs, path, config)[section]
        assert f"no, {why}" in said and "announced" not in said and "moved to" not in said


def test_a_name_that_is_not_utf8(configs: Path) -> None:
    path = os.fsencode(configs / "in") + b"/M\xff_001.dat"
    with open(path, "wb") as file:
        file.write(b"content")
    for config, section in (("server.ini", "hrit"), ("move_it.ini", "both")):
        assert "no, its name is not UTF-8" in explained(configs, os.fsdecode(path), config)[section]


def test_a_file_that_is_not_there(configs: Path) -> None:
    answer = ask("trollmoves", "explain", configs / "in" / "M9_001.dat", configs / "server.ini", state=configs)
    assert (answer.status, answer.err) == (0, "")
    assert "M9_001.dat (it is not there: this is about a file of that name)" in answer.out
    assert "announced as file under /1b/hrit" in answer.out
    assert "announced are its members (unpack = tar)" in explained(configs, configs / "in" / "a.tar", "server.ini")["archives"]


def test_a_file_that_lies_too_deep(configs: Path) -> None:
    (configs / "in" / "deep").mkdir()
    (configs / "in" / "deep" / "x.dat").write_text("content")
    assert "no, it lies deeper than origin" in explained(configs, configs / "in" / "deep" / "x.dat", "server.ini")["alone"]


def test_a_file_behind_a_linked_directory(configs: Path) -> None:
    (configs / "real").mkdir()
    (configs / "real" / "x.dat").write_text("content")
    (configs / "in" / "one").symlink_to(configs / "real")
    (configs / "wild.ini").write_text(f"[wild]\norigin = {configs}/in/{{sub}}/{{name}}.dat\ntopic = /a\nrequest_port = 9094\n")
    said = explained(configs, configs / "in" / "one" / "x.dat", "wild.ini")["wild"]
    assert f"no, the directory {configs}/in/one is a symbolic link (to {configs}/real), and below" in said


def test_a_file_that_this_user_may_not_read(configs: Path) -> None:
    path = configs / "in" / "M9_001.dat"
    path.write_text("content")
    path.chmod(0)
    answer = ask("trollmoves", "explain", path, configs / "server.ini", state=configs, prefix=bound_by_permissions())
    assert answer.status == 0 and "yes, origin" in answer.out and "may not read it" in answer.out
    path.parent.chmod(0)
    answer = ask("trollmoves", "explain", path, configs / "server.ini", state=configs, prefix=bound_by_permissions())
    path.parent.chmod(0o755)
    assert answer.status == 1 and "run this as the user of the service" in answer.err


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


def test_an_announcement_at_a_mirror(configs: Path) -> None:
    data: dict[str, Any] = {"uid": "M9_001.dat", "uri": "/in/M9_001.dat", "platform": "M9", "request_address": "192.0.2.1:9094",
                            "trollmoves": {"version": 1, "epoch": "e", "offset": 1, "previous": 0, "via": ["m:1"]}}
    said = explained(configs, message("/1b/hrit", data), "mirror.ini")["edge"]
    for text in ("yes, if it comes from 192.0.2.1:9010, and has not passed through this mirror before (it has through m:1)",
                 "announced under /1b/hrit after 3 s (delay)", f"kept as {configs}/data/mirror/M9/M9_001.dat",
                 "192.0.2.1:9094 is asked to move it to sftp://edge/data/mirror/M9/",
                 "requests go to 192.0.2.9:9095; allowed are sftp://archive/data/**", "removed 30 s after every known client"):
        assert text in said, said
    data["trollmoves"]["via"] = [f"m:{number}" for number in range(9)]
    assert "no, it has passed through 9 mirrors" in explained(configs, message("/1b/hrit", data), "mirror.ini")["edge"]
    del data["trollmoves"]
    for change, why in (({"uri": "/in/x.dat"}, "origin lets through M*.dat only"),
                        ({"uri": ".."}, "uri without the name of a file")):
        assert why in explained(configs, message("/1b/hrit", data | change), "mirror.ini")["edge"]
    assert "begins with none of /1b" in explained(configs, message("/2", data), "mirror.ini")["edge"]
    push = message("/1b/hrit", {**data, "destination": "sftp://archive/data/x/"}, "push")
    assert "yes, if it was announced" in explained(configs, push, "mirror.ini")["edge"]


def test_a_file_at_move_it(configs: Path) -> None:
    path = configs / "in" / "M9_001.dat"
    path.write_text("")  # it moves empty files too
    said = explained(configs, path, "move_it.ini")["both"]
    for text in ("yes, origin", "-> moved to sftp://archive/data/M9/", "-> not moved to /second/{nothing}/",
                 "published under /moved", "removed when it is at all of them"):
        assert text in said, said
    assert "secret" not in said
    path.rename(path.with_suffix(".txt"))
    assert "does not match origin" in explained(configs, path.with_suffix(".txt"), "move_it.ini")["both"]
    assert "hears no messages" in explained(configs, message("/x", {"uid": "x", "uri": "/x"}), "move_it.ini")["both"]


def test_a_message_at_a_fetcher(configs: Path) -> None:
    path = configs / "in" / "a b.nc"
    path.write_text("content")
    there = {"uid": "x", "uri": str(path), "sensor": "olci"}
    said = explained(configs, message("/s3/olci", there), "fetcher.yaml")["fetcher"]
    assert f"-> fetched from file://{path} to /data/in/olci/a b.nc" in said
    assert '-> published under /s3/olci: {"sensor":"olci","uri":"/data/in/olci/a b.nc","uid":"a b.nc"}' in said
    far = {**there, "uri": "ssh://data.example.org/x/a.nc"}
    assert "-> fetched from sftp://data.example.org/x/a.nc" in explained(configs, message("/s3", far), "fetcher.yaml")["fetcher"]
    for change, why in (({"uri": "https://data.example.org/a"}, "add it to allowed_protocols"),
                        ({"uri": "ssh://elsewhere/a"}, "add it to allowed_hosts"), ({"uri": f"{path}x"}, "No such file"),
                        ({"uri": str(configs / "client.ini")}, "is in none of the allowed_origins"),
                        ({"sensor": None}, "sensor")):
        assert why in explained(configs, message("/s3", there | change), "fetcher.yaml")["fetcher"]
    assert "begins with none of /s3" in explained(configs, message("/other", there), "fetcher.yaml")["fetcher"]
    assert "no, it names no file" in explained(configs, message("/s3", there, "del"), "fetcher.yaml")["fetcher"]
    assert "'sensor'" in explained(configs, path, "fetcher.yaml")["fetcher"]  # a file has no metadata


def test_several_programs_and_recorded_messages(configs: Path) -> None:
    data = {"uid": "a.dat", "uri": "/in/a.dat", "platform": "M9", "sensor": "seviri", "request_address": "192.0.2.1:9094"}
    other = {**data, "uid": "b.dat"}
    (configs / "recorded.txt").write_text(message("/1b/hrit", data) + "\n\n" + message("/1b/hrit", other) + "\n")
    said = explained(configs, configs / "recorded.txt", "client.ini", "dispatcher.yaml")
    assert "sensor is 'seviri'" in said["target"] and "sftp://archive/data/a.dat" in said["target"]
    same = ask("dispatcher.py", "--explain", configs / "recorded.txt", configs / "dispatcher.yaml", state=configs)
    assert "[target]" + said["target"].rstrip() in same.out


def test_what_cannot_be_explained(configs: Path) -> None:
    for sample in ("nothing", "pytroll://x file", "file:///in/x", ""):
        answer = ask("trollmoves", "explain", sample, configs / "server.ini", state=configs)
        assert answer.status == 1 and len(answer.err.splitlines()) == 1
