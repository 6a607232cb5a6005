"""Files that a server has to log in for: by scp, sftp and ftp, with the client's `login`, in pairs of ours and upstream's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compatibility.network import HOST, PATIENCE, Client, Make, Network, Server, files, put_new
from tests.compatibility.tapping import tapped
from tests.support.eventually import eventually
from tests.support.ftp_server import ScriptedFtpServer
from tests.support.ssh_server import SshServer

PAIRS = [(Make.OURS, Make.UPSTREAM), (Make.UPSTREAM, Make.OURS)]
PASSWORD = "p@$$:w%rd!"
"""As administrators make them up; upstream takes it as it stands."""


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with Network(tmp_path) as network:
        yield network


@pytest.mark.parametrize(("server_make", "client_make"), PAIRS)
def test_by_ftp_with_a_password(network: Network, server_make: Make, client_make: Make, tmp_path: Path) -> None:
    with ScriptedFtpServer(tmp_path / "there", password=PASSWORD) as there:
        server = network.server(server_make)
        client = network.client(client_make, [server.address], destination=f"ftp://{HOST}:{there.port}/",
                                login=f"{there.user}:{PASSWORD}", create_target_directory=False)
        arrive_and_are_published(server, client, there.root, "/")


@pytest.mark.parametrize(("scheme", "server_make", "client_make"), [
    *(("scp", *pair) for pair in PAIRS),
    ("sftp", Make.OURS, Make.UPSTREAM),  # upstream's server takes a directory for a file there, whoever asks
])
def test_by_ssh_with_a_key(network: Network, scheme: str, server_make: Make, client_make: Make, tmp_path: Path) -> None:
    with SshServer(tmp_path / "there") as there:
        (tmp_path / "home" / ".ssh").mkdir(parents=True)
        (tmp_path / "home" / ".ssh" / "known_hosts").write_bytes(there.known_hosts.read_bytes())  # upstream looks nowhere else
        network.environment["HOME"] = str(tmp_path / "home")
        server = network.server(server_make, ssh_key_filename=there.client_key,  # with its prefix upstream forgets it
                                connection_parameters__known_hosts=there.known_hosts)
        client = network.client(client_make, [server.address], destination=f"{scheme}://{HOST}:{there.port}{there.root}/",
                                login=there.user, create_target_directory=False)
        arrive_and_are_published(server, client, there.root, f"{there.root}/")


def arrive_and_are_published(server: Server, client: Client, root: Path, directory: str) -> None:
    with tapped(client=client.port) as record:
        def arrived() -> bool:
            put_new(server)
            return any(root.iterdir())
        eventually(arrived, PATIENCE, interval=1.0, message="the first file arrives")
        wanted = files(5)
        for name, content in wanted.items():
            server.put(name, content)
        eventually(lambda: set(wanted) <= set(record.uids("client", "file")), PATIENCE, message="all are published")
    assert {name: (root / name).read_bytes() for name in wanted} == wanted
    for message in record.of("client", "file"):
        assert message.fields["uri"] == f"{directory}{message.fields['uid']}"
    assert "went wrong" not in server.program.output()
    for program in (server, client):
        assert program.make is Make.UPSTREAM or PASSWORD not in program.program.output()
