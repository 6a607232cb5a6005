"""The scp mover keeps the promises of all movers: by SFTP where the server has it, by the old protocol where it has not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.movers import CONTROLS, LARGE, DirectoryContract, LocalPlace, NetworkContract, content_of, deliver, make
from tests.contract.test_sftp_mover import check_changed_host_key, open_session, ssh_place, with_parameters
from tests.support.ports import free_port
from tests.support.ssh_server import SshServer
from trollmoves.errors import DestinationInvalid, Unreachable
from trollmoves.movers.base import Abilities
from trollmoves.movers.scp import ScpMover, ShellSession
from trollmoves.movers.sftp import SftpSession
from trollmoves.uris import parse_destination


class OldScpMover(ScpMover):
    """Says what the old protocol cannot do, so that the contract does not ask for it."""

    abilities = Abilities(sync=True, resume=False, attributes=True, parallel=8)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with SshServer(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture(scope="module")
def server_without_sftp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with SshServer(tmp_path_factory.mktemp("sshd"), ["Subsystem sftp /bin/false"]) as running:
        yield running


class TestScpMover(NetworkContract):
    @pytest.fixture
    def place(self, server: SshServer) -> LocalPlace:
        return ssh_place(ScpMover(), server, num_ssh_retries="1")

    def test_a_server_with_sftp_is_spoken_to_by_sftp_unless_the_section_says_otherwise(self, place: LocalPlace) -> None:
        with open_session(place) as session:
            assert isinstance(session, SftpSession)
        with open_session(place, with_parameters(place, scp_protocol="legacy")) as session:
            assert isinstance(session, ShellSession)

    def test_the_attempts_are_counted_as_upstream_does(self, place: LocalPlace) -> None:
        uri, _ = place.at("127.0.0.1", free_port())
        with pytest.raises(Unreachable, match="Failed to ssh connect after 2 attempts"):
            place.mover.open(parse_destination(uri), with_parameters(place, num_ssh_retries=2))


class TestOldProtocol(DirectoryContract, NetworkContract):
    refused_names = (CONTROLS[0],)

    @pytest.fixture
    def place(self, server_without_sftp: SshServer) -> LocalPlace:
        return ssh_place(OldScpMover(), server_without_sftp, num_ssh_retries="1")

    def test_a_resume_starts_anew(self, place: LocalPlace, tmp_path: Path) -> None:
        with open_session(place) as session:
            assert isinstance(session, ShellSession)
        deliver(place, make(tmp_path / "origin.dat", content_of(LARGE)))
        assert place.read("origin.dat") == content_of(LARGE)


@pytest.mark.parametrize("options", [[], ["Subsystem sftp /bin/false"]])
def test_a_host_key_that_changes(tmp_path: Path, options: list[str]) -> None:
    with SshServer(tmp_path / "sshd", options) as server:
        check_changed_host_key(ScpMover(), server, tmp_path)


def test_a_server_with_neither_sftp_nor_a_shell_is_said(tmp_path: Path) -> None:
    with SshServer(tmp_path / "sshd", ["Subsystem sftp /bin/false", "ForceCommand /bin/false"]) as server, \
            pytest.raises(DestinationInvalid, match="neither sftp nor a shell"):
        open_session(ssh_place(ScpMover(), server))
