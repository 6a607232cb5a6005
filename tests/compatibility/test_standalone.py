"""Servers nobody can ask: what they say of a file is what upstream's say, and pytroll-watchers can fetch it by that."""

from __future__ import annotations

import bz2
import io
import socket
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.compatibility.network import UPSTREAM_LOGGING, section
from tests.faults.checker import rows
from tests.faults.network import Recorder
from tests.support.eventually import eventually, never
from tests.support.neighbours import neighbours_environment, neighbours_run, start_neighbour
from tests.support.ports import free_port
from tests.support.programs import Program
from tests.support.ssh_server import SshServer
from trollmoves.messages import EXTENSION, Message, decode

TOPIC = "/alone"
FETCH = """
import json, sys
from pytroll_watchers.fetch import fetch_file
places, into, port, user, key = map(json.loads, sys.argv[1:])
found = []
for place in places:
    filesystem = place["filesystem"]
    ssh = filesystem.get("target_options", filesystem)
    assert ssh["host"] == __import__("socket").gethostname()
    ssh.update(host="127.0.0.1", port=port, username=user, key_filename=key)
    found.append(str(fetch_file(place["path"], into, filesystem)))
print(json.dumps(found))
"""


class Alone:
    """A server with one section without `request_port`, of either make. Use it as a context."""

    def __init__(self, root: Path, name: str, options: dict[str, object], upstream: bool = False):
        root.mkdir(exist_ok=True)
        self.port, self.config, self.journal, self.log = free_port(), root / "server.ini", root / "server.journal", root / "x.log"
        self.config.write_text(section(name, {"topic": TOPIC, **options}))
        self._upstream = upstream
        (root / "logging.yaml").write_text(UPSTREAM_LOGGING)
        self.recorder = Recorder(self.port)
        self._root = root

    def __enter__(self) -> Alone:
        if self._upstream:
            logging = self._root / "logging.yaml"
            self.program = start_neighbour("move_it_server.py", "-p", str(self.port), self.config, "-c", logging, log=self.log)
        else:
            arguments = ("-p", str(self.port), "--journal", self.journal, self.config)
            self.program = Program.ours("server", *arguments, log=self.log).start()
        eventually(lambda: self.recorder.texts, 60, message="a beat of the server")
        return self

    def __exit__(self, *_: object) -> None:
        self.program.kill()
        self.recorder.close()

    def told(self) -> list[Message]:
        return [message for message in (decode(text.encode()) for text in list(self.recorder.texts)) if message.type != "beat"]

    def says(self, count: int = 1) -> list[Message]:
        eventually(lambda: len(self.told()) >= count, 60, message=f"{count} announcements")
        return self.told()


def plain(data: Any) -> Any:
    """Without what is ours: the extension and the key `path`."""
    if isinstance(data, dict):
        return {key: plain(value) for key, value in data.items() if key not in (EXTENSION, "path")}
    return [plain(item) for item in data] if isinstance(data, list) else data


def tar(path: Path, names: list[str]) -> None:
    with tarfile.open(path, "w") as archive:
        archive.add(path.parent, "folder", recursive=False)
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(name.encode())
            archive.addfile(member, io.BytesIO(name.encode()))


