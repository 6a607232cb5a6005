"""Origins with fields in their directories: all that match are watched, also those made later, whatever the section does."""

from __future__ import annotations

import bz2
import time
from pathlib import Path

import pytest

from tests.compatibility.network import PATIENCE, Make, Network
from tests.faults.checker import rows
from tests.support.eventually import eventually, never
from tests.support.mirrors import Nodes
from trollmoves.cli import umbrella

ORIGIN = "{root}/in/{{platform}}/{{start_time:%Y%m%d}}/{{name}}.txt"


def put(root: Path, name: str, content: bytes) -> None:
    path = root / "in" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = root / "staged"
    staged.write_bytes(content)
    staged.rename(path)


@pytest.mark.parametrize("arguments", [(), ("-w",)], ids=["inotify", "polling"])
def test_files_of_one_name_in_many_directories(arguments: tuple[str, ...], tmp_path: Path) -> None:
    with Network(tmp_path) as network:
        put(tmp_path, "M9/20260101/first.txt", b"first")
        server = network.server(Make.OURS, arguments=arguments, origin=ORIGIN.format(root=tmp_path), watchdog_timeout=0.2,
                                delete=True, remove_delay=0)
        client = network.client(Make.OURS, [server.address], destination=f"file://{tmp_path}/out/{{platform}}/")
        eventually(lambda: (tmp_path / "out" / "M9" / "first.txt").exists(), PATIENCE, message="what was there is fetched")
        for platform in ("M9", "M10", "M11"):
            put(tmp_path, f"{platform}/20260102/same.txt", platform.encode())
        put(tmp_path, "M9/notadate/other.txt", b"other")
        put(tmp_path, "M9/20260102/deeper/other.txt", b"other")
        for platform in ("M9", "M10", "M11"):
            path = tmp_path / "out" / platform / "same.txt"
            eventually(lambda path=path, platform=platform: path.read_bytes() == platform.encode(), PATIENCE,  # type: ignore[misc]
                       message=f"that of {platform} is fetched")
        eventually(lambda: not list((tmp_path / "in").rglob("same.txt")), PATIENCE, message="origins are removed")
        never(lambda: list((tmp_path / "out").rglob("other.txt")), 0.5)
        assert [client.program.stop(), server.program.stop()] == [0, 0]


def test_packed_files_of_one_name_stay_apart(tmp_path: Path) -> None:
    with Network(tmp_path) as network:
        server = network.server(Make.OURS, origin=ORIGIN.format(root=tmp_path).replace(".txt", ".txt.bz2"), compression="bzip",
                                working_directory=tmp_path / "work")
        network.client(Make.OURS, [server.address], destination=f"file://{tmp_path}/out/{{platform}}/")
        for platform in ("M9", "M10"):
            put(tmp_path, f"{platform}/20260102/same.txt.bz2", bz2.compress(platform.encode()))
        for platform in ("M9", "M10"):
            path = tmp_path / "out" / platform / "same.txt"
            eventually(lambda path=path, platform=platform: path.read_bytes() == platform.encode(), PATIENCE,  # type: ignore[misc]
                       message=f"that of {platform} is fetched")
        paths = [path for path, in rows(server.folder / "server.journal", "SELECT path FROM files")]
        found = sorted(path for path in paths if path.endswith(b".txt"))
        assert found == [f"{tmp_path}/work/{platform}/20260102/same.txt".encode() for platform in ("M10", "M9")]


def test_a_lost_file_is_not_forgotten_for_another_one_of_its_name(tmp_path: Path) -> None:
    with Network(tmp_path) as network:
        server = network.server(Make.OURS, origin=ORIGIN.format(root=tmp_path))
        put(tmp_path, "M9/20260102/same.txt", b"M9")
        eventually(lambda: rows(server.folder / "server.journal", "SELECT 1 FROM files"), PATIENCE, message="it is announced")
        (tmp_path / "in/M9/20260102/same.txt").unlink()
        client = network.client(Make.OURS, [server.address], destination=f"file://{tmp_path}/out/{{platform}}/")
        journal, states = client.folder / "client.journal", "SELECT state FROM files ORDER BY id"
        eventually(lambda: rows(journal, states) == [("given_up",)], PATIENCE, message="it is lost")
        put(tmp_path, "M10/20260102/same.txt", b"M10")
        eventually(lambda: rows(journal, states)[1:] == [("published",)], PATIENCE, message="the other one is fetched")
        assert rows(journal, states)[0] == ("given_up",)
        put(tmp_path, "M9/20260102/same.txt", b"M9 again")
        eventually(lambda: rows(journal, states)[2:] == [("published",)], PATIENCE, message="it comes after all")
        assert rows(journal, states)[0] == ("covered",)


