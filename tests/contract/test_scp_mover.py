"""The scp mover keeps the promises of all movers: by SFTP where the server has it, by the old protocol where it has not."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.contract.movers import CONTROLS, HOW, LARGE, DirectoryContract, LocalPlace, NetworkContract, content_of, deliver, make
from tests.contract.test_sftp_mover import (
    check_changed_host_key,
    check_connection_timeout,
    check_killed_server,
    open_session,
    ssh_place,
    with_parameters,
)
from tests.support.ports import free_port
from tests.support.ssh_server import SshServer
from tests.support.tcp_proxy import Fault
from trollmoves.errors import DestinationInvalid, MoveError, Stalled, Unreachable
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

    def test_its_own_option_for_the_key_goes_before_that_of_sftp(self, place: LocalPlace, server: SshServer) -> None:
        other = str(server.folder / "other_key")
        named = with_parameters(place, ssh_key_filename=str(server.client_key), ssh_private_key_file=other)
        open_session(place, named).close()

    def test_the_attempts_are_counted_as_upstream_does(self, place: LocalPlace) -> None:
        uri, _ = place.at("127.0.0.1", free_port())
        with pytest.raises(Unreachable, match="Failed to ssh connect after 2 attempts"):
            place.mover.open(parse_destination(uri), with_parameters(place, num_ssh_retries=2))

    def test_it_tries_to_connect_so_many_times_and_three_times_unless_told_otherwise(self, place: LocalPlace) -> None:
        for parameters, attempts in (({"num_ssh_retries": "2"}, 2), ({"num_ssh_retries": None}, 3)):
            with place.through() as way, way.proxy.black():
                settings = with_parameters(place, ssh_connection_timeout="0.2", **parameters)
                with pytest.raises(Unreachable, match=f"after {attempts} attempts"):
                    place.mover.open(parse_destination(way.uri), settings)
                assert way.connections == attempts

    def test_connecting_may_take_as_long_as_the_section_says(self, place: LocalPlace) -> None:
        check_connection_timeout(place)

    @pytest.mark.parametrize("protocol", ["", "legacy"])
    def test_a_transfer_may_stand_still_as_long_as_the_section_says(self, place: LocalPlace, tmp_path: Path,
                                                                    protocol: str) -> None:
        """`scpclient_timeout_seconds` counts in place of the section's own time."""
        path = make(tmp_path / "origin.dat", content_of(LARGE))
        with place.through(upward=Fault(stall_after=2**20)) as way:
            parameters = {**way.settings.parameters, "scpclient_timeout_seconds": "1", "scp_protocol": protocol}
            settings = replace(way.settings, stall_timeout=600.0, parameters=parameters)
            started = time.monotonic()
            with pytest.raises(Stalled):
                deliver(place, path, "final.dat", uri=way.uri, settings=settings)
            assert time.monotonic() - started < 60
        assert place.read("final.dat") is None


class TestOldProtocol(DirectoryContract, NetworkContract):
    refused_names = (CONTROLS[0],)

    @pytest.fixture
    def place(self, server_without_sftp: SshServer) -> LocalPlace:
        return ssh_place(OldScpMover(), server_without_sftp, num_ssh_retries="1")

    def test_what_cannot_be_opened_in_place_stays_as_it_was(self, place: LocalPlace, tmp_path: Path) -> None:
        """A program that runs may be removed, and is not written to."""
        program = Path(shutil.copy(shutil.which("sleep") or "", place.root / "origin.dat"))
        older = program.read_bytes()
        running = subprocess.Popen([program, "60"])
        try:
            with pytest.raises(MoveError, match="busy"):
                deliver(place, make(tmp_path / "origin.dat", b"1"), how=HOW._replace(inplace=True))
        finally:
            running.kill()
            running.wait()
        assert place.read("origin.dat") == older

    def test_a_resume_starts_anew(self, place: LocalPlace, tmp_path: Path) -> None:
        with open_session(place) as session:
            assert isinstance(session, ShellSession)
        deliver(place, make(tmp_path / "origin.dat", content_of(LARGE)))
        assert place.read("origin.dat") == content_of(LARGE)


@pytest.mark.parametrize("options", [[], ["Subsystem sftp /bin/false"]])
def test_a_host_key_that_changes(tmp_path: Path, options: list[str]) -> None:
    with SshServer(tmp_path / "sshd", options) as server:
        check_changed_host_key(ScpMover(), server, tmp_path)


@pytest.mark.parametrize(("mover", "options"), [(ScpMover, []), (OldScpMover, ["Subsystem sftp /bin/false"])])
def test_a_server_that_is_killed_while_a_file_is_moved(tmp_path: Path, mover: type[ScpMover], options: list[str]) -> None:
    with SshServer(tmp_path / "sshd", options) as server:
        check_killed_server(mover(), server, tmp_path, num_ssh_retries="1")


def test_a_server_with_neither_sftp_nor_a_shell_is_said(tmp_path: Path) -> None:
    with SshServer(tmp_path / "sshd", ["Subsystem sftp /bin/false", "ForceCommand /bin/false"]) as server, \
            pytest.raises(DestinationInvalid, match="neither sftp nor a shell"):
        open_session(ssh_place(ScpMover(), server))
