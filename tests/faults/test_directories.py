"""Destinations without a slash at their end: no file takes the place of another before the originals are removed."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from tests.faults.network import Network
from tests.integration.test_dead_letters import command
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


@pytest.mark.parametrize(("options", "ends"), [({}, "failed"), (NOT_MADE, "given_up")])
def test_a_file_in_the_place_of_the_directory_stays(options: dict[str, str], ends: str, tmp_path: Path,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    """Until an operator takes it away: where that is not waited for, both sides say so, and `retry` has the files."""
    there = tmp_path / "destination" / "out9"
    with Network(tmp_path, server_options=REMOVES, client_options={"destination": f"file://{there}", **options}) as network:
        there.write_bytes(b"somebody's")
        network.start()
        network.write_many(3)
        eventually(lambda: network.states(network.client_journal) == {ends: 3}, message="all are refused")
        assert there.read_bytes() == b"somebody's" and len(list(network.origins[0].iterdir())) == 3
        journals = network.client_journal, network.server_journal()
        if ends == "given_up":
            for journal in journals:
                eventually(lambda: "3 files are given up" in command(capsys, "status", "--journal", journal)[1])  # noqa: B023
                assert command(capsys, "status", "--journal", journal)[0] == 1
                text = command(capsys, "failed", "--journal", journal)[1]
                assert all(f"f0000{number}.bin" in text for number in range(3)) and "Not a directory" in text
        there.unlink()
        if ends == "given_up":
            there.mkdir()
            assert command(capsys, "retry", "--all", "--journal", network.client_journal)[0] == 0
        network.settle(deletes=True)
        assert len(list(there.iterdir())) == 3
        for journal in journals:
            eventually(lambda: command(capsys, "status", "--journal", journal)[0] == 0, message="nothing is open")  # noqa: B023


def test_a_mirror_keeps_each_file_under_its_name(tmp_path: Path) -> None:
    with Network(tmp_path, mirror=True, server_options=REMOVES,
                 client_options={"destination": f"file://{tmp_path}/destination/out9"}) as network:
        config = tmp_path / "mirror.ini"
        config.write_text(config.read_text().replace("/mirrored/", "/mirrored/{platform}"))
        network.start()
        network.write_many(10)
        check(network, "", f"{tmp_path}/destination/out9", 10)