def test_files_of_one_name_that_are_announced_anew_do_not_come_twice(tmp_path: Path) -> None:
    with Network(tmp_path) as network:
        server = network.server(Make.OURS, origin=ORIGIN.format(root=tmp_path))
        client = network.client(Make.OURS, [server.address], destination=f"file://{tmp_path}/out/{{platform}}/")
        journal, states = client.folder / "client.journal", "SELECT state FROM files ORDER BY id"
        for platform in ("M9", "M10"):
            put(tmp_path, f"{platform}/20260102/same.txt", platform.encode())
        eventually(lambda: rows(journal, states) == [("published",)] * 2, PATIENCE, message="both are fetched")
        assert umbrella.main(["retry", "--since", "1h", "--journal", str(server.folder / "server.journal")]) == 0
        put(tmp_path, "M9/20260102/last.txt", b"last")
        eventually(lambda: rows(journal, states)[2:] == [("published",)], PATIENCE, message="what is new is fetched")
        never(lambda: rows(journal, states)[3:], 1)


def test_the_second_server_is_asked_for_each_of_several_files_of_one_name(tmp_path: Path) -> None:
    """Of the same size, so that nothing else than what their names say tells them apart."""
    platforms = ("MA", "MB", "MC")
    with Nodes(tmp_path) as nodes:
        servers = [nodes.server(name, origin=f"{tmp_path}/{name}/in/{{platform}}/20260102/{{name}}.txt", **options)
                   for name, options in (("first", {"bandwidth_per_host": "1k"}), ("second", {}))]
        client = nodes.client("client", [server.address for server in servers], destination=f"file://{tmp_path}/out/{{platform}}/")
        for platform in platforms:
            for server in servers:
                (server.folder / "in" / platform / "20260102").mkdir(parents=True)
        nodes.start()
        for known, server in enumerate(servers):
            for platform in platforms:
                put(server.folder, f"{platform}/20260102/same.txt", platform.encode() * 50_000)
            eventually(lambda known=known: (len(client.find("SELECT 1 FROM files")),  # type: ignore[misc]
                                            bool(client.find("SELECT 1 FROM sources"))) == (3, bool(known)),
                       PATIENCE, message="they are announced")
        time.sleep(1)
        servers[0].program.kill()
        for platform in platforms:
            path = tmp_path / "out" / platform / "same.txt"
            eventually(lambda path=path, platform=platform: path.read_bytes() == platform.encode() * 50_000,  # type: ignore[misc]
                       2 * PATIENCE, message=f"that of {platform} comes from the second server")
        published = [("published",)] * 3
        eventually(lambda: client.find("SELECT state FROM files ORDER BY id")[:3] == published, PATIENCE, message="each once")
        servers[0].program.start()
        eventually(lambda: client.find("SELECT state FROM files ORDER BY id") == [*published, *[("covered",)] * 3], 3 * PATIENCE,
                   message="each is compared with the file of its own directory")


def test_copies_of_several_files_of_one_name_are_published_once(tmp_path: Path) -> None:
    """Each is compared with what was delivered of its own directory."""
    platforms = ("MA", "MB", "MC")
    with Nodes(tmp_path) as nodes:
        servers = [nodes.server(name, origin=f"{tmp_path}/{name}/in/{{platform}}/20260102/{{name}}.txt")
                   for name in ("first", "second")]
        client = nodes.client("client", [server.address for server in servers], destination=f"file://{tmp_path}/out/{{platform}}/")
        for platform in platforms:
            for server in servers:
                (server.folder / "in" / platform / "20260102").mkdir(parents=True)
        nodes.start()
        for server in servers:
            for platform in platforms:
                put(server.folder, f"{platform}/20260102/same.txt", platform.encode() * 500)
                eventually(lambda: not client.find("SELECT 1 FROM files WHERE state NOT IN ('published', 'covered')"), PATIENCE)
            eventually(lambda: client.find("SELECT count(*) FROM files WHERE state = 'published'") == [(3,)], PATIENCE,
                       message="each is published")
        eventually(lambda: client.find("SELECT count(*) FROM files") == [(6,)]
                   and not client.find("SELECT 1 FROM files WHERE state NOT IN ('published', 'covered')"), PATIENCE,
                   message="all are compared")
        assert client.find("SELECT count(*) FROM files WHERE state = 'published'") == [(3,)]
