"""What is connected to is what was looked at, whatever a name server says in between: names that lead nowhere are fetched from by
the addresses that the rights have for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.ftp_server import ScriptedFtpServer
from tests.support.http_server import HttpServer
from tests.support.ssh_server import SshServer
from trollmoves.errors import Denied, MoveError
from trollmoves.fetcher.opening import Opener
from trollmoves.fetcher.places import Rights, place_of
from trollmoves.movers.base import SessionSettings

NAME = "made-up.invalid"
ALL = ("sftp", "ftp", "http")


def fetched(uri: str, options: Mapping[str, Mapping[str, Any]], *addresses: str) -> bytes:
    opener = Opener(options, (), SessionSettings(connect_timeout=5, stall_timeout=5), Rights(ALL, (), lambda host: addresses))
    with opener.opened(place_of({"uri": uri})) as found:
        return bytes(found.stream.read())


def test_over_ssh(tmp_path: Path) -> None:
    with SshServer(tmp_path / "ssh") as server:
        (server.root / "a.nc").write_bytes(b"content")
        known = tmp_path / "known"
        known.write_text(server.known_hosts.read_text().replace("127.0.0.1", NAME))
        options = {"sftp": {"key_filename": str(server.client_key), "known_hosts": str(known), "username": server.user}}
        uri = f"sftp://{NAME}:{server.port}{server.root}/a.nc"
        assert fetched(uri, options, "127.0.0.2", "127.0.0.1") == b"content"  # nobody listens at the first
        with pytest.raises(MoveError, match="127.0.0.2"):
            fetched(uri, options, "127.0.0.2")


def test_by_ftp(tmp_path: Path) -> None:
    with ScriptedFtpServer(tmp_path / "ftp") as server:
        (server.root / "a.nc").write_bytes(b"content")
        options = {"ftp": {"username": server.user, "password": server.password}}
        assert fetched(f"ftp://{NAME}:{server.port}/a.nc", options, "127.0.0.2", "127.0.0.1") == b"content"


def test_from_web_servers(tmp_path: Path) -> None:
    with HttpServer(tmp_path / "http") as server:
        (server.root / "a.nc").write_bytes(b"content")
        (server.root / "a.nc").chmod(0o644)
        import base64
        login = "Basic " + base64.b64encode(f"{server.user}:{server.password}".encode()).decode()
        options = {"http": {"client_kwargs": {"headers": {"Authorization": login}}}}
        uri = f"{server.url}/a.nc".replace("127.0.0.1", NAME)
        assert fetched(uri, options, "127.0.0.2", "127.0.0.1") == b"content"


@pytest.mark.parametrize("scheme", ALL)
def test_a_name_that_leads_elsewhere_meanwhile(scheme: str) -> None:
    """At the first look it is harmless; at the second, for the connection, it is not."""
    answers = [("192.0.2.1",)]
    rights = Rights(ALL, (), lambda host: answers.pop(0) if answers else ("169.254.169.254",))
    opener = Opener({}, (), SessionSettings(connect_timeout=5, stall_timeout=5), rights)
    with pytest.raises(Denied, match="of this machine's link"), opener.opened(place_of({"uri": f"{scheme}://{NAME}/a.nc"})):
        pass
