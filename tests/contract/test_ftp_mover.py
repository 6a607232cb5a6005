"""ftp and ftps keep the promises of every mover, against pure-ftpd."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.contract.movers import (
    CONTROLS,
    LONG_AGO,
    NAMES,
    ODD_NAMES,
    LocalPlace,
    NetworkContract,
    Place,
    Way,
    deliver,
    everything_said,
    make,
    opened,
    send,
    session_of,
)
from tests.support.ftp_server import NOBODY, FtpServer
from tests.support.servers import make_certificate, with_password
from tests.support.tcp_proxy import NO_FAULT, Fault, TcpProxy
from trollmoves.errors import Denied, DestinationInvalid, LoginRefused
from trollmoves.movers.base import SessionSettings
from trollmoves.movers.ftp import FtpMover
from trollmoves.movers.moving import ignore
from trollmoves.uris import parse_destination

PROXY_HOST = "127.0.0.2"
"""Another address of this machine: there the proxies can have the port numbers that the server names for data connections."""


class Proxies:
    """A bad network round a server that opens further ports: one proxy for the control connection, one for every data port."""

    def __init__(self, proxies: list[TcpProxy]):
        self.proxies = proxies
        self.host, self.port = proxies[0].host, proxies[0].port

    upward = property(fset=lambda self, fault: self._set("upward", fault))
    downward = property(fset=lambda self, fault: self._set("downward", fault))

    def _set(self, direction: str, fault: Fault) -> None:
        for proxy in self.proxies:
            setattr(proxy, direction, fault)

    @contextlib.contextmanager
    def black(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for proxy in self.proxies:
                stack.enter_context(proxy.black())
            yield

    def cut_all(self) -> None:
        for proxy in self.proxies:
            proxy.cut_all()

    @property
    def connections(self) -> int:
        return self.proxies[0].connections


class FtpPlace(LocalPlace):
    """The folder that the server shows as `/`."""

    passive_ports: range

    def write(self, name: str, content: bytes) -> None:
        super().write(name, content)
        os.chown(self.root / name, NOBODY, NOBODY)

    @contextlib.contextmanager
    def through(self, upward: Fault = NO_FAULT, downward: Fault = NO_FAULT) -> Iterator[Way]:
        assert self.address is not None
        host, port = self.address
        with contextlib.ExitStack() as stack:
            proxies = Proxies([
                stack.enter_context(TcpProxy(host, target, upward=upward, downward=downward, host=PROXY_HOST, port=own))
                for target, own in [(port, 0), *((port, port) for port in self.passive_ports)]])
            uri, settings = self.at(proxies.host, proxies.port)
            yield Way(uri, replace(settings, parameters={"tls_verify": False}), proxies)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FtpServer]:
    with FtpServer(tmp_path_factory.mktemp("ftp"), tls="offered", passive=16) as server:  # it lets in half as many users
        yield server


def place_on(server: FtpServer, scheme: str, login: str | None = None) -> FtpPlace:
    for entry in server.root.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    settings = SessionSettings(parameters={"tls_ca_file": str(server.authority)})
    login = f"{server.user}:{quote(server.password)}@" if login is None else login
    where = f"{server.host}:{server.port}/"
    refusal = (f"{scheme}://{server.user}:another-secret@{where}", settings)
    uri, address = f"{scheme}://{login}{where}", (server.host, server.port)
    place = FtpPlace(FtpMover(), uri, settings, server.root, address, server.password, refusal)
    place.passive_ports = server.passive_ports
    return place


class FtpContract(NetworkContract):
    refused_names = tuple(CONTROLS)

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_an_odd_name_arrives_as_it_is_or_is_refused(self, place: Place, tmp_path: Path, name: str) -> None:
        if not name.endswith(" "):
            super().test_an_odd_name_arrives_as_it_is_or_is_refused(place, tmp_path, name)
            return
        deliver(place, make(tmp_path / name, b"what is in it"))
        assert place.names() == {name[:-1] + "_"}  # pure-ftpd's way with a space at the end

    @pytest.mark.parametrize("name", NAMES)
    def test_any_name_arrives_as_it_is(self, place: Place, tmp_path: Path, name: str) -> None:
        if "\\" not in name:
            super().test_any_name_arrives_as_it_is(place, tmp_path, name)
            return
        with pytest.raises(Denied, match="Prohibited file name"):  # pure-ftpd takes no backslash from anyone
            deliver(place, make(tmp_path / name, b"what is in it"))
        assert place.names() == set()

    def test_the_time_is_kept(self, place: Place, tmp_path: Path) -> None:
        deliver(place, make(tmp_path / "origin.dat", b"1"), "final.dat")
        assert place.status("final.dat")[0] // 10**9 == LONG_AGO // 10**9

    def test_paths_are_absolute_whatever_the_working_directory(self, place: Place, tmp_path: Path) -> None:
        path = make(tmp_path / "origin.dat", b"1")
        with session_of(place) as session:
            session.make_directories("/elsewhere")
            session._ftp.cwd("/elsewhere")  # type: ignore[attr-defined]
            with opened(path) as origin:
                session.put(origin, "/final.dat", ignore)
        assert place.names() == {"final.dat"}

    def test_directories_get_the_mode_of_the_section(self, place: Place, tmp_path: Path) -> None:
        settings = replace(place.settings, directory_mode=0o750)
        deliver(place, make(tmp_path / "origin.dat", b"1"), "a/b/", settings=settings)
        assert [place.status(name)[1] for name in ("a", "a/b")] == [0o750, 0o750]

    def test_directories_come_as_the_server_makes_them_unless_told_otherwise(self, place: Place, tmp_path: Path) -> None:
        path = make(tmp_path / "origin.dat", b"1")
        deliver(place, path, "usual/")
        deliver(place, path, "kept/", settings=replace(place.settings, directory_mode=0o777))
        assert place.status("kept")[1] == place.status("usual")[1] == 0o755

    def test_files_get_the_mode_of_the_section(self, place: Place, tmp_path: Path) -> None:
        deliver(place, make(tmp_path / "origin.dat", b"1"), settings=replace(place.settings, file_mode=0o604))
        assert place.status("origin.dat")[1] == 0o604

    def test_another_encoding_of_names(self, place: Place, tmp_path: Path) -> None:
        settings = replace(place.settings, parameters={**place.settings.parameters, "ftp_encoding": "latin-1"})
        deliver(place, make(tmp_path / "käse.dat", b"1"), settings=settings)
        assert os.listdir(os.fsencode(place.root)) == ["käse.dat".encode("latin-1")]  # type: ignore[attr-defined]


class TestFtp(FtpContract):
    @pytest.fixture
    def place(self, server: FtpServer) -> Place:
        return place_on(server, "ftp")


class TestFtps(FtpContract):
    @pytest.fixture
    def place(self, server: FtpServer) -> Place:
        return place_on(server, "ftps")

    def test_a_certificate_that_nobody_vouches_for_is_refused(self, place: Place) -> None:
        with pytest.raises(LoginRefused, match="certificate"):
            place.mover.open(parse_destination(place.uri), SessionSettings())

    def test_a_certificate_for_another_host_is_refused(self, place: Place) -> None:
        with place.through() as way, pytest.raises(LoginRefused, match="certificate"):
            place.mover.open(parse_destination(way.uri), place.settings)

    def test_our_own_certificate_is_read_with_its_password(self, place: Place, tmp_path: Path) -> None:
        ours = make_certificate(tmp_path)
        locked = with_password(ours.key, "sesame")
        given = {**place.settings.parameters, "tls_cert_file": str(ours.certificate), "tls_key_file": str(locked)}
        settings = replace(place.settings, parameters={**given, "tls_key_password": "sesame"})
        deliver(place, make(tmp_path / "origin.dat", b"1"), settings=settings)
        for password in ("", "sesame-shut"):
            with pytest.raises(DestinationInvalid, match="cannot be used") as caught:
                deliver(place, tmp_path / "origin.dat",
                        settings=replace(place.settings, parameters={**given, "tls_key_password": password}))
            assert "sesame" not in everything_said(caught.value)

    def test_verification_can_be_switched_off_with_a_warning(self, place: Place, tmp_path: Path,
                                                             caplog: pytest.LogCaptureFixture) -> None:
        settings = SessionSettings(parameters={"tls_verify": "off"})
        deliver(place, make(tmp_path / "origin.dat", b"1"), "final.dat", settings=settings)
        assert place.read("final.dat") == b"1"
        assert "tls_verify is off" in caplog.text

    @pytest.mark.parametrize(("minimum", "version"), [("1.2", "TLSv1.2"), ("1.3", "TLSv1.3")])
    def test_sessions_are_continued_unless_that_would_be_too_old(self, place: Place, tmp_path: Path, minimum: str,
                                                                 version: str) -> None:
        parameters = {**place.settings.parameters, "tls_minimum_version": minimum}
        with session_of(place, settings=replace(place.settings, parameters=parameters)) as session:
            for _ in range(2):  # pure-ftpd continues sessions under TLS 1.2 only
                send(place, session, make(tmp_path / "origin.dat", b"1"), "final.dat")
            control = session._ftp  # type: ignore[attr-defined]
            assert control.sock.version() == version
            data, _ = control.ntransfercmd("STOR /other.dat")
            assert data.session_reused is (version == "TLSv1.2")
            data.close()
            control.voidresp()
        assert place.read("final.dat") == b"1"
