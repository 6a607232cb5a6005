"""Destinations without a slash at their end: no file takes the place of another before the originals are removed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.faults.network import Network
from tests.support.eventually import eventually
from tests.support.ftp_server import ScriptedFtpServer

REMOVES = {"delete": "true", "remove_delay": "0.1", "info": "platform=M9"}
NOT_MADE = {"create_target_directory": "false"}


def check(network: Network, root: str | Path, directory: str, count: int) -> None:
    """All files have arrived under their names in *directory*, the publications say so, and the originals are gone."""
    network.settle(deletes=True)
    network.check(deletes=True)
    uris = {str(data["uid"]): str(data["uri"]) for data in network.recorder.files()}
    assert len(uris) == count
    for uid, uri in uris.items():
        assert uri == f"{directory}/{uid}" and Path(f"{root}{uri}").is_file()


@pytest.mark.parametrize(("destination", "options"), [
    ("file://{there}/out9", {}), ("{there}/out9", {}), ("file://{there}/out9", NOT_MADE), ("{there}/not/there/out9", NOT_MADE),
    ("file://{there}/{{platform}}", {}), ("file://{there}/{{platform}}", NOT_MADE)])
def test_on_this_machine(destination: str, options: dict[str, str], tmp_path: Path) -> None:
    text = destination.format(there=tmp_path / "destination")
    directory = text.removeprefix("file://").format(platform="M9")
    with Network(tmp_path, server_options=REMOVES, client_options={"destination": text, **options}) as network:
        network.start()
        network.write_many(20)
        check(network, "", directory, 20)
        Path(directory).rename(tmp_path / "destination" / "away")
        network.write_many(20, "later")
        network.settle(deletes=True)
        assert len(list(Path(directory).iterdir())) == 20


@pytest.mark.parametrize("name", ["out9", "{platform}", "{uid}"])
def test_on_a_server(name: str, tmp_path: Path) -> None:
    with ScriptedFtpServer(tmp_path / "ftp") as server:
        login = f"{server.user}:{quote(server.password, safe='')}"
        destination = f"ftp://{login}@127.0.0.1:{server.port}/new/{name}"
        with Network(tmp_path, destination=server.root, server_options=REMOVES,
                     client_options={"destination": destination, **NOT_MADE}) as network:
            network.start()
            network.write_many(20)
            check(network, server.root, "/new" if name == "{uid}" else f"/new/{name.format(platform='M9')}", 20)


@pytest.mark.parametrize("options", [{}, NOT_MADE])
def test_a_file_in_the_place_of_the_directory_stays(options: dict[str, str], tmp_path: Path) -> None:
    """Until an operator takes it away: the files wait for that."""
    there = tmp_path / "destination" / "out9"
    with Network(tmp_path, server_options=REMOVES, client_options={"destination": f"file://{there}", **options}) as network:
        there.write_bytes(b"somebody's")
        network.start()
        network.write_many(3)
        eventually(lambda: network.states(network.client_journal) == {"failed": 3}, message="all are refused")
        assert there.read_bytes() == b"somebody's" and len(list(network.origins[0].iterdir())) == 3
        there.unlink()
        network.settle(deletes=True)
        assert len(list(there.iterdir())) == 3


WRECKS: dict[str, Callable[[Path], object]] = {
    "file": lambda place: place.write_bytes(b""), "loop": lambda place: place.symlink_to(place),
    "nowhere": lambda place: place.symlink_to(place.parent / "is" / "not" / "there")}


@pytest.mark.parametrize("wreck", WRECKS)
def test_files_wait_for_a_directory_that_is_something_else_for_a_while(wreck: str, tmp_path: Path) -> None:
    """It worked before; whoever put something in its place takes it away again."""
    with Network(tmp_path, server_options=REMOVES) as network:
        network.begin()
        aside = network.destination.rename(tmp_path / "aside")
        WRECKS[wreck](network.destination)
        network.write_many(3, "meanwhile")
        eventually(lambda: network.states(network.client_journal).get("failed") == 3, message="all are refused")
        network.destination.unlink()
        aside.rename(network.destination)
        network.settle(deletes=True)
        assert network.stop() == [0, 0]


def test_a_mirror_keeps_each_file_under_its_name(tmp_path: Path) -> None:
    with Network(tmp_path, mirror=True, server_options=REMOVES,
                 client_options={"destination": f"file://{tmp_path}/destination/out9"}) as network:
        config = tmp_path / "mirror.ini"
        config.write_text(config.read_text().replace("/mirrored/", "/mirrored/{platform}"))
        network.start()
        network.write_many(10)
        check(network, "", f"{tmp_path}/destination/out9", 10)