def zipped(path: Path, names: list[str]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.mkdir("folder")
        for name in names:
            archive.writestr(name, name)


NAMES = ["two.txt", "folder/one.txt", "folder/deep/é ü.txt", "./dot.txt"]
MAKERS = {None: lambda path, names: path.write_text("content"), "tar": tar, "zip": zipped}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


def put(files: Path, name: str, kind: str | None, names: list[str] = NAMES) -> Path:
    staged = files.parent / name
    MAKERS[kind](staged, names)
    return staged.rename(files / name)


@pytest.mark.parametrize("kind", [None, "tar", "zip"])
def test_the_message_is_upstreams(kind: str | None, tmp_path: Path, files: Path) -> None:
    neighbours_environment()
    options: dict[str, object] = {"origin": f"{files}/{{platform}}_{{start_time:%Y%m%d%H%M}}.dat", "info": "sensor=seviri;v=a,b",
                                  **({"unpack": kind} if kind else {})}
    with Alone(tmp_path / "ours", "one", options) as ours, Alone(tmp_path / "theirs", "one", options, upstream=True) as theirs:
        path = put(files, "meteosat_202601010203.dat", kind)
        [mine], [other] = ours.says(), theirs.says()
        assert (mine.subject, mine.type) == (other.subject, other.type) == (TOPIC, "dataset" if kind else "file")
        assert plain(mine.fields) == other.fields
        items = mine.fields["dataset"] if kind else [mine.fields]
        paths = [item["path"] for item in items]
        assert paths == ([item["uid"].partition("://")[2] for item in items] if kind else [str(path)])
        never(lambda: len(ours.told()) > 1, 0.5)


@pytest.mark.parametrize("kind", [None, "tar", "zip"])
def test_pytroll_watchers_fetches_it(kind: str | None, tmp_path: Path, files: Path) -> None:
    options: dict[str, object] = {"origin": f"{files}/{{name}}.dat", **({"unpack": kind} if kind else {})}
    with SshServer(tmp_path / "ssh") as ssh, Alone(tmp_path / "ours", "one", options) as ours:
        path = put(files, "meteosat.dat", kind)
        [message] = ours.says()
        items = message.fields["dataset"] if kind else [message.fields]
        (tmp_path / "got").mkdir()
        got = neighbours_run(FETCH, items, str(tmp_path / "got"), ssh.port, ssh.user, str(ssh.client_key))
        contents = [Path(name).read_bytes() for name in got]
        assert contents == ([item["path"].encode() for item in items] if kind else [path.read_bytes()])


def test_what_is_no_archive_is_announced_as_a_file(tmp_path: Path, files: Path) -> None:
    with Alone(tmp_path / "ours", "one", {"origin": f"{files}/{{name}}", "unpack": "tar"}) as ours:
        put(files, "bad.tar", None)
        put(files, "way.tar", "tar", ["../out"])
        messages = ours.says(2)
        assert [message.type for message in messages] == ["file", "file"]
        assert len(rows(ours.journal, "SELECT text FROM alarms")) >= 1


def test_decompressed_then_listed(tmp_path: Path, files: Path) -> None:
    options: dict[str, object] = {"origin": f"{files}/{{name}}.tar.bz2", "unpack": "tar", "compression": "bzip2",
                                  "working_directory": tmp_path / "work"}
    with Alone(tmp_path / "ours", "one", options) as ours:
        tar(tmp_path / "a.tar", NAMES[:2])
        (tmp_path / "staged").write_bytes(bz2.compress((tmp_path / "a.tar").read_bytes()))
        (tmp_path / "staged").rename(files / "a.tar.bz2")
        [message] = ours.says()
        assert message.type == "dataset" and message.fields["name"] == "a"
        assert {item["filesystem"]["fo"] for item in message.fields["dataset"]} == {str(tmp_path / "work" / "a.tar")}
        assert (tmp_path / "work" / "a.tar").exists()


def test_what_was_published_is_not_published_again(tmp_path: Path, files: Path) -> None:
    with Alone(tmp_path / "ours", "one", {"origin": f"{files}/{{name}}"}) as ours:
        put(files, "one", None)
        ours.says()
        eventually(lambda: rows(ours.journal, "SELECT state FROM files") == [("published",)])
        ours.program.restart()
        put(files, "two", None)
        ours.says(2)
        never(lambda: len(ours.told()) > 2, 4)  # longer than the backlog waits
        assert [message.fields["uri"] for message in ours.told()] == [
            f"ssh://{socket.gethostname()}{files}/one", f"ssh://{socket.gethostname()}{files}/two"]


@pytest.mark.parametrize("point", ["server.announced", "server.published"])
def test_a_crash_loses_no_announcement(point: str, tmp_path: Path, files: Path) -> None:
    ours = Alone(tmp_path / "ours", "one", {"origin": f"{files}/{{name}}"})
    crashing = Program.ours("server", "-p", str(ours.port), "--journal", ours.journal, ours.config, log=ours.log,
                            environment={"TROLLMOVES_CRASH_POINT": f"{point}:1"})
    put(files, "one", None)
    with crashing:
        eventually(lambda: not crashing.running, message="the server is killed")
    assert rows(ours.journal, "SELECT state FROM files") == [("announced",)]
    before = len(ours.told())
    with ours:
        assert ours.says(before + 1)[-1].extension["redelivered"] is True
        eventually(lambda: rows(ours.journal, "SELECT state FROM files") == [("published",)])

