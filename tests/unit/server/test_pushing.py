"""What a worker does for one push."""

from __future__ import annotations

from pathlib import Path

import pytest

from trollmoves.config.reading import read_server_config
from trollmoves.errors import Denied
from trollmoves.server.pushing import Push, Pushing
from trollmoves.uris import parse_destination

STRANGER = "192.0.2.7"


def pushing(tmp_path: Path) -> Pushing:
    path = tmp_path / "server.ini"
    path.write_text(f"[one]\norigin = {tmp_path}/{{a}}\ntopic = /t\nrequest_port = 9094\n")
    return Pushing(read_server_config(path).chains["one"], (str(tmp_path),))


def push(destination: str, backups: tuple[str, ...], peer: str) -> Push:
    return Push("0123456789abcdef", (), parse_destination(destination), backups, peer, 1)


def test_the_name_of_a_backup_target_is_looked_up_once_and_the_address_kept(tmp_path: Path) -> None:
    """Whoever answers for a name answers differently the second time."""
    asked = push("sftp://u:secret@127.0.0.1:1/in/", ("localhost", "localhost:22", "127.0.0.1"), "127.0.0.1")
    _, backups = pushing(tmp_path).check(asked)
    assert [(place.host, place.port, place.connect_to, place.password) for place in backups] == [
        ("localhost", None, "127.0.0.1", None), ("localhost", 22, "127.0.0.1", None), ("127.0.0.1", None, "", None)]


def test_a_backup_target_needs_the_rights_of_a_destination(tmp_path: Path) -> None:
    with pytest.raises(Denied, match=r"allowed_destinations = sftp://192\.0\.2\.8/in/\*"):
        pushing(tmp_path).check(push(f"sftp://{STRANGER}/in/", (STRANGER, "192.0.2.8"), STRANGER))
